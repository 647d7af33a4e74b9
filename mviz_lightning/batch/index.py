"""A part of an array, as users write it after a path: ``"image[:3]"``, ``"series[:, 2:5]"``, ``"x[..., [0, 3]]"``."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from mviz_lightning.errors import ConfigurationError

Selector: TypeAlias = slice | list[int]
"""The entries selected along one axis. The axis is kept, so a single position is a slice of length 1."""

ALL = slice(None)
"""Selects a whole axis."""


@dataclass(frozen=True)
class Index:
    """An index of one example's array, axis by axis: whole numbers, slices, and up to one list of whole numbers.

    A whole number keeps its axis: ``image[3]`` of ``(4, H, W)`` is ``(1, H, W)``, still a picture.

    Attributes:
        text: The index as the user wrote it, without brackets.
        selectors: One for each axis that the index names, including ``...``.
    """

    text: str
    selectors: tuple[Any, ...]

    @classmethod
    def parse(cls, path: str, text: str) -> "Index":
        """Read an index.

        Args:
            path: The whole path, for the message.
            text: The text between the brackets.

        Raises:
            ConfigurationError: The text is not an index.
        """
        try:
            found = ast.parse(f"x[{text}]", mode="eval").body
            selectors = _selectors(found.slice) if isinstance(found, ast.Subscript) else ()
        except (SyntaxError, ValueError):
            selectors = ()
        if not selectors or selectors.count(...) > 1 or sum(isinstance(one, list) for one in selectors) > 1:
            raise ConfigurationError(
                f"{path!r}: [{text}] is no index of one example's array. Allowed are whole numbers, slices, ..., and "
                f'one list of whole numbers, for example "{path.partition("[")[0]}[:3]" or "x[..., [0, 3]]".'
            )
        return cls(text, selectors)

    def along(self, axes: int) -> tuple[Selector, ...]:
        """Return one selector for each axis of an example's array.

        Raises:
            IndexError: The array has fewer axes.
        """
        named = [one for one in self.selectors if one is not ...]
        if len(named) > axes:
            raise IndexError(f"it names {len(named)} axes")
        place = self.selectors.index(...) if ... in self.selectors else len(named)
        return (*named[:place], *[ALL] * (axes - len(named)), *named[place:])

    def require_fits(self, path: str, shape: Sequence[int]) -> None:
        """Check that the index is within an example's array.

        Raises:
            ConfigurationError: It is not, or it selects nothing.
        """
        try:
            for axis, (selector, size) in enumerate(zip(self.along(len(shape)), shape, strict=True)):
                _require_within(selector, size, axis)
        except IndexError as error:
            raise ConfigurationError(
                f"modalities: {path!r} is out of range: {error}; the array of one example has the shape "
                f"{tuple(shape)}. Give an index of that array."
            ) from None

    def covered(self, shape: Sequence[int]) -> Tensor:
        """Return a bool tensor of this shape, True at the selected entries."""
        found = torch.zeros(tuple(shape), dtype=torch.bool)
        self.put(found, torch.ones((), dtype=torch.bool), first=0)
        return found

    def take(self, array: Any, first: int) -> Any:
        """Return the selected part of an array.

        Args:
            array: A tensor: the array of one example, or the arrays of a batch.
            first: The axis of the tensor that is the first axis of an example's array: 1 for a batch.
        """
        basic, listed = self._split(array.dim() - first)
        part = array[(ALL,) * first + tuple(basic)]
        if listed is None:
            return part
        axis, places = listed
        return part.index_select(first + axis, _places(places, part, first + axis))

    def put(self, array: Tensor, part: Tensor, first: int) -> None:
        """Write a part into an array, in place; the arguments are those of :meth:`take`."""
        basic, listed = self._split(array.dim() - first)
        view = array[(ALL,) * first + tuple(basic)]
        if listed is None:
            view.copy_(part)
            return
        axis, places = listed
        shape = list(view.shape)
        shape[first + axis] = len(places)
        view.index_copy_(first + axis, _places(places, view, first + axis), part.expand(shape))

    def _split(self, axes: int) -> tuple[list[slice], tuple[int, list[int]] | None]:
        """Return the selectors with the list replaced by the whole axis, and the list with its axis."""
        selectors = self.along(axes)
        basic = [ALL if isinstance(one, list) else one for one in selectors]
        listed = ((axis, one) for axis, one in enumerate(selectors) if isinstance(one, list))
        return basic, next(listed, None)

    def whole_axes(self, axes: int) -> list[int]:
        """Return the axes of an example's array that are selected whole."""
        return [axis for axis, one in enumerate(self.along(axes)) if one == ALL]

    def last_places(self, count: int) -> list[int]:
        """Return the positions selected along the last named axis, if they count from its beginning.

        Args:
            count: Number of selected positions.
        """
        last = self.selectors[-1]
        if isinstance(last, list) and min(last) >= 0:
            return last
        if isinstance(last, slice) and (last.start or 0) >= 0:
            return [(last.start or 0) + (last.step or 1) * place for place in range(count)]
        return list(range(count))


def spelled(entries: Tensor) -> str | None:
    """Return the index, as users write it, that selects some entries of an array; None if no index of one axis does.

    Args:
        entries: Bool, in the shape of the array, True at the selected entries.
    """
    for axis in range(entries.dim()):
        rows = entries.movedim(axis, 0).reshape(entries.shape[axis], -1)
        if bool((rows == rows[:, :1]).all()):
            return ", ".join([":"] * axis + [_selector_text(rows[:, 0].nonzero().flatten().tolist())])
    return None


def _selector_text(places: list[int]) -> str:
    if places == list(range(places[0], places[-1] + 1)):
        return str(places[0]) if len(places) == 1 else f"{places[0] or ''}:{places[-1] + 1}"
    return str(places)


def _places(listed: list[int], array: Tensor, axis: int) -> Tensor:
    """Return positions along an axis; negative ones are converted to count from its beginning."""
    return torch.tensor(listed, device=array.device) % array.shape[axis]


def _require_within(selector: Selector, size: int, axis: int) -> None:
    places = (
        selector if isinstance(selector, list) else [one for one in (selector.start, selector.stop) if one is not None]
    )
    highest = size - isinstance(selector, list)
    if any(not -size <= place <= highest for place in places):
        raise IndexError(f"axis {axis} has {size} entries")
    if isinstance(selector, slice) and not range(*selector.indices(size)):
        raise IndexError(f"it takes none of the {size} entries of axis {axis}")


def _selectors(node: ast.expr) -> tuple[Any, ...]:
    return tuple(map(_selector, node.elts)) if isinstance(node, ast.Tuple) else (_selector(node),)


def _selector(node: ast.expr) -> Any:
    if isinstance(node, ast.Slice):
        start, stop, step = (None if part is None else _number(part) for part in (node.lower, node.upper, node.step))
        if step is not None and step < 1:
            raise ValueError("PyTorch takes no slices backwards")
        return slice(start, stop, step)
    if isinstance(node, ast.List) and node.elts:
        return [_number(one) for one in node.elts]
    if isinstance(node, ast.Constant) and node.value is ...:
        return ...
    place = _number(node)
    return slice(place, place + 1 or None)


def _number(node: ast.expr) -> int:
    value = ast.literal_eval(node)
    if type(value) is not int:
        raise ValueError(f"{value!r} is no whole number")
    return value
