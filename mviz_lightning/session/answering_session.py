"""A session of a language model that answers: rows end where the answer begins, and the answers are scored."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from mviz_lightning.engine.answer_outputs import check_dropped_answers
from mviz_lightning.engine.draws import ContextFactory
from mviz_lightning.errors import NotMeasurableError
from mviz_lightning.explainers.contribution_shares.answer_shares import AnswerShares
from mviz_lightning.metrics.own_answers import loss_names
from mviz_lightning.observation.ways import StepFunction
from mviz_lightning.session.answer_scores import COMPLETE, Answers, AnswerScore, answers_of
from mviz_lightning.session.dry_run import DryRun
from mviz_lightning.session.preparation import Preparation
from mviz_lightning.session.saved_probe import Collected

UNUSABLE = (
    "{count} of {size} sampled examples have no answer in {path!r}, or an item behind their first answer, and are left "
    "out"
)


@dataclass
class AnsweringSession(Preparation):
    """A preparation that finds the answers of a language model, and chooses their score once all examples are known."""

    _answers: Answers | None = None
    _answer_score: AnswerScore | None = None

    def dry_run(
        self, module: nn.Module, precision: ContextFactory = nullcontext, step: StepFunction | None = None
    ) -> None:
        """Try a model as :meth:`Preparation.dry_run` does; that of a language model is tried at the end of prompts."""
        trial = self._sampler.reader.trial
        if trial is None or self.dry_run_done or self._failure.error is not None:
            return
        with self.failures_kept():
            self._answers = answers_of(module, trial, self.config)
        if self._answers is None:
            super().dry_run(module, precision, step)
            return
        with self.failures_kept():
            config = self.config.calling(self._answers.predict)
            self._dry_run = DryRun(config, self._reading, self.remarks)
            trial = self._answers.of_usable(trial)
            tried = self._dry_run.run(module, self._answers.prompted(trial), precision)
            check_dropped_answers(tried.evaluator, self._answers.language, self._answers.texts(trial))
            self._sampler.label_by(self._answers.labelled, self._answers.path)
            self._tried = tried

    def complete(self) -> None:
        """Fix the examples as :meth:`Preparation.complete` does, and choose the score of their answers."""
        super().complete()
        collected, tried = self._ready()
        if self._answers is None or collected.uncut is not None:
            return
        with self.ranks.raise_on_all_ranks():
            collected = self._usable(collected, self._answers, max(self.ranks.gather(tried.fusion_share)))
            found = self._answers.score(collected.probe)
            self.config = self.config.named(found.class_names)
            self.config.check_outputs(found.outputs)
        if found.own:  # those that are drawn again, without broken ones, have no labels either
            self._sampler.label_by(lambda probe: probe, None)
        self._reading.take(found.task, None, found.line)
        evaluator = replace(tried.evaluator, predict=found.predict)
        evaluator.forget_plan()
        self._tried, self._answer_score = replace(tried, evaluator=evaluator, outputs=found.outputs), found
        self._collected = replace(collected, probe=found.probe, uncut=collected.probe)

    def _usable(self, collected: Collected, answers: Answers, fusion_share: float) -> Collected:
        """Return the fixed examples without those that have no answer, or an item behind it.

        Raises:
            NotMeasurableError: Too few are left.
        """
        usable = answers.texts(collected.probe).usable
        if bool(usable.all()):
            return collected
        rest = self._sampler.without(collected, (~usable).nonzero()[:, 0].tolist(), fusion_share)
        said = UNUSABLE.format(count=int((~usable).sum()), size=len(usable), path=answers.path)
        if rest is None:
            raise NotMeasurableError(f"{said}, and too few are left. {COMPLETE}")
        self.remarks.say(said)
        return rest

    @property
    def call(self) -> str:
        """How the model is called, in words; ``""`` until a call worked."""
        return self._answers.call if self._answers is not None and self.dry_run_done else super().call

    @property
    def keys(self) -> list[str]:
        """Names of the values of a run, without prefix, as far as they are known before it."""
        if self._answers is None:
            return super().keys
        if self._answer_score is None or not self._answer_score.own:
            return self.config.keys_of("multiclass", scored=True)
        swapped = [name for name in self.config.modalities if name != self._answers.finder.found.text]
        return self.config.keys_of("regression", scored=False) + loss_names(swapped)

    def _of_own_answers(self, given: Sequence[Any]) -> AnswerShares | None:
        """Return the shares of own answers; None where something else is scored.

        Args:
            given: The first arguments of :class:`Shares`.
        """
        if self._answers is None or self._answer_score is None or not self._answer_score.own:
            return None
        return replace(AnswerShares(*given), text=self._answers.finder.found.text)
