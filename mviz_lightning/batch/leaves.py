"""Leaves that hold one entry for each example: tensors, packed sequences, arrays, lists of anything.

Three operations suffice for recombination, and they are the same for every kind: how many examples, take some of
them, put several leaves behind one another.
"""

import copy
from collections.abc import Iterator, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence, unpad_sequence
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from mviz_lightning.batch import tree
from mviz_lightning.errors import ConfigurationError


@singledispatch
def count(leaf: Any) -> int | None:
    """Return how many examples the leaf holds; None for what is not one entry an example."""
    return None


@count.register
def _(leaf: Tensor) -> int | None:
    return len(leaf) if leaf.dim() else None


@count.register
def _(leaf: np.ndarray) -> int | None:
    return len(leaf) if leaf.ndim else None


@count.register
def _(leaf: PackedSequence) -> int | None:
    # Its own length counts time steps and attributes; the first step holds every example.
    return int(leaf.batch_sizes[0])


@count.register(list)
@count.register(tuple)
def _(leaf: Sequence[Any]) -> int | None:
    return len(leaf)


@singledispatch
def take(leaf: Any, index: Tensor) -> Any:
    """Return a copy of the leaf with the examples of ``index`` (``(R,)`` long), in that order."""
    raise ConfigurationError(f"cannot take examples of a {type(leaf).__name__}; pass tensors or lists.")


@take.register
def _(leaf: Tensor, index: Tensor) -> Tensor:
    return leaf[index.to(leaf.device)]


@take.register
def _(leaf: np.ndarray, index: Tensor) -> Any:
    return leaf[index.cpu().numpy()]


@take.register
def _(leaf: PackedSequence, index: Tensor) -> PackedSequence:
    rows = _unpacked(leaf)
    return pack_sequence([rows[i] for i in index.tolist()], enforce_sorted=False)


@take.register
def _(leaf: list, index: Tensor) -> list[Any]:  # type: ignore[type-arg]
    return [copy.deepcopy(leaf[i]) for i in index.tolist()]


@take.register
def _(leaf: tuple, index: Tensor) -> tuple[Any, ...]:  # type: ignore[type-arg]
    return tuple(copy.deepcopy(leaf[i]) for i in index.tolist())


def keep(leaf: Any, index: Tensor) -> Any:
    """Return a copy of some examples that can be kept: plain tensors on the CPU, outside of inference mode.

    Args:
        leaf: Of the user's own batch.
        index: ``(R,)`` long, which examples.
    """
    # A copy made in inference mode could never be differentiated.
    with torch.inference_mode(False), torch.no_grad():
        return move(take(plain(leaf), index), "cpu")


def plain(value: Any) -> Any:
    """Return a value in which every tensor is exactly a ``torch.Tensor``; the data are shared.

    A subclass (MONAI's MetaTensor, torchvision's Image) carries metadata of one batch, which is wrong for recombined
    rows, runs code of its own in every operation, and is refused by ``torch.load(weights_only=True)``.
    """
    special = {keys: made for keys, node in tree.nodes(value) if (made := _plain(node)) is not node}
    return tree.replace(value, special)


def _plain(node: Any) -> Any:
    if isinstance(node, PackedSequence):
        data = _plain(node.data)
        return node if data is node.data else PackedSequence(data, *node[1:])
    # A wrapper (a jagged or a sharded tensor) has no data of its own.
    if not isinstance(node, Tensor) or type(node) is Tensor or is_traceable_wrapper_subclass(node):
        return node
    return node.as_subclass(Tensor)


def join(leaves: Sequence[Any], pad_value: float = 0, *, in_front: bool = False) -> Any:
    """Put leaves of one kind behind one another; ragged tensors are padded to the largest extent.

    Args:
        leaves: At least one.
        pad_value: What they are padded with.
        in_front: Whether they are padded in front along their second dimension rather than at their ends.
    """
    first = leaves[0]
    if isinstance(first, Tensor):
        return _join_tensors(leaves, pad_value, in_front=in_front)
    if isinstance(first, PackedSequence):
        return pack_sequence([row for leaf in leaves for row in _unpacked(leaf)], enforce_sorted=False)
    if isinstance(first, np.ndarray):
        if ragged(leaves):
            return _join_tensors([torch.from_numpy(leaf) for leaf in leaves], pad_value, in_front=in_front).numpy()
        return np.concatenate(leaves)
    return type(first)(entry for leaf in leaves for entry in leaf)


def ragged(leaves: Sequence[Any]) -> bool:
    """Tell whether joining the leaves pads them."""
    return isinstance(leaves[0], Tensor | np.ndarray) and len({leaf.shape[1:] for leaf in leaves}) > 1


def move(leaf: Any, device: torch.device | str) -> Any:
    """Return the leaf with its tensors on ``device``."""
    if isinstance(leaf, Tensor):
        return leaf.to(device)
    if isinstance(leaf, PackedSequence):
        return leaf.to(device=device)  # type: ignore[call-arg]
    if isinstance(leaf, list | tuple):
        return type(leaf)(move(entry, device) for entry in leaf)
    return leaf


def content(leaf: Any) -> Iterator[bytes]:
    """Yield everything in a leaf as bytes, for digests."""
    if isinstance(leaf, PackedSequence):
        yield from content([leaf.data, leaf.batch_sizes])
    elif isinstance(leaf, Tensor):
        yield leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(leaf, np.ndarray):
        yield leaf.tobytes()
    elif isinstance(leaf, list | tuple):
        for entry in leaf:
            yield from content(entry)
    else:
        yield repr(leaf).encode()


def describe(leaf: Any) -> str:
    """Return the leaf's kind and extent in a few words, for messages."""
    if isinstance(leaf, Tensor | np.ndarray):
        return str(tuple(leaf.shape))
    size = count(leaf)
    return type(leaf).__name__ if size is None else f"{type(leaf).__name__} of {size}"


def _unpacked(leaf: PackedSequence) -> list[Tensor]:
    padded, lengths = pad_packed_sequence(leaf, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


def _join_tensors(leaves: Sequence[Tensor], pad_value: float, *, in_front: bool) -> Tensor:
    if len({leaf.dim() for leaf in leaves}) > 1:
        shapes = ", ".join(sorted({str(tuple(leaf.shape)) for leaf in leaves}))
        raise ConfigurationError(f"examples of one leaf differ in their number of dimensions: {shapes}.")
    extent = torch.tensor([leaf.shape[1:] for leaf in leaves]).amax(0).tolist()
    return torch.cat([_padded(leaf, extent, pad_value, in_front=in_front) for leaf in leaves])


def _padded(leaf: Tensor, extent: list[int], pad_value: float, *, in_front: bool) -> Tensor:
    missing = [(0, size - has) for size, has in zip(extent, leaf.shape[1:], strict=True)]
    if in_front and missing:
        missing[0] = missing[0][::-1]
    # torch counts from the last dimension and wants (before, after) for each.
    return pad(leaf, [amount for pair in reversed(missing) for amount in pair], value=pad_value)
