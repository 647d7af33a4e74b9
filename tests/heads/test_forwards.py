"""One evaluation serves all heads: they cost the rows and the forwards of one."""

from typing import Any

import pytest
import torch
from helpers.heads import COUNT, FORWARDS, LABELS, MODALITIES, ThreeHeads, batch, step
from torch import nn

from mviz_lightning.batch import parse_modalities
from mviz_lightning.engine.joint_outputs import HeadEvaluator
from mviz_lightning.explainers import DIME
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session


def fail(name: str, error: Exception) -> None:
    raise AssertionError(name) from error


def session_of(model: nn.Module, heads: list[str], **settings: Any) -> Session:
    """Return a session that was run once: the checks of a trained model are behind it."""
    config = SessionConfig(modalities=parse_modalities(MODALITIES), heads=heads, num_examples=64, **settings)
    session = Session(config)
    session.collect(batch(), lambda count: range(count))
    session.dry_run(model, step=None if settings.get("predict") else step)
    session.complete()
    cost_of_run(session)
    return session


def cost_of_run(session: Session) -> int:
    """Return the rows of a run of all heads, with the methods."""
    found = [session.run(), *session.run_heads(fail).values()]
    rows = sum(one.rows for one in found)
    for method in session.config.explainers:
        rows += sum(one.explain(method).rows for one in (session, *session.heads.values()))
        session.forget_outputs()
    return rows


def costs(model: ThreeHeads, heads: list[str], **settings: Any) -> tuple[int, list[int]]:
    """Return the rows of a run, and the rows of each of its forwards."""
    session = session_of(model, heads, **settings)
    session.judge_by(judged=True)  # the score on all examples is evaluated too
    FORWARDS.clear()
    return cost_of_run(session), [*FORWARDS]


@pytest.mark.slow
def test_three_heads_cost_the_rows_and_the_forwards_of_one() -> None:
    one = costs(ThreeHeads(), ["c"], explainers=[DIME(num_examples=2)])
    three = costs(ThreeHeads(), ["c", "a", "b"], explainers=[DIME(num_examples=2)])
    assert three[0] == one[0] > 64 * 16  # the shares and DIME
    # Without a trainer, eight rows of each head are compared with a replay of the step.
    assert [rows for rows in three[1] if rows > 8] == [rows for rows in one[1] if rows > 8]
    assert len(three[1]) == len(one[1]) + 2


def test_the_checks_of_three_heads_share_their_forwards() -> None:
    """A further head costs a trace, a comparison with the step and the swaps of its own labels, not all checks anew."""
    rows = {}
    for heads in (["c"], ["c", "a", "b"]):
        FORWARDS.clear()
        session_of(ThreeHeads(), heads)  # the dry run, and the first run with the checks of a trained model
        rows[len(heads)] = sum(FORWARDS)
    assert rows[3] - rows[1] < 2 * 150  # 2 * 351 where each head is tried by itself


def test_three_heads_of_a_function_cost_the_forwards_of_one() -> None:
    def predict(model: nn.Module, data: Any) -> Any:
        return model(data["one"], data["two"])

    settings: dict[str, Any] = {"predict": predict, "by_head": {"target": {name: LABELS[name] for name in "cab"}}}
    one = costs(ThreeHeads(), ["c"], **settings)
    assert costs(ThreeHeads(), ["c", "a", "b"], **settings) == one


@pytest.mark.slow
def test_one_replay_of_the_step_serves_all_heads() -> None:
    """Labels that leave PyTorch before the call let no recipe be written: the step itself is replayed."""

    def scaled(model: ThreeHeads, data: Any) -> Any:
        factor = 1 + abs(float(data["one"].mean())) * 0
        return step(model, {**data, "one": data["one"] * factor})

    def forwards_with(heads: list[str]) -> tuple[list[int], set[str]]:
        session = Session(SessionConfig(modalities=parse_modalities(MODALITIES), heads=heads, num_examples=64))
        session.collect(batch(), lambda count: range(count))
        session.dry_run(ThreeHeads(), step=scaled)
        session.complete()
        cost_of_run(session)
        FORWARDS.clear()
        cost_of_run(session)
        return [*FORWARDS], {one._tried.observed.way.name for one in (session, *session.heads.values())}

    (one, _), (two, ways) = forwards_with(["c"]), forwards_with(["c", "a"])
    assert ways == {"replay"}
    # Eight rows of each head are compared with a replay of its own, for want of a module that returns the scores.
    assert sum(two) - sum(one) == 8
    assert len(two) - len(one) == 1


def test_nothing_is_remembered_beyond_a_run() -> None:
    model = ThreeHeads()
    session = session_of(model, ["c", "a"])
    before = session.heads["a"].run().values
    with torch.no_grad():
        model.head_a.weight.copy_(-model.head_a.weight + 1)
    session.run()
    after = session.run_heads(fail)["a"].values
    assert after["score"] != before["score"]


def test_a_copy_that_calls_the_model_otherwise_evaluates_alone() -> None:
    session = session_of(ThreeHeads(), ["c", "a"])
    evaluator = session._tried.evaluator
    assert isinstance(evaluator, HeadEvaluator)
    assert evaluator._shared is not None
    other = HeadEvaluator.of(evaluator, "c", evaluator.joint)
    other.predict = lambda module, data: module(data["one"], data["two"])["a"]
    assert other._shared is None


def test_a_head_that_fails_in_a_forward_costs_itself_alone() -> None:
    model, calls = ThreeHeads(), list[int]()

    def breaking(module: ThreeHeads, data: Any) -> Any:
        found = module(data["one"], data["two"])
        calls.append(len(found["a"]))
        return {"c": found["c"], "a": found["a"]}

    config = SessionConfig(
        modalities=parse_modalities(MODALITIES),
        num_examples=64,
        predict=breaking,
        by_head={"target": {"c": "label_c", "a": "label_a"}},
    )
    session = Session(config)
    session.collect(batch(COUNT), lambda count: range(count))
    session.dry_run(model)
    session.complete()
    expected = session.run().values
    session.run_heads(fail)
    with torch.no_grad():
        model.head_a.weight.fill_(float("nan"))
    assert session.run().values == expected
    failures: dict[str, Exception] = {}
    session.run_heads(failures.__setitem__)
    assert list(failures) == ["a"]
    assert "NaN" in str(failures["a"])
