"""Which score tells how a language model answers, and of which answers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe
from mviz_lightning.batch.answered import AnsweredTexts, finder_in
from mviz_lightning.batch.interleaved.answers import AnswerFinder
from mviz_lightning.engine.answer_outputs import FirstTokens
from mviz_lightning.engine.language_model import LanguageModel, find_language_model
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.placeholder_tokens import tokenizers_of
from mviz_lightning.functional import Task
from mviz_lightning.functional.targets import IGNORED
from mviz_lightning.session.config import SessionConfig

MOST_TOKENS = 64
"""Largest number of first tokens that are compared: the shares are those of their logits."""

COVERED = 0.9
"""Smallest fraction of the examples whose answers begin with one of them."""

TOLD_APART = 0.9
"""Smallest fraction of the examples whose answer is the usual one among those with the same first token."""

VARIED = 0.2
"""Smallest fraction of pairs of examples whose prompts differ: two kinds of questions, one in ten, have 0.18."""

NAMED = 6
"""Largest number of answers that a line of the log names."""

FIRST = (
    "score: the logits of the first token of {count} answers at the end of the prompt ({named}), which begin "
    "the answers of {covered:.0%} of the examples; the answers themselves are dropped from the rows"
)


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
    def path(self) -> str:
        """Path of the leaf that answers are read from."""
        return self.finder.found.labels or self.finder.found.ids

    def texts(self, probe: Probe) -> AnsweredTexts:
        """Return the texts of a probe with their answers."""
        return AnsweredTexts(probe, self.finder)

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
        tokens = usual_first_tokens([texts.answers[example] for example in probe.groups.flatten().tolist()])
        return self._of_first_tokens(texts, tokens)

    def _of_first_tokens(self, texts: AnsweredTexts, tokens: Sequence[int]) -> AnswerScore:
        places = {token: place for place, token in enumerate(tokens)}
        labels = torch.tensor([places.get(token, IGNORED) for token in _first_tokens(texts).tolist()])
        names = [self.decoded([token]) for token in tokens]
        covered = float((labels != IGNORED).double().mean())
        line = FIRST.format(count=len(names), named=_listed(names), covered=covered)
        predict = FirstTokens(self.language, torch.tensor(tokens))
        return AnswerScore(replace(texts.prompted, labels=labels), predict, len(tokens), "multiclass", names, line)

    def decoded(self, tokens: Sequence[int]) -> str:
        """Return tokens in words; their ids where no tokenizer is known."""
        words = "" if self.tokenizer is None else str(self.tokenizer.decode(list(tokens))).strip()
        return words or " ".join(f"token {token}" for token in tokens)


def answers_of(module: nn.Module, probe: Probe, config: SessionConfig) -> Answers | None:
    """Return the answers that a language model is trained to give; None where the user scores something else.

    Args:
        module: The user's model.
        probe: Some examples.
        config: What is measured.
    """
    finder, language = finder_in(probe.schema), find_language_model(module, probe.schema)
    own = config.predict is not None or (finder is not None and config.target not in (None, finder.found.labels))
    if finder is None or language is None or own:
        return None
    return Answers(language, finder, next(tokenizers_of(module, config.modalities), None))


def usual_first_tokens(answers: Sequence[tuple[int, ...]]) -> list[int]:
    """Return the most frequent first tokens of answers, the first of them sorted."""
    counts = Counter(answer[0] for answer in answers if answer)
    return sorted(token for token, _ in counts.most_common(MOST_TOKENS))


def _first_tokens(texts: AnsweredTexts) -> Tensor:
    """Return ``(N,)`` long: the first token of each answer; -100 of a text without one."""
    return torch.tensor([answer[0] if answer else IGNORED for answer in texts.answers])


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > NAMED else ""
    return f"{', '.join(map(repr, names[:NAMED]))}{more}"
