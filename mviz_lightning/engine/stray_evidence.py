"""Find the modality that a stray leaf describes, from the examples: by its padding, its number of steps, its name."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from mviz_lightning.batch.padding import marks_padding
from mviz_lightning.batch.probe import Probe

GENERAL = frozenset({"batch", "data", "features", "ids", "input", "inputs", "leaf", "mask", "value", "values", "x"})
"""Words in paths that do not point to a modality."""


def described_modality(probe: Probe, path: str, candidates: Sequence[str]) -> tuple[str, str] | None:
    """Return the modality that a leaf describes, and the fact that shows it; None if no fact points to a single one.

    Facts, the surest first: the leaf marks or counts the padding of one modality, whatever it acts with; it has as many
    steps as one of the candidates; it has the name of one of them.

    Args:
        probe: Some examples.
        path: Path of the leaf.
        candidates: Names of the modalities that it may act with; if there is only one, only the padding counts.
    """
    names, several = probe.schema.names, candidates if len(candidates) > 1 else ()
    facts: list[tuple[Callable[[Probe, str, str], bool], Sequence[str], str]] = [
        (_marks_padding, names, "{!r} marks the padding of {!r}"),
        (_counts_steps, names, "{!r} counts the steps of {!r}"),
        (_has_steps, several, "{!r} has as many steps as {!r}"),
        (_has_name, several, "{!r} has the name of {!r}"),
    ]
    for holds, among, fact in facts:
        found = [name for name in among if holds(probe, path, name)]
        if len(found) == 1:
            return found[0], fact.format(probe.schema.written(path), probe.schema.values[found[0]][0])
    return None


def _marks_padding(probe: Probe, path: str, name: str) -> bool:
    values = probe.schema.values[name][0]
    leaves = {known: probe.leaves[known] for known in (path, values)}
    if not all(isinstance(leaf, Tensor) for leaf in leaves.values()):
        return False
    return marks_padding(values, path, [{p: leaf[[k]] for p, leaf in leaves.items()} for k in range(probe.size)])


def _counts_steps(probe: Probe, path: str, name: str) -> bool:
    """Return whether a leaf holds, for each example, the number of entries before the padding."""
    steps, counts = _steps(probe, name), _integers(probe, path)
    if steps is None or counts is None or counts[:1].numel() != 1:
        return False
    if not bool(((counts >= 0) & (counts <= steps.shape[1])).all()):
        return False
    real = torch.arange(steps.shape[1]) < counts.reshape(-1, 1)
    return marks_padding("values", "real", [{"values": steps[[k]], "real": real[[k]]} for k in range(probe.size)])


def _has_steps(probe: Probe, path: str, name: str) -> bool:
    """Return whether a leaf of integers has an entry for each step of the values: a mask, token types, positions."""
    steps, leaf = _steps(probe, name), _integers(probe, path)
    if steps is None or leaf is None or leaf.dim() < 2 or steps.shape[1] < 2:
        return False
    return steps.shape[1] in (leaf.shape[1], leaf.shape[-1])


def _has_name(probe: Probe, path: str, name: str) -> bool:
    return bool(_words(path) & (_words(name) | _words(probe.schema.values[name][0])))


def _words(path: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]+", path.lower())) - GENERAL


def _steps(probe: Probe, name: str) -> Tensor | None:
    """Return values that are a sequence, ``(N, T, ...)``; None where they are a table or not a tensor."""
    leaf = probe.leaves[probe.schema.values[name][0]]
    sequence = isinstance(leaf, Tensor) and (leaf.dim() > 2 or (leaf.dim() == 2 and not leaf.is_floating_point()))
    return leaf if sequence else None


def _integers(probe: Probe, path: str) -> Tensor | None:
    """Return a leaf of whole numbers or booleans, whatever its type; None for any other leaf."""
    leaf = probe.leaves[path]
    if isinstance(leaf, np.ndarray) or (isinstance(leaf, list | tuple) and all(isinstance(one, int) for one in leaf)):
        leaf = torch.as_tensor(leaf)
    if not isinstance(leaf, Tensor) or leaf.is_complex():
        return None
    return leaf if not leaf.is_floating_point() or torch.equal(leaf, leaf.round()) else None
