"""Maps and sequences with planted modalities: models that need no training, and slow references over all positions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mviz_lightning.explainers import ExampleRanking, Explainer, ProbeContext, Request
from mviz_lightning.session.share_report import ShareReport
from mviz_lightning.sinks.records import Picture, Table

SIZE = 6
"""Height and width of the maps."""


def maps(count: int, classes: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Return two sensors ``(N, 1, H, W)`` and classes ``(N, H, W)``: radar decides the left half, optical the right."""
    generator = torch.Generator().manual_seed(seed)
    optical, radar = torch.randn(2, count, 1, SIZE, SIZE, generator=generator)
    left = torch.arange(SIZE) < SIZE // 2
    decisive = torch.where(left, radar, optical)[:, 0]
    edges = torch.linspace(-0.5, 0.5, classes - 1)
    return {"optical": optical, "radar": radar, "mask": torch.bucketize(decisive, edges)}


class Halves(nn.Module):
    """Scores of each pixel: of the radar on the left, of the optical sensor on the right; ``mixed`` adds a product."""

    def __init__(self, classes: int = 3, mixed: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(classes, generator=generator))
        self.mixed = mixed

    def forward(self, optical: Tensor, radar: Tensor) -> Tensor:
        left = torch.arange(optical.shape[-1], device=optical.device) < optical.shape[-1] // 2
        seen = torch.where(left, radar, optical) + self.mixed * radar * optical
        return (torch.tanh(seen) + 0.3 * seen) * self.weight.view(-1, 1, 1) + 0 * radar * optical


def step_of(loss: Any = functional.cross_entropy) -> Any:
    """Return a validation step for :class:`Halves`."""

    def step(module: nn.Module, batch: Any) -> Tensor:
        return loss(module(batch["optical"], batch["radar"]), batch["mask"])  # type: ignore[no-any-return]

    return step


def loader(batch: dict[str, Tensor], size: int = 32) -> list[dict[str, Tensor]]:
    """Return a batch in several."""
    count = len(next(iter(batch.values())))
    return [{name: leaf[start : start + size] for name, leaf in batch.items()} for start in range(0, count, size)]


@dataclass(frozen=True, kw_only=True)
class NotingRanking(ExampleRanking):
    """Ranks examples, and notes in which groups they are recombined: indices of the validation set."""

    groups: list[list[int]] = field(default_factory=list)

    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        self.groups[:] = [[probe_context.positions[k] for k in group] for group in probe_context.probe.groups.tolist()]
        return super().plan(probe_context, examples)


def drawn(report: ShareReport, *methods: Explainer) -> tuple[dict[str, str], dict[str, set[Any]]]:
    """Return the captions of pictures by key, and for each table with a column of regions its regions."""
    records = [one for method in methods for one in method.draw(report.results[method.name], report._drawing, "")]
    tables = [one for one in records if isinstance(one, Table) and "region" in one.columns]
    regions = {one.key: {row[list(one.columns).index("region")] for row in one.rows} for one in tables}
    return {one.key: one.caption for one in records if isinstance(one, Picture)}, regions


def slow_components(outputs: Tensor, groups: Sequence[Sequence[int]], known: Tensor) -> tuple[Tensor, Tensor]:
    """Return variance and the total effects, averaged over all labelled positions of all groups, by plain loops.

    Args:
        outputs: ``(N, N, L, C)`` centred outputs: first modality of one example, second of another.
        groups: Examples of each group.
        known: ``(N, L)`` the positions with a label.
    """
    variance, totals, weight = torch.zeros(()).double(), torch.zeros(2).double(), 0
    for group in groups:
        count = known[list(group)].sum(0)
        for place in range(outputs.shape[2]):
            if not int(count[place]):
                continue
            grid = outputs[list(group)][:, list(group), place].double()
            found = _components(grid)
            variance += int(count[place]) * found[0]
            totals += int(count[place]) * found[1:]
            weight += int(count[place])
    return variance / weight, totals / weight


def _components(grid: Tensor) -> Tensor:
    """Return ``(3,)``: half the mean squared differences of rows that share no, one or the other example."""
    size, sums, counts = len(grid), torch.zeros(3).double(), torch.zeros(3).double()
    for i in range(size):
        for j in range(size):
            if i == j:
                continue
            for k in range(size):
                for m in range(size):
                    # rows (i, j) and (k, m) of four distinct examples, or that share one modality
                    if len({i, j, k, m}) == 4:
                        sums[0] += (grid[i, j] - grid[k, m]).square().sum() / 2
                        counts[0] += 1
                    elif j == m and len({i, j, k}) == 3:
                        sums[1] += (grid[i, j] - grid[k, m]).square().sum() / 2
                        counts[1] += 1
                    elif i == k and len({i, j, m}) == 3:
                        sums[2] += (grid[i, j] - grid[k, m]).square().sum() / 2
                        counts[2] += 1
    return sums / counts
