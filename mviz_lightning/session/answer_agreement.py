"""Compare the monitor's reading of answers with the logits that the user's own step computes for them."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.engine.agreement import agree, deviation
from mviz_lightning.engine.answer_outputs import AnswerReading, FirstTokens, OwnAnswers, WholeAnswers, of_model
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.language_model import LanguageModel
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.output_reader import ROW_READER
from mviz_lightning.engine.packed_evaluation import Packing
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import NotMeasurableError, describe_error
from mviz_lightning.observation.answering_call import AnsweringCall, ReadCall, answering_call
from mviz_lightning.observation.observed_step import ObservedStep
from mviz_lightning.observation.own_outputs import COMPARED_ROWS, Agreement
from mviz_lightning.observation.ways import name_of_step
from mviz_lightning.session.agreement_check import AgreementCheck
from mviz_lightning.session.answer_scores import languages_of
from mviz_lightning.session.tried_model import TriedModel

EvaluatorOf: TypeAlias = Callable[[Predict], Evaluator]
"""Makes the evaluator that calls the model in one way."""

UNCOMPARED = (
    "no module returns logits of every token to {step} (it may generate, or keep only the last ones), so the monitor's "
    "reading of answers is not compared with your step"
)
"""Line of the log where the step shows no logits to compare with."""

DIFFERENT = (
    "the logits that {step} computes at the answers could not be reproduced for the same examples:\n{found}\n"
    "Allowed are logits that depend only on their own example, and arguments that are made from the batch. Pass "
    "predict=, a function (module, batch) -> (batch, outputs) tensor, that returns the logits of a few answers at the "
    "end of the prompt."
)


class AnswerAgreement(AgreementCheck):
    """Compares a few answers as the monitor reads them with the logits of the user's own step, at every run."""

    def compared(self, tried: TriedModel, examples: Probe, own: Tensor | None) -> Agreement | None:
        """Compare answers as the monitor reads them with the user's own logits, or with those of a replay."""
        if tried.read is None:
            return None
        try:
            once = replace(tried.evaluator, predict=tried.read.reading.reader, head=None, reader=ROW_READER, draws=1)
            own = tried.read.replayed(once.module, examples, once.precision) if own is None else own
            if own is not None:
                usable = tried.read.reading.usable(examples).nonzero()[:, 0]
                found = answers_as_read(once, tried.read.reading, examples.part(usable))
                return Agreement.of(own[usable.to(own.device)], found, self.task)
        except Exception:  # a step that cannot be replayed shows nothing
            return None
        # The step ended without the call: it may call another model now.
        return None if self.anew(tried, examples) is None else Agreement(examples.size, 0.0, math.inf, 0.0)

    def anew(self, tried: TriedModel, probe: Probe) -> TriedModel | None:
        """Return the model with the call that the step makes now; None if this call is not found."""
        read, evaluator = tried.read, tried.evaluator
        reader = evaluator.predict
        if read is None or not isinstance(reader, FirstTokens | OwnAnswers | WholeAnswers):
            return None
        seen = ObservedStep.replayed(evaluator.module, read.call.step, self.examples, evaluator.precision)
        call = answering_call(seen, evaluator.module)
        if call is None:
            return None
        ways = languages_of(evaluator.module, probe.schema, call)

        def evaluator_of(predict: Predict) -> Evaluator:
            return replace(evaluator, predict=predict, reuse=False, head=None)

        with suppress(NotMeasurableError):
            language = settled_language(call, ways, read.reading_by, self.examples, evaluator_of)
            fresh = replace(evaluator, predict=of_model(reader, language), packing=Packing())
            fresh.forget_plan()
            return replace(tried, evaluator=fresh, read=ReadCall(call, read.reading_by(language)))
        return None

    def reported(self, few: Agreement, tried: TriedModel, probe: Probe) -> Agreement:
        """Return the disagreement of a few rows as it is."""
        return few


def answers_as_read(evaluator: Evaluator, reading: AnswerReading, examples: Probe) -> Tensor:
    """Return ``(N, C)`` scores of unchanged examples, each rebuilt from its own modalities."""
    rows = torch.arange(examples.size)
    return evaluator.plain(reading.kept(examples), Query.aligned(rows, len(examples.schema.names)))


def settled_language(
    call: AnsweringCall,
    languages: Sequence[LanguageModel],
    reading_of: Callable[[LanguageModel], AnswerReading],
    examples: Probe,
    evaluator_of: EvaluatorOf,
) -> LanguageModel:
    """Return the first way of calling a language model that gives the logits that the user's own step computes.

    Args:
        call: The call of the step.
        languages: The ways, the preferred one first.
        reading_of: Returns how the logits of a model are read.
        examples: Some examples.
        evaluator_of: Makes the evaluator that calls the model in one way.

    Raises:
        NotMeasurableError: No way gives these logits.
    """
    few, reading = examples.part(torch.arange(min(examples.size, COMPARED_ROWS))), reading_of(languages[0])
    own = _replayed(ReadCall(call, reading), few, evaluator_of(reading.reader))
    if own is None:
        return languages[0]
    outcomes = list[str]()
    for language in languages:
        reading = reading_of(language)
        outcome = _difference(own, reading, few, evaluator_of(reading.reader))
        if not outcome:
            return language
        outcomes.append(f"  {language.call}: {outcome}")
    raise NotMeasurableError(DIFFERENT.format(step=name_of_step(call.step), found="\n".join(outcomes)))


def _replayed(read: ReadCall, examples: Probe, evaluator: Evaluator) -> Tensor | None:
    """Return the scores that are read from the step's own logits; None if the step cannot be replayed."""
    with suppress(Exception):
        return read.replayed(evaluator.module, examples, evaluator.precision)
    return None


def _difference(own: Tensor, reading: AnswerReading, examples: Probe, evaluator: Evaluator) -> str:
    """Return a text about the difference between the scores as read and those from ``own``; ``""`` if there is none."""
    other_draws = replace(evaluator, seed=evaluator.seed + 1)  # the step may sample
    try:
        found = answers_as_read(other_draws, reading, examples)[: len(own)]
    except Exception as error:
        return describe_error(error)
    own = own.to(found.device)
    return "" if agree(own, found) else f"the largest difference is {deviation(own, found):.2g} of their spread"
