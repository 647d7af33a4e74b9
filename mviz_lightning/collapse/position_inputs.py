"""Inputs of regressions without the model, for outputs with positions: labels and raw inputs around positions.

Positions of one example are not independent: they are in one fold, and standard errors are computed over examples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor

from mviz_lightning.batch.padding import real_along
from mviz_lightning.batch.position_labels import PositionLabels
from mviz_lightning.batch.probe import Probe
from mviz_lightning.collapse.raw_inputs import FEWEST, MOST, ExampleInputs, RawInputs, encoded, standardised
from mviz_lightning.functional import Task, gaussian_kernel, standardised_kernel
from mviz_lightning.functional.targets import labelled
from mviz_lightning.modalities.base import type_in
from mviz_lightning.modalities.text import Text, counts_of_tokens

ROWS = 512
"""Number of positions in a regression, over all examples; with more examples, one position per example."""

WIDER = 3
"""Ratio of the widths of successive windows around a position."""


def position_inputs(
    probe: Probe,
    places: Tensor,
    target: Tensor,
    task: Task,
    outputs: int,
    seed: int = 0,
    kin: Tensor | None = None,
) -> RawInputs | None:
    """Read a few labelled positions of up to 1,024 examples; None if there are too few, or if labels do not vary.

    Args:
        probe: The examples, with labels by position.
        places: ``(N, P)`` long: sampled positions of each example.
        target: ``(N, P, ...)`` labels at these positions.
        task: Type of the prediction task.
        outputs: Number of outputs of one position, C.
        seed: Seed of the folds, and of the choice among the positions.
        kin: ``(N,)`` long: examples with equal numbers are related (kin); None if no two are.
    """
    known = labelled(target.flatten(0, 1), task).view(places.shape)
    examples = known.any(1).nonzero()[:MOST, 0]
    if probe.by_position is None or len(examples) < FEWEST:
        return None
    of, column = _drawn(known[examples], max(1, ROWS // len(examples)), seed)
    found = ExampleInputs.of(probe, examples, kin)
    at = places[examples[of], column]
    labels = encoded(target[examples[of], column], task, outputs)
    wanted, columns = standardised(labels - _usual_labels(probe.by_position, at, task, outputs), task)
    if not len(columns):
        return None
    where = Shown(probe, examples[of], at, probe.by_position.lattice)
    shown, near = {name: where.numbers(name) for name in found.kernels}, where.near()
    kernels = {
        # Features whose effect is the same at all positions, plus features whose effect varies with the position.
        name: (found.kernels[name][of][:, of] if numbers is None else standardised_kernel(numbers)) * (1 + near)
        for name, numbers in shown.items()
    }
    return RawInputs(wanted, columns, kernels, {name: things[of] for name, things in found.things.items()}, seed, of)


def _drawn(known: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return row and column, ``(n,)`` each, of up to ``count`` random known entries of every row."""
    order = torch.rand(known.shape, generator=torch.Generator().manual_seed(seed)).masked_fill(~known, -1.0)
    chosen = order.topk(min(count, known.shape[1]), 1).indices
    rows = torch.arange(len(known)).unsqueeze(1).expand_as(chosen)
    kept = known.gather(1, chosen)
    return rows[kept], chosen[kept]


def _usual_labels(found: PositionLabels, places: Tensor, task: Task, outputs: int) -> Tensor:
    """Return ``(n, C)``: the mean label of all examples at each of some positions, which does not depend on inputs."""
    distinct, of = torch.unique(places, return_inverse=True)
    usual = []
    for place in distinct:
        labels = found.at(place.expand(len(found), 1))[:, 0]
        usual.append(encoded(labels[labelled(labels, task)], task, outputs).mean(0))
    return torch.stack(usual)[of]


@dataclass(frozen=True)
class Shown:
    """Features of modalities around positions, in windows that are each three times as wide as the previous one.

    Attributes:
        probe: The examples.
        examples: ``(n,)`` long: the example of each position.
        places: ``(n,)`` long: the index of each position, row by row of the lattice.
        lattice: Sizes of the axes of positions: ``(H, W)`` or ``(T,)``.
    """

    probe: Probe
    examples: Tensor
    places: Tensor
    lattice: tuple[int, ...]

    def numbers(self, name: str) -> Tensor | None:
        """Return ``(n, D)`` features of a modality; None if it has no axes of these positions.

        For numbers: the mean of each channel in every window, less the same mean over all examples, so that a feature
        does not depend on the position alone. For tokens: their counts in every window.
        """
        path = self.probe.schema.values[name][0]
        leaf, real = self.probe.leaves[path], self.probe.real_entries(name)
        first = None if not isinstance(leaf, Tensor) else axis_of_positions(tuple(leaf.shape), self.lattice)
        if first is None:
            return None
        kind = type_in(self.probe.schema, self.probe.leaves, name, self.probe.own_entries(path))
        if issubclass(kind, Text):
            return self._counts(leaf, real)
        return self._means(RealNumbers(leaf, real), first)

    def near(self) -> Tensor:
        """Return ``(n, n)``: the proximity of positions, 1 for equal ones."""
        at = torch.stack(torch.unravel_index(self.places, self.lattice), 1)
        return gaussian_kernel(standardised_kernel(at))

    def _means(self, numbers: "RealNumbers", first: int) -> Tensor:
        sizes = numbers.leaf.shape[first : first + len(_axes(self.lattice))]
        usual, found = numbers.usual(torch.unique(self.examples).tolist()), []
        for example, centre in zip(self.examples.tolist(), self._centres(sizes), strict=True):
            shown = numbers.of(example) - usual
            found.append(torch.cat([_mean(shown, window, first - 1) for window in _windows(centre, sizes)]))
        return torch.stack(found)

    def _counts(self, tokens: Tensor, real: Tensor | None) -> Tensor:
        length, centres = tokens.shape[1], torch.tensor(list(self._centres(tokens.shape[1:])))
        kept, shown = real_along(real, length), tokens[self.examples]
        real = torch.ones_like(shown, dtype=torch.bool) if kept is None else kept[self.examples]
        near = [(torch.arange(length) - centres).abs() <= reach for reach in _reaches(length)]
        return torch.cat([counts_of_tokens(shown, real & window) for window in near], 1)

    def _centres(self, sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """Yield the indices of each position in a leaf whose position axes have these sizes."""
        axes = _axes(self.lattice)
        for place in zip(*torch.unravel_index(self.places, axes), strict=True):
            yield tuple(int((int(at) + 0.5) * size / count) for at, size, count in zip(place, sizes, axes, strict=True))


@dataclass(frozen=True)
class RealNumbers:
    """The numbers of a modality, example by example; padding and non-finite values are NaN.

    Attributes:
        leaf: ``(N, ...)``.
        real: ``(N, ...)`` bool, False at padding; None if nothing is padded.
    """

    leaf: Tensor
    real: Tensor | None

    def of(self, example: int) -> Tensor:
        """Return ``(...)`` the numbers of one example."""
        values = self.leaf[example].float()
        values = values.where(values.isfinite(), torch.nan)
        real = None if self.real is None else self.real[example].bool()
        if real is None or real.shape != values.shape[: real.dim()]:
            return values
        return values.where(real.view(*real.shape, *[1] * (values.dim() - real.dim())), torch.nan)

    def usual(self, examples: Sequence[int]) -> Tensor:
        """Return ``(...)``: the mean over some examples; one after another, because maps are large."""
        sums = torch.zeros(self.leaf.shape[1:], dtype=torch.float64)
        counts = torch.zeros_like(sums)
        for values in map(self.of, examples):
            sums += values.nan_to_num()
            counts += values.isfinite()
        return (sums / counts.clamp(min=1)).float()


def axis_of_positions(shape: tuple[int, ...], lattice: tuple[int, ...]) -> int | None:
    """Return the first axis of a leaf ``(N, ...)`` that belongs to the outputs' positions; None if there is none.

    Such axes have the sizes of the lattice. For maps, all sizes may be larger or smaller by the same factor.
    """
    axes = _axes(lattice)
    starts = range(1, len(shape) - len(axes) + 1)
    equal = [first for first in starts if shape[first : first + len(axes)] == axes]
    scaled = [first for first in starts if len(axes) > 1 and _factor(shape[first : first + len(axes)], axes)]
    return next(iter([*equal, *scaled]), None) if axes else None


def _axes(lattice: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in lattice if size > 1)


def _factor(sizes: Sequence[int], axes: Sequence[int]) -> bool:
    """Return whether all sizes are the same multiple, or the same whole fraction, of the axes' sizes."""
    pairs = list(zip(sizes, axes, strict=True))
    same = all(size * axes[0] == sizes[0] * axis for size, axis in pairs)
    return same and (sizes[0] % axes[0] == 0 or axes[0] % sizes[0] == 0) and min(sizes) > 1


def _reaches(size: int) -> list[int]:
    """Return the half-widths of windows around a position: 0, 1, 4, 13 and so on, and the whole axis."""
    widths = takewhile(lambda width: width < size, (WIDER**power for power in range(size)))
    return [*(width // 2 for width in widths), size]


def _windows(centre: Sequence[int], sizes: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    for reach in _reaches(max(sizes)):
        yield tuple(slice(max(0, at - reach), at + reach + 1) for at in centre)


def _mean(example: Tensor, window: tuple[slice, ...], first: int) -> Tensor:
    """Return the mean of every channel in a window whose axes begin at axis ``first``."""
    some = example[(slice(None),) * first + window]
    axes = range(first, first + len(window))
    return some.nanmean(dim=tuple(axes)).flatten()
