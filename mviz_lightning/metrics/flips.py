"""How often a modality decides."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.functional import Design, Task, decisions, design


class PredictionFlips(Metric):
    """How many predictions change when one modality is taken from another example, of those that all would change.

    The total effect of a modality on what the model decides rather than on its logits: 0 where swapping it never
    changes a prediction, 1 where the swapped example's prediction is as good as any other's. Needs no labels. Arguments
    are those of :class:`ContributionShares`, whose rows these are; a regression decides nothing.

    Args:
        modalities: Names, two or more.
        task: ``multiclass``, ``binary`` or ``multilabel``, where every label is a prediction.
        group_size: Examples recombined with one another.
        pairs: As for ``ContributionShares``.
        seed: Of the design.
        kwargs: Of every torchmetrics metric.
    """

    full_state_update = False
    is_differentiable = False
    changed: Tensor
    swaps: Tensor
    decided: Tensor
    examples: Tensor

    def __init__(
        self,
        modalities: Sequence[str],
        *,
        task: Task,
        group_size: int = 16,
        pairs: bool | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.modalities = tuple(modalities)
        self.task: Task = task
        self.design: Design = design(len(self.modalities), group_size, pairs=pairs, seed=seed)
        zero = torch.zeros((), dtype=torch.float64)
        for state in ("changed", "swaps", "decided", "examples"):
            self.add_state(state, default=zero, dist_reduce_fx="sum")

    def update(self, outputs: Tensor) -> None:
        """Add groups.

        Args:
            outputs: ``(G, T, C)`` logits of the design's T tuples in G groups.
        """
        made = decisions(outputs, self.task)
        own = self.design.own(made)
        swapped = torch.stack([self.design.swapped(made, m) for m in range(len(self.modalities))])
        self.changed = self.changed + (swapped - own.unsqueeze(2)).square().sum((1, 2, 3, 4)) / 2
        self.swaps = self.swaps + swapped[0, ..., 0].numel()
        self.decided = self.decided + own.sum((0, 1))
        self.examples = self.examples + own[..., 0].numel()

    def compute(self) -> dict[str, Tensor]:
        """Return ``flips/<m>`` for every modality; 0 where all predictions are the same."""
        share = self.decided / self.examples
        differing = (share * (1 - share)).sum() * self.examples / (self.examples - 1)
        flips = torch.where(differing > 0, self.changed / self.swaps / differing, 0.0)
        return {f"flips/{name}": value for name, value in zip(self.modalities, flips, strict=True)}
