"""Evaluators pack the rows that share an item, give the same outputs, and fall back to plain rows."""

import pytest

pytest.importorskip("transformers")

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from language_models.families import FAMILIES, Family, Question
from language_models.rebuilding import modalities_of, probe_of
from language_models.tokens import VOCABULARY
from language_models.trained import Answering, batch_of, rows_of
from torch import Tensor, nn

from mviz_lightning.batch import Probe, parse_modalities
from mviz_lightning.engine import packed_evaluation, packed_rows
from mviz_lightning.engine.answer_outputs import FirstTokens, OwnAnswers, WholeAnswers
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.packed_rows import Branches
from mviz_lightning.engine.packing_gate import BIDIRECTIONAL
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.reuse_report import fusion_share, reused
from mviz_lightning.errors import MonitorWarning
from mviz_lightning.session.answer_scores import Answers, answers_of
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

NAMED = {"image": "pixel_values", "text": "input_ids"}

LIMIT = 2e-6
"""Largest difference of outputs, as a fraction of the largest."""

ASKED = [
    ("{} what is the colour of this", "red"),
    ("{} how many", "blue green"),
    ("red {} is this two", "two"),
    ("{} two", "red red red"),
    ("red {} what", "blue"),
    ("{} is", "two green"),
]

COUNT = len(ASKED)

FIRST = (VOCABULARY["red"], VOCABULARY["blue"], VOCABULARY["two"])
WHOLE = ((VOCABULARY["red"],), (VOCABULARY["blue"], VOCABULARY["green"]), (VOCABULARY["two"],))


def answered(family: Family, side: str) -> tuple[Answers, Probe]:
    asked = [Question(words, [family.item(k)], answer) for k, (words, answer) in enumerate(ASKED)]
    probe = probe_of(family, asked, side)
    answers = answers_of(family.own_model(), probe, SessionConfig(modalities_of(family, side)))
    assert answers is not None
    return answers, probe


def first_tokens(answers: Answers, probe: Probe) -> tuple[Any, Probe]:
    return FirstTokens(answers.language, torch.tensor(FIRST)), answers.prompted(probe)


def whole_answers(answers: Answers, probe: Probe) -> tuple[Any, Probe]:
    texts = answers.texts(probe)
    return WholeAnswers(answers.language, answers.finder, WHOLE, texts.beside), texts.prompted


def own_answers(answers: Answers, probe: Probe) -> tuple[Any, Probe]:
    return OwnAnswers(answers.language, answers.finder), answers.texts(probe).answered


SCORES = [first_tokens, whole_answers, own_answers]

GRID = Query(torch.cartesian_prod(torch.arange(COUNT), torch.arange(COUNT)))
"""All pairs of an item and a text."""


def score_of(family: Family, kind: Callable[..., Any], side: str = "right") -> tuple[Evaluator, Probe]:
    predict, probe = kind(*answered(family, side))
    return Evaluator(family.own_model(), predict), probe


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack the few tokens of tiny items too."""
    monkeypatch.setattr(packed_evaluation, "WORTHWHILE", 0)


def forwards(model: nn.Module, run: Callable[[], Tensor]) -> tuple[Tensor, list[int]]:
    """Return what a function returns, and the number of tokens in each forward of a model."""
    seen: list[int] = []
    handle = model.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["input_ids"].numel()), with_kwargs=True
    )
    with handle:
        return run(), seen


def same(found: Tensor, plain: Tensor) -> bool:
    return bool((found - plain).abs().max() <= LIMIT * max(1.0, float(plain.abs().max())))


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


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("kind", SCORES)
def test_items_that_see_the_text_are_evaluated_plainly(kind: Callable[..., Any]) -> None:
    evaluator, probe = score_of(FAMILIES["PaliGemma"], kind)
    assert same(evaluator(probe, [GRID])[0], replace(evaluator, reuse=False)(probe, [GRID])[0])
    assert evaluator.packing.closed == BIDIRECTIONAL
    assert reused(evaluator, probe).endswith(
        "(the texts of an item are not packed, since its items see the text behind them)"
    )
    assert evaluator.reuse


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
def test_masked_rows_and_those_that_read_positions_are_evaluated_plainly() -> None:
    evaluator, probe = score_of(FAMILIES["LLaVA"], first_tokens)
    assert evaluator.packed(probe, replace(GRID, read=GRID.sources[:, 1])) is None
    assert evaluator.packed(probe, replace(GRID, masks={"text": torch.zeros(len(GRID), 1, dtype=torch.bool)})) is None
    assert evaluator.packed(probe, GRID) is not None


def test_rows_are_packed_where_that_saves_half_of_the_tokens() -> None:
    evaluator, probe = score_of(FAMILIES["LLaVA"], first_tokens)
    assert evaluator.packed(probe, GRID) is None  # 5 tokens an item, and texts as long
    large, probe = score_of(FAMILIES["LLaVA-NeXT"], first_tokens)
    assert large.packed(probe, GRID) is not None
    assert fusion_share(large, probe) == large.packing.computed / large.packing.asked < 0.5
    assert reused(large, probe) == "each item and the tokens up to it, whose texts follow in one packed row"
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
