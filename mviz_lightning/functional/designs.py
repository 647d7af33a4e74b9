"""Designs: which recombinations of a group's examples are evaluated, and statistics of their outputs.

A design lists tuples of positions inside a group, one position per modality. Two modalities use the full grid of the
group. Three and more use shifted tuples, whose number grows linearly with the number of modalities.
"""

from functools import lru_cache
from itertools import combinations
from typing import Protocol

import torch
from torch import Tensor

from mviz_lightning.errors import whole_number
from mviz_lightning.functional import anova, uc_and_mi


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

    def swapped(self, outputs: Tensor, modality: int) -> Tensor:
        """Return ``(..., g, D, C)``: the outputs of every example with one modality from D others of its group."""


def smallest_group(modalities: int) -> int:
    """Return the size of the smallest group that a design for a number of modalities needs."""
    return 4 if modalities == 2 else 4 * modalities


def usual_group(modalities: int) -> int:
    """Return the default size of a group: 16 examples, or the smallest group of the design if that is larger."""
    return max(16, smallest_group(modalities))


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
    whole_number("seed", seed)
    if modalities < 2:
        raise ValueError(f"modalities={modalities}: contribution shares compare modalities; give 2 or more.")
    if size < smallest_group(modalities):
        least = smallest_group(modalities)
        raise ValueError(f"size={size}: groups of {modalities} modalities need {least} or more examples.")
    if modalities == 2:
        return GridDesign(size, seed=seed)
    # Larger groups get more draws, as larger grids have more cells per example; more than 16 take much memory.
    draws = 16 if size >= 2 * usual_group(modalities) else 8
    return TupleDesign(modalities, size, draws=draws, pairs=modalities <= 4 if pairs is None else pairs, seed=seed)


class GridDesign:
    """Two modalities: every pairing inside the group, ``g * g`` tuples, row by row (EMAP's grid, in groups)."""

    modalities = 2
    pairs: tuple[tuple[int, int], ...] = ()  # the one pair is the interaction
    inflation = 2.0  # the interaction of two examples changes with either of them (Efron & Stein 1981)

    def __init__(self, size: int, *, splits: int = 16, seed: int = 0) -> None:
        self.size = size
        self.tuples = torch.cartesian_prod(torch.arange(size), torch.arange(size))
        self._splits = anova.half_splits(size, splits, seed)
        others = torch.arange(1, size) + torch.arange(size).unsqueeze(1)
        self._others = others % size

    def _grid(self, outputs: Tensor) -> Tensor:
        return _unflatten(outputs, self.size, self.size)

    def components(self, outputs: Tensor) -> Tensor:
        """Return ``(..., 2 + 2 M + P)`` components."""
        return self._listed(anova.split_components(self._grid(outputs), self._splits))

    def without_each(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, 2 + 2 M + P)`` components of the group without each of its examples."""
        if self.size < 6:  # a half of two examples has no interaction without one of them
            return self.components(outputs).unsqueeze(-2).expand(*outputs.shape[:-2], self.size, 6)
        return self._listed(anova.split_components_without_each(self._grid(outputs), self._splits))

    @staticmethod
    def _listed(parts: Tensor) -> Tensor:
        first, second, both = parts.unbind(-1)
        return torch.stack([first + second + both, first, second, first + both, second + both, both], -1)

    def own(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, C)``: the outputs of the real examples."""
        return uc_and_mi.own(self._grid(outputs))

    def unimodal(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, C)``: the unimodal contribution (UC) of every example."""
        return uc_and_mi.unimodal_contribution(self._grid(outputs))

    def swapped(self, outputs: Tensor, modality: int) -> Tensor:
        """Return ``(..., g, D, C)``: every example with one modality from D others."""
        grid = self._grid(outputs) if modality == 1 else self._grid(outputs).transpose(-3, -2)
        return grid[..., torch.arange(self.size).unsqueeze(1), self._others, :]


class TupleDesign:
    """Three modalities and more: base tuples u, donor tuples v, and u with single modalities taken from v.

    For a draw of shifts s and t, base tuple i is ``u_i = (i + s_1, ..., i + s_M)`` and its donor tuple
    ``v_i = (i + t_1, ..., i + t_M)``, modulo g. All 2 M shifts differ. So no tuple holds an example twice, and every
    tuple is a draw from the product of the marginals, however the modalities of an example are correlated.
    Components (Jansen 1999; Saltelli et al. 2010), with ``u^m`` the tuple u with modality m from v::

        Var f = E[(f(u) - f(v))^2] / 2
        V_total_m = E[(f(u) - f(u^m))^2] / 2
        V_m = E[f(v) (f(u^m) - f(u))]

    Draws use ``s = 2 t + c``. Then the base modalities that example j replaces, ``u_{j - t_m}`` at m, together are the
    donor tuple ``v_{j + c}``, and unimodal contributions are exact for additive models without further rows.
    """

    def __init__(self, modalities: int, size: int, *, draws: int = 8, donors: int = 4, pairs: bool, seed: int) -> None:
        self.size, self.modalities, self._draws = size, modalities, draws
        # Where draws vary by chance alone: without one example, 2 M of g draws are missing, and this happens g times.
        missing = 2 * modalities / size
        self.inflation = (size - 1) * missing / (1 - missing)
        self.pairs = tuple(combinations(range(modalities), 2)) if pairs else ()
        generator = torch.Generator().manual_seed(seed)
        drawn = [_shifts(modalities, size, generator) for _ in range(draws)]
        self._t = torch.stack([t for t, _ in drawn])
        self._c = torch.tensor([c for _, c in drawn])
        self._donors = 1 + torch.randperm(size - 1, generator=generator)[:donors]
        self._blocks: dict[str | int | tuple[int, int], int] = {"u": 0, "v": 1}
        self._blocks |= {m: 2 + m for m in range(modalities)}
        self._blocks |= {pair: 2 + modalities + p for p, pair in enumerate(self.pairs)}
        self._u, self._v = self._bases()
        self.tuples = torch.cat([self._drawn_tuples(), self._own_tuples(), self._swapped_tuples()])
        self._centring = torch.stack([self._centre([m], shared=0) for m in range(modalities)])
        self._centring_all = self._centre(list(range(modalities)), shared=1)

    def _bases(self) -> tuple[Tensor, Tensor]:
        """Return u and v, each ``(draws, g, M)``."""
        positions = torch.arange(self.size)[:, None]
        s = 2 * self._t + self._c[:, None]
        return (positions + s[:, None]) % self.size, (positions + self._t[:, None]) % self.size

    def _mixed(self, from_v: list[int]) -> Tensor:
        mixed = self._u.clone()
        mixed[..., from_v] = self._v[..., from_v]
        return mixed

    def _drawn_tuples(self) -> Tensor:
        everything = range(self.modalities)
        swaps = [self._mixed([m]) for m in everything]
        kept = [self._mixed([m for m in everything if m not in pair]) for pair in self.pairs]
        return torch.stack([self._u, self._v, *swaps, *kept]).flatten(0, 2)

    def _own_tuples(self) -> Tensor:
        return torch.arange(self.size).unsqueeze(1).expand(-1, self.modalities)

    def _swapped_tuples(self) -> Tensor:
        tuples = self._own_tuples().repeat(self.modalities, len(self._donors), 1, 1)
        for m in range(self.modalities):
            tuples[m, :, :, m] = (torch.arange(self.size) + self._donors.unsqueeze(1)) % self.size
        return tuples.flatten(0, 2)

    def _centre(self, swapped: list[int], *, shared: int) -> Tensor:
        """Return ``(draws * g, 2 * draws * g)``: for each base, the u and v that hold few of the swapped examples.

        The mean subtracted from f(v) must be uncorrelated with the difference that multiplies f(v), or shares are
        biased. So its tuples hold neither example of a single swap, and up to one if all modalities are swapped.
        """
        pool = torch.stack([self._u, self._v]).flatten(0, 2)
        examples = torch.cat([self._u[..., swapped], self._v[..., swapped]], -1).flatten(0, 1)
        return self._marked(examples) @ self._marked(pool).T <= shared  # no tuple holds an example twice

    def _marked(self, examples: Tensor) -> Tensor:
        """Return ``(R, g)``: 1 for the examples in a row, else 0."""
        return torch.zeros(len(examples), self.size, dtype=torch.float32).scatter_(1, examples, 1.0)

    def _block(self, outputs: Tensor, name: str | int | tuple[int, int]) -> Tensor:
        """Return the ``(..., draws * g, C)`` outputs of one kind of drawn tuple."""
        rows = self._draws * self.size
        return outputs.narrow(-2, self._blocks[name] * rows, rows)

    def components(self, outputs: Tensor) -> Tensor:
        """Return ``(..., 2 + 2 M + P)`` components."""
        return self._terms(outputs).mean(-1)

    def without_each(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, 2 + 2 M + P)`` components of the group without each of its examples."""
        held = self._marked(torch.cat([self._u, self._v], -1).flatten(0, 1)).to(outputs)
        return (self._terms(outputs) @ ((1 - held) / (1 - held).sum(0))).transpose(-2, -1)

    def _terms(self, outputs: Tensor) -> Tensor:
        """Return ``(..., 2 + 2 M + P, draws * g)``: what each draw adds to the means that are the components."""
        u, v = self._block(outputs, "u"), self._block(outputs, "v")
        swaps = [self._block(outputs, m) for m in range(self.modalities)]
        variance = anova.half_squared_distances(u, v)
        total = [anova.half_squared_distances(u, swap) for swap in swaps]
        first = [self._covariance(outputs, self._centring[m], swap - u) for m, swap in enumerate(swaps)]
        contrast = v - u - torch.stack([swap - u for swap in swaps]).sum(0)
        interaction = self._covariance(outputs, self._centring_all, contrast)
        pair = [
            variance - anova.half_squared_distances(u, self._block(outputs, (a, b))) - first[a] - first[b]
            for a, b in self.pairs
        ]
        return torch.stack([variance, *first, *total, *pair, interaction], -2)

    def _covariance(self, outputs: Tensor, centring: Tensor, difference: Tensor) -> Tensor:
        """Return ``(..., draws * g)``, of which the mean is ``E[(f(v) - centre) difference]``.

        No offset of the outputs changes it.
        Of ``f(u with m from v) - f(u)`` it is the first-order component of m; of what the single swaps leave of
        ``f(v) - f(u)`` it is the component of all interactions, and exactly zero for additive models.
        """
        u, v = self._block(outputs, "u"), self._block(outputs, "v")
        allowed = centring.to(outputs)
        count = allowed.sum(-1, keepdim=True)
        centre = allowed @ torch.cat([u, v], -2) / count.clamp(min=1)
        # With a dozen modalities a base may leave none: it has no centre, and no part in the covariance.
        centred = (count > 0).squeeze(-1).to(outputs)
        return ((v - centre) * difference).sum(-1) * (centred / centred.mean())

    def own(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, C)``: the outputs of the real examples."""
        return outputs.narrow(-2, len(self._blocks) * self._draws * self.size, self.size)

    def unimodal(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, C)``: the unimodal contribution (UC) of every example."""
        u, v, *swaps = (
            _unflatten(self._block(outputs, name), self._draws, self.size)
            for name in ("u", "v", *range(self.modalities))
        )
        draw, positions = torch.arange(self._draws).unsqueeze(1), torch.arange(self.size)
        contribution: Tensor = v[..., draw, (positions + self._c[:, None]) % self.size, :]
        for m, swap in enumerate(swaps):
            base = (positions - self._t[:, m, None]) % self.size
            contribution = contribution + (swap - u)[..., draw, base, :]
        return contribution.mean(-3)

    def swapped(self, outputs: Tensor, modality: int) -> Tensor:
        """Return ``(..., g, D, C)``: every example with one modality from D others."""
        rows = len(self._donors) * self.size
        start = (len(self._blocks) * self._draws + 1) * self.size + modality * rows
        return _unflatten(outputs.narrow(-2, start, rows), len(self._donors), self.size).transpose(-3, -2)


def _unflatten(outputs: Tensor, outer: int, inner: int) -> Tensor:
    """Split the rows of ``(..., outer * inner, C)``."""
    return outputs.reshape(*outputs.shape[:-2], outer, inner, outputs.shape[-1])


def _shifts(modalities: int, size: int, generator: torch.Generator) -> tuple[Tensor, int]:
    """Draw donor shifts t and a constant c such that the shifts t and ``2 t + c`` all differ modulo ``size``."""
    while True:
        t = torch.randperm(size, generator=generator)[:modalities]
        c = int(torch.randint(size, (1,), generator=generator))
        if len({*t.tolist(), *((2 * t + c) % size).tolist()}) == 2 * modalities:
            return t, c
