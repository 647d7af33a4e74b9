"""Leaves of a batch, with one entry per example: tensors, packed sequences, arrays, lists of anything.

Recombination needs three operations for every type of leaf: count its examples, select examples, join leaves.
"""

import copy
import re
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
from mviz_lightning.batch.arrays import as_tensor
from mviz_lightning.errors import NotMeasurableError

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""Memory address in an object's text, which differs from run to run."""


@singledispatch
def example_count(leaf: Any) -> int | None:
    """Return the number of examples in a leaf; None for a value that does not have one entry per example."""
    return None


@example_count.register
def _(leaf: Tensor) -> int | None:
    return len(leaf) if leaf.dim() else None


@example_count.register
def _(leaf: np.ndarray) -> int | None:
    return len(leaf) if leaf.ndim else None


@example_count.register
def _(leaf: PackedSequence) -> int | None:
    # ``len`` would count the fields of the sequence; the first time step contains every example.
    return int(leaf.batch_sizes[0])


@example_count.register(list)
@example_count.register(tuple)
def _(leaf: Sequence[Any]) -> int | None:
    return len(leaf)


@singledispatch
def take_examples(leaf: Any, index: Tensor) -> Any:
    """Return a copy of the leaf with the examples at ``index``, ``(R,)`` long, in this order.

    Raises:
        NotMeasurableError: The leaf's type is not supported.
    """
    raise NotMeasurableError(
        f"cannot take examples of a {type(leaf).__name__}; allowed are tensors, arrays and lists. Register it with "
        "mviz_lightning.batch.register()."
    )


@take_examples.register
def _(leaf: Tensor, index: Tensor) -> Tensor:
    return leaf[index.to(leaf.device)]


@take_examples.register
def _(leaf: np.ndarray, index: Tensor) -> Any:
    return leaf[index.cpu().numpy()]


@take_examples.register
def _(leaf: PackedSequence, index: Tensor) -> PackedSequence:
    rows = _unpacked(leaf)
    return pack_sequence([rows[i] for i in index.tolist()], enforce_sorted=False)


@take_examples.register
def _(leaf: list, index: Tensor) -> list[Any]:  # type: ignore[type-arg]
    return [_copied(leaf[i]) for i in index.tolist()]


@take_examples.register
def _(leaf: tuple, index: Tensor) -> tuple[Any, ...]:  # type: ignore[type-arg]
    return tuple(_copied(leaf[i]) for i in index.tolist())


def _copied(entry: Any) -> Any:
    # A deep copy of a view would copy the whole base tensor.
    return entry.clone() if isinstance(entry, Tensor) else copy.deepcopy(entry)


def kept_copy(leaf: Any, index: Tensor) -> Any:
    """Return a copy of some examples for the whole training: plain tensors on the CPU.

    Args:
        leaf: A leaf of the user's own batch.
        index: ``(R,)`` long, the examples.
    """
    # Outside inference mode, because inference tensors have no gradients.
    with torch.inference_mode(False), torch.no_grad():
        return to_device(take_examples(plain_tensors(leaf), index), "cpu")


def plain_tensors(value: Any) -> Any:
    """Return a value in which every tensor is exactly a ``torch.Tensor``; the data are shared.

    A subclass (MONAI's ``MetaTensor``, torchvision's ``Image``) has metadata of one batch, which are wrong for
    recombined rows. It runs its own code in every operation, and ``torch.load(weights_only=True)`` fails for it.
    """
    special = {keys: made for keys, node in tree.nodes(value) if (made := _plain_node(node)) is not node}
    return tree.replace(value, special)


def _plain_node(node: Any) -> Any:
    if isinstance(node, PackedSequence):
        data = _plain_node(node.data)
        return node if data is node.data else PackedSequence(data, *node[1:])
    # A wrapper subclass (a jagged or a sharded tensor) has no own data.
    if not isinstance(node, Tensor) or type(node) is Tensor or is_traceable_wrapper_subclass(node):
        return node
    return node.as_subclass(Tensor)


def join_leaves(leaves: Sequence[Any], pad_value: float = 0, *, in_front: bool = False) -> Any:
    """Join leaves of one type along the example dimension; tensors of different shapes are padded to the largest.

    Args:
        leaves: At least one leaf.
        pad_value: The value of the padding.
        in_front: Whether the second dimension (time) is padded on the left; by default it is padded on the right.

    Raises:
        NotMeasurableError: Tensors differ in their number of dimensions.
    """
    first = leaves[0]
    if isinstance(first, Tensor):
        return _join_tensors(leaves, pad_value, in_front=in_front)
    if isinstance(first, PackedSequence):
        return pack_sequence([row for leaf in leaves for row in _unpacked(leaf)], enforce_sorted=False)
    if isinstance(first, np.ndarray):
        if is_ragged(leaves):
            return _join_tensors([torch.from_numpy(leaf) for leaf in leaves], pad_value, in_front=in_front).numpy()
        return np.concatenate(leaves)
    return type(first)(entry for leaf in leaves for entry in leaf)


def is_ragged(leaves: Sequence[Any]) -> bool:
    """Return whether joining the leaves pads them, because they are arrays of different shapes."""
    return isinstance(leaves[0], Tensor | np.ndarray) and len({leaf.shape[1:] for leaf in leaves}) > 1


def to_device(leaf: Any, device: torch.device | str) -> Any:
    """Return the leaf with its tensors on a device."""
    if isinstance(leaf, Tensor):
        return leaf.to(device)
    if isinstance(leaf, PackedSequence):
        return leaf.to(device=device)  # type: ignore[call-arg]
    if type(leaf) in (list, tuple):
        return type(leaf)(to_device(entry, device) for entry in leaf) if tree.children(leaf) else leaf
    held = [(key, child, to_device(child, device)) for key, child in tree.children(leaf)]
    return tree.replace(leaf, {(key,): now for key, child, now in held if now is not child})


def leaf_bytes(leaf: Any) -> Iterator[bytes | memoryview]:
    """Yield the content of a leaf as bytes, for a digest; a tensor on the CPU is not copied."""
    leaf = as_tensor(leaf)
    if isinstance(leaf, PackedSequence):
        yield from leaf_bytes([leaf.data, leaf.batch_sizes])
    elif isinstance(leaf, Tensor):
        yield leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    elif isinstance(leaf, np.ndarray) and not leaf.dtype.hasobject:
        yield leaf.tobytes()
    elif isinstance(leaf, list | tuple | np.ndarray) and not hasattr(leaf, "_fields"):
        for entry in leaf:
            yield from leaf_bytes(entry)
    elif tree.children(leaf):
        for key, child in tree.children(leaf):
            yield repr(key).encode()
            yield from leaf_bytes(child)
    else:
        yield ADDRESS.sub("", repr(leaf)).encode()


def largest_bytes(leaf: Any) -> int:
    """Return the bytes of the largest example of a leaf; 0 if its examples are not arrays."""
    if isinstance(leaf, Tensor):
        return leaf.nbytes // max(1, len(leaf)) if leaf.dim() else 0
    arrays = map(as_tensor, leaf if isinstance(leaf, list | tuple) else ())
    return max((array.nbytes for array in arrays if isinstance(array, Tensor)), default=0)


def describe_leaf(leaf: Any) -> str:
    """Return a leaf's shape, or its type and length, for messages: ``(16, 3)``, ``list of 16``."""
    if isinstance(leaf, Tensor | np.ndarray):
        return str(tuple(leaf.shape))
    size = example_count(leaf)
    return type(leaf).__name__ if size is None else f"{type(leaf).__name__} of {size}"


def _unpacked(leaf: PackedSequence) -> list[Tensor]:
    padded, lengths = pad_packed_sequence(leaf, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


def _join_tensors(leaves: Sequence[Tensor], pad_value: float, *, in_front: bool) -> Tensor:
    if len({leaf.dim() for leaf in leaves}) > 1:
        shapes = ", ".join(sorted({str(tuple(leaf.shape)) for leaf in leaves}))
        raise NotMeasurableError(
            f"examples of one leaf differ in their number of dimensions: {shapes}. Give all examples the same number."
        )
    extent = torch.tensor([leaf.shape[1:] for leaf in leaves]).amax(0).tolist()
    return torch.cat([_padded(leaf, extent, pad_value, in_front=in_front) for leaf in leaves])


def _padded(leaf: Tensor, extent: list[int], pad_value: float, *, in_front: bool) -> Tensor:
    if list(leaf.shape[1:]) == extent:
        return leaf
    missing = [(0, size - has) for size, has in zip(extent, leaf.shape[1:], strict=True)]
    if in_front and missing:
        missing[0] = missing[0][::-1]
    # torch.nn.functional.pad takes (before, after) per dimension, from the last dimension to the first.
    return pad(leaf, [amount for pair in reversed(missing) for amount in pair], value=pad_value)
