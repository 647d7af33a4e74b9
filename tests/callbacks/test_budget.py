"""What runs may cost, and what is said of it."""

import warnings

import pytest
import torch
from callbacks.test_schedule import Clock
from helpers.toy import fit, monitor

from mviz_lightning import explain
from mviz_lightning.callbacks.error_policy import ErrorPolicy
from mviz_lightning.callbacks.measurement_run import MeasurementRun
from mviz_lightning.callbacks.time_budget import SHARES as THE_SHARES
from mviz_lightning.callbacks.time_budget import TimeBudget
from mviz_lightning.explainers import DIME
from mviz_lightning.session.session import Session
from mviz_lightning.testing import Additive

SHARES = 32 * 8  # rows of the toys' shares


def dime(**settings):
    return DIME(num_examples=3, masks=8, donors=4, **settings)


def cost_of_one(tmp_path):
    """Return the rows of the shares with one explanation."""
    watch = monitor(explainers=[DIME(num_examples=1, masks=8, donors=4)])
    fit(tmp_path, watch, max_epochs=1)
    return watch.history[0].values["rows"]


@pytest.mark.slow
def test_a_budget_takes_the_shares_first_and_as_many_explanations_as_it_allows(tmp_path):
    budget = int(cost_of_one(tmp_path))
    watch = monitor(explainers=[dime()], budget=budget)
    fit(tmp_path, watch, max_epochs=1)
    row = watch.history[0]
    assert SHARES < row.values["rows"] <= budget
    assert len(watch.explanation_history.entries[0].explanations) == 1
    assert "dime: 2 of 3 examples were left out" in row.note


def test_a_budget_that_the_shares_use_up_leaves_no_explanation(tmp_path):
    watch = monitor(explainers=[dime()], budget=SHARES)
    fit(tmp_path, watch, max_epochs=1)
    assert watch.history[0].values["rows"] == SHARES
    assert "dime: 3 of 3 examples were left out, since the budget has 0 more rows" in watch.history[0].note


@pytest.mark.slow
def test_without_a_budget_nothing_is_left_out(tmp_path):
    watch = monitor(explainers=[dime()])
    fit(tmp_path, watch, max_epochs=1)
    assert len(watch.explanation_history.entries[0].explanations) == 3
    assert not watch.history[0].note


@pytest.mark.slow
def test_two_methods_share_what_is_left(tmp_path):
    budget = int(cost_of_one(tmp_path))
    watch = monitor(explainers=[dime(name="first"), dime(name="second")], budget=budget)
    fit(tmp_path, watch, max_epochs=1)
    found = {entry.explainer: len(entry.explanations) for entry in watch.explanation_history.entries}
    assert found["first"] == 1
    assert found.get("second", 0) == 0
    assert watch.history[0].values["rows"] <= budget


def test_explain_keeps_to_a_budget_too():
    torch.manual_seed(0)
    batch = (torch.randn(64, 3), torch.randn(64, 5))
    options = {"modalities": {"a": "0", "b": "1"}, "task": "regression", "num_examples": 32, "group_size": 8}
    free = explain(Additive([3, 5]), [batch], explainers=[dime()], **options)
    bound = explain(Additive([3, 5]), [batch], explainers=[dime()], budget=free.rows - 1, **options)
    assert len(bound.explanations["dime"]) < len(free.explanations["dime"]) == 3
    assert bound.rows < free.rows
    assert "examples were left out, since the budget has" in bound.notes
    assert str(bound).endswith(bound.notes)
    assert free.notes == ""


def costs(shares, every=100.0, limit=None):
    """Return what is said of runs that take these shares of the time."""
    clock = Clock()
    measurement_run = MeasurementRun(Session(monitor().config), ErrorPolicy(), TimeBudget(limit, clock))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for share in shares:
            clock.now += every * (1 - share)
            with measurement_run.time_budget.timed(THE_SHARES):
                clock.now += every * share
            assert measurement_run._cost(1)["overhead"] == pytest.approx(share)
    return [str(found.message) for found in caught]


@pytest.mark.parametrize("shares", [[0.09] * 9, [0.2, 0.2], [0.2, 0.2, 0.05, 0.2, 0.2]])
def test_runs_that_cost_little_or_seldom_much_are_no_matter(shares):
    assert costs(shares) == []


def test_seconds_are_no_matter():
    assert costs([0.5] * 3, every=5.0) == []


def test_three_dear_runs_in_a_row_are_said_once_with_what_to_do():
    (said,) = costs([0.05, 0.2, 0.2, 0.3, 0.3, 0.05, 0.2, 0.2, 0.3])
    assert "3 runs in a row took more than 10% of the time" in said
    assert "every_n_validations=" in said
    assert "max_overhead=" in said
    assert len(costs([0.3] * 12)) == 1


def test_who_has_set_a_limit_is_not_told_to():
    assert costs([0.3] * 12, limit=0.5) == []
