"""What each unit of a modality adds to one output: sums of derivatives, occlusion, LIME and Shapley values.

All of them estimate how ``f(x) - f(x with all units masked)`` is made up.

Captum has these methods too and judges them in the tests. It calls the model itself, for one input at a time; here a
method only names masks and reads answers, so that rows of all examples and methods are evaluated together, encodings
of the other modalities are reused, and the model that trains is left without a trace.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from mviz_lightning.functional.surrogate import ALPHA, draw_masks, surrogate

Perturbation: TypeAlias = Literal["occlusion", "lime", "shap"]
"""Methods that mask units and look at the outputs."""

PERTURBATIONS: tuple[str, ...] = get_args(Perturbation)

FEWEST_MASKS = {"lime": 64, "shap": 128}
MASKS_PER_SEGMENT = {"lime": 4, "shap": 16}
"""Masks by default: so many for each unit, and so many at the least."""


@dataclass(frozen=True)
class ShapleyMasks:
    """Masks of KernelSHAP.

    Attributes:
        masks: ``(S, U)`` bool, True where a unit stays; neither the empty nor the full one.
        weights: ``(S,)`` in float64.
    """

    masks: Tensor
    weights: Tensor


@dataclass(frozen=True)
class SegmentWeights:
    """What units add to outputs.

    Attributes:
        weights: ``(U, K)`` to each of K outputs, in float64, or ``(U,)`` to one.
        r2: ``(K,)`` LIME's leave-one-out R2, or a single one; None of methods that make no model of the outputs.
    """

    weights: Tensor
    r2: Tensor | None = None

    def of(self, output: int) -> "SegmentWeights":
        """Return what units add to one of the outputs."""
        return SegmentWeights(self.weights[:, output], None if self.r2 is None else self.r2[output])


def segment_sums(entries: Tensor, index: Tensor, segments: int) -> Tensor:
    """Add up what belongs to one unit.

    Args:
        entries: ``(R, ...)`` of every entry.
        index: ``(R or 1, ...)`` long, of as many entries as a row has or broadcastable to them: the unit, or -1.
        segments: U; what an example has fewer stays 0.

    Returns:
        ``(R, U)`` in float64; entries that belong to no unit are left out.
    """
    if index[0].numel() == entries[0].numel():
        index = index.reshape(len(index), *entries.shape[1:])
    place = (index.expand(entries.shape) + 1).reshape(len(entries), -1)
    sums = torch.zeros(len(entries), segments + 1, dtype=torch.float64)
    return sums.scatter_add(1, place, entries.double().reshape(place.shape))[:, 1:]


def perturbation_masks(method: Perturbation, segments: int, samples: int | None = None, seed: int = 0) -> Tensor:
    """Return ``(S, U)`` the masks a method asks for, True where a unit stays; the same whenever it is asked.

    Args:
        method: Which.
        segments: U, how many there are.
        samples: How many masks at the most; occlusion takes one for each unit.
        seed: Of what is drawn.
    """
    if method == "occlusion":
        return ~torch.eye(segments, dtype=torch.bool)
    count = _count(method, segments, samples)
    return draw_masks(segments, count, seed) if method == "lime" else shapley_masks(segments, count, seed).masks


def _count(method: Perturbation, segments: int, samples: int | None) -> int:
    return samples or max(FEWEST_MASKS[method], MASKS_PER_SEGMENT[method] * segments)


def perturbation_attribution(
    method: Perturbation,
    outputs: Tensor,
    whole: Tensor,
    without: Tensor,
    segments: int,
    samples: int | None = None,
    seed: int = 0,
) -> SegmentWeights:
    """Return what units add to each of K outputs.

    Args:
        method: Which.
        outputs: ``(S, K)`` answers to the masks of :func:`perturbation_masks`, asked for with the same arguments.
        whole: ``(K,)`` outputs where nothing is masked.
        without: ``(K,)`` where all units are.
        segments: U.
        samples: As there.
        seed: As there.
    """
    if method == "occlusion" or segments == 1:
        return SegmentWeights((whole - (outputs if method == "occlusion" else without.unsqueeze(0))).double())
    count = _count(method, segments, samples)
    if method == "shap":
        return SegmentWeights(shapley_values(shapley_masks(segments, count, seed), outputs, whole, without))
    masks = draw_masks(segments, count, seed)
    # Where all masks there are stand for more draws, the penalty shrinks with them.
    found = surrogate(masks, outputs, alpha=ALPHA * len(masks) / count)
    return SegmentWeights(found.weights, found.r2)


def shapley_masks(segments: int, samples: int, seed: int = 0) -> ShapleyMasks:
    """Return masks and weights of KernelSHAP (Lundberg and Lee 2017, theorem 2), without the empty and the full one.

    All there are, if they are no more than ``samples``. Otherwise sizes are taken whole as long as their part of the
    kernel pays for all their masks, from the outer ones (one unit stays, or one is masked) inwards; the rest is drawn
    by size, every mask together with its complement (Covert and Lee 2021).

    Args:
        segments: U.
        samples: How many masks at the most.
        seed: Of the draw.
    """
    if 2**segments - 2 <= samples:
        masks = draw_masks(segments, 2**segments)[1:-1]
        return ShapleyMasks(masks, _kernel(masks))
    sizes = range(1, segments // 2 + 1)
    mass = {size: (1 if 2 * size == segments else 2) / (size * (segments - size)) for size in sizes}
    parts, left = [], samples
    while mass and left * mass[size := min(mass)] >= sum(mass.values()) * _paired_count(segments, size):
        parts.append(_with_complements(_all_of_size(segments, size))[: _paired_count(segments, size)])
        left -= len(parts[-1])
        del mass[size]
    taken = torch.cat([torch.zeros(0, segments, dtype=torch.bool), *parts])
    drawn = _drawn(segments, mass, left // 2, seed)
    weight = sum(mass.values()) / max(1, len(drawn))
    weights = torch.cat([_kernel(taken), torch.full((len(drawn),), weight).double()])
    return ShapleyMasks(torch.cat([taken, drawn]), weights)


def _kernel(masks: Tensor) -> Tensor:
    """Return ``(S,)`` the Shapley kernel, up to a factor."""
    segments = masks.shape[1]
    return torch.tensor(
        [1 / (math.comb(segments, size) * size * (segments - size)) for size in masks.sum(1).tolist()],
        dtype=torch.float64,
    )


def _paired_count(segments: int, size: int) -> int:
    return math.comb(segments, size) * (1 if 2 * size == segments else 2)


def _all_of_size(segments: int, size: int) -> Tensor:
    chosen = torch.tensor(list(combinations(range(segments), size)))
    return torch.zeros(len(chosen), segments, dtype=torch.bool).scatter(1, chosen, value=True)


def _with_complements(masks: Tensor) -> Tensor:
    return torch.cat([masks, ~masks])


def _drawn(segments: int, mass: dict[int, float], pairs: int, seed: int) -> Tensor:
    """Draw masks of the sizes that are left, each with its complement: ``(2 * pairs, U)``."""
    if not mass or not pairs:
        return torch.zeros(0, segments, dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    chances = torch.tensor(list(mass.values()), dtype=torch.float64)
    which = torch.multinomial(chances, pairs, replacement=True, generator=generator)
    size = torch.tensor(list(mass))[which]
    rank = torch.rand(pairs, segments, generator=generator).argsort(1).argsort(1)
    return _with_complements(rank < size.unsqueeze(1))


def shapley_values(drawn: ShapleyMasks, outputs: Tensor, whole: Tensor, without: Tensor) -> Tensor:
    """Solve KernelSHAP's weighted least squares, under the constraint that the units add up to the whole change.

    Shapley values exactly, where all masks are there.

    Args:
        drawn: S masks.
        outputs: ``(S, K)``.
        whole: ``(K,)`` where nothing is masked.
        without: ``(K,)`` where everything is.

    Returns:
        ``(U, K)`` in float64.
    """
    change, segments = (whole - without).double(), drawn.masks.shape[1]
    if segments < 2:
        return change.expand(segments, -1)
    design, root = drawn.masks.double(), drawn.weights.sqrt().unsqueeze(1)
    # The last unit is what the others leave of the change, which makes the constraint hold exactly.
    response = outputs.double() - without.double() - design[:, -1:] * change
    others = root * (design[:, :-1] - design[:, -1:])
    rest: Tensor = torch.linalg.lstsq(others, root * response, driver="gelsd").solution
    return torch.cat([rest, (change - rest.sum(0)).unsqueeze(0)])
