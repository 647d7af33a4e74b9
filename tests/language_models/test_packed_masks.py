"""Rows with masked words and masked pictures are packed too, and give what they give one by one."""

import pytest

pytest.importorskip("transformers")

import warnings
from dataclasses import replace
from typing import Any

import torch
from helpers.few import spread
from language_models.families import FAMILIES
from language_models.packing import ASKED, COUNT, SCORES, answered, first_tokens, forwards, own_answers, same
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.engine import packed_evaluation
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import MonitorWarning
from mviz_lightning.modalities.of_probe import modality_types_of

CELLS, WORDS, ITEMS = 4, 6, 3
"""Largest number of segments of the pictures and of the texts, and the number of pictures."""


def segmented(probe: Probe) -> Probe:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MonitorWarning)  # of pictures in tiles
        found = modality_types_of(probe)
    return replace(probe, segments={name: modality.segments for name, modality in found.items()})


def masked_rows(media: str) -> Query:
    """Return all pairs of an item and a text, in four ways each: as they are, the item, the text and both masked."""
    random = torch.Generator().manual_seed(0)
    cells, words = torch.rand(CELLS, generator=random) < 0.5, torch.rand(COUNT, WORDS, generator=random) < 0.5
    rows = torch.cartesian_prod(torch.arange(ITEMS), torch.arange(COUNT), torch.arange(2), torch.arange(2))
    masks = {
        media: cells.expand(len(rows), -1) | (rows[:, 2:3] == 0),
        "text": words[rows[:, 1]] | (rows[:, 3:] == 0),
    }
    return Query(rows[:, :2], masks)


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack the few tokens of tiny items too."""
    monkeypatch.setattr(packed_evaluation, "WORTHWHILE", 0)


def evaluated(name: str, kind: Any, side: str) -> tuple[Tensor, Tensor, list[int], Evaluator]:
    """Return packed outputs, plain ones, the tokens of each forward of the packed ones, and what packed them."""
    family = FAMILIES[name]
    predict, probe = kind(*answered(family, side))
    evaluator, probe = Evaluator(family.own_model(), predict), segmented(probe)
    query, plain = masked_rows(probe.schema.names[0]), replace(evaluator, reuse=False)
    evaluator.check = lambda *_: None  # type: ignore[method-assign] - which runs plain rows
    outputs, tokens = forwards(evaluator.module, lambda: evaluator(probe, [query])[0])
    return outputs, plain(probe, [query])[0], tokens, evaluator


@pytest.mark.parametrize(
    ("name", "side", "kind"),
    spread(
        [
            *(("LLaVA", "right", kind) for kind in SCORES),
            *(("Qwen2-VL", "left", kind) for kind in SCORES),
            ("Qwen3-VL", "right", own_answers),
            ("Qwen2-Audio", "left", first_tokens),
        ],
        2,
    ),
)
def test_masked_rows_are_those_of_plain_ones(name: str, side: str, kind: Any) -> None:
    outputs, plain, tokens, evaluator = evaluated(name, kind, side)
    assert same(outputs, plain)
    assert not evaluator.packing.closed
    assert len(tokens) - 4 < len(outputs)  # and four of the gate
    assert len({tuple(row) for row in plain.tolist()}) > ITEMS * COUNT  # masks matter


def test_rows_with_a_picture_masked_alike_share_one_row() -> None:
    _, _, tokens, _ = evaluated("LLaVA", first_tokens, "right")
    heads = 1 + len({words.split("{}")[0] for words, _ in ASKED if not words.startswith("{}")})
    assert len(tokens) - 4 == 2 * ITEMS * heads  # each picture as it is and masked
