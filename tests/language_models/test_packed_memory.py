"""What packed rows keep in memory, and the gradients that go through them."""

import pytest

pytest.importorskip("transformers")

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from helpers.few import spread
from helpers.tally import Tally
from language_models.families import FAMILIES, Family
from language_models.packing import ASKED, COUNT, GRID, WHOLE, first_tokens, own_answers, score_of, whole_answers
from torch import Tensor, nn

from mviz_lightning.engine import packed_evaluation
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.packed_rows import PackedRow, packs
from mviz_lightning.engine.query import Query

ANSWERS = sum(len(answer.split()) for _, answer in ASKED)
"""Number of tokens of all own answers."""


def keeps(returned: Any) -> bool:
    """Tell whether a model returned keys and values, under the names of old and new versions."""
    return any(returned.get(name) is not None for name in ("past_key_values", "cache"))


@pytest.mark.parametrize("family", spread(FAMILIES.values(), 2), ids=lambda family: family.name)
@torch.no_grad()
def test_no_keys_are_kept(family: Family) -> None:
    evaluator, probe = score_of(family, first_tokens)
    language = evaluator.predict.language
    batch = probe.batch(GRID.sources[:2], {})
    assert not keeps(language.module(**language.arguments(batch)))
    assert keeps(language.module(**batch))


def recorded(model: nn.Module, run: Callable[[], Any]) -> tuple[list[int], list[bool]]:
    """Return the number of rows of logits of each forward of a model, and whether it keeps keys and values."""
    rows, kept = Tally(), Tally()
    head = model.lm_head.register_forward_hook(lambda _, __, found: rows.seen.append(found.shape[0] * found.shape[1]))
    whole = model.register_forward_hook(lambda _, __, found: kept.seen.append(keeps(found)))
    with head, whole:
        run()
    return rows.seen, kept.seen


@pytest.mark.parametrize(
    ("kind", "packed", "plain"),
    [
        (first_tokens, COUNT, COUNT**2 * len({len(words.split()) for words, _ in ASKED})),
        (own_answers, ANSWERS, None),
        (whole_answers, COUNT * sum(map(len, WHOLE)), None),
    ],
)
def test_logits_are_computed_where_they_are_read_alone(
    kind: Any, packed: int, plain: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_evaluation, "WORTHWHILE", 0)
    evaluator, probe = score_of(FAMILIES["LLaVA"], kind)
    evaluator.check = lambda *_: None  # type: ignore[method-assign] - which runs plain rows
    rows, kept = recorded(evaluator.module, lambda: evaluator(probe, [GRID]))
    assert max(rows[4:]) <= packed < sum(rows[4:])  # behind those of the gate
    assert not any(kept)
    if plain is not None:
        rows, kept = recorded(evaluator.module, lambda: replace(evaluator, reuse=False)(probe, [GRID]))
        assert max(rows) <= plain
        assert not any(kept)


def in_double(model: nn.Module) -> nn.Module:
    """Return a copy in float64 throughout: the norms of transformers' models work in float32 whatever they get."""
    found = copy.deepcopy(model).double()
    for child in found.modules():
        norms = {name: one for name, one in child.named_children() if type(one).__name__.endswith("RMSNorm")}
        for name, norm in norms.items():
            own = nn.RMSNorm(len(norm.weight), norm.variance_epsilon, dtype=torch.float64)
            own.weight = norm.weight
            setattr(child, name, own)
    return found


def gradient(pixels: Tensor, outputs: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(outputs.sum(), pixels)
    return found


@pytest.mark.parametrize("name", ["LLaVA", "Qwen2-VL"])
def test_gradients_through_packed_rows_are_those_of_plain_ones(name: str) -> None:
    evaluator, probe = score_of(FAMILIES[name], first_tokens)
    model = in_double(evaluator.module)
    language = replace(evaluator.predict.language, module=model)
    double = Evaluator(model, replace(evaluator.predict, language=language))
    query = Query(GRID.sources[:COUNT])  # the first picture with all texts
    packed, plain = [], []
    for rows in packs(language, probe, query):
        row = PackedRow.of(language, probe, query[rows])
        pixels = row.alone["pixel_values"].double().requires_grad_()
        packed.append(
            gradient(pixels, double.predict.of_rows(replace(row, alone={**row.alone, "pixel_values": pixels})))
        )
    for row in range(COUNT):
        batch = probe.batch(query.sources[row : row + 1], {})
        pixels = batch["pixel_values"].double().requires_grad_()
        plain.append(gradient(pixels, double.predict(model, {**batch, "pixel_values": pixels})))
    found, wanted = torch.stack(packed).sum(0), torch.stack(plain).sum(0)
    assert (found - wanted).norm() < 2e-9 * wanted.norm()
