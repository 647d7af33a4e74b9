"""Where rows are not packed, each picture is encoded once, and the outputs are those of plain rows."""

import pytest

pytest.importorskip("transformers")

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from helpers.few import spread
from helpers.tally import Tally
from language_models.families import FAMILIES, Family, Question
from language_models.packing import COUNT, GRID, first_tokens, own_answers, same, score_of, whole_answers
from language_models.rebuilding import probe_of
from torch import nn

from mviz_lightning.engine import encoded_items
from mviz_lightning.engine.answer_outputs import FirstTokens
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.packed_evaluation import Packing
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.reuse_report import reused
from mviz_lightning.errors import MonitorWarning

WITHOUT_PLAN = ["LLaVA-NeXT", "Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL", "SmolVLM", "InternVL"]
"""Families whose encoders return no entry for each row."""


def unpacked(evaluator: Evaluator) -> Evaluator:
    """Return the evaluator with the gate of packed rows closed, which recomputes no rows to check."""
    found = replace(evaluator, packing=Packing(closed="this is tried without"))
    found.check = lambda *_: None  # type: ignore[method-assign] - which runs plain rows
    return found


def encodings(model: nn.Module, run: Callable[[], Any]) -> tuple[Any, int]:
    """Return what a function returns, and how often it ran the vision tower."""
    tally = Tally()
    tower = next(
        child for name, child in model.named_modules() if name.endswith(("vision_tower", "visual", "vision_model"))
    )
    with tower.register_forward_pre_hook(lambda *_: tally.seen.append(None)):
        return run(), len(tally.seen)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    spread(
        [
            *((name, first_tokens) for name in WITHOUT_PLAN),
            ("Qwen3-VL", own_answers),
            ("Qwen3-VL", whole_answers),
            ("LLaVA-NeXT", whole_answers),
        ],
        2,
    ),
)
def test_each_item_is_encoded_once(name: str, kind: Any) -> None:
    evaluator, probe = score_of(FAMILIES[name], kind)
    once, plain = unpacked(evaluator), replace(evaluator, reuse=False)(probe, [GRID])[0]
    once.plan_for(probe)  # which traces some forwards
    found, count = encodings(once.module, lambda: once(probe, [GRID])[0])
    assert same(found, plain)
    assert count == COUNT
    assert reused(once, probe).startswith("get_image_features, once for each item")
    assert not any("get_image_features" in vars(child) for child in once.module.modules())


def test_several_items_an_example_are_encoded_once() -> None:
    family: Family = FAMILIES["LLaVA"]
    asked = [Question("{} what {} is", [family.item(2 * k), family.item(2 * k + 1)]) for k in range(6)]
    probe, model = probe_of(family, asked), family.own_model()
    evaluator = score_of(family, first_tokens)[0]
    language = replace(evaluator.predict.language, schema=probe.schema, interleaving=probe.schema.interleaving)
    once = unpacked(Evaluator(model, FirstTokens(language, torch.tensor([1, 2]))))
    once.plan_for(probe)
    found, count = encodings(model, lambda: once(probe, [GRID])[0])
    assert same(found, replace(once, reuse=False)(probe, [GRID])[0])
    assert count == COUNT


def test_few_rows_of_an_item_are_evaluated_plainly() -> None:
    evaluator, probe = score_of(FAMILIES["Qwen2-VL"], first_tokens)
    assert unpacked(evaluator).with_items_encoded(probe, Query.aligned(torch.arange(COUNT), 2)) is None


def first_alone(encodings: Sequence[Any]) -> Any:
    """Return a wrong encoding of several rows: as many features, all those of the first item."""
    counts = [len(item) for found in encodings for item in found.pooler_output]
    first = encodings[0].pooler_output[0]
    return type(encodings[0])(pooler_output=[first[:1].expand(count, -1) for count in counts])


@pytest.mark.slow
def test_encodings_that_are_wrong_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator, probe = score_of(FAMILIES["Qwen2-VL"], first_tokens)
    once = replace(evaluator, packing=Packing(closed="this is tried without"))
    monkeypatch.setattr(encoded_items, "_joined", first_alone)
    with pytest.warns(MonitorWarning, match="encodings of items cannot be reused, so they are computed for every row"):
        found = once(probe, [GRID])[0]
    assert same(found, replace(evaluator, reuse=False)(probe, [GRID])[0])
    assert once.item_methods is None
    assert not any("get_image_features" in vars(child) for child in once.module.modules())
