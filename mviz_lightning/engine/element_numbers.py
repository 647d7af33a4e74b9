"""A number for every element of a storage, seen through any view of it."""

import torch
from torch import Tensor


class ElementNumbers:
    """Numbers of the elements of some storages, which must exist at least as long as this object."""

    def __init__(self) -> None:
        self._numbers: dict[int, Tensor] = {}

    def __bool__(self) -> bool:
        """Return whether any storage has numbers."""
        return bool(self._numbers)

    def of_storage(self, tensor: Tensor) -> Tensor | None:
        """Return ``(E,)`` long, the numbers of all elements of a tensor's storage; None if it has none."""
        return self._numbers.get(tensor.untyped_storage()._cdata)

    def of(self, tensor: Tensor) -> Tensor | None:
        """Return the number of every element of a tensor.

        Returns:
            Long, in the shape and with the strides of the tensor. None if its storage has no numbers, or if the tensor
            splits the storage into other elements, as a view of complex numbers as real ones does.
        """
        numbers = self.of_storage(tensor)
        if numbers is None or len(numbers) != _element_count(tensor):
            return None
        return _seen_by(tensor, numbers)

    def set(self, tensor: Tensor, numbers: Tensor) -> bool:
        """Set the number of every element of a tensor; in a storage without numbers, the other elements get 0.

        Args:
            tensor: The tensor.
            numbers: Long, in the shape of the tensor.

        Returns:
            Whether they are set. They are not if an element appears several times in the tensor, as in an expanded one,
            or if :meth:`of` would not return them.
        """
        count, known = _element_count(tensor), self.of_storage(tensor)
        found = torch.zeros(count, dtype=torch.long, device=tensor.device) if known is None else known.clone()
        if len(found) != count or numbers.shape != tensor.shape or _is_expanded(tensor):
            return False
        seen = _seen_by(tensor, found).copy_(numbers)
        if torch.equal(seen, numbers):
            self._numbers[tensor.untyped_storage()._cdata] = found
            return True
        return False

    def forget(self, tensor: Tensor) -> None:
        """Remove the numbers of a tensor's storage."""
        self._numbers.pop(tensor.untyped_storage()._cdata, None)


def _element_count(tensor: Tensor) -> int:
    """Return how many elements of the tensor's type its storage holds."""
    return tensor.untyped_storage().nbytes() // tensor.element_size()


def _is_expanded(tensor: Tensor) -> bool:
    return any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))


def _seen_by(tensor: Tensor, elements: Tensor) -> Tensor:
    """Return the entries of ``(E,)`` at the places of the tensor's elements in its storage."""
    return elements.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())
