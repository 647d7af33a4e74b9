"""Small probes for trial calls of a model."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch.padding import collate, own_bounds, told_by_examples
from mviz_lightning.batch.presence import complete_examples
from mviz_lightning.batch.probe import NO_GROUPS, Probe
from mviz_lightning.batch.rows import kept_copy
from mviz_lightning.batch.schema import BatchSchema


def first_examples(schema: BatchSchema, batch: Any, count: int) -> Probe:
    """Return a probe (copies, no groups) of a batch's first examples that can be recombined with one another.

    Args:
        schema: The batch's schema.
        batch: The user's own batch.
        count: Largest number of examples.
    """
    probe = whole_examples(schema, batch, count)
    alike = probe.kinds == probe.kinds.mode().values if probe.size else probe.kinds == 0
    return probe if bool(alike.all()) else probe.part(alike.nonzero()[:, 0])


def whole_examples(schema: BatchSchema, batch: Any, count: int) -> Probe:
    """Return a probe (copies, no groups) of a batch's first examples that have all modalities.

    Args:
        schema: The batch's schema.
        batch: The user's own batch.
        count: Largest number of examples.
    """
    leaves = schema.leaves(batch)
    rows = complete_examples(schema, leaves)[:count].tolist()
    examples = [{path: kept_copy(leaf, torch.tensor([row])) for path, leaf in leaves.items()} for row in rows]
    probe = Probe(schema, collate(schema, examples), NO_GROUPS, bounds=own_bounds(schema, examples))
    return with_masks_told(probe)


def with_masks_told(probe: Probe) -> Probe:
    """Return the probe with mask directions and wrapper tokens learned from its examples: :func:`told_by_examples`."""
    tensors = {path: leaf for path, leaf in probe.leaves.items() if isinstance(leaf, Tensor)}
    rows = [{path: leaf[k : k + 1] for path, leaf in tensors.items()} for k in range(probe.size)]
    return replace(probe, schema=told_by_examples(probe.schema, rows))
