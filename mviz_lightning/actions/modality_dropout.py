"""Hide the other modalities in some training examples."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.actions.base import Action, Alarms, generator_of, require_number
from mviz_lightning.batch import BatchSchema, Modality, Probe
from mviz_lightning.batch.holdings import padded
from mviz_lightning.batch.masking import parts_of
from mviz_lightning.batch.padding import own_bounds
from mviz_lightning.batch.presence import gaps_of, nodes_of, present_examples
from mviz_lightning.batch.probe import NO_GROUPS
from mviz_lightning.batch.rows import plain_tensors, to_device
from mviz_lightning.modalities import Text
from mviz_lightning.modalities.base import ModalityType, modality_in, type_in


class ModalityDropout(Action):
    """Hides the other modalities in some training examples, so that the collapsed one has to answer alone.

    After ModDrop (Neverova, Wolf, Taylor and Nebout, "ModDrop: adaptive multi-modal gesture recognition", IEEE TPAMI
    2016). ModDrop hides every modality of every example with a probability of its own; here all modalities that are not
    collapsed are hidden together, and the collapsed one never is.

    A hidden modality is 0 as in the paper, or what ``Modality(baseline=...)`` says; words become the padding token,
    strings are emptied, integer columns get the batch's most frequent value. Padding, special tokens, attention masks,
    labels and all other leaves stay. The training step gets a changed copy of the batch; callbacks, and whoever else
    holds the batch, keep it as it was. Validation and test batches are never changed. On a GPU, the leaves of the
    hidden modalities are copied to the CPU once a batch.

    Args:
        p: Probability that a training example loses the other modalities, from 0 to 1.
        seed: Seed of the draws; torch's own generators are not touched. A resumed training draws the same.

    Raises:
        ConfigurationError: An argument has a value that it cannot have.

    Example:
        >>> from mviz_lightning import UnimodalCollapse
        >>> from mviz_lightning.actions import ModalityDropout
        >>> alarm = UnimodalCollapse(action=ModalityDropout(p=0.5))
    """

    def __init__(self, p: float = 0.5, seed: int = 0) -> None:
        self.p = require_number(f"ModalityDropout(p={p!r})", p, 1, 0.5)
        self.seed = seed

    def announce(self, alarms: Alarms) -> str:
        """Say what is hidden how often."""
        if not alarms.others:
            return ""
        return f"Until the alarm ends, {' and '.join(alarms.others)}: hidden in {self.p:.0%} of the training examples."

    def change_batch(self, batch: Any, alarms: Alarms, number: int) -> Any:
        """Return the batch with the other modalities of the drawn examples hidden, where these have all modalities.

        Raises:
            ConfigurationError: The training batch lacks the leaves of a modality, and they are not None.
        """
        gaps = gaps_of(alarms.modalities, nodes_of(batch, alarms.modalities))
        if gaps and not any(gap.missing for found in gaps.values() for gap in found):
            return batch
        schema = BatchSchema.learn(batch, alarms.modalities)
        leaves = schema.leaves(batch)
        drawn = torch.rand(schema.size(leaves), generator=generator_of(self.seed, number)) < self.p
        drawn &= present_examples(schema, leaves).all(1)
        if not alarms.others or not drawn.any():
            return batch
        padded_leaves = {path: padded(leaf) for path, leaf in leaves.items()}
        probe = Probe(schema, padded_leaves, NO_GROUPS, bounds=own_bounds(schema, [leaves]))
        changed = [pair for name in alarms.others for pair in _hidden(probe, name, drawn)]
        return schema.with_leaves(batch, dict(changed))


def _hidden(probe: Probe, name: str, rows: Tensor) -> Iterator[tuple[str, Any]]:
    """Yield path and content of the leaves that change where a modality is hidden in some examples, ``(N,)`` bool."""
    schema, leaves = probe.schema, probe.leaves
    path = schema.values[name][0]
    held = {one: to_device(plain_tensors(leaf), "cpu") for one, leaf in leaves.items() if one in schema.values[name]}
    own = probe.own_entries(path)
    modality_type = type_in(schema, held, name, own)
    modality = _whole(modality_in(schema, held, name, own), modality_type, held[path])
    segments = modality_type(modality, {**leaves, **held}, path, own).segments
    count = max((segments.count(example) for example in range(len(rows))), default=0)
    kept = ~rows.unsqueeze(1).expand(-1, max(count, 1))
    for part in parts_of(segments):
        yield part.leaf, part.mask(leaves[part.leaf], kept, torch.arange(len(rows)))


def _whole(modality: Modality, modality_type: type[ModalityType], values: Any) -> Modality:
    """Return a modality whose masked parts hide all of it, safely.

    Blurred images would still tell, and an attention mask of zeros makes NaN in some models. 0 may be no value of
    integers that are no tokens, so these keep the default of their type.
    """
    given = None if modality.baseline == "blur" else modality.baseline
    zero = issubclass(modality_type, Text) or (isinstance(values, Tensor) and values.is_floating_point())
    return replace(modality, baseline="zero" if zero and given is None else given, superpixels=False)
