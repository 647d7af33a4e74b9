"""Where the first answer of a text begins and ends, and what is left of a text without it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mviz_lightning.batch import BatchSchema, Modality, parse_modalities
from mviz_lightning.batch.answered import AnsweredTexts, finder_in
from mviz_lightning.batch.few_examples import whole_examples
from mviz_lightning.batch.interleaved.placeholders import PlaceholderTokens
from mviz_lightning.errors import ConfigurationError, NotMeasurableError

NAMED: dict[str, Any] = {"image": "pixels", "text": "ids"}

TEXTS = [[5, 1, 6, 7, 8], [1, 5, 9], [5, 5, 1, 6, 9, 7, 8]]
"""Texts in which 1 stands for a picture."""


def batch(answers: list[list[int]], *, in_front: bool = False) -> dict[str, Tensor]:
    """Return a batch with labels at these positions of the texts."""
    longest = max(map(len, TEXTS))
    ids, labels = torch.zeros(3, longest, dtype=torch.long), torch.full((3, longest), -100)
    for row, (text, own) in enumerate(zip(TEXTS, answers, strict=True)):
        first = longest - len(text) if in_front else 0
        ids[row, first : first + len(text)] = torch.tensor(text)
        for place in own:
            labels[row, first + place] = text[place]
    return {"ids": ids, "mask": (ids != 0).long(), "labels": labels, "pixels": torch.arange(6.0).view(3, 2)}


def texts(given: dict[str, Tensor], **named: Any) -> AnsweredTexts:
    """Return the answered texts of a batch."""
    modalities = parse_modalities({**NAMED, "text": Modality("ids", mask="mask", **named)})
    schema = BatchSchema.learn(given, modalities, None, PlaceholderTokens({"image": (1,)}))
    finder = finder_in(schema)
    assert finder is not None
    return AnsweredTexts(whole_examples(schema, given, 3), finder)


@pytest.mark.parametrize("in_front", [False, True])
def test_an_answer_is_the_first_stretch_of_labels(in_front: bool) -> None:
    given = batch([[3, 4], [2], [3, 4, 6]], in_front=in_front)
    found = texts(given)
    assert found.spans.tolist() == [[3, 5], [2, 3], [3, 5]]  # of several turns the first
    assert found.answers == [(7, 8), (9,), (6, 9)]
    assert found.prompts == [(5, 6), (5,), (5, 5)]
    assert found.finder.spans_in(given).tolist() == found.spans.tolist()


@pytest.mark.parametrize("in_front", [False, True])
def test_prompts_are_the_texts_before_the_answers(in_front: bool) -> None:
    found = texts(batch([[3, 4], [2], [3, 4, 6]], in_front=in_front))
    rows = torch.arange(3).unsqueeze(1).expand(-1, 2)
    prompted, answered = found.prompted.batch(rows, {}), found.answered.batch(rows, {})
    padded = [[5, 1, 6], [0, 1, 5], [5, 5, 1]] if in_front else [[5, 1, 6], [1, 5, 0], [5, 5, 1]]
    assert prompted["ids"].tolist() == padded
    assert prompted["mask"].tolist() == [[int(token > 0) for token in row] for row in padded]
    assert prompted["labels"].tolist() == [[-100] * 3] * 3
    assert torch.equal(prompted["pixels"], torch.arange(6.0).view(3, 2))
    own = [row[row != 0].tolist() for row in answered["ids"]]
    assert own == [TEXTS[0], TEXTS[1], TEXTS[2][:5]]
    assert found.prompted.leaves["mask"].sum(1).tolist() == [3, 2, 3]  # which is what maps and proofs read


def test_a_picture_of_another_stands_in_a_prompt_at_its_place() -> None:
    found = texts(batch([[3, 4], [2], [3, 4, 6]])).prompted.batch(torch.tensor([[2, 0]]), {})
    assert found["ids"].tolist() == [[5, 1, 6]]
    assert found["pixels"].tolist() == [[4, 5]]


def test_tokens_in_front_of_answers_tell_where_they_begin() -> None:
    found = texts(batch([range(5), range(3), range(7)]), answer_start=[6])  # type: ignore[list-item]
    assert found.answers == [(7, 8), (), (9, 7, 8)]
    pair = texts(batch([[3, 4], [2], [3, 4, 6]]), answer_start=[1, 6])
    assert pair.answers == [(7, 8), (), (9,)]  # up to where labels end


def test_a_text_without_labels_has_no_answer() -> None:
    found = texts(batch([[3, 4], [], [3]]))
    assert found.answers == [(7, 8), (), (6,)]
    assert found.prompts[1] == (5, 9)


def test_texts_that_are_labelled_as_a_whole_are_asked_for_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r"'labels' labels all tokens.*Modality\('ids', answer_start="):
        _ = texts(batch([range(5), range(3), range(7)])).spans  # type: ignore[list-item]


def test_labels_that_are_other_tokens_are_refused() -> None:
    given = batch([[3, 4], [2], [3, 4]])
    shifted = given | {"labels": given["labels"].roll(-1, 1)}
    with pytest.raises(NotMeasurableError, match="'labels' and 'ids' differ at labelled positions"):
        _ = texts(shifted).spans


@pytest.mark.parametrize("given", ["ASSISTANT", [], [1.5]])
def test_answer_start_is_ids(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"answer_start=.*give the ids of the tokens in front of an answer"):
        Modality("ids", answer_start=given)


def test_texts_without_labels_tell_no_answers() -> None:
    given = batch([[3, 4], [2], [3, 4]])
    del given["labels"]
    schema = BatchSchema.learn(given, parse_modalities(NAMED), None, PlaceholderTokens({"image": (1,)}))
    assert finder_in(schema) is None
    assert finder_in(replace(schema, interleaving=None)) is None


def test_texts_without_any_answer_are_refused() -> None:
    with pytest.raises(
        NotMeasurableError, match=r"answer_start=\[44\] of 'ids': no text contains these tokens followed by an answer"
    ):
        _ = texts(batch([[3, 4], [2], [3, 4]]), answer_start=44).spans
    given = batch([[3], [2], [3]])
    found = texts(given)
    whole = replace(found.probe, leaves={**found.probe.leaves, "labels": torch.full((3, 7), -100)})
    with pytest.raises(NotMeasurableError, match="'labels' is -100 at all tokens, so there is no answer"):
        _ = AnsweredTexts(whole, found.finder).spans
