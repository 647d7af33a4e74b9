"""How often a modality decides, as a metric."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.functional import Design, Task, design
from mviz_lightning.functional.flips import FlipCounts, flip_counts, flip_rates
from mviz_lightning.metrics.plottable import Plottable


class PredictionFlips(Plottable, Metric):
    """Share of predictions that change when one modality is swapped, relative to swapping all modalities.

    The formula is in :func:`mviz_lightning.functional.prediction_flips`. It is 0 if swapping the modality never changes
    a prediction, and about 1 if the prediction follows the swapped-in example. It needs no labels. It uses the rows of
    :class:`ContributionShares`.

    Args:
        modalities: Names, two or more.
        task: ``multiclass``, ``binary``, or ``multilabel``, where every label is a prediction.
        group_size: Number of examples that are recombined with one another.
        pairs: As for ``ContributionShares``.
        seed: Seed of the design.
        kwargs: Arguments of every torchmetrics metric.
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
        for state in FlipCounts._fields:
            self.add_state(state, default=zero, dist_reduce_fx="sum")

    def update(self, outputs: Tensor) -> None:
        """Add groups.

        Args:
            outputs: ``(G, T, C)`` logits of the design's T tuples in G groups.

        Raises:
            ValueError: The task is regression.
        """
        counts = flip_counts(outputs, self.design, self.task)
        self.changed = self.changed + counts.changed
        self.swaps = self.swaps + counts.swaps
        self.decided = self.decided + counts.decided
        self.examples = self.examples + counts.examples

    def compute(self) -> dict[str, Tensor]:
        """Return ``flips/<m>`` for every modality; 0 where all predictions are the same."""
        flips = flip_rates(FlipCounts(self.changed, self.swaps, self.decided, self.examples))
        return {f"flips/{name}": value for name, value in zip(self.modalities, flips, strict=True)}
