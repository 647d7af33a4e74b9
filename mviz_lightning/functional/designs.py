"""Designs: the recombinations of a group's examples that are evaluated, and statistics of their outputs.

A design lists tuples of positions inside a group, one position per modality. Two modalities use the full grid of the
group. Three or more use shifted tuples; their number grows linearly with the number of modalities.
"""

from functools import lru_cache
from typing import Protocol

from torch import Tensor

from mviz_lightning.errors.arguments import require_seed
from mviz_lightning.functional.grid_design import GridDesign
from mviz_lightning.functional.tuple_design import TupleDesign

LARGE_GROUP = 32
"""Default number of examples in a group for three or more modalities, if they fill ``FEWEST_GROUPS`` groups."""

FEWEST_GROUPS = 8
"""Smallest number of large groups: with fewer, Student's t makes intervals wide (2.4 standard errors with eight)."""


class Design(Protocol):
    """The tuples of one group of g examples with M modalities, and statistics of their ``(..., T, C)`` outputs.

    Attributes:
        size: Examples in a group, g.
        modalities: Number of modalities, M.
        pairs: The P pairs of modalities whose components are estimated.
        tuples: ``(T, M)`` positions inside the group: row t takes modality m from example ``tuples[t, m]``.
        inflation: Largest factor by which the jackknife over :meth:`without_each` overestimates the variance.
    """

    size: int
    modalities: int
    pairs: tuple[tuple[int, int], ...]
    tuples: Tensor
    inflation: float

    def components(self, outputs: Tensor) -> Tensor:
        """Return ``(..., 2 + 2 M + P)`` components: Var f, M first-order, M total, P pairs, all interactions."""

    def without_each(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, 2 + 2 M + P)`` components of the group without each of its examples."""

    def own(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, C)``: the outputs of the real examples."""

    def unimodal(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, C)``: the unimodal contribution (UC) of every example."""

    def unimodal_halves(self, outputs: Tensor) -> Tensor:
        """Return ``(..., H, g, C)``: UC from half of the donors or draws, H times; H is 0 where they are too few."""

    def unimodal_without_donors(self, outputs: Tensor, place: int) -> Tensor:
        """Return ``(..., g - 1, C)``: UC of one example without each of its donors in turn, for :func:`donor_error`."""

    def swapped(self, outputs: Tensor, modality: int) -> Tensor:
        """Return ``(..., g, D, C)``: the outputs of every example with one modality from D others of its group."""


def smallest_group(modalities: int) -> int:
    """Return the size of the smallest group that a design for a number of modalities needs."""
    return 4 if modalities == 2 else 4 * modalities


def usual_group(modalities: int, examples: int = 0) -> int:
    """Return the default size of a group: 16 examples, or the smallest group of the design if that is larger.

    For three or more modalities, larger groups need no further rows, and their unimodal contributions are averaged over
    more donors. So the size is 32 if ``examples`` fill eight such groups; an interval over groups needs eight.
    """
    large = modalities > 2 and examples >= FEWEST_GROUPS * LARGE_GROUP
    return max(LARGE_GROUP if large else 16, smallest_group(modalities))


@lru_cache(maxsize=32)
def design(modalities: int, size: int, *, pairs: bool | None = None, seed: int = 0) -> Design:
    """Return the design for groups of ``size`` examples.

    Evaluate the model on its ``tuples``, ``(T, M)`` positions inside each group, and pass the ``(G, T, C)`` outputs to
    its methods and to the estimators.

    Args:
        modalities: Number of modalities, 2 or more.
        size: Examples in a group: 4 or more for two modalities, 4 M or more for M.
        pairs: Whether to estimate components of pairs; by default for up to 4 modalities.
        seed: Seed of the half-splits or of the shifts.

    Raises:
        ValueError: Too few modalities, too small a group, or a seed that is no whole number.
    """
    seed = require_seed(seed)
    if modalities < 2:
        raise ValueError(f"modalities={modalities}: contribution shares compare modalities; give 2 or more.")
    if size < smallest_group(modalities):
        least = smallest_group(modalities)
        raise ValueError(f"size={size}: groups of {modalities} modalities need {least} or more examples.")
    if modalities == 2:
        return GridDesign(size, seed=seed)
    return TupleDesign(modalities, size, pairs=modalities <= 4 if pairs is None else pairs, seed=seed)
