"""Contribution shares of outputs with positions (maps and sequences), at a sample of their positions."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, R2Score
from torchmetrics.classification import (
    BinaryF1Score,
    BinaryJaccardIndex,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MultilabelF1Score,
    MultilabelJaccardIndex,
)

from mviz_lightning.batch.probe import Probe
from mviz_lightning.collapse.position_inputs import position_inputs
from mviz_lightning.collapse.proofs import Proofs, proofs_from
from mviz_lightning.collapse.raw_inputs import encoded
from mviz_lightning.collapse.score_reference import ScoreReference, anchors
from mviz_lightning.collapse.skill import Skill, measured_skill
from mviz_lightning.explainers.contribution_shares.explainer import MANY_OUTPUTS, Shares
from mviz_lightning.functional import Task, decomposable
from mviz_lightning.functional.output_totals import output_components
from mviz_lightning.functional.outputs import decisions, fold_positions
from mviz_lightning.functional.rounding import beyond_rounding
from mviz_lightning.functional.scores import comparable, labelled_predictions
from mviz_lightning.functional.subsets import swap_effects
from mviz_lightning.functional.targets import labelled
from mviz_lightning.metrics import ContributionShares, EMAPGap, PerceptualScore, PredictionFlips
from mviz_lightning.metrics.local import local_value
from mviz_lightning.metrics.score_forms import fitted


def _nowhere() -> Tensor:
    return torch.zeros(0, 1, dtype=torch.long)


@dataclass(frozen=True)
class PositionShares(Shares):
    """Shares of outputs that are read at P sampled positions of each example.

    Every position of a group counts as a separate group: variances and scores are means over the positions. Intervals
    leave out whole groups, with all their positions.

    Attributes:
        places: ``(N, P)`` long: the sampled positions of each example.
        is_map: Whether positions have two axes or more; then the score is the mean intersection over union.
    """

    places: Tensor = field(default_factory=_nowhere)
    is_map: bool = False

    @property
    def positions(self) -> int:
        """Number of positions of an example, P."""
        return self.places.shape[1]

    def single(self, outputs: Tensor) -> Tensor:
        """Return ``(R * P, C)`` outputs of single positions from ``(R, P * C)`` outputs of rows."""
        return outputs.reshape(-1, outputs.shape[-1] // self.positions)

    def target(self, probe: Probe) -> Tensor | None:
        """Return ``(N, P, ...)`` labels at the sampled positions; None if no recombined example has one there."""
        if probe.by_position is None:
            return None
        found = probe.by_position.at(self.places)
        some = found[probe.groups.flatten()].flatten(0, 1)
        return found if bool(labelled(some, self.task).any()) else None

    def _known(self, probe: Probe) -> Tensor | None:
        """Return the ``(n, ...)`` known labels at the sampled positions of the recombined examples."""
        target = self.target(probe)
        if target is None:
            return None
        some = target[probe.groups.flatten()].flatten(0, 1)
        return some[labelled(some, self.task)]

    def metrics(
        self, probe: Probe, outputs: Tensor, groups: Tensor, left_out: Tensor | None = None, *, sync: bool = False
    ) -> list[Metric]:
        """Return metrics of ``(G * T, P * C)`` outputs; see :meth:`Shares.metrics`."""
        everything, target = self._everything(outputs)[: len(groups)], self.target(probe)
        by_group, count = everything[:, : len(self.design.tuples)], outputs.shape[-1] // self.positions
        scale = self.scale(probe, count)
        contribution, *flips = self._unlabelled(scale, self.task, sync=sync)
        contribution.to(outputs.device).update(self._kept(by_group, left_out))
        folded = self._folded(by_group)
        for metric in flips:
            metric.to(outputs.device).update(folded)
        found = [contribution, *flips]
        found += self._measures.metrics(self._folded(everything), self.task, scale, left_out, sync=sync)
        return found if target is None else found + self._scored(by_group, target[groups], probe, sync=sync)

    def _scored(self, by_group: Tensor, target: Tensor, probe: Probe, *, sync: bool) -> list[Metric]:
        score, device = self._score_of_outputs(by_group.shape[-1] // self.positions, probe), by_group.device
        self._require_predictions(score, target.flatten(0, 2))
        given: dict[str, Any] = {"task": self.task, "score": score, "sync_on_compute": sync, **self._plan}
        gap = EMAPGap(self.modalities, positions=self.positions, **given).to(device)
        lost = PerceptualScore(self.modalities, **given).to(device)
        gap.update(by_group, target.to(device).flatten(1, 2))
        lost.update(self._folded(by_group), target.to(device).transpose(1, 2).flatten(0, 1))
        return [gap, lost]

    def _unlabelled(self, scale: Tensor | None, decides: Task, *, sync: bool) -> list[Metric]:
        shared: dict[str, Any] = {"sync_on_compute": sync, **self._plan}
        given: dict[str, Any] = {"task": self.task, "scale": scale, "positions": self.positions, **shared}
        contribution = ContributionShares(self.modalities, **given)
        if self.task == "regression":
            return [contribution]
        return [contribution, PredictionFlips(self.modalities, task=decides, **shared)]

    def _folded(self, by_group: Tensor) -> Tensor:
        """Return ``(G * P, T, C)`` from ``(G, T, P * C)`` outputs: every position of a group becomes a group."""
        return fold_positions(by_group, self.positions)

    def _kept(self, outputs: Tensor, left_out: Tensor | None) -> Tensor:
        return super()._kept(outputs, None if left_out is None else left_out.repeat(self.positions))

    def swap_effects(self, probe: Probe, outputs: Tensor, left_out: Tensor | None = None) -> Tensor:
        """Return ``(G, g * P, 1 + M)``: how much outputs at each position change when modalities are swapped."""
        scale = self.scale(probe, outputs.shape[-1] // self.positions)
        folded = self._folded(self._by_group(self._kept(outputs, left_out)))
        found = torch.stack([swap_effects(decomposable(one, self.task, scale), self.design) for one in folded])
        return found.view(-1, self.positions, *found.shape[1:]).transpose(1, 2).flatten(1, 2)

    def by_position(self, probe: Probe) -> Probe:
        """Return a probe of N * P examples, one for each sampled position, for shares within classes."""
        groups = (probe.groups.unsqueeze(-1) * self.positions + torch.arange(self.positions)).flatten(1)
        target = self.target(probe)
        return replace(probe, groups=groups, labels=None if target is None else target.flatten(0, 1))

    def score_reference(self, probe: Probe, outputs: int) -> ScoreReference:
        """Return the score of one constant class and of the labels, at the sampled positions."""
        known = self._known(probe)
        if known is None:
            return ScoreReference()
        return anchors(self._score_of_outputs(outputs, probe), self.task, known, outputs)

    def evidence(self, probe: Probe, examples: Tensor, outputs: Tensor) -> dict[str, float]:
        """Return further evidence for an alarm, from ``(n, P * C)`` outputs; see :meth:`Shares.evidence`."""
        found = self.skill(probe, examples, outputs)
        told = {} if found is None else found.evidence
        if self.task == "regression":
            return told
        choices = decisions(comparable(self.single(outputs), self.task), self.task)
        return told | {"decides": float((choices != choices[:1]).any())}

    def skill(self, probe: Probe, examples: Tensor, outputs: Tensor) -> Skill | None:
        """Return the model's skill at the sampled positions; see :meth:`Shares.skill`."""
        target = self.target(probe)
        if target is None:
            return None
        single = self.single(outputs)
        given = comparable(single, self.task), target[examples].flatten(0, 1), self.task
        predicted, known = labelled_predictions(*given)
        score = self._score_of_outputs(single.shape[1], probe)
        of = examples.repeat_interleave(self.positions)[labelled(given[1], self.task)]
        return measured_skill(score, self.task, predicted, known, single.shape[1], of)

    def output_components(self, probe: Probe, outputs: Tensor, groups: int, left_out: Tensor | None) -> Tensor:
        """Return ``(C, 1 + M)``; see :meth:`Shares.output_components`."""
        count = outputs.shape[-1] // self.positions
        found = torch.zeros(count if count > MANY_OUTPUTS else 0, 1 + len(self.modalities), dtype=torch.float64)
        if len(found):
            kept = torch.ones(count, dtype=torch.bool) if left_out is None else ~left_out.cpu()
            folded = self._folded(self._by_group(outputs)[:groups])[..., kept.to(outputs.device)]
            scale = self.scale(probe, count)
            values = decomposable(folded, self.task, None if scale is None else scale[kept])
            found[kept] = output_components(values, self.design)
        return found

    def fit_proofs(self, probe: Probe, outputs: int, kin: Tensor | None = None) -> Proofs:
        """Return the proofs of labels at positions from the raw inputs around them.

        Whole examples are held out, and standard errors are over examples, because positions of one are not
        independent.
        """
        target = self.target(probe)
        if target is None:
            return Proofs()
        return proofs_from(position_inputs(probe, self.places, target, self.task, outputs, self.seed, kin))

    def scale(self, probe: Probe, outputs: int) -> Tensor | None:
        """Return ``(C,)`` factors that make several regression outputs comparable."""
        known = self._known(probe) if self.task == "regression" and outputs > 1 else None
        return None if known is None else known.double().std(0).where(beyond_rounding(known), 1.0)

    def score_of(self, probe: Probe, examples: Tensor, outputs: Tensor) -> float | None:
        """Return the score of examples ``(n,)`` with their ``(n, P * C)`` outputs; None without labels."""
        target = self.target(probe)
        if target is None:
            return None
        single = self.single(outputs)
        given = comparable(single, self.task), target[examples].flatten(0, 1), self.task
        score = self._score_of_outputs(single.shape[1], probe)
        score.update(*labelled_predictions(*given))
        return float(local_value(score))

    def _score_of_outputs(self, outputs: int, probe: Probe) -> Metric:
        known = self._known(probe)
        if self.score is None or known is None:
            return position_score(self.task, outputs, is_map=self.is_map)
        return fitted(self.score, self.task, encoded(known, self.task, outputs), known)

    def whole_score(self, probe: Probe, outputs: int) -> Metric:
        """Return the metric of the score over all labelled positions, for updates chunk by chunk."""
        return self._score_of_outputs(outputs, probe)


def position_score(task: Task, outputs: int, *, is_map: bool) -> Metric:
    """Return the default score for labels of positions: IoU for maps, F1 for sequences, R2 for values.

    They are means over the classes that occur, because most positions have the same class.

    Args:
        task: Type of the prediction task.
        outputs: Number of outputs of a position, C.
        is_map: Whether positions have two axes or more.
    """
    if task == "regression":
        return R2Score()
    if task == "binary":
        return BinaryJaccardIndex() if is_map else BinaryF1Score()
    if task == "multilabel":
        return MultilabelJaccardIndex(outputs) if is_map else MultilabelF1Score(outputs)
    return MulticlassJaccardIndex(outputs) if is_map else MulticlassF1Score(outputs)


def single_outputs(shares: Shares, outputs: Tensor) -> Tensor:
    """Return ``(R, C)`` outputs of single predictions: of every position, or the rows unchanged."""
    return shares.single(outputs) if isinstance(shares, PositionShares) else outputs


def target_of_examples(shares: Shares, probe: Probe) -> Tensor | None:
    """Return ``(N, ...)``: one label of each example; None without labels."""
    target = shares.target(probe)
    return probe.labels if target is not None and isinstance(shares, PositionShares) else target


def shares_of(probe: Probe, places: Tensor | None, given: Sequence[Any]) -> Shares:
    """Return the shares of examples with one row of scores, or of positions if labels have positions.

    Args:
        probe: The examples.
        places: ``(N, P)`` long: the sampled positions; None if outputs have no positions.
        given: The first arguments of :class:`Shares`.
    """
    if probe.by_position is None or places is None:
        return Shares(*given)
    found = PositionShares(*given)
    return replace(found, places=places, is_map=probe.by_position.is_map)
