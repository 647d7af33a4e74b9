"""Repeated examples, and repeated entries of one modality."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mviz_lightning.batch.probe import Probe, fingerprint
from mviz_lightning.batch.reservoir import Example
from mviz_lightning.batch.rows import kept_copy
from mviz_lightning.batch.schema import BatchSchema


def first_occurrences(schema: BatchSchema, rows: Sequence[Example], labels: Iterable[str]) -> list[int]:
    """Return the indices of the examples that do not repeat an earlier one; samplers with replacement repeat examples.

    An example repeats another if their modalities and labels are equal, and if one modality identifies examples: its
    entries are equal only in examples that are equal as a whole. If no modality does (tables of a few discrete
    columns), different examples may be equal, and all are kept.

    Args:
        schema: The batch's schema.
        rows: The examples.
        labels: Paths of the leaves from which the labels are made.
    """
    owned = [path for paths in schema.values.values() for path in paths]
    whole = _digests(rows, {*owned, *labels})
    first = {digest: index for index, digest in reversed(list(enumerate(whole)))}
    identified = any(len(set(_digests(rows, paths))) == len(first) for paths in schema.values.values())
    return sorted(first.values()) if identified else list(range(len(rows)))


def copy_numbers(probe: Probe, name: str) -> Tensor:
    """Return ``(N,)`` long: the same number for examples with equal entries of a modality."""
    paths = probe.schema.values[name]
    examples = [
        fingerprint({path: kept_copy(probe.leaves[path], torch.tensor([place])) for path in paths})
        for place in range(probe.size)
    ]
    known = {digest: number for number, digest in enumerate(dict.fromkeys(examples))}
    return torch.tensor([known[digest] for digest in examples])


def _digests(rows: Sequence[Example], paths: Iterable[str]) -> list[str]:
    chosen = sorted(paths)
    return [fingerprint({path: row[path] for path in chosen}) for row in rows]
