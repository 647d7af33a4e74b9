"""The design for three or more modalities: shifted tuples; their number grows linearly with the modalities."""

from functools import cached_property
from itertools import combinations

import torch
from torch import Tensor

from mviz_lightning.errors.arguments import at_least
from mviz_lightning.functional import anova
from mviz_lightning.functional.additive_fit import AdditiveFit, additive_fit


class TupleDesign:
    """Three or more modalities: base tuples u, donor tuples v, and u with single modalities taken from v.

    For a draw of shifts s and t, base tuple i is ``u_i = (i + s_1, ..., i + s_M)`` and its donor tuple ``v_i = (i +
    t_1, ..., i + t_M)``, modulo g. All 2 M shifts differ. So no tuple contains an example twice, and every tuple is a
    draw from the product of the marginals, even if the modalities of an example are correlated. Components (Jansen
    1999; Saltelli et al. 2010), with ``u^m`` the tuple u with modality m from v::

        Var f = E[(f(u) - f(v))^2] / 2
        V_total_m = E[(f(u) - f(u^m))^2] / 2
        V_m = E[f(v) (f(u^m) - f(u))]

    Unimodal contributions are the least-squares fit of an additive model to these tuples. The fit leaves out the real
    examples, because their modalities are correlated: at correlation 0.9 and with three modalities, they would bias the
    mean MI by 0.08. Draws use ``s = 2 t + c``. Then the base modalities that example j replaces (``u_{j - t_m}`` at m)
    together form the donor tuple ``v_{j + c}``, so each single draw determines the additive fit.
    """

    def __init__(self, modalities: int, size: int, *, draws: int = 8, donors: int = 4, pairs: bool, seed: int) -> None:
        at_least(2, "draws", draws)
        self.size, self.modalities, self._draws, self._seed = size, modalities, draws, seed
        # If draws vary only by chance: each of the g deletions removes 2 M of g draws.
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
        """Return ``(draws * g, 2 * draws * g)``: for each base, the u and v that contain few of the swapped examples.

        The mean that is subtracted from f(v) must be uncorrelated with the difference that multiplies f(v); otherwise
        shares are biased. So its tuples contain none of the two examples of a single swap. If all modalities are
        swapped, its tuples contain at most one of the swapped examples.
        """
        pool = torch.stack([self._u, self._v]).flatten(0, 2)
        examples = torch.cat([self._u[..., swapped], self._v[..., swapped]], -1).flatten(0, 1)
        return self._marked(examples) @ self._marked(pool).T <= shared  # no tuple has an example twice

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
        kept = 1 - self._marked(torch.cat([self._u, self._v], -1).flatten(0, 1)).to(outputs)
        return (self._terms(outputs) @ (kept / kept.sum(0))).transpose(-2, -1)

    def _terms(self, outputs: Tensor) -> Tensor:
        """Return ``(..., 2 + 2 M + P, draws * g)``: the terms of each draw; their means are the components."""
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
        """Return ``(..., draws * g)`` terms; their mean estimates ``E[(f(v) - centre) difference]``.

        An offset of the outputs does not change them. For the difference ``f(u with m from v) - f(u)``, the mean is the
        first-order component of m. For ``f(v) - f(u)`` less the differences of all single swaps, it is the component of
        all interactions, exactly 0 for additive models.
        """
        u, v = self._block(outputs, "u"), self._block(outputs, "v")
        allowed = centring.to(outputs)
        count = allowed.sum(-1, keepdim=True)
        centre = allowed @ torch.cat([u, v], -2) / count.clamp(min=1)
        # With twelve modalities a base may have no such tuples: it then has no centre and is left out.
        centred = (count > 0).squeeze(-1).to(outputs)
        return ((v - centre) * difference).sum(-1) * (centred / centred.mean())

    def own(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, C)``: the outputs of the real examples."""
        return outputs.narrow(-2, self._rows, self.size)

    def unimodal(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, C)``: the unimodal contribution (UC) of every example, by least squares."""
        return self._fit.unimodal.to(outputs) @ self._drawn(outputs)

    def unimodal_halves(self, outputs: Tensor) -> Tensor:
        """Return ``(..., H, g, C)``: UC from half of the draws, H times."""
        drawn = self._drawn(outputs)
        return torch.stack([weights.to(outputs) @ drawn[..., rows, :] for rows, weights in self._halves], -3)

    def unimodal_without_donors(self, outputs: Tensor, place: int) -> Tensor:
        """Return ``(..., g - 1, C)``: UC of one example without each of its donors in turn."""
        positions = torch.arange(self.size)
        donors = positions[positions != place]
        # Shifts do not change the set of tuples. So the weights without the first example, shifted, apply to all.
        weights = self._without_first[(place - donors) % self.size].view(len(donors), -1, self.size)
        counted = ((positions - donors.unsqueeze(1)) % self.size).unsqueeze(1).expand_as(weights)
        return weights.gather(-1, counted).flatten(1).to(outputs) @ self._drawn(outputs)

    @property
    def _rows(self) -> int:
        """Number of drawn tuples: all tuples but the real examples and their single swaps."""
        return len(self._blocks) * self._draws * self.size

    def _drawn(self, outputs: Tensor) -> Tensor:
        return outputs.narrow(-2, 0, self._rows)

    @cached_property
    def _fit(self) -> AdditiveFit:
        return additive_fit(self.tuples[: self._rows], self.size)

    @cached_property
    def _halves(self) -> list[tuple[Tensor, Tensor]]:
        """Eight halves of the draws: the rows of each, and ``(g, R / 2)`` weights of UC from these rows."""
        draw = torch.arange(self._draws).repeat_interleave(self.size).repeat(len(self._blocks))
        halves = anova.half_splits(self._draws, 4, self._seed).flatten(0, 1)
        chosen = [torch.isin(draw, half).nonzero()[:, 0] for half in halves]
        return [(rows, additive_fit(self.tuples[rows], self.size).unimodal) for rows in chosen]

    @cached_property
    def _without_first(self) -> Tensor:
        """``(g, R)`` weights of UC without the tuples that contain the first example; row 0 has no meaning."""
        without = (self.tuples[: self._rows] != 0).all(1)
        return additive_fit(self.tuples[: self._rows], self.size, without).unimodal

    def swapped(self, outputs: Tensor, modality: int) -> Tensor:
        """Return ``(..., g, D, C)``: every example with one modality from D others."""
        rows = len(self._donors) * self.size
        start = self._rows + self.size + modality * rows
        swapped = outputs.narrow(-2, start, rows)
        shape = (*outputs.shape[:-2], len(self._donors), self.size, outputs.shape[-1])
        return swapped.reshape(shape).transpose(-3, -2)


def _shifts(modalities: int, size: int, generator: torch.Generator) -> tuple[Tensor, int]:
    """Draw donor shifts t and a constant c such that the shifts t and ``2 t + c`` all differ modulo ``size``."""
    while True:
        t = torch.randperm(size, generator=generator)[:modalities]
        c = int(torch.randint(size, (1,), generator=generator))
        if len({*t.tolist(), *((2 * t + c) % size).tolist()}) == 2 * modalities:
            return t, c
