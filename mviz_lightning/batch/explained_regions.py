"""The explained positions of an example: those of a class, one position, a box, or a mask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from mviz_lightning.batch.position_labels import IGNORED, PositionLabels, class_counts
from mviz_lightning.errors import ConfigurationError

RegionChoice: TypeAlias = "int | str | tuple[int | slice, ...] | Callable[[Tensor], Tensor] | None"
"""The region to explain, as users give it."""

CHOICES = (
    "allowed are None, a class (its index, or one of class_names), a position such as (12, 40), a box such as "
    "(slice(0, 9), slice(0, 9)), or a function from the labels of an example to a mask of the same shape"
)


@dataclass(frozen=True)
class ExplainedRegions:
    """The region of every example: the positions whose mean output is explained.

    Attributes:
        labels: Labels of all positions.
        choice: The user's choice; None for the class in ``classes``.
        task: Type of the prediction task.
        classes: ``(N,)`` long: the class whose positions are the region if the user chose no other; -100 for all
            positions.
        names: Names of the classes.
    """

    labels: PositionLabels
    choice: Any
    task: Any
    classes: Tensor
    names: Sequence[str] = ()
    _found: dict[int, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, labels: PositionLabels, choice: Any, task: Any, names: Sequence[str] = ()) -> "ExplainedRegions":
        """Return the regions of a choice.

        Raises:
            ConfigurationError: The choice is not a region of these outputs.
        """
        chosen = _checked(choice, labels, list(names))
        return cls(labels, chosen, task, _default_classes(labels, chosen, task), names)

    def places(self, example: int) -> Tensor:
        """Return ``(K,)`` long: the positions of an example's region; all labelled positions if the region is empty."""
        if example not in self._found:
            mask = self._mask(example)
            known = self.labels.known(torch.tensor([example]))[0]
            rest = known if bool(known.any()) else torch.ones_like(known)
            self._found[example] = (mask if bool(mask.any()) else rest).nonzero()[:, 0]
        return self._found[example]

    def _mask(self, example: int) -> Tensor:
        """Return ``(L,)`` bool."""
        labels, lattice = self.labels.labels[example], self.labels.lattice
        if callable(self.choice):
            return _asked(self.choice, labels.view(*lattice, *labels.shape[1:]), lattice)
        if isinstance(self.choice, tuple):
            mask = torch.zeros(lattice, dtype=torch.bool)
            mask[self.choice] = True
            return mask.flatten()
        known = self.labels.known(torch.tensor([example]))[0]
        place = int(self.classes[example])
        if self.task == "regression" or place == IGNORED:
            return known
        return known & ((labels[:, place] == 1) if labels.dim() > 1 else (labels == place))

    def label(self, example: int) -> Tensor:
        """Return the label of an example's region: its most frequent class, its labels, or its mean value."""
        found = self.labels.labels[example][self.places(example)]
        known = found.isfinite() if found.is_floating_point() else found != IGNORED
        found = found[known.flatten(1).all(1) if known.dim() > 1 else known]
        if not len(found):
            nothing = torch.nan if found.is_floating_point() else IGNORED
            kind = torch.float64 if found.is_floating_point() else torch.long
            return torch.full(found.shape[1:], nothing, dtype=kind)
        if self.task == "regression":
            return found.double().mean(0)
        return found.long().mode(0).values

    @property
    def target(self) -> Tensor:
        """``(N, ...)`` the label of every example's region."""
        return torch.stack([self.label(example) for example in range(len(self.labels))])

    def words(self, example: int) -> str:
        """Return an example's region in words: ``class 3 (road), 1,204 positions``, ``position (12, 40)``.

        For a volume, the drawn slice is included: ``class 3 (road), 1,204 positions, slice 5 of 16``.
        """
        return ", ".join([self._chosen_words(example), *self.slice_words(example)])

    def _chosen_words(self, example: int) -> str:
        count = len(self.places(example))
        size = f"{count:,} position{'s' if count != 1 else ''}"
        if callable(self.choice):
            return f"a mask of {size}"
        if isinstance(self.choice, tuple):
            single = all(isinstance(one, int) for one in self.choice)
            return f"position {self.choice if len(self.choice) > 1 else self.choice[0]}" if single else self._box(size)
        place = int(self.classes[example])
        if self.task == "regression" or place == IGNORED or not bool(self._mask(example).any()):
            return f"all {size} with a label"
        name = self.names[place] if place < len(self.names) else ""
        return f"class {place}{f' ({name})' if name else ''}, {size}"

    def _box(self, size: str) -> str:
        return f"box ({', '.join(map(_written, self.choice))}), {size}"

    def slice_words(self, example: int) -> list[str]:
        """Return the drawn slice of a volume, from 1: ``slice 5 of 16``; an empty list for other outputs."""
        sizes = zip(self.slice_of(example), self.labels.wide, strict=False)
        return [f"slice {at + 1} of {size}" for at, size in sizes]

    def slice_number(self, example: int) -> int:
        """Return the number of :meth:`slice_of` among all slices; 0 for a map or a sequence."""
        number = 0
        for at, size in zip(self.slice_of(example), self.labels.wide, strict=False):
            number = number * size + at
        return number

    def slice_of(self, example: int) -> tuple[int, ...]:
        """Return the middle slice through the region of a volume: its position along all axes but the last two."""
        at, found = torch.stack(torch.unravel_index(self.places(example), self.labels.wide)), []
        for axis in range(len(at) - 2):
            found.append(
                int(at[axis].median())
            )  # the lower of two middle values, so that the slice contains a part of the region
            at = at[:, at[axis] == found[-1]]
        return tuple(found)

    def picture(self, example: int) -> Tensor | None:
        """Return ``(H, W)`` bool: the region as a mask, for a volume in its slice; None if positions are not a map."""
        if not self.labels.is_map:
            return None
        mask = torch.zeros(self.labels.labels.shape[1], dtype=torch.bool)
        mask[self.places(example)] = True
        return mask.view(self.labels.wide)[self.slice_of(example)]


def _written(one: int | slice) -> str:
    """Return an index or a slice as text: ``0:9``."""
    if not isinstance(one, slice):
        return str(one)
    return f"{one.start or 0}:{'' if one.stop is None else one.stop}"


def _default_classes(labels: PositionLabels, choice: Any, task: Any) -> Tensor:
    if isinstance(choice, int):
        return torch.full((len(labels),), choice)
    if task == "regression" or choice is not None:
        return torch.full((len(labels),), IGNORED)
    counts = class_counts(labels, task)
    usual = int(counts.sum(0).argmax())
    others = counts.clone()
    others[:, usual] = 0
    chosen = others.argmax(1).where(others.any(1), usual)
    return chosen.where(counts.any(1), IGNORED)


def _checked(choice: Any, labels: PositionLabels, names: list[str]) -> Any:
    """Return a choice in its plain form: a class as its index."""
    if choice is None or callable(choice):
        return choice
    if isinstance(choice, str) and choice in names:
        return names.index(choice)
    if isinstance(choice, int) and not isinstance(choice, bool) and 0 <= choice < max(2, labels.outputs):
        return choice
    if isinstance(choice, list):
        choice = tuple(choice)
    if isinstance(choice, tuple) and _within(choice, labels.lattice):
        return choice
    classes = f"the classes are 0 to {max(2, labels.outputs) - 1}" + (f" ({', '.join(names)})" if names else "")
    raise ConfigurationError(
        f"region={choice!r}: outputs have positions of shape {labels.lattice}, and {classes}; {CHOICES}."
    )


def _within(choice: tuple[Any, ...], lattice: tuple[int, ...]) -> bool:
    """Return whether a position or a box is inside the outputs."""
    if len(choice) != len(lattice):
        return False
    return all(
        isinstance(one, slice) and len(range(size)[one]) > 0
        if isinstance(one, slice)
        else isinstance(one, int) and 0 <= one < size
        for one, size in zip(choice, lattice, strict=True)
    )


def _asked(choice: Callable[[Tensor], Tensor], labels: Tensor, lattice: tuple[int, ...]) -> Tensor:
    mask = choice(labels)
    if not isinstance(mask, Tensor) or tuple(mask.shape) != lattice:
        shape = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ConfigurationError(
            f"region= returned {shape} for labels {tuple(labels.shape)}; allowed is a mask of shape {lattice}, "
            "for example lambda labels: labels == 1."
        )
    return mask.bool().flatten().cpu()
