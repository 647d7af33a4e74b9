"""Contribution shares in two pure steps: plan the rows, compute shares and scores from their outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.batch.probe import Probe
from mviz_lightning.collapse.proofs import Proofs, fit_proofs
from mviz_lightning.collapse.raw_inputs import encoded
from mviz_lightning.collapse.score_reference import ScoreReference, anchors
from mviz_lightning.collapse.skill import Skill, measured_skill
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers.contribution_shares.measures import Measures
from mviz_lightning.functional import Design, Task, decomposable, design
from mviz_lightning.functional.output_totals import most_decided, output_components
from mviz_lightning.functional.outputs import decisions
from mviz_lightning.functional.rounding import beyond_rounding
from mviz_lightning.functional.scores import comparable, labelled_predictions
from mviz_lightning.functional.subsets import swap_effects
from mviz_lightning.functional.targets import decided, graded, labelled
from mviz_lightning.metrics import ContributionShares, EMAPGap, PerceptualScore, PredictionFlips, default_score
from mviz_lightning.metrics.local import local_value
from mviz_lightning.metrics.score_forms import fitted

MANY_OUTPUTS = 16
"""Largest number of outputs that are not also analysed one by one: each of 16 has 6 % of the variance on average."""

NOTABLE = 0.1
"""Smallest variance of an output that is analysed alone, as a fraction of the mean over outputs."""


@dataclass(frozen=True)
class Shares:
    """Plans and explains contribution shares, and scores if labels are known.

    Attributes:
        modalities: Names of the modalities.
        task: Meaning of the outputs.
        group_size: Number of examples recombined with one another.
        pairs: Whether to measure the share of each pair; by default with three and four modalities.
        score: A torchmetric for the score; by default that of :func:`default_score`.
        seed: Seed of the design.
        measures: Names of measures of other papers that are computed in addition to the shares.
    """

    modalities: Sequence[str]
    task: Task
    group_size: int = 16
    pairs: bool | None = None
    score: Metric | None = None
    seed: int = 0
    measures: Sequence[str] = ()

    @property
    def design(self) -> Design:
        """The recombinations inside a group."""
        return design(len(self.modalities), self.group_size, pairs=self.pairs, seed=self.seed)

    @property
    def _measures(self) -> Measures:
        return Measures(self.measures, self.modalities, self.group_size, self.seed)

    @property
    def tuples(self) -> Tensor:
        """``(T, M)`` positions in a group: first those of the design, then those of the measures."""
        return torch.cat([self.design.tuples, self._measures.tuples])

    def plan(self, groups: Tensor) -> Query:
        """Request the tuples of design and measures in every group.

        Args:
            groups: ``(G, g)`` examples of the probe.

        Returns:
            ``G * T`` rows, group by group.
        """
        return Query(groups[:, self.tuples].flatten(0, 1))

    def own(self, outputs: Tensor) -> Tensor:
        """Return ``(G, g, C)``: the outputs of the real examples among the responses to :meth:`plan`."""
        return self.design.own(self._by_group(outputs))

    def swap_effects(self, probe: Probe, outputs: Tensor, left_out: Tensor | None = None) -> Tensor:
        """Return ``(G, g, 1 + M)``: how much each example's outputs change when its modalities are swapped.

        Args:
            probe: The examples.
            outputs: ``(G * T, C)`` outputs of the rows of :meth:`plan`.
            left_out: ``(C,)`` bool: classes that are left out of the shares, as for :meth:`metrics`.
        """
        scale, by_group = self.scale(probe, outputs.shape[-1]), self._by_group(self._kept(outputs, left_out))
        return torch.stack([swap_effects(decomposable(one, self.task, scale), self.design) for one in by_group])

    def _kept(self, outputs: Tensor, left_out: Tensor | None) -> Tensor:
        return outputs if left_out is None else outputs[..., ~left_out.to(outputs.device)]

    def metrics(
        self, probe: Probe, outputs: Tensor, groups: Tensor, left_out: Tensor | None = None, *, sync: bool = False
    ) -> list[Metric]:
        """Return metrics of the outputs, whose statistics can be gathered from several processes.

        Args:
            probe: The examples.
            outputs: ``(G * T, C)`` outputs of the rows of :meth:`plan`.
            groups: ``(G', g)`` the counted groups: the first ones of the planned groups.
            left_out: ``(C,)`` bool: classes that are masked in some row, and left out of shares of variance. Decisions
                (in scores and flips) may be such a class. None if there are none.
            sync: Whether ``compute`` gathers from all processes.

        Returns:
            Metrics whose ``compute`` returns values by the names under which they are logged.
        """
        everything, target = self._everything(outputs)[: len(groups)], self.target(probe)
        by_group = everything[:, : len(self.design.tuples)]
        kept = self._kept(by_group, left_out)
        decides = "multiclass" if self._graded(target) and self.task == "multilabel" else self.task
        scale = self.scale(probe, outputs.shape[-1])
        unlabelled = self._unlabelled(scale, decides, sync=sync)
        for metric in unlabelled:
            metric.to(outputs.device).update(kept if isinstance(metric, ContributionShares) else by_group)
        unlabelled += self._measures.metrics(everything, self.task, scale, left_out, sync=sync)
        if target is None:
            return unlabelled
        score = self._score(outputs.shape[-1], target)
        self._require_predictions(score, target[groups.flatten()])
        scored = [
            kind(self.modalities, task=self.task, score=score, sync_on_compute=sync, **self._plan)
            for kind in (EMAPGap, PerceptualScore)
        ]
        for metric in scored:
            metric.to(outputs.device).update(by_group, target[groups].to(outputs.device))
        return [*unlabelled, *scored]

    def _unlabelled(self, scale: Tensor | None, decides: Task, *, sync: bool) -> list[Metric]:
        """Return the metrics that need no labels.

        Args:
            scale: Factors that make several regression outputs comparable.
            decides: Task of the decisions; with soft labels, the decision is the highest output.
            sync: Whether ``compute`` gathers from all processes.
        """
        shared: dict[str, Any] = {"sync_on_compute": sync, **self._plan}
        contribution = ContributionShares(self.modalities, task=self.task, scale=scale, **shared)
        if self.task == "regression":
            return [contribution]
        return [contribution, PredictionFlips(self.modalities, task=decides, **shared)]

    def _require_predictions(self, score: Metric, target: Tensor) -> None:
        """Raise a ConfigurationError if a score that gathers predictions gets none on this process.

        Gathering without data would abort the process, without an exception to catch.
        """
        unscored = not bool(labelled(target, self.task).any())
        metrics = [metric for metric in score.modules() if isinstance(metric, Metric)]
        keeps = any(isinstance(default, list) for metric in metrics for default in metric._defaults.values())
        if unscored and keeps:
            raise ConfigurationError(
                f"score={type(score).__name__} keeps predictions, and this process has no labelled group to "
                "predict; raise num_examples until there is a group of examples for each process."
            )

    def score_reference(self, probe: Probe, outputs: int) -> ScoreReference:
        """Return the score of one constant answer and of the labels, on the scored examples."""
        target = self.target(probe)
        if target is None:
            return ScoreReference()
        scored = target[probe.groups.flatten()]
        known = scored[labelled(scored, self.task)]
        return anchors(self._score(outputs, target), self.task, known, outputs)

    def evidence(self, probe: Probe, examples: Tensor, outputs: Tensor) -> dict[str, float]:
        """Return further evidence for an alarm by name; see ``RunRecord.evidence``.

        Args:
            probe: The examples.
            examples: ``(n,)`` long: indices in the probe.
            outputs: ``(n, C)`` their outputs.
        """
        found = self.skill(probe, examples, outputs)
        told = {} if found is None else found.evidence
        if self.task == "regression":
            return told
        choices = decisions(comparable(outputs, self.task), self.task)
        return told | {"decides": float((choices != choices[:1]).any())}

    def output_components(self, probe: Probe, outputs: Tensor, groups: int, left_out: Tensor | None) -> Tensor:
        """Return ``(C, 1 + M)``: variance and total effects of every output; 0 for outputs that are masked in some row.

        With up to 16 outputs, it returns an empty tensor, ``(0, 1 + M)``.

        Args:
            probe: The examples.
            outputs: ``(G * T, C)`` outputs of the rows of :meth:`plan`.
            groups: Number of counted groups, from the first one on.
            left_out: ``(C,)`` bool: classes that are masked in some row; None if there are none.
        """
        count = outputs.shape[-1]
        found = torch.zeros(count if count > MANY_OUTPUTS else 0, 1 + len(self.modalities), dtype=torch.float64)
        if len(found):
            kept = torch.ones(count, dtype=torch.bool) if left_out is None else ~left_out.cpu()
            by_group = self._by_group(outputs)[:groups][..., kept.to(outputs.device)]
            scale = self.scale(probe, count)
            values = decomposable(by_group, self.task, None if scale is None else scale[kept])
            found[kept] = output_components(values, self.design)
        return found

    def single_outputs(self, components: Tensor) -> dict[str, float]:
        """Return, for each modality, the output that it decides most, and its share; see ``RunRecord.evidence``."""
        if not len(components):
            return {}
        places, shares = (found.tolist() for found in most_decided(components, NOTABLE))
        told = {f"single/{name}": share for name, share in zip(self.modalities, shares, strict=True)}
        named = {f"single_output/{name}": float(place) for name, place in zip(self.modalities, places, strict=True)}
        return {name: value for name, value in (told | named).items() if isfinite(value)}

    def skill(self, probe: Probe, examples: Tensor, outputs: Tensor) -> Skill | None:
        """Return the model's skill on real examples; None without labels, or if the score has no reference.

        Args:
            probe: The examples.
            examples: ``(n,)`` long: indices in the probe.
            outputs: ``(n, C)`` their outputs.
        """
        target = self.target(probe)
        if target is None:
            return None
        predicted, known = labelled_predictions(comparable(outputs, self.task), target[examples], self.task)
        return measured_skill(self._score(outputs.shape[1], target), self.task, predicted, known, outputs.shape[1])

    def score_of(self, probe: Probe, examples: Tensor, outputs: Tensor) -> float | None:
        """Return the score of examples ``(n,)`` with their ``(n, C)`` outputs; None without labels."""
        target = self.target(probe)
        if target is None:
            return None
        predicted, known = labelled_predictions(comparable(outputs, self.task), target[examples], self.task)
        score = self._score(outputs.shape[1], target)
        score.update(predicted, known)
        return float(local_value(score))

    def fit_proofs(self, probe: Probe, outputs: int, kin: Tensor | None = None) -> Proofs:
        """Return the proofs from the raw inputs of every modality; empty without labels.

        Args:
            probe: The examples.
            outputs: Number of outputs of one example, C.
            kin: ``(N,)`` long: examples with equal numbers are related (kin); None if no two are.
        """
        target = self.target(probe)
        return Proofs() if target is None else fit_proofs(probe, target, self.task, outputs, self.seed, kin)

    def _score(self, outputs: int, target: Tensor) -> Metric:
        if self.score is None:
            return default_score(self.task, outputs, graded=self._graded(target))
        known = target[labelled(target, self.task)]
        return fitted(self.score, self.task, encoded(known, self.task, outputs), known)

    def _graded(self, target: Tensor | None) -> bool:
        return target is not None and graded(target, self.task)

    @property
    def _plan(self) -> dict[str, Any]:
        """The common arguments of all metrics, which read the same rows."""
        return {"group_size": self.group_size, "pairs": self.pairs, "seed": self.seed}

    def scale(self, probe: Probe, outputs: int) -> Tensor | None:
        """Return ``(C,)`` factors that make several regression outputs comparable."""
        target = self.target(probe)
        if self.task != "regression" or outputs == 1 or target is None:
            return None
        known = target[labelled(target, self.task)]
        return known.double().std(0).where(beyond_rounding(known), 1.0)  # a constant target has no scale

    def explain(self, metrics: Sequence[Metric]) -> dict[str, float]:
        """Return the values by the names under which they are logged."""
        values = {name: value for metric in metrics for name, value in metric.compute().items()}
        odd = [name for name, value in values.items() if value.numel() != 1 or not bool(value.isfinite())]
        if odd:
            raise RuntimeError(
                f"{', '.join(odd)}: not a single finite number; check score= and the size of the outputs."
            )
        return {name: float(value) for name, value in values.items()}

    def _everything(self, outputs: Tensor) -> Tensor:
        return outputs.view(-1, len(self.tuples), outputs.shape[-1])

    def _by_group(self, outputs: Tensor) -> Tensor:
        return self._everything(outputs)[:, : len(self.design.tuples)]

    def target(self, probe: Probe) -> Tensor | None:
        """Return ``(N, ...)`` labels for scores; None if no recombined example has a label."""
        target = probe.target
        if target is None or not bool(labelled(target[probe.groups.flatten()], self.task).any()):
            return None
        return target.double() if graded(target, self.task) else decided(target, self.task)
