"""Which score tells how a language model answers, and of which answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe
from mviz_lightning.batch.answered import AnsweredTexts, finder_in, with_text
from mviz_lightning.batch.interleaved.answers import AnswerFinder
from mviz_lightning.engine.answer_outputs import FirstTokens, OwnAnswers, WholeAnswers
from mviz_lightning.engine.language_model import LanguageModel, find_language_model, refuse_virtual_tokens
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.placeholder_tokens import tokenizers_of
from mviz_lightning.errors import NotMeasurableError
from mviz_lightning.functional import Task
from mviz_lightning.functional.targets import IGNORED
from mviz_lightning.session.answer_choice import (
    VARIED,
    doubts_of_first_tokens,
    doubts_of_whole_answers,
    usual_answers,
    usual_by_first_token,
    usual_first_tokens,
    varied_prompts,
)
from mviz_lightning.session.config import SessionConfig

NAMED = 6
"""Largest number of answers that a line of the log names."""

FIRST = (
    "score: the logits of the first token of {count} answers at the end of the prompt ({named}), which begin "
    "the answers of {covered:.0%} of the examples; the answers themselves are dropped from the rows"
)

WHOLE = (
    "score: the mean log-likelihood of a token of {count} whole answers behind the prompt ({named}), which are "
    "the answers of {covered:.0%} of the examples, since {why}; a row takes {count} forwards"
)

ALIKE = "swapping the text changes {varied:.0%} of the prompts, so that answers could follow the items alone"
"""Why shares of classes would tell nothing of a blind model: the items would explain all that varies."""

OWN = (
    "score: the mean log-likelihood of a token of each example's own answer, since {why}. The answer travels with "
    "{text!r}; nats/<m> are the nats a token that it loses when m is swapped, retrieval/<m> is how often the own m "
    "makes it likeliest"
)

VACUOUS = (
    "the prompts and the answers in {ids!r} are the same in nearly all examples, so that swapping texts changes "
    "nothing and the items would explain all by themselves. Measure examples with different answers."
)
"""What is said where not even the likelihood of own answers tells anything."""

COMPLETE = "Give examples whose pictures and sounds stand in front of the first answer, and do not truncate their ends."
"""What to do where examples cannot be used."""

BEHIND = "no first answer of {ids!r} stands behind all items of its text, and what follows it is dropped. " + COMPLETE

OWN_NAME = "log-likelihood of the own answer"
"""Name of the output."""


@dataclass(frozen=True)
class AnswerScore:
    """A score of answers, for some examples.

    Attributes:
        probe: The examples as they are evaluated, with labels where there are any.
        predict: Returns the score of a batch of rows, ``(B, C)``.
        outputs: Number of outputs of one example, C.
        task: What they stand for.
        class_names: Names of the outputs.
        line: What it is, for the log.
    """

    probe: Probe
    predict: Predict
    outputs: int
    task: Task
    class_names: Sequence[str]
    line: str

    @property
    def own(self) -> bool:
        """Whether it is the likelihood of each example's own answer."""
        return self.task == "regression"


@dataclass(frozen=True)
class Answers:
    """The answers that a language model is trained to give.

    Attributes:
        language: The model.
        finder: Finds the answers in texts.
        tokenizer: Decodes them; None where none is known.
    """

    language: LanguageModel
    finder: AnswerFinder
    tokenizer: Any = None

    @property
    def predict(self) -> Predict:
        """What the dry run calls: it returns the logits of the whole vocabulary behind the prompt."""
        return FirstTokens(self.language)

    @property
    def call(self) -> str:
        """How the model is called, in words."""
        names = (path.rpartition(".")[2] for paths in self.language.schema.values.values() for path in paths)
        given = ", ".join(name for name in names if self.language.takes(name))
        return f"{type(self.language.module).__name__}({given}), up to the answers"

    @property
    def path(self) -> str:
        """Path of the leaf that answers are read from."""
        return self.finder.found.labels or self.finder.found.ids

    def texts(self, probe: Probe) -> AnsweredTexts:
        """Return the texts of a probe with their answers."""
        return AnsweredTexts(probe, self.finder)

    def of_usable(self, probe: Probe) -> Probe:
        """Return the examples of a probe that have an answer, and all items in front of it.

        Raises:
            NotMeasurableError: There are none.
        """
        usable = self.texts(probe).usable
        if not bool(usable.any()):
            raise NotMeasurableError(BEHIND.format(ids=self.finder.found.ids))
        return probe if bool(usable.all()) else probe.part(usable.nonzero()[:, 0])

    def labelled(self, probe: Probe) -> Probe:
        """Return a probe of whole texts with the first tokens of their answers as labels."""
        return replace(probe, labels=_first_tokens(self.texts(probe)))

    def prompted(self, probe: Probe) -> Probe:
        """Return a probe of texts without their answers, with the first tokens of these as labels."""
        texts = self.texts(probe)
        return replace(texts.prompted, labels=_first_tokens(texts))

    def score(self, probe: Probe) -> AnswerScore:
        """Return the score that fits the answers of some examples."""
        texts = self.texts(probe)
        answers = [texts.answers[example] for example in probe.groups.flatten().tolist()]
        tokens, varied = usual_first_tokens(answers), varied_prompts(texts.prompts, probe.groups)
        whole = [one + answer for one, answer in zip(texts.prompts, texts.answers, strict=True)]
        if varied_prompts(whole, probe.groups) < VARIED:
            raise NotMeasurableError(VACUOUS.format(ids=self.finder.found.ids))
        if varied < VARIED:
            return self._of_own_answers(texts, ALIKE.format(varied=varied))
        why, candidates = doubts_of_first_tokens(answers, tokens), usual_answers(answers)
        if not why:
            return self._of_first_tokens(texts, tokens)
        doubts = doubts_of_whole_answers(answers, candidates)
        return self._of_own_answers(texts, f"{why} and {doubts}") if doubts else self._of_whole(texts, candidates, why)

    def _of_whole(self, texts: AnsweredTexts, candidates: Sequence[tuple[int, ...]], why: str) -> AnswerScore:
        language = replace(self.language, schema=texts.probe.schema)
        places = {answer: place for place, answer in enumerate(candidates)}
        labels = torch.tensor([places.get(answer, IGNORED) for answer in texts.answers])
        names, covered = self.named(candidates), float((labels != IGNORED).double().mean())
        line = WHOLE.format(count=len(names), named=_listed(names), covered=covered, why=why)
        predict = WholeAnswers(language, self.finder, tuple(candidates), texts.beside)
        return AnswerScore(replace(texts.prompted, labels=labels), predict, len(names), "multiclass", names, line)

    def _of_own_answers(self, texts: AnsweredTexts, why: str) -> AnswerScore:
        schema = with_text(replace(texts.probe.schema, target=None), self.finder.found.labels)
        unlabelled = replace(texts.answered, schema=schema, labels=None, label_names=())
        line = OWN.format(why=why, text=self.finder.found.text)
        return AnswerScore(unlabelled, OwnAnswers(self.language, self.finder), 1, "regression", [OWN_NAME], line)

    def _of_first_tokens(self, texts: AnsweredTexts, tokens: Sequence[int]) -> AnswerScore:
        places = {token: place for place, token in enumerate(tokens)}
        labels = torch.tensor([places.get(token, IGNORED) for token in _first_tokens(texts).tolist()])
        usual = usual_by_first_token(texts.answers)
        names = self.named([usual[token] for token in tokens])
        covered = float((labels != IGNORED).double().mean())
        line = FIRST.format(count=len(names), named=_listed(names), covered=covered)
        predict = FirstTokens(self.language, torch.tensor(tokens))
        return AnswerScore(replace(texts.prompted, labels=labels), predict, len(tokens), "multiclass", names, line)

    def named(self, answers: Sequence[tuple[int, ...]]) -> list[str]:
        """Return answers in words, all of which differ; their ids where no tokenizer is known."""
        words = [self._decoded(answer) for answer in answers]
        ids = [" ".join(f"token {token}" for token in answer) for answer in answers]
        once = [word if words.count(word) == 1 else "" for word in words]
        return [word or number for word, number in zip(once, ids, strict=True)]

    def _decoded(self, answer: tuple[int, ...]) -> str:
        return "" if self.tokenizer is None else self.tokenizer.decode(list(answer), skip_special_tokens=True).strip()


def answers_of(module: nn.Module, probe: Probe, config: SessionConfig) -> Answers | None:
    """Return the answers that a language model is trained to give; None where the user scores something else.

    Args:
        module: The user's model.
        probe: Some examples.
        config: What is measured.

    Raises:
        NotMeasurableError: The model takes a list, or adds tokens of its own.
    """
    finder, language = finder_in(probe.schema), find_language_model(module, probe.schema)
    own = config.predict is not None or (finder is not None and config.target not in (None, finder.found.labels))
    if finder is None or language is None or own:
        return None
    language.require_arrays()
    refuse_virtual_tokens(module)
    return Answers(language, finder, next(tokenizers_of(module, config.modalities), None))


def _first_tokens(texts: AnsweredTexts) -> Tensor:
    """Return ``(N,)`` long: the first token of each answer; -100 of a text without one."""
    return torch.tensor([answer[0] if answer else IGNORED for answer in texts.answers])


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > NAMED else ""
    return f"{', '.join(map(repr, names[:NAMED]))}{more}"
