"""Evaluators pack the rows that share an item, give the same outputs, and fall back to plain rows."""

import pytest

pytest.importorskip("transformers")

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from language_models.families import FAMILIES
from language_models.packing import COUNT, GRID, SCORES, WHOLE, first_tokens, forwards, same, score_of, whole_answers
from language_models.trained import Answering, batch_of, rows_of
from torch import Tensor

from mviz_lightning.batch import parse_modalities
from mviz_lightning.engine import packed_evaluation, packed_rows
from mviz_lightning.engine.packed_rows import Branches
from mviz_lightning.engine.packing_gate import BIDIRECTIONAL
from mviz_lightning.engine.reuse_report import fusion_share, reused
from mviz_lightning.errors import MonitorWarning
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

NAMED = {"image": "pixel_values", "text": "input_ids"}


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack the few tokens of tiny items too."""
    monkeypatch.setattr(packed_evaluation, "WORTHWHILE", 0)


@pytest.mark.long
@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("name", ["LLaVA", "LLaVA-NeXT", "Qwen2-VL", "Qwen2-Audio"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", SCORES)
def test_packed_scores_are_those_of_plain_rows(name: str, side: str, kind: Callable[..., Any]) -> None:
    evaluator, probe = score_of(FAMILIES[name], kind, side)
    plain = replace(evaluator, reuse=False)
    evaluator.check = lambda *_: None  # type: ignore[method-assign] - which runs plain rows
    outputs, tokens = forwards(evaluator.module, lambda: evaluator(probe, [GRID])[0])
    assert same(outputs, plain(probe, [GRID])[0])
    assert evaluator.rows == COUNT**2
    packed = tokens[4:]  # behind those of the gate
    assert len(packed) == 2 * COUNT  # some texts begin with their item, and some with a word
    endings = COUNT**2 * sum(map(len, WHOLE)) if kind is whole_answers else 0
    assert sum(packed) - endings == evaluator.packing.computed < evaluator.packing.asked


@pytest.mark.long
@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("kind", SCORES)
def test_items_that_see_the_text_are_evaluated_plainly(kind: Callable[..., Any]) -> None:
    evaluator, probe = score_of(FAMILIES["PaliGemma"], kind)
    assert same(evaluator(probe, [GRID])[0], replace(evaluator, reuse=False)(probe, [GRID])[0])
    assert evaluator.packing.closed == BIDIRECTIONAL
    assert reused(evaluator, probe).endswith(
        "(the texts of an item are not packed, since its items attend to the text after them)"
    )
    assert evaluator.reuse


@pytest.mark.slow
@pytest.mark.usefixtures("always")
def test_packed_rows_that_are_wrong_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator, probe = score_of(FAMILIES["LLaVA"], first_tokens)
    plain = replace(evaluator, reuse=False)(probe, [GRID])[0]
    everything = property(lambda self: torch.ones(len(self.rows), len(self.rows), dtype=torch.bool).tril())
    monkeypatch.setattr(Branches, "seen", everything)
    with pytest.warns(
        MonitorWarning, match="items in front of several texts cannot be reused, so they are computed for"
    ):
        found = evaluator(probe, [GRID])[0]
    assert same(found, plain)
    assert evaluator.reuse
    assert same(evaluator(probe, [GRID])[0], plain)  # without another attempt


@pytest.mark.usefixtures("always")
def test_rows_that_read_positions_are_evaluated_plainly() -> None:
    evaluator, probe = score_of(FAMILIES["LLaVA"], first_tokens)
    assert evaluator.packed(probe, replace(GRID, read=GRID.sources[:, 1])) is None
    assert evaluator.packed(probe, GRID) is not None


def test_rows_are_packed_where_that_saves_half_of_the_tokens() -> None:
    evaluator, probe = score_of(FAMILIES["LLaVA"], first_tokens)
    assert evaluator.packed(probe, GRID) is None  # 5 tokens an item, and texts as long
    large, probe = score_of(FAMILIES["LLaVA-NeXT"], first_tokens)
    assert large.packed(probe, GRID) is not None
    assert fusion_share(large, probe) == large.packing.computed / large.packing.asked < 0.5
    packed = "each item with the tokens before it; the texts that follow it are packed into one row"
    assert reused(large, probe) == packed
    computed, asked = large.packing.computed, large.packing.asked
    assert f"packed: {computed} of {asked} tokens were computed so far" in large.packing.line


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("kind", SCORES)
def test_packed_rows_that_would_be_long_are_several(kind: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_rows, "LONGEST", 24)
    evaluator, probe = score_of(FAMILIES["LLaVA"], kind)
    plain = replace(evaluator, reuse=False)(probe, [GRID])[0]
    evaluator.check = lambda *_: None  # type: ignore[method-assign] - which runs plain rows
    outputs, tokens = forwards(evaluator.module, lambda: evaluator(probe, [GRID])[0])
    assert same(outputs, plain)
    assert len(tokens) > 3 * COUNT


def session_of(batch: dict[str, Tensor], *, reuse: bool) -> Session:
    """Return a session of a random model that has its examples."""
    given = {"num_examples": 16, "group_size": 4, "reuse": reuse, "seed": 0}
    session, module = Session(SessionConfig(parse_modalities(NAMED), **given)), Answering()
    session.meet(module)
    session.collect(batch, range)
    session.dry_run(module)
    session.raise_failure()
    session.complete()
    return session


@pytest.mark.slow
@pytest.mark.usefixtures("always")
def test_a_session_counts_the_rows_asked_and_says_the_tokens_computed() -> None:
    batch = rows_of(batch_of(), torch.arange(0, 180, 5))
    packed, plain = session_of(batch, reuse=True), session_of(batch, reuse=False)
    found, wanted = packed.run(), plain.run()
    assert found.values == pytest.approx(dict(wanted.values), abs=1e-4)
    assert found.rows == wanted.rows
    lines = {kind: "".join(session.remarks.pop_lines()) for kind, session in {"packed": packed, "plain": plain}.items()}
    assert "rows that share an item are packed: " in lines["packed"]
    assert "packed" not in lines["plain"]
