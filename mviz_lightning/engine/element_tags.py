"""Tag the single elements of tensors whose parts are different leaves: the channels of one image, for example."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import reduce

import torch
from torch import Tensor

from mviz_lightning.engine.dependency_tags import DependencyMode, Operation, Tags, tensors_in, union
from mviz_lightning.engine.element_numbers import ElementNumbers

_aten = torch.ops.aten
COPIES = frozenset({
    _aten._to_copy, _aten.cat, _aten.channel_shuffle, _aten.clone, _aten.flip, _aten.gather, _aten.index,
    _aten.index_select, _aten.masked_select, _aten.pixel_shuffle, _aten.pixel_unshuffle, _aten.repeat, _aten.roll,
    _aten.stack, _aten.take, _aten.unsafe_chunk, _aten.unsafe_split, _aten.unsafe_split_with_sizes,
})  # fmt: skip
"""Operations that copy elements of their first argument, in addition to those that PyTorch tags as ``view_copy``."""

PLACING = frozenset({"device", "memory_format"})
"""Options of these operations that also apply to element numbers; ``dtype`` does not."""


class ElementDependencyMode(DependencyMode):  # type: ignore[no-untyped-call]
    """Pass on the tags of single elements, in addition to those of whole storages.

    Views, copies of elements and elementwise operations keep elements apart. The result of any other operation depends
    on all elements of its inputs.

    Args:
        untracked: Tags of a tensor that no traced operation made; its values may come from outside torch.
    """

    def __init__(self, untracked: Tags = 0) -> None:
        super().__init__(untracked)
        self._numbers = ElementNumbers()
        self._sets: list[Tags] = [0]  # index: the number of an element; entry: its tags

    def mark(self, tensor: Tensor, tags: Tags) -> None:
        """Set the tags of a tensor's storage and remove the tags of its elements."""
        self._numbers.forget(tensor)
        super().mark(tensor, tags)

    def mark_part(self, tensor: Tensor, entries: Tensor, tags: Tags) -> None:
        """Add tags to some entries of a tensor.

        Args:
            tensor: The tensor.
            entries: Bool, broadcastable to the tensor: True at these entries.
            tags: The tags to add.
        """
        before = self._numbers.of(tensor)
        numbers = torch.zeros_like(tensor, dtype=torch.long) if before is None else before
        added = self._renumbered(numbers, lambda number: self._sets[number] | tags)
        apart = self._set([tensor], [added.where(entries.to(tensor.device), numbers)])
        self.add(tensor, 0 if apart else tags)

    def of_tensor(self, tensor: Tensor) -> Tags:
        """Return the tags of a tensor: those of its storage and those of its elements."""
        return self.of_storage(tensor) | (self._of_elements(tensor) if self._numbers else 0)

    def passed_on(self, operation: Operation, tags: Tags) -> Tags:
        """Return the tags that an operation passes on to the storages that it writes, without those of single elements.

        Args:
            operation: The operation.
            tags: Tags of its inputs.
        """
        made = list(tensors_in(operation.outputs)) if self._numbers else []
        if not operation.changed and any(self._numbers.of_storage(tensor) is not None for tensor in made):
            return 0  # views of elements that have tags already
        copies = _copies(operation)
        if made and (copies or torch.Tag.pointwise in operation.func.tags):
            data = list(tensors_in(operation.args[:1] if copies else (operation.args, operation.kwargs)))
            if self._keep_apart(operation, data, made):
                numbered = (tensor for tensor in data if self._numbers.of(tensor) is not None)
                return union(map(self.of_storage, numbered)) | (self.of(operation.args[1:]) if copies else 0)
        return tags

    def _keep_apart(self, operation: Operation, data: list[Tensor], made: list[Tensor]) -> bool:
        """Give each element that an operation made the tags of its source elements; return whether these are known.

        Args:
            operation: The operation.
            data: The inputs that elements come from.
            made: Its outputs.
        """
        if all(self._numbers.of(tensor) is None for tensor in data):
            return False
        with suppress(RuntimeError):  # PyTorch cannot run some operations on integers
            if _copies(operation):
                return self._set(made, self._copied(operation, data))
            return self._set(made, [self._joined(data, tensor.shape) for tensor in made])
        return False

    def _copied(self, operation: Operation, data: list[Tensor]) -> list[Tensor]:
        """Return the numbers of the elements that an operation copied from its first argument."""
        first, *others = operation.args
        numbers = [self._numbers_of(tensor) for tensor in data]
        options = {name: value for name, value in operation.kwargs.items() if name in PLACING}
        return list(
            tensors_in(operation.func(numbers[0] if isinstance(first, Tensor) else numbers, *others, **options))
        )

    def _joined(self, data: Sequence[Tensor], shape: torch.Size) -> Tensor:
        """Return the numbers of elements that were each computed from one element of every input."""
        numbers = [self._numbers_of(tensor).expand(shape) for tensor in data if self.of_tensor(tensor)]
        return reduce(self._unions, numbers)

    def _unions(self, left: Tensor, right: Tensor) -> Tensor:
        count = len(self._sets)
        return self._renumbered(left * count + right, lambda pair: self._sets[pair // count] | self._sets[pair % count])

    def _numbers_of(self, tensor: Tensor) -> Tensor:
        """Return the number of every element of a tensor; without numbers of their own, all elements have the same."""
        numbers = self._numbers.of(tensor)
        if numbers is None:
            numbers = torch.tensor(self._number(self.of_tensor(tensor)), device=tensor.device).expand(tensor.shape)
        return numbers

    def _of_elements(self, tensor: Tensor) -> Tags:
        numbers = self._numbers.of(tensor)
        numbers = self._numbers.of_storage(tensor) if numbers is None else numbers
        return 0 if numbers is None else self._union(numbers)

    def _union(self, numbers: Tensor) -> Tags:
        """Return the tags of all elements with these numbers."""
        return union(self._sets[int(number)] for number in numbers.flatten().bincount().nonzero())

    def _renumbered(self, codes: Tensor, tags_of: Callable[[int], Tags]) -> Tensor:
        """Return element numbers for element codes, given the tags of each code."""
        counts = codes.flatten().bincount()  # much faster than unique
        numbers = torch.zeros_like(counts)
        for code in counts.nonzero().flatten():
            numbers[code] = self._number(tags_of(int(code)))
        return numbers[codes]

    def _number(self, tags: Tags) -> int:
        if tags not in self._sets:
            self._sets.append(tags)
        return self._sets.index(tags)

    def _set(self, tensors: Sequence[Tensor], numbers: Sequence[Tensor]) -> bool:
        """Set the numbers of the elements of tensors; return whether all could be set."""
        done = all(self._numbers.set(tensor, found) for tensor, found in zip(tensors, numbers, strict=True))
        for tensor in tensors:
            if (known := self._numbers.of_storage(tensor)) is not None:
                super().mark(known, 0)  # operations on numbers are not traced
        return done


def _copies(operation: Operation) -> bool:
    """Return whether an operation returns copies of elements of its first argument."""
    known = operation.func._overloadpacket in COPIES or torch.Tag.view_copy in operation.func.tags
    return known and not operation.changed
