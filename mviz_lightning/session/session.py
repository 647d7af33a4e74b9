"""The runs of one validation set: what is measured on its fixed examples, and the explanations of single ones."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.engine import dry_run_checks
from mviz_lightning.engine.decomposed_calls import without_logits
from mviz_lightning.engine.progress import tell_begun, tell_planned
from mviz_lightning.errors import describe_error
from mviz_lightning.explainers.contribution_shares.pair_shares import PairShares
from mviz_lightning.explainers.contribution_shares.patterns import PatternScore
from mviz_lightning.explainers.contribution_shares.position_shares import (
    PositionShares,
    single_outputs,
    target_of_examples,
)
from mviz_lightning.functional.outputs import levelled
from mviz_lightning.observation.own_outputs import Agreement
from mviz_lightning.session.agreement_check import AgreementCheck, WithheldError
from mviz_lightning.session.explaining_session import ExplainingSession
from mviz_lightning.session.precision import Precision
from mviz_lightning.session.reference_score import further_examples, reference_outputs
from mviz_lightning.session.sampled_positions import score_of_all_positions
from mviz_lightning.session.trained_check import TrainedCheck
from mviz_lightning.session.tried_model import TriedModel


@dataclass(frozen=True)
class Measurement:
    """Result of one run.

    Attributes:
        values: Name under which a value is logged, without prefix -> value.
        rows: Number of rows evaluated, over all processes.
        seconds: Wall time.
        noise_floor: Share of variance below which a share may be rounding of the model's own number type.
        evidence: Name -> further value for an alarm, as in ``RunRecord.evidence``; empty without an alarm.
        advice: Advice on the number of examples for narrower intervals; ``""`` if they are narrow.
        patterns: Scores by pattern of presence, with ``absence=True``.
    """

    values: dict[str, float]
    rows: int
    seconds: float
    noise_floor: float
    evidence: Mapping[str, float] = field(default_factory=dict)
    advice: str = ""
    patterns: Sequence[PatternScore] = ()


@dataclass
class Session(ExplainingSession):
    """The fixed examples of one validation set, and everything measured on them, run after run.

    After :meth:`complete` has fixed the examples, :meth:`run` and :meth:`explain` may be called any number of times.
    """

    _trained_check: TrainedCheck = field(init=False)
    _compared: Probe | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._trained_check = TrainedCheck(self._dry_run.named, self._dry_run.unmasked, self.remarks)

    def run(self) -> Measurement:
        """Measure the model as it is now.

        Raises:
            ConfigurationError: The task cannot be guessed, the labels do not fit it, or the outputs of a row depend on
                other rows.
            RuntimeError: Outputs are not finite, or the model failed; on all processes alike.
        """
        started = time.perf_counter()
        tell_begun("shares" if self.main is None else f"shares of head {self.name}")
        self.sample_positions()
        self.fit_shapes()
        with self.ranks.raise_on_all_ranks():
            self._read()
        agreement = self._agreement()
        self._leave_out_broken_examples()
        probe, shares, tried = self._read()
        evaluator, before = tried.evaluator, tried.evaluator.rows
        groups = self.ranks.share(probe.groups)
        outputs, single = self._outputs(self.ranks.padded_share(probe.groups))
        with self.ranks.raise_on_all_ranks():
            metrics = shares.metrics(probe, outputs, groups, self._reading.left_out, sync=self.ranks.count > 1)
            own = shares.own(outputs)[: len(groups)].flatten(0, 1)
        self._own = own  # on all processes or on none
        values = self._with_whole_score(shares.explain([self.ranks.synced(one) for one in metrics]), groups)
        values |= {} if agreement is None else {"agreement": agreement.predictions}
        values |= self._within_subsets(outputs, len(groups)) | self._embedding_values()
        floor = self._reading.floor(single, len(self.config.modalities))
        rows = (evaluator.rows - before) * self.ranks.count
        self.remarks.say(evaluator.packing.line, noted=False, once="packed rows")
        evidence, further = self._evidence(outputs, groups, own, rows)
        absence = self._absence(values, rows + further)
        advice = self._advice(probe, values)
        seconds = time.perf_counter() - started
        found_values, rows = values | absence.values, rows + further + absence.rows
        return Measurement(found_values, rows, seconds, floor, evidence, advice, absence.patterns)

    def _outputs(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs of some groups' rows as the shares take them, and as ``(R, C)`` single predictions.

        Raises:
            RuntimeError: Outputs are not finite, or the model failed; on all processes alike.
        """
        probe, shares, tried = self._read()
        with self.ranks.raise_on_all_ranks():
            plan = shares.plan(groups)
            tell_planned(len(plan))
            found = tried.evaluator(probe, [plan])[0]
            single = dry_run_checks.usable(levelled(single_outputs(shares, found), shares.task))
        self._trained_check.run(single, tried.evaluator, probe, tried.call, self.ranks)
        self._dry_run.unmasked.report(self.remarks)
        single, settled = self._reading.settle(single, shares.task, tried.evaluator, self.ranks)
        self._tried = replace(tried, evaluator=settled)
        self._reading.leave_out(single, shares.task, self.ranks)
        return single.view(len(found), -1), single

    def run_heads(self, failed: Callable[[str, Exception], None]) -> dict[str, Measurement]:
        """Measure the further heads on the rows of the main one, right after :meth:`run`.

        Args:
            failed: Takes the name of a head that could not be measured, and the reason; it may raise.
        """
        found: dict[str, Measurement] = {}
        for name, head in self.heads.items():
            try:
                with head.remarks.instead_of_warnings():
                    found[name] = head.run()
            except Exception as error:  # raised on all ranks or on none; only this head is left out
                failed(name, error)
        self.forget_outputs()
        return found

    def _advice(self, probe: Probe, values: Mapping[str, float]) -> str:
        """Return advice on the number of examples for narrower intervals, and log it once, for the main head."""
        if self.main is not None:
            return ""
        size, budget = probe.groups.shape[1], self.config.limiting
        rows = self.config.rows_of(size)
        advice = Precision(probe.groups.numel(), size, self._sampler.available, budget, rows).advice(values)
        self.remarks.say(advice, noted=False, once="precision")
        return advice

    def _evidence(self, outputs: Tensor, groups: Tensor, own: Tensor, spent: int) -> tuple[dict[str, float], int]:
        """Return evidence besides the values, and the number of rows that it took; without an alarm, only facts.

        Args:
            outputs: Outputs of this process's share of the groups.
            groups: ``(G', g)`` the counted groups: the first ones of the planned groups.
            own: ``(K, C)`` outputs of the real examples of these groups.
            spent: Rows of the budget that were evaluated already.
        """
        (probe, shares, tried), pool = self._read(), self._ready()[0].pool
        facts = shares.facts(probe) if isinstance(shares, PairShares) else {}
        if not self.judged:
            return facts, 0
        try:
            target, left = target_of_examples(shares, probe), self.config.left(spent)
            further = further_examples(probe, target, pool, shares.task, left)
            found = reference_outputs(probe, own, further, tried.evaluator, self.ranks, shares.task)
            with self.ranks.raise_on_all_ranks():
                evidence = shares.evidence(probe, found.examples, found.outputs)
                parts = shares.output_components(probe, outputs, len(groups), self._reading.left_out)
        except Exception as error:  # on all ranks or on none
            self.remarks.say(f"the score of all {pool} fixed examples is unknown: {describe_error(error)}")
            return facts, 0
        return facts | evidence | shares.single_outputs(torch.stack(self.ranks.gather(parts)).sum(0)), found.rows

    def _with_whole_score(self, values: dict[str, float], groups: Tensor) -> dict[str, float]:
        """Return values with the score of all labelled positions in place of that of the sampled ones."""
        probe, shares, tried = self._read()
        if not isinstance(shares, PositionShares) or tried.axes is None or "score" not in values:
            return values
        with self.ranks.raise_on_all_ranks():
            whole = score_of_all_positions(shares, probe, tried.evaluator, tried.axes, groups)
        self.ranks.synced(whole.metric)
        score = whole.value(sync=self.ranks.count > 1)
        return values | {"score": score, "emap_score": score - values["emap_gap"]}

    def _within_subsets(self, outputs: Tensor, groups: int) -> dict[str, float]:
        """Return the shares within classes and subgroups; none if the user requested none.

        Args:
            outputs: ``(R, C)`` outputs of this process's rows.
            groups: Number of this process's counted groups.
        """
        if not self.config.asks_for_subsets:
            return {}
        probe, shares, _ = self._read()
        with self.ranks.raise_on_all_ranks():
            effects = shares.swap_effects(probe, outputs, self._reading.left_out)[:groups].cpu()
        found = self.subsets
        for line in found.lines:
            self.remarks.say(line)
        return found.values(torch.cat(self.ranks.gather(effects)))

    def _agreement(self) -> Agreement | None:
        """Compare with the user's own outputs; if they differ, follow a step that computes them in another way.

        Raises:
            ConfigurationError: The outputs of a row depend on other rows.
            WithheldError: They differ for another reason, and ``on_disagreement`` is not ``"log"``.
        """
        probe, shares, tried = self._read()
        given = self._own_outputs, probe, shares.task, self.ranks, self._compared
        check = self._answer_agreement() or AgreementCheck.of(*given)
        for head in self.heads.values():
            head.compare_on(check.examples)
        found = check.check(tried)
        if found is None or found.holds:
            return found
        followed = check.follow(tried, probe)
        if followed is not None:
            self._follow(followed[0])
            return followed[1]
        with self.ranks.raise_on_all_ranks():  # raises if outputs depend on other rows
            dry_run_checks.check_independence(without_logits(tried.evaluator), probe)
        found = check.reported(found, tried, probe)
        if self.config.on_disagreement == "withhold":
            raise WithheldError(found)
        self.remarks.say(f"{found}; the shares are logged, because on_disagreement='log'")
        return found

    def compare_on(self, examples: Probe) -> None:
        """Compare the outputs of a further head with the user's own on the examples of the main one, in one forward."""
        self._compared = examples

    def _follow(self, model: TriedModel) -> None:
        """Call the model in another way from now on."""
        self._tried, self._runner = model, None
        (self if self.main is None else self.main)._join()
        if model.line:
            self.remarks.say(f"the step computes its scores in another way than before: {model.line}")
