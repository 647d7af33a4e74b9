"""What the monitor finds with ``modalities=`` alone, of modules in the styles that people write."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from benchmarks.observation.harness import run, run_told
from benchmarks.observation.pasting import offered, run_pasted
from benchmarks.observation.pending import DECLINED, WRONG
from benchmarks.observation.table import line
from benchmarks.observation.traces import differing, traces
from benchmarks.observation.zoo import own_cases
from helpers.few import spread

from mviz_lightning.errors import ConfigurationError

TABLE = Path(__file__).parents[1] / "benchmarks" / "observation" / "table.py"
CASES = {case.name: case for case in own_cases()}


@cache
def outcome(name):
    return run(CASES[name])


def cases(*pending):
    """Return all cases, those that are pending marked as failing."""
    failing = pytest.mark.xfail(reason="listed in pending.py", strict=True, raises=AssertionError)
    return [pytest.param(name, id=name, marks=[failing] if name in pending else []) for name in CASES]


@pytest.mark.slow
@pytest.mark.parametrize("name", spread(cases(*DECLINED, *WRONG), 3))
def test_a_module_is_measured_as_its_own_step_has_it_and_never_silently_wrong(name):
    found = outcome(name)
    if name not in WRONG and found.verdict in {"wrong", "died"}:
        pytest.fail(line(found))  # which no pending case may be
    assert found.allowed, line(found)


PASTED = {
    "sorted by length": "right",
    "in a random order": "right",
    "a margin at the label": "right",
    "hinge of one output": "right",
    "validation without a loss": "right",
    "some left out before the network": "incomplete",
    "sample weights before the labels": "incomplete",
    "logits kept for the epoch's end": "incomplete",
}
"""Asked cases -> what becomes of them with what the messages offer; where labels are not told, they stay unknown."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "verdict"), PASTED.items(), ids=PASTED)
def test_what_a_message_offers_works_when_it_is_pasted(name, verdict):
    again = run_pasted(outcome(name))
    assert again.verdict == verdict, line(again)


@pytest.mark.slow
@pytest.mark.timeout(1300)
@pytest.mark.xfail(bool(DECLINED + WRONG), reason="listed in pending.py", strict=True, raises=AssertionError)
def test_four_of_five_are_right_without_being_told_and_none_is_silently_wrong(tmp_path):
    command = [sys.executable, TABLE, "--json", tmp_path / "rows.jsonl"]
    paths = os.pathsep.join([str(TABLE.parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths}
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=1200, env=environment)
    rows = [json.loads(text) for text in (tmp_path / "rows.jsonl").read_text().splitlines()]
    verdicts = [row["verdict"] for row in rows]
    assert len(rows) >= 60
    assert verdicts.count("right") >= 0.8 * len(rows)
    assert {row["name"] for row in rows if row["verdict"] in {"wrong", "died"}} == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_training_leaves_the_same_bits_as_without_the_monitor(name):
    try:
        assert traces(CASES[name]) == []
    except ConfigurationError:  # before the training
        assert outcome(name).verdict in {"asked", "refused"}


def test_every_case_has_its_own_name_and_what_is_pending_exists():
    assert len(own_cases()) == len(CASES) >= 60
    assert {*DECLINED, *WRONG} <= set(CASES)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_truth_of_a_case_holds_where_the_monitor_is_told(name):
    told = run_told(CASES[name])
    assert told.verdict == "right" or CASES[name].scores is None, line(told)


TOLD = replace(CASES["leaves by name"], target=None)


def plain(module, batch):
    return module.net(batch["image"], batch["text"])


def scaled(module, batch):
    return 1.001 * module.net(batch["image"], batch["text"])


@pytest.mark.long
@pytest.mark.parametrize(
    ("changed", "arguments", "why"),
    [
        ({"scores": scaled}, {}, "outputs off by 0.001"),
        ({"scores": lambda module, batch: scaled(module, batch)[:, :2]}, {}, "outputs (96, 3), not (96, 2)"),
        ({"task": "multilabel"}, {}, "task multiclass, not multilabel"),
        ({"scores": None}, {}, "it ran, but no scores can be right"),
        ({"target": lambda batch: batch["index"]}, {"target": "y"}, "other labels"),
        ({"target": lambda batch: batch["text"]}, {"target": "y"}, "labels (48, 1), not (48, 5)"),
        ({}, {"target": "y"}, "labels (48,), though there are none"),
    ],
)
def test_what_differs_from_the_truth_would_be_found(changed, arguments, why):
    found = run(replace(TOLD, **changed), predict=plain, task="multiclass", **arguments)
    assert (found.verdict, found.why) == ("wrong", why)
    assert not found.allowed


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"target": CASES["leaves by name"].target}, "no labels"),
        ({"others": 2}, "0 of 2 further heads named"),
    ],
)
def test_what_is_missing_is_told_apart(changed, why):
    found = run(replace(TOLD, **changed), predict=plain, task="multiclass")
    assert (found.verdict, found.why) == ("incomplete", why)
    assert not found.allowed


def test_logits_that_differ_by_a_shift_over_the_classes_are_right():
    shifted = replace(TOLD, scores=lambda module, batch: scaled(module, batch) / 1.001 + batch["image"].sum())
    assert run(shifted, predict=plain, task="multiclass").verdict == "right"
    assert run(replace(shifted, task="regression"), predict=plain, task="regression").verdict == "wrong"


def test_an_error_of_the_users_own_is_no_refusal():
    class Raising(CASES["leaves by name"].module):
        def validation_step(self, batch, batch_idx):
            raise ValueError("the user's own")

    found = run(replace(CASES["leaves by name"], module=Raising))
    assert (found.verdict, found.why) == ("died", "ValueError: the user's own")


def test_the_random_numbers_of_other_tests_stay_as_they_are():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run(TOLD, task="multiclass")
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_training_leaves_is_compared():
    weights = {"weight": torch.ones(2), "loss": torch.tensor(0.5), "on net": (["a"], 0, 0)}
    assert differing(weights, dict(weights)) == []
    assert differing(weights, weights | {"weight": torch.tensor([1.0, 1.0 + 1e-7])}) == ["weight"]
    assert differing(weights, weights | {"loss": torch.tensor(0.5, dtype=torch.float64)}) == ["loss"]
    assert differing(weights, weights | {"on net": (["a", "b"], 0, 0)}) == ["on net"]
    assert differing(weights, weights | {"kept[0]": torch.ones(1)}) == ["kept[0]"]


def test_what_a_message_offers_to_paste_is_read():
    found = offered('pass predict=lambda module, batch: module.net(batch["a"])[0]. Or target="y", target="z"; task= is')
    assert found["predict"].__code__.co_varnames == ("module", "batch")
    assert found["target"] == "y"
    assert set(found) == {"predict", "target"}
    assert offered("predict= takes a function") == {}
