"""Choose the score of a language model's answers, and the answers that it compares."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.batch import BatchSchema, Modality, Probe
from mviz_lightning.batch.answered import AnsweredTexts, finder_in, with_text
from mviz_lightning.batch.interleaved.answers import AnswerFinder
from mviz_lightning.engine.answer_outputs import AnswerReading, FirstTokens, OwnAnswers, WholeAnswers
from mviz_lightning.engine.language_model import LanguageModel, find_language_model, refuse_virtual_tokens
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.placeholder_tokens import tokenizers_of
from mviz_lightning.errors import NotMeasurableError
from mviz_lightning.functional import Task
from mviz_lightning.functional.targets import IGNORED
from mviz_lightning.modalities.vocabulary import Vocabulary
from mviz_lightning.observation.answering_call import AnsweringCall
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
    "score: the mean log-likelihood per token of {count} whole answers after the prompt ({named}), which are the "
    "answers of {covered:.0%} of the examples, since {why}; a row takes {count} forwards"
)

ALIKE = "swapping the text changes {varied:.0%} of the prompts, so the items alone could determine the answers"
"""Reason against shares of classes: prompts hardly vary, so the items explain all of the variance, however little the
model uses them."""

OWN = (
    "score: the mean log-likelihood per token of each example's own answer, since {why}. The answer stays with "
    "{text!r}. nats/<m>: nats per token that the answer loses when m is swapped. retrieval/<m>: how often the "
    "example's own m makes it likeliest"
)

VACUOUS = (
    "the prompts and the answers in {ids!r} are the same in nearly all examples, so swapping texts changes nothing and "
    "the items alone would explain all of the variance. Measure examples with different answers."
)
"""Message about data with which not even the likelihood of own answers is informative."""

COMPLETE = "Give examples whose pictures and sounds come before the first answer, and do not truncate their ends."
"""Advice if examples cannot be used."""

BEHIND = (
    "no first answer of {ids!r} comes after all items of its text, and the tokens after it are dropped. " + COMPLETE
)

OWN_NAME = "log-likelihood of the own answer"
"""Name of the output."""


@dataclass(frozen=True)
class AnswerScore:
    """A score of answers, for some examples.

    Attributes:
        probe: The examples as they are evaluated, with labels where there are any.
        predict: Returns the score of a batch of rows, ``(B, C)``.
        outputs: Number of outputs of one example, C.
        task: Type of the prediction task.
        class_names: Names of the outputs.
        line: Description of the score, for the log.
        reading: What is compared with the user's own step: the score itself; for whole answers, the likelihoods of own
            answers.
    """

    probe: Probe
    predict: Predict
    outputs: int
    task: Task
    class_names: Sequence[str]
    line: str
    reading: AnswerReading

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
        tokenizer: Decodes them; None if there is none.
        text: The modality of the text as the user declared it; its ``decode`` need not be a tokenizer.
    """

    language: LanguageModel
    finder: AnswerFinder
    tokenizer: Any = None
    text: Modality | None = None

    @property
    def predict(self) -> Predict:
        """The call for the dry run: it returns the logits of the whole vocabulary after the prompt."""
        return FirstTokens(self.language)

    @property
    def call(self) -> str:
        """Description of the call of the model."""
        return f"{self.language.call}, up to the answers"

    def first_tokens(self, language: LanguageModel, tokens: Tensor | None = None) -> AnswerReading:
        """Return how the logits of a model's first tokens are read; by default those of the whole vocabulary."""
        return AnswerReading(FirstTokens(language, tokens), lambda probe: self.texts(probe).prompted, self._usable)

    @property
    def own_answers(self) -> AnswerReading:
        """How the likelihoods of own answers are read."""
        reader = OwnAnswers(self.language, self.finder)
        return AnswerReading(reader, lambda probe: self._answered(self.texts(probe)), self._usable)

    def _usable(self, probe: Probe) -> Tensor:
        return self.texts(probe).usable

    @property
    def path(self) -> str:
        """Path of the leaf that answers are read from."""
        return self.finder.found.labels or self.finder.found.ids

    def texts(self, probe: Probe) -> AnsweredTexts:
        """Return the texts of a probe with their answers."""
        return AnsweredTexts(probe, self.finder)

    def of_usable(self, probe: Probe) -> Probe:
        """Return :func:`usable_examples` of a probe."""
        return usable_examples(self.texts(probe))

    def labelled(self, probe: Probe) -> Probe:
        """Return a probe of whole texts with the first tokens of their answers as labels."""
        return replace(probe, labels=_first_tokens(self.texts(probe)))

    def prompted(self, probe: Probe) -> Probe:
        """Return a probe of texts without their answers; labels are the first tokens of the answers."""
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
        probe = replace(texts.prompted, labels=labels)
        return AnswerScore(probe, predict, len(names), "multiclass", names, line, self.own_answers)

    def _of_own_answers(self, texts: AnsweredTexts, why: str) -> AnswerScore:
        line, reading = OWN.format(why=why, text=self.finder.found.text), self.own_answers
        probe, predict = self._answered(texts), reading.reader
        return AnswerScore(probe, predict, 1, "regression", [OWN_NAME], line, reading)

    def _answered(self, texts: AnsweredTexts) -> Probe:
        """Return texts with their answers; the leaf of token labels is swapped together with the text."""
        schema = with_text(replace(texts.probe.schema, target=None), self.finder.found.labels)
        return replace(texts.answered, schema=schema, labels=None, label_names=())

    def _of_first_tokens(self, texts: AnsweredTexts, tokens: Sequence[int]) -> AnswerScore:
        places = {token: place for place, token in enumerate(tokens)}
        labels = torch.tensor([places.get(token, IGNORED) for token in _first_tokens(texts).tolist()])
        usual = usual_by_first_token(texts.answers)
        names = self.named([usual[token] for token in tokens])
        covered = float((labels != IGNORED).double().mean())
        line = FIRST.format(count=len(names), named=_listed(names), covered=covered)
        reading, probe = self.first_tokens(self.language, torch.tensor(tokens)), replace(texts.prompted, labels=labels)
        return AnswerScore(probe, reading.reader, len(tokens), "multiclass", names, line, reading)

    def named(self, answers: Sequence[tuple[int, ...]]) -> list[str]:
        """Return answers as texts, all of which differ; as token ids if there is no tokenizer."""
        words = self._decoded(answers)
        ids = [" ".join(f"token {token}" for token in answer) for answer in answers]
        once = [word if words.count(word) == 1 else "" for word in words]
        return [word or number for word, number in zip(once, ids, strict=True)]

    def _decoded(self, answers: Sequence[tuple[int, ...]]) -> list[str]:
        """Return answers as texts; an empty text where a token is not known."""
        if self.tokenizer is not None:
            return [self.tokenizer.decode(list(answer), skip_special_tokens=True).strip() for answer in answers]
        if self.text is None or self.text.decode is None:
            return [""] * len(answers)
        known = Vocabulary(self.text, (token for answer in answers for token in answer))
        return [known.text(answer) if known.tokens.keys() >= set(answer) else "" for answer in answers]


def usable_examples(texts: AnsweredTexts) -> Probe:
    """Return the examples of a probe that have an answer and no item after its beginning.

    Args:
        texts: The texts of the probe.

    Raises:
        ConfigurationError: There are none.
    """
    usable = texts.usable
    if not bool(usable.any()):
        raise NotMeasurableError(BEHIND.format(ids=texts.finder.found.ids))
    return texts.probe if bool(usable.all()) else texts.probe.part(usable.nonzero()[:, 0])


def scores_answers(schema: BatchSchema, config: SessionConfig) -> bool:
    """Return whether answers in texts are scored, and not something else that the user named.

    Args:
        schema: The schema of the batches.
        config: The configuration of the measurement.
    """
    finder = finder_in(schema)
    return finder is not None and config.predict is None and config.target in (None, finder.found.labels)


def languages_of(module: nn.Module, schema: BatchSchema, call: AnsweringCall | None) -> list[LanguageModel]:
    """Return the ways to call a language model: as the step does, by the names of the leaves, and in a replay.

    Args:
        module: The user's model.
        schema: The schema of the batches.
        call: The call of the step; None if none was observed.
    """
    observed, replayed = (None, None) if call is None else (call.language, call.replayed)
    ways = observed, find_language_model(module, schema), replayed
    return [language for language in ways if language is not None]


def answers_of(
    module: nn.Module, probe: Probe, config: SessionConfig, call: AnsweringCall | None = None
) -> Answers | None:
    """Return the answers that a language model is trained to give; None if the user scores something else.

    Args:
        module: The user's model.
        probe: Some examples.
        config: The configuration of the measurement.
        call: The call of the user's own step that gives the logits; None if none was observed.

    Raises:
        NotMeasurableError: The model takes a list, or adds tokens of its own.
    """
    finder, ways = finder_in(probe.schema), languages_of(module, probe.schema, call)
    if finder is None or not ways or not scores_answers(probe.schema, config):
        return None
    ways[0].require_arrays()
    refuse_virtual_tokens(module)
    tokenizer = next(tokenizers_of(module, config.modalities), None)
    return Answers(ways[0], finder, tokenizer, config.modalities[finder.found.text])


def _first_tokens(texts: AnsweredTexts) -> Tensor:
    """Return ``(N,)`` long: the first token of each answer; -100 for a text without one."""
    return torch.tensor([answer[0] if answer else IGNORED for answer in texts.answers])


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > NAMED else ""
    return f"{', '.join(map(repr, names[:NAMED]))}{more}"
