"""A session of a language model that answers: rows end where the answer begins, and the answers are scored."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from mviz_lightning.batch import Probe
from mviz_lightning.batch.answered import AnsweredTexts, finder_in
from mviz_lightning.engine.answer_outputs import FirstTokens, OwnAnswers, check_dropped_answers
from mviz_lightning.engine.draws import ContextFactory
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.errors import ConfigurationError, NotMeasurableError
from mviz_lightning.explainers.contribution_shares.answer_shares import AnswerShares
from mviz_lightning.functional import Task
from mviz_lightning.metrics.own_answers import loss_names
from mviz_lightning.observation.answering_call import AnsweringCall, ReadCall, answering_call
from mviz_lightning.observation.own_outputs import COMPARED_ROWS
from mviz_lightning.observation.ways import StepFunction, name_of_step
from mviz_lightning.session.answer_agreement import UNCOMPARED, AnswerAgreement, settled_language
from mviz_lightning.session.answer_loss import LossCall, doubt_of_loss
from mviz_lightning.session.answer_scores import (
    COMPLETE,
    Answers,
    AnswerScore,
    answers_of,
    languages_of,
    scores_answers,
    usable_examples,
)
from mviz_lightning.session.preparation import Preparation
from mviz_lightning.session.saved_probe import Collected

UNUSABLE = (
    "{count} of {size} sampled examples have no answer in {path!r}, or an item after their first answer, and are left "
    "out"
)


@dataclass
class AnsweringSession(Preparation):
    """A preparation that finds the answers of a language model, and chooses their score once all examples are known."""

    _answers: Answers | None = None
    _answer_score: AnswerScore | None = None
    _call: AnsweringCall | None = None
    _unanswered: ConfigurationError | None = None

    def dry_run(
        self, module: nn.Module, precision: ContextFactory = nullcontext, step: StepFunction | None = None
    ) -> None:
        """Try a model as :meth:`Preparation.dry_run` does; a language model is tried at the end of prompts."""
        trial = self._sampler.reader.trial
        if trial is None or self.dry_run_done or self._failure.error is not None or self._awaits_answers(trial):
            return
        with self.failures_kept():
            self._answers = self._found_answers(module, trial, precision, step)
        if self._answers is None:
            super().dry_run(module, precision, step)
            return
        with self.failures_kept():
            config = self.config.calling(self._answers.predict)
            self._dry_run = replace(self._dry_run, config=config)
            trial = self._answers.of_usable(trial)
            tried = self._dry_run.run(module, self._answers.prompted(trial), precision)
            check_dropped_answers(tried.evaluator, self._answers.language, self._answers.texts(trial))
            self._sampler.label_by(self._answers.labelled, self._answers.path)
            self._tried = tried

    def _awaits_answers(self, trial: Probe) -> bool:
        """Return whether no example of a batch can be used; then a later batch is read as the first."""
        finder = finder_in(trial.schema)
        if finder is None or not scores_answers(trial.schema, self.config):
            return False
        try:
            usable_examples(AnsweredTexts(trial, finder))
        except ConfigurationError as error:
            self._unanswered = error
            self._sampler.reader.await_another()
            return True
        return False

    def check(self, *, complete: bool = True) -> None:
        """Raise as :meth:`Preparation.check` does, and if no batch had an answer that can be used."""
        if self._unanswered is not None and not self.dry_run_done:
            with self.failures_kept():
                raise self._unanswered
        super().check(complete=complete)

    def _found_answers(
        self, module: nn.Module, trial: Probe, precision: ContextFactory, step: StepFunction | None
    ) -> Answers | None:
        """Return the answers of a language model that gives the logits of the user's own step, if the step shows them.

        Raises:
            NotMeasurableError: The model gives other logits than the step.
        """
        if not scores_answers(trial.schema, self.config):
            return None
        seen = None if step is None else self._observer.seen(module, step, trial, precision)
        self._call = None if seen is None else answering_call(seen, module)
        call, found = self._call, answers_of(module, trial, self.config, self._call)
        if found is None:
            self._observer.give_back(seen)
            return None
        if call is None:
            self.remarks.say("" if step is None else UNCOMPARED.format(step=name_of_step(step)))
            return found
        config = self.config

        def evaluator_of(predict: Predict) -> Evaluator:
            return Evaluator(module, predict, config.chunk_size, precision, config.seed, reuse=False)

        languages = languages_of(module, trial.schema, call)
        language = settled_language(call, languages, found.first_tokens, found.of_usable(trial), evaluator_of)
        return replace(found, language=language)

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
        if found.own:  # examples that are drawn again have no labels either
            self._sampler.label_by(lambda probe: probe, None)
        self._reading.take(found.task, None, found.line)
        evaluator = replace(tried.evaluator, predict=found.predict)
        evaluator.forget_plan()
        read = None if self._call is None else ReadCall(self._call, found.reading)
        if read is not None and isinstance(found.reading.reader, OwnAnswers):
            few = collected.probe.part(collected.probe.groups.flatten()[:COMPARED_ROWS])
            call = LossCall(read.call, read.reading)
            self.remarks.say(doubt_of_loss(call, self._answers.texts(few), evaluator))
        self._tried = replace(tried, evaluator=evaluator, outputs=found.outputs, read=read)
        self._answer_score = found
        self._collected = replace(collected, probe=found.probe, uncut=collected.probe)

    def _usable(self, collected: Collected, answers: Answers, fusion_share: float) -> Collected:
        """Return the fixed examples that have an answer and no item after it.

        Raises:
            NotMeasurableError: Too few examples are left.
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
        """Description of the call of the model; ``""`` until a call worked."""
        return self._answers.call if self._answers is not None and self.dry_run_done else super().call

    @property
    def keys(self) -> list[str]:
        """Names of the values of a run, without prefix, as far as they are known before it."""
        if self._answers is None:
            return super().keys
        compared = [] if self._call is None else ["agreement"]
        if self._answer_score is None or not self._answer_score.own:
            return self.config.keys_of("multiclass", scored=True) + compared
        swapped = [name for name in self.config.modalities if name != self._answers.finder.found.text]
        return self.config.keys_of("regression", scored=False) + loss_names(swapped) + compared

    def _answer_agreement(self) -> AnswerAgreement | None:
        """Return the check of how answers are read; None if no answers are scored."""
        (collected, _), score = self._ready(), self._answer_score
        if score is None or collected.uncut is None:
            return None
        task: Task = "multiclass" if isinstance(score.reading.reader, FirstTokens) else "regression"
        examples = replace(collected.uncut, groups=collected.probe.groups)
        return AnswerAgreement.of(self._own_outputs, examples, task, self.ranks)

    def _of_own_answers(self, given: Sequence[Any]) -> AnswerShares | None:
        """Return the shares of own answers; None if something else is scored.

        Args:
            given: The first arguments of :class:`Shares`.
        """
        if self._answers is None or self._answer_score is None or not self._answer_score.own:
            return None
        return replace(AnswerShares(*given), text=self._answers.finder.found.text)
