"""Scores of questions to tiny language models, whose rows are packed, and the forwards that they take."""

from collections.abc import Callable
from typing import Any

import torch
from helpers.tally import Tally
from language_models.families import Family, Question
from language_models.rebuilding import modalities_of, probe_of
from language_models.tokens import VOCABULARY
from torch import Tensor, nn

from mviz_lightning.batch import Probe
from mviz_lightning.engine.answer_outputs import FirstTokens, OwnAnswers, WholeAnswers
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Query
from mviz_lightning.session.answer_scores import Answers, answers_of
from mviz_lightning.session.config import SessionConfig

LIMIT = 2e-6
"""Largest difference of outputs, as a fraction of the largest."""

ASKED = [
    ("{} what is the colour of this", "red"),
    ("{} how many", "blue green"),
    ("red {} is this two", "two"),
    ("{} two", "red red red"),
    ("red {} what", "blue"),
    ("{} is", "two green"),
]

COUNT = len(ASKED)

FIRST = (VOCABULARY["red"], VOCABULARY["blue"], VOCABULARY["two"])
WHOLE = ((VOCABULARY["red"],), (VOCABULARY["blue"], VOCABULARY["green"]), (VOCABULARY["two"],))


def answered(family: Family, side: str) -> tuple[Answers, Probe]:
    asked = [Question(words, [family.item(k)], answer) for k, (words, answer) in enumerate(ASKED)]
    probe = probe_of(family, asked, side)
    answers = answers_of(family.own_model(), probe, SessionConfig(modalities_of(family, side)))
    assert answers is not None
    return answers, probe


def first_tokens(answers: Answers, probe: Probe) -> tuple[Any, Probe]:
    return FirstTokens(answers.language, torch.tensor(FIRST)), answers.prompted(probe)


def whole_answers(answers: Answers, probe: Probe) -> tuple[Any, Probe]:
    texts = answers.texts(probe)
    return WholeAnswers(answers.language, answers.finder, WHOLE, texts.beside), texts.prompted


def own_answers(answers: Answers, probe: Probe) -> tuple[Any, Probe]:
    return OwnAnswers(answers.language, answers.finder), answers.texts(probe).answered


SCORES = [first_tokens, whole_answers, own_answers]

GRID = Query(torch.cartesian_prod(torch.arange(COUNT), torch.arange(COUNT)))
"""All pairs of an item and a text."""


def score_of(family: Family, kind: Callable[..., Any], side: str = "right") -> tuple[Evaluator, Probe]:
    predict, probe = kind(*answered(family, side))
    return Evaluator(family.own_model(), predict), probe


def forwards(model: nn.Module, run: Callable[[], Tensor]) -> tuple[Tensor, list[int]]:
    """Return what a function returns, and the number of tokens in each forward of a model."""
    tally = Tally()
    handle = model.register_forward_pre_hook(
        lambda _, __, given: tally.seen.append(given["input_ids"].numel()), with_kwargs=True
    )
    with handle:
        return run(), tally.seen


def same(found: Tensor, plain: Tensor) -> bool:
    return bool((found - plain).abs().max() <= LIMIT * max(1.0, float(plain.abs().max())))
