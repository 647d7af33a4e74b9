"""Rows of one picture and many texts in one forward give what each row gives alone."""

import pytest

pytest.importorskip("transformers")

import torch
from language_models.families import FAMILIES, Family, Question
from language_models.rebuilding import probe_of, rows_of
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.engine.language_model import LanguageModel, find_language_model
from mviz_lightning.engine.packed_rows import PackedRow, packs
from mviz_lightning.engine.packing_gate import BIDIRECTIONAL, NO_TEXT, reason_against_packing
from mviz_lightning.engine.query import Query

CAUSAL = [family for family in FAMILIES.values() if family.causal]
EVERY = pytest.mark.parametrize("family", CAUSAL, ids=lambda family: family.name)
SIDES = pytest.mark.parametrize("side", ["right", "left"])

LIMIT = 2e-6
"""Largest difference of logits, as a fraction of the largest."""

ASKED = ["{} what is the colour of this", "{} how many", "red {} is this two", "{} two", "red {} what"]
"""Questions with an item in front, and with one behind a word."""


def questions(family: Family) -> list[Question]:
    return [Question(words, [family.item(k)]) for k, words in enumerate(ASKED)]


def language_of(family: Family, probe: Probe) -> LanguageModel:
    found = find_language_model(family.own_model(), probe.schema)
    assert found is not None
    return found


def crossing(count: int) -> Query:
    """Return all pairs of an item and a text."""
    return Query(rows_of([(i, j) for i in range(count) for j in range(count)]))


@torch.no_grad()
def logits_alone(family: Family, question: Question) -> Tensor:
    """Return the ``(T, V)`` logits of the processor's own row."""
    return family.own_model()(**family.batch([question])).logits[0]


@pytest.mark.long
@EVERY
@SIDES
@torch.no_grad()
def test_logits_of_packed_rows_are_those_of_the_processors_own_rows(family: Family, side: str) -> None:
    asked = questions(family)
    probe, pairs = probe_of(family, asked, side), crossing(len(asked))
    language = language_of(family, probe)
    found = packs(language, probe, pairs)
    assert len(found) == 2 * len(asked)  # an item in front of texts, and behind a word
    for rows in found:
        packed = PackedRow.of(language, probe, pairs[rows])
        for place, (i, j) in enumerate(pairs.sources[rows].tolist()):
            own = logits_alone(family, Question(ASKED[j], asked[i].items))
            every = torch.arange(len(own))
            logits = packed.logits(torch.full_like(every, place), every)
            assert (logits - own).abs().max() <= LIMIT * max(1.0, float(own.abs().max()))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
@torch.no_grad()
def test_only_models_whose_items_see_no_text_behind_them_are_packed(family: Family) -> None:
    asked = questions(family)
    probe = probe_of(family, asked)
    reason = reason_against_packing(language_of(family, probe), probe, crossing(len(asked)))
    assert reason == ("" if family.causal else BIDIRECTIONAL)


def test_texts_that_end_with_their_item_are_not_packed() -> None:
    family = FAMILIES["LLaVA"]
    probe = probe_of(family, [Question("red two {}", [family.item(k)]) for k in range(3)])
    assert reason_against_packing(language_of(family, probe), probe, crossing(3)) == NO_TEXT
