"""Every head of a model is measured as if the model had this head alone."""

import warnings
from typing import Any

import pytest
from helpers.heads import FORMS, LABELS, MODALITIES, OneHead, ThreeHeads, batch, step
from torch import nn

from mviz_lightning import MonitorWarning, ShareReport, explain
from mviz_lightning.explainers import DIME

TASKS = {"a": "multiclass", "b": "multiclass", "c": "regression"}
PLACES = {"a": 0, "b": 1, "c": 2}


def found(model: nn.Module, data: Any = None, **settings: Any) -> ShareReport:
    chosen = {"modalities": MODALITIES, "step": step, "num_examples": 64, **settings}
    return explain(model, [batch() if data is None else data], **chosen)


def alone(model: ThreeHeads, head: str, **settings: Any) -> ShareReport:
    """Return the report of a model with one head, of which the user says all."""
    told = {"target": LABELS[head], "task": TASKS[head], "step": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MonitorWarning)  # of the input that the head does not read
        return found(OneHead(model, PLACES[head]), **told | settings)


@pytest.mark.parametrize("form", FORMS)
def test_totals_of_heads_that_read_other_inputs(form: str) -> None:
    report = found(ThreeHeads(form))
    names = ["a", "b", "c"] if form not in ("tuple", "list") else ["head0", "head1", "head2"]
    assert list(report.heads) == names[:2]  # the main head is the one that depends on both inputs
    of = dict(zip(names, [*report.heads.values(), report], strict=True))
    totals = {name: [of[name].values[f"total/{m}"] for m in MODALITIES] for name in names}
    assert totals[names[0]] == pytest.approx([1, 0], abs=1e-12)
    assert totals[names[1]] == pytest.approx([0, 1], abs=1e-12)
    assert totals[names[2]] == pytest.approx([1, 1], abs=0.05)
    assert report.values["interaction"] > 0.9


@pytest.mark.parametrize("form", FORMS)
def test_each_head_has_the_numbers_of_a_model_with_this_head_alone(form: str) -> None:
    model = ThreeHeads(form)
    report = found(model)
    for head, one in zip("abc", [*report.heads.values(), report], strict=True):
        values = {name: value for name, value in one.values.items() if name != "agreement"}
        assert values == alone(model, head).values
        assert one.values["agreement"] == 1


def test_explanations_are_those_of_a_model_with_this_head_alone() -> None:
    model = ThreeHeads()
    report = found(model, explainers=[DIME(num_examples=2)])
    pinned = [one.position for one in report.explanations["dime"]]
    for head, of in report.heads.items():
        expected = alone(model, head, explainers=[DIME(num_examples=2)], pin=pinned).explanations["dime"]
        shown = of.explanations["dime"]
        assert [one.position for one in shown] == pinned  # the examples of the main head
        by_position = {one.position: one for one in expected}
        for one in shown:
            assert one.state() == by_position[one.position].state()


