"""Scores that are means of one value per example."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.functional.scores import graded_accuracy, label_ranking_average_precision
from mviz_lightning.metrics.plottable import Plottable


class ExampleMean(Plottable, Metric):
    """The mean of one value per example."""

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for state in ("total", "count"):
            self.add_state(state, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return ``(n,)``: the value of each example."""
        raise NotImplementedError

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add examples."""
        self.total = self.total + self.values(preds, target).sum()
        self.count = self.count + len(target)

    def compute(self) -> Tensor:
        """Return the mean."""
        return self.total / self.count


class GradedAccuracy(ExampleMean):
    """Mean target of the label with the largest prediction: the accuracy of VQA (Antol et al. 2015).

    The formula is in :func:`mviz_lightning.functional.graded_accuracy`. ``update`` takes ``(n, C)`` predictions, of
    which only the largest in each row counts, and ``(n, C)`` targets in 0..1; or ``(n,)`` predictions and ``(n,)``
    targets.
    """

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return ``(n,)``: each example's target at its largest prediction."""
        return graded_accuracy(preds, target)


class LabelRankingAveragePrecision(ExampleMean):
    """Precision of the ranking of true labels above others, from 0 to 1; mean over examples (Tsoumakas et al. 2010).

    The formula is in :func:`mviz_lightning.functional.label_ranking_average_precision`. ``update`` takes ``(n, C)``
    predictions and ``(n, C)`` labels of 0 and 1. The values equal those of torchmetrics'
    ``MultilabelRankingAveragePrecision``, without its loop over examples.
    """

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return ``(n,)``: the label-ranking average precision of each example."""
        return label_ranking_average_precision(preds, target)
