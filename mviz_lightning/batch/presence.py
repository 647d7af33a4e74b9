"""Which examples of a batch have which modalities, and where a batch lacks one."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from mviz_lightning.batch.arrays import as_tensor
from mviz_lightning.batch.modality import Modality
from mviz_lightning.batch.outline import Outline
from mviz_lightning.batch.rows import example_count
from mviz_lightning.batch.schema import BatchSchema


@dataclass(frozen=True)
class Gap:
    """The position at which the path to a leaf of a missing modality ends.

    Attributes:
        path: Path of the leaf, as the user gave it.
        at: Path of the node that is None, or of the missing node.
        missing: Whether the node's key is missing; otherwise the node is None.
    """

    path: str
    at: str
    missing: bool


def nodes_of(batch: Any, modalities: Mapping[str, Modality]) -> dict[str, Any]:
    """Return path -> node for every node of a batch, inside listed examples too if that finds more paths."""
    paths = {path.partition("[")[0] for modality in modalities.values() for path in modality.leaves}
    found: dict[str, Any] = {}
    for by_example in (False, True):
        nodes = {path: node for path, (_, node) in Outline(by_example).nodes(batch).items()}
        found = nodes if len(paths & nodes.keys()) > len(paths & found.keys()) or not found else found
        if paths <= found.keys():
            break
    return found


def gaps_of(modalities: Mapping[str, Modality], nodes: Mapping[str, Any]) -> dict[str, list[Gap]]:
    """Return the modalities that a whole batch lacks, each with its gaps: a node is None, or a key is missing.

    Args:
        modalities: Name -> modality.
        nodes: Path -> node for every node of the batch.
    """
    found = {name: [_gap(path, nodes) for path in modality.leaves] for name, modality in modalities.items()}
    ends = {name: [gap for gap in gaps if gap is not None] for name, gaps in found.items()}
    return {name: gaps for name, gaps in ends.items() if gaps}


def _gap(path: str, nodes: Mapping[str, Any]) -> Gap | None:
    place = path if path in nodes else path.partition("[")[0]  # the path may name a part of each example's array
    if place in nodes:
        return None if nodes[place] is not None else Gap(path, place, missing=False)
    above = next(start for start in _starts(place) if start in nodes)
    if nodes[above] is None:
        return Gap(path, above, missing=False)
    key = place[len(above) :].lstrip(".").partition(".")[0]
    return Gap(path, ".".join(filter(None, (above, key))), missing=True)


def _starts(path: str) -> Iterator[str]:
    """Yield the paths of the nodes above a node, the nearest first; the batch itself has the empty path."""
    while path:
        path = path.rpartition(".")[0]
        yield path


def counted(modalities: Mapping[str, Modality], nodes: Mapping[str, Any], target: str | None = None) -> int:
    """Return the number of examples of a batch that lacks modalities; 0 if unknown.

    Args:
        modalities: Name -> modality.
        nodes: Path -> node for every node of the batch.
        target: Path of the labels, if any.
    """
    named = [target, *(path for modality in modalities.values() for path in modality.leaves)]
    found = [nodes[path] for path in named if path is not None and nodes.get(path) is not None]
    arrays = [node for node in found if isinstance(node, Tensor | np.ndarray)]
    counts = (example_count(node) for node in [*arrays, *found])
    return next((count for count in counts if count is not None), 0)


def present_in_nodes(modalities: Mapping[str, Modality], nodes: Mapping[str, Any], count: int) -> Tensor:
    """Return ``(B, M)`` bool, True where an example has a modality, for a batch without a schema.

    Args:
        modalities: Name -> modality.
        nodes: Path -> node for every node of the batch.
        count: Number of examples, B.
    """
    lacking = gaps_of(modalities, nodes)
    columns = [
        torch.zeros(count, dtype=torch.bool) if name in lacking else _present_in(modality, nodes, count)
        for name, modality in modalities.items()
    ]
    return torch.stack(columns, 1)


def _present_in(modality: Modality, nodes: Mapping[str, Any], count: int) -> Tensor:
    held: dict[str, Any] = {}
    for path, node in nodes.items():  # a container comes before its children
        inside = _is_below(path, modality.leaves) and not _is_below(path, held)
        held |= {path: node} if inside and example_count(node) == count else {}
    return _present(modality, held, count)


def present_examples(schema: BatchSchema, leaves: Mapping[str, Any]) -> Tensor:
    """Return ``(B, M)`` bool, True where an example has a modality.

    An example lacks a modality if its presence leaf is 0, an entry is None, all values are NaN, it is an empty
    sequence, or all of it is padding. Values at padding are constant. So a mask of 0 does not count for an example
    whose values vary: the mask may have the opposite direction.

    Args:
        schema: The batch's schema.
        leaves: Path -> leaf. If leaves of a modality are missing, all examples lack it.
    """
    count = schema.size(leaves)
    columns = [_column(schema, name, leaves, count) for name in schema.names]
    return torch.stack(columns, 1)


def complete_examples(schema: BatchSchema, leaves: Mapping[str, Any]) -> Tensor:
    """Return ``(K,)`` long: the examples that have all modalities."""
    return present_examples(schema, leaves).all(1).nonzero()[:, 0]


def _column(schema: BatchSchema, name: str, leaves: Mapping[str, Any], count: int) -> Tensor:
    paths, modality = schema.values[name], schema.modalities[name]
    if not paths or any(path not in leaves for path in paths):
        return torch.zeros(count, dtype=torch.bool)
    return _present(modality, {path: leaves[path] for path in paths}, count)


def _is_below(path: str, tops: Iterable[str]) -> bool:
    """Return whether a path is one of the given paths, or below one."""
    return any(path == top or path.startswith(f"{top}.") for top in tops)


def _present(modality: Modality, held: Mapping[str, Any], count: int) -> Tensor:
    """Return ``(B,)`` bool for one modality with the leaves ``held``."""
    content = [path for path in held if _is_below(path, [modality.values])]
    everything = torch.ones(count, dtype=torch.bool)
    whole = reduce(torch.logical_and, (~_is_none(leaf) for leaf in held.values()), everything)
    told = [_has_content(held[path]) for path in content]
    whole = whole & reduce(torch.logical_or, told) if told else whole
    if modality.present is not None and modality.present in held:
        whole = whole & _is_flagged(held[modality.present])
    return whole & _is_not_all_padding(modality, held, content, everything)


def _is_none(leaf: Any) -> Tensor:
    """Return ``(B,)`` bool, True where the entry of an example is None."""
    listed = isinstance(leaf, list | tuple) or (isinstance(leaf, np.ndarray) and leaf.dtype == object)
    if listed and not isinstance(leaf, PackedSequence):
        return torch.tensor([entry is None for entry in leaf], dtype=torch.bool)
    return torch.zeros(example_count(leaf) or 0, dtype=torch.bool)


def _has_content(leaf: Any) -> Tensor:
    """Return ``(B,)`` bool, False where an example's entry is empty or only NaN."""
    array = as_tensor(leaf)
    if isinstance(array, Tensor):
        return _has_values(array)
    if isinstance(leaf, list | tuple | np.ndarray) and not isinstance(leaf, PackedSequence):
        return torch.tensor([_is_filled(entry) for entry in leaf], dtype=torch.bool)
    return torch.ones(example_count(leaf) or 0, dtype=torch.bool)


def _has_values(leaf: Tensor) -> Tensor:
    """Return ``(B,)`` bool, False where all values of an example are NaN, or there are none."""
    known = torch.ones(len(leaf), dtype=torch.bool)
    special = leaf.is_nested or leaf.layout != torch.strided or is_traceable_wrapper_subclass(leaf)
    if special or not (leaf.is_floating_point() or leaf.is_complex()):
        return known if special or leaf.numel() else ~known
    flat = _flat(leaf.detach().as_subclass(Tensor))
    if not flat.shape[1]:
        return ~known
    known = ~flat[:, 0].isnan().cpu()
    doubtful = (~known).nonzero()[:, 0]
    if len(doubtful):  # few examples begin with NaN
        known[doubtful] = ~flat[doubtful.to(flat.device)].isnan().all(1).cpu()
    return known


def _flat(leaf: Tensor) -> Tensor:
    """Return a leaf ``(B, ...)`` as ``(B, P)``; B may be 0."""
    return leaf.flatten(1) if leaf.dim() > 1 else leaf.unsqueeze(1)


def _is_filled(entry: Any) -> bool:
    """Return whether the entry of one example contains anything but NaN."""
    if isinstance(entry, Tensor | np.ndarray | np.number):
        value = as_tensor(entry)
        return not isinstance(value, Tensor) or (value.numel() > 0 and not bool(value.isnan().all()))
    if isinstance(entry, float):
        return not math.isnan(entry)
    return len(entry) > 0 if isinstance(entry, Sized) and not isinstance(entry, PackedSequence) else True


def _is_flagged(leaf: Any) -> Tensor:
    """Return ``(B,)`` bool, False where a presence leaf is 0, False, NaN or None."""
    if isinstance(leaf, Tensor | np.ndarray):
        flags = as_tensor(leaf).detach().cpu()
        return _flat(flags.nan_to_num() != 0).any(1)
    return torch.tensor([bool(entry) and not math.isnan(entry) for entry in leaf], dtype=torch.bool)


def _is_not_all_padding(modality: Modality, held: Mapping[str, Any], content: Sequence[str], known: Tensor) -> Tensor:
    """Return ``(B,)`` bool, False where all of an example is padding according to the modality's mask."""
    real = modality.real_entries(held)
    if real is None or not real.dim():
        return known
    some = _flat(real).any(1).cpu()
    if modality.padding_mask is not None or real.dim() == 1 or bool(some.all()):
        return some
    for path in content:
        some = some | _varies(held[path], ~some)
    return some


def _varies(leaf: Any, examples: Tensor) -> Tensor:
    """Return ``(B,)`` bool, True at the given examples ``(B,)`` bool whose values are not all equal."""
    found = torch.zeros(len(examples), dtype=torch.bool)
    if isinstance(leaf, Tensor) and leaf.numel():
        some = leaf.detach()[examples.to(leaf.device)]
        flat = _flat(some).nan_to_num()
        found[examples] = (flat != flat[:, :1]).any(1).cpu()
    return found
