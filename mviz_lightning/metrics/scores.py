"""The loss in score from recombined examples (perceptual score), as a metric."""

from collections.abc import Sequence
from operator import methodcaller
from typing import cast

from torch import Tensor, nn
from torchmetrics import Metric, R2Score
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy
from torchmetrics.wrappers.abstract import WrapperMetric

from mviz_lightning.functional import Task, design
from mviz_lightning.functional.scores import comparable, labelled_predictions, swapped_examples
from mviz_lightning.metrics.example_scores import GradedAccuracy, LabelRankingAveragePrecision
from mviz_lightning.metrics.local import local_value
from mviz_lightning.metrics.plottable import Plottable


def default_score(task: Task, outputs: int, *, graded: bool = False) -> Metric:
    """Return the score that fits the labels: a mean over examples, or R² for regression.

    Classes: accuracy. Labels: label-ranking average precision, because with thousands of zeros the accuracy of any
    model is near 1. Soft labels: the target's value at the highest output.

    Args:
        task: Type of the prediction task.
        outputs: Number of outputs, C.
        graded: Whether labels are soft; then the score is :class:`GradedAccuracy`.
    """
    if task == "regression":
        return R2Score()
    if graded:
        return GradedAccuracy()
    if task == "multiclass":
        return MulticlassAccuracy(outputs, average="micro")
    return BinaryAccuracy() if task == "binary" else LabelRankingAveragePrecision()


class PerceptualScore(Plottable, WrapperMetric):
    """How much the score falls when one modality is taken from other examples (Gat et al. 2021).

    The formula is in :func:`mviz_lightning.functional.perceptual_score`. Arguments and ``update`` are the same as those
    of :class:`~mviz_lightning.metrics.EMAPGap`.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(
        self,
        modalities: Sequence[str],
        *,
        task: Task,
        score: Metric,
        group_size: int = 16,
        pairs: bool | None = None,
        seed: int = 0,
        sync_on_compute: bool = True,
    ) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        self.modalities = tuple(modalities)
        self.task: Task = task
        self.score = score.clone()
        self.swapped = nn.ModuleList(score.clone() for _ in modalities)
        self._design = design(len(self.modalities), group_size, pairs=pairs, seed=seed)

    def update(self, outputs: Tensor, target: Tensor) -> None:
        """Add groups."""
        outputs = comparable(outputs, self.task)
        self._add(self.score, self._design.own(outputs), target)
        for modality, metric in enumerate(self.swapped):
            self._add(metric, *swapped_examples(outputs, target, self._design, modality))

    def _add(self, metric: nn.Module, outputs: Tensor, target: Tensor) -> None:
        predicted, truth = labelled_predictions(outputs, target, self.task)
        if len(truth):  # a process may have no group, and most metrics raise for empty batches
            cast("Metric", metric).update(predicted, truth)

    def compute(self) -> dict[str, Tensor]:
        """Return ``perceptual/<m>`` for every modality."""
        value = methodcaller("compute") if self.sync_on_compute else local_value
        score, *swapped = (value(metric) for metric in (self.score, *self.swapped))
        return {f"perceptual/{name}": score - lost for name, lost in zip(self.modalities, swapped, strict=True)}

    def reset(self) -> None:
        """Remove all groups."""
        super().reset()
        for metric in self.modules():
            if isinstance(metric, Metric) and metric is not self:
                metric.reset()
