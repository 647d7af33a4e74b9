"""Every recombined row is the batch that the processor makes of one example's items and another one's text."""

import pytest

pytest.importorskip("transformers")

import torch
from language_models.families import FAMILIES, Family, Question
from language_models.rebuilding import (
    LIMIT,
    all_pairs,
    differences,
    learned,
    logits,
    probe_of,
    rows_of,
    single_questions,
)

from mviz_lightning.batch.presence import present_examples
from mviz_lightning.errors import NotMeasurableError

EVERY = pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
SIDES = pytest.mark.parametrize("side", ["right", "left"])
SEVERAL = [family for family in FAMILIES.values() if family.name != "PaliGemma"]


def pair(questions: list[Question], i: int, j: int) -> Question:
    """Return the question of example j with the items of example i."""
    return Question(questions[j].words, questions[i].items, questions[j].answer)


@pytest.mark.long
@EVERY
@SIDES
def test_every_pair_is_the_processors_own_batch(family: Family, side: str) -> None:
    questions = single_questions(family)
    probe = probe_of(family, questions, side)
    for i, j in all_pairs(probe):
        own = family.batch([pair(questions, i, j)], side)
        assert differences(probe.batch(rows_of([(i, j)]), {}), own) == []
    assert len(all_pairs(probe)) == 16


@EVERY
@SIDES
def test_rows_as_they_are_are_the_processors_own_batch_of_all(family: Family, side: str) -> None:
    questions = single_questions(family)
    probe = probe_of(family, questions, side)
    assert differences(probe.batch(rows_of([(k, k) for k in range(4)]), {}), family.batch(questions, side)) == []


@pytest.mark.long
@EVERY
@SIDES
def test_logits_of_rebuilt_rows_are_those_of_the_processors_batch(family: Family, side: str) -> None:
    questions = single_questions(family)
    probe = probe_of(family, questions, side)
    pairs = [(0, 1), (1, 2), (2, 3), (3, 0), (2, 0), (1, 1)]
    built = logits(family, probe.batch(rows_of(pairs), {}))
    for (i, j), found in zip(pairs, built, strict=True):
        own = logits(family, family.batch([pair(questions, i, j)], side))[0]
        assert (found - own).abs().max() <= LIMIT * max(1.0, float(own.abs().max()))


def mixed(family: Family) -> list[Question]:
    """Return questions of two items, of one and of none."""
    numbers = [[0, 1], [2, 3], [], [2], [1]]
    words = ["{} is {} what is", "how many {} two {}", "what red", "{} is", "red {} blue"]
    answers = ["red", "blue green", "two", "red red red", "blue"]
    items = [[family.item(number) for number in own] for own in numbers]
    return [Question(*one) for one in zip(words, items, answers, strict=True)]


@pytest.mark.long
@pytest.mark.parametrize("family", SEVERAL, ids=lambda family: family.name)
@SIDES
def test_several_items_and_texts_without_any(family: Family, side: str) -> None:
    questions = mixed(family)
    batch = family.batch(questions, side)
    schema = learned(family, batch, side)
    assert present_examples(schema, schema.leaves(batch))[:, 0].tolist() == [True, True, False, True, True]
    probe, whole = probe_of(family, questions, side), [one for one in questions if one.items]
    assert probe.kinds.tolist() == [0, 0, 1, 1]
    for i, j in all_pairs(probe):
        own = family.batch([pair(whole, i, j)], side)
        assert differences(probe.batch(rows_of([(i, j)]), {}), own) == []
    with pytest.raises(ValueError, match="example 0 has 2 blocks of .* and example 3 has 1"):
        probe.batch(rows_of([(0, 3)]), {})


@EVERY
def test_items_side_by_side_are_one_block(family: Family) -> None:
    numbers, words = [[0, 1], [2], [3, 2]], ["{}{} what is", "how {} many", "{}{} red"]
    items = [[family.item(number) for number in own] for own in numbers]
    questions = [Question(*one, answer="red") for one in zip(words, items, strict=True)]
    probe = probe_of(family, questions)
    assert probe.kinds.tolist() == [0, 0, 0]
    for i, j in all_pairs(probe):
        text = words[j].replace("{}{}", "{}").replace("{}", "{}" * len(items[i]))
        own = family.batch([Question(text, items[i], "red")])
        assert differences(probe.batch(rows_of([(i, j)]), {}), own) == []


def test_only_the_model_tells_items_of_several_sizes_side_by_side_apart() -> None:
    family = FAMILIES["LLaVA-NeXT"]
    items = [[family.item(number) for number in own] for own in ([0, 1], [2], [3, 2])]
    questions = [Question("{}" * len(own) + " what", own, "red") for own in items]
    batch = family.batch(questions)
    with pytest.raises(NotMeasurableError, match="5 items do not fit the 88 placeholders of image"):
        learned(family, batch, ask=False)
    schema = learned(family, batch)
    assert [len(own) for own in schema.leaves(batch)["pixel_values"]] == [2, 1, 2]


def test_a_text_follows_its_items_and_masks_stay_with_the_text() -> None:
    family = FAMILIES["Qwen2-VL"]
    probe = probe_of(family, single_questions(family))
    places = probe.splicer.places(torch.tensor([[2, 1], [0, 3]]))
    built = probe.batch(torch.tensor([[2, 1], [0, 3]]), {})
    for row, text in enumerate([1, 3]):
        own = probe.splicer.texts[text]
        words = [k for k in range(len(own)) if not any(b.start <= k < b.stop for b in probe.splicer.blocks[text])]
        found = places.of(torch.tensor([words]).expand(2, -1))[row]
        assert torch.equal(built["input_ids"][row, found], own[words])
    inside = probe.splicer.blocks[1][0].start
    assert places.of(torch.tensor([[inside]]).expand(2, -1))[0].tolist() == [-1]
