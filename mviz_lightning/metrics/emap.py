"""The gain in score from interactions, as a metric (EMAP)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.functional import Task, design
from mviz_lightning.functional.emap_scores import additive_parts, scores_of_parts
from mviz_lightning.functional.outputs import fold_positions
from mviz_lightning.metrics.local import local_value
from mviz_lightning.metrics.plottable import Plottable


class EMAPGap(Plottable, Metric):
    """The score, the score of the unimodal contributions alone, and their difference (Hessel & Lee 2020).

    The formula is in :func:`mviz_lightning.functional.emap_gap`. Interactions that leave the decision unchanged do not
    count, so read the gap together with the shares.

    ``update`` takes ``(G, T, C)`` outputs of the design's T tuples in G groups, and ``(G, g, ...)`` targets. A target
    of -100, or NaN in a regression, means no label; such examples do not count.

    Args:
        modalities: Names, two or more.
        task: Type of the prediction task.
        score: A torchmetric of predictions (probabilities or values) and targets.
        group_size: Number of examples that are recombined with one another.
        pairs: As for ``ContributionShares``; the rows are the same.
        positions: Number of positions of an example, P, if outputs are ``(G, T, P * C)`` of positions, one after
            another, and targets ``(G, g * P, ...)``.
        seed: Seed of the design.
        kwargs: Arguments of every torchmetrics metric.
    """

    full_state_update = False
    is_differentiable = False
    parts: list[Tensor]
    target: list[Tensor]

    def __init__(
        self,
        modalities: Sequence[str],
        *,
        task: Task,
        score: Metric,
        group_size: int = 16,
        pairs: bool | None = None,
        positions: int = 1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.task: Task = task
        self.positions = positions
        self.score = score.clone()
        self._design = design(len(modalities), group_size, pairs=pairs, seed=seed)
        for state in ("parts", "target"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, outputs: Tensor, target: Tensor) -> None:
        """Add groups."""
        folded = fold_positions(outputs, self.positions)
        parts = additive_parts(folded, self._design, self.task)
        parts = parts.view(len(outputs), self.positions, *parts.shape[1:])
        # All positions of a group stay in one group, because the jackknife leaves out whole groups.
        self.parts.append(parts.permute(0, 2, 3, 1, 4).flatten(2, 3))
        self.target.append(target)

    def compute(self) -> dict[str, Tensor]:
        """Return ``score``, ``emap_score``, ``emap_gap`` and, if two groups have labels, its interval."""
        parts, target = (
            state if isinstance(state, Tensor) else torch.cat(state) for state in (self.parts, self.target)
        )
        found = scores_of_parts(parts, target, task=self.task, score=self._value)
        values = {"score": found.score, "emap_score": found.emap_score, "emap_gap": found.emap_gap}
        bounds = {"emap_gap_low": found.low, "emap_gap_high": found.high}
        return values | {name: bound for name, bound in bounds.items() if bool(bound.isfinite().all())}

    def _value(self, predicted: Tensor, truth: Tensor) -> Tensor:
        score = self.score.clone()
        score.update(predicted, truth)
        return torch.as_tensor(local_value(score))
