"""The score side: what recombination costs in accuracy (EMAP gap, perceptual score)."""

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


def default_score(task: Task, outputs: int, *, graded: bool = False) -> Metric:
    """Return the score that fits the labels: a mean over examples, or R² for regression.

    Accuracy for classes; label-ranking average precision for labels, because accuracy over thousands of zeros is near 1
    whatever the model says; the target's value at the highest output for soft labels.

    Args:
        task: What the outputs stand for.
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


class _GroupScore(WrapperMetric):
    """A score of the real examples, and the same score of their recombinations."""

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
        self.recombined = nn.ModuleList(score.clone() for _ in range(self._recombinations))
        self._design = design(len(self.modalities), group_size, pairs=pairs, seed=seed)

    @property
    def _recombinations(self) -> int:
        """Number of scores beside that of the real examples."""
        return 1

    def update(self, outputs: Tensor, target: Tensor) -> None:
        """Add groups."""
        outputs = comparable(outputs, self.task)
        self._add(self.score, self._design.own(outputs), target)
        for position, metric in enumerate(self.recombined):
            self._add(metric, *self._recombine(position, outputs, target))

    def _recombine(self, position: int, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs ``(G, ..., C)`` of recombined examples with their targets ``(G, ..., ...)``."""
        raise NotImplementedError

    def _add(self, metric: nn.Module, outputs: Tensor, target: Tensor) -> None:
        predicted, truth = labelled_predictions(outputs, target, self.task)
        if len(truth):  # a process may have no group, and most metrics refuse to add nothing
            cast("Metric", metric).update(predicted, truth)

    def _scores(self) -> tuple[Tensor, list[Tensor]]:
        value = methodcaller("compute") if self.sync_on_compute else local_value
        return value(self.score), [value(cast("Metric", metric)) for metric in self.recombined]

    def reset(self) -> None:
        """Forget all groups."""
        super().reset()
        for metric in self.modules():
            if isinstance(metric, Metric) and metric is not self:
                metric.reset()


class EMAPGap(_GroupScore):
    """The score, the score of the unimodal contributions alone, and their difference (Hessel & Lee 2020).

    The metric of :func:`mviz_lightning.functional.emap_gap`, which has the formula. Interactions that leave the
    decision unchanged do not count; read the gap beside the shares. Donors of an example are the other examples of its
    group.

    ``update`` takes ``(G, T, C)`` outputs of the design's T tuples in G groups, and ``(G, g, ...)`` targets. A target
    of -100, or NaN in a regression, means no label; such examples do not count.

    Args:
        modalities: Names, two or more.
        task: What the outputs stand for.
        score: A torchmetric of predictions (probabilities or values) and targets.
        group_size: Examples recombined with one another.
        pairs: As for ``ContributionShares``, whose rows these are.
        seed: Seed of the design.
        sync_on_compute: Whether ``compute`` gathers from all processes.
    """

    def _recombine(self, position: int, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return self._design.unimodal(outputs), target

    def compute(self) -> dict[str, Tensor]:
        """Return ``score``, ``emap_score`` and ``emap_gap``."""
        score, (emap_score,) = self._scores()
        return {"score": score, "emap_score": emap_score, "emap_gap": score - emap_score}


class PerceptualScore(_GroupScore):
    """How much the score falls when one modality is taken from other examples (Gat et al. 2021).

    The metric of :func:`mviz_lightning.functional.perceptual_score`, which has the formula. Arguments and ``update``
    are those of :class:`EMAPGap`.
    """

    @property
    def _recombinations(self) -> int:
        return len(self.modalities)

    def _recombine(self, position: int, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return swapped_examples(outputs, target, self._design, position)

    def compute(self) -> dict[str, Tensor]:
        """Return ``perceptual/<m>`` for every modality."""
        score, swapped = self._scores()
        return {f"perceptual/{name}": score - lost for name, lost in zip(self.modalities, swapped, strict=True)}
