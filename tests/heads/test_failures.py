"""A further head that cannot be measured costs itself alone, with one line that says why."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.heads import MODALITIES, ThreeHeads, batch, step
from torch import Tensor, nn
from torch.nn import functional

from mviz_lightning import ConfigurationError, ShareReport, explain


def report_of(
    loss: Callable[[Any, Any], Tensor], model: nn.Module | None = None, data: Any = None, **settings: Any
) -> ShareReport:
    chosen = {"modalities": MODALITIES, "step": loss, "num_examples": 32, **settings}
    return explain(ThreeHeads() if model is None else model, [batch() if data is None else data], **chosen)


def reconstructs(model: Any, data: Any) -> Tensor:
    """Compare a head with an input, as an auxiliary reconstruction does."""
    found = model(data["one"], data["two"])
    return functional.mse_loss(found["c"], data["label_c"]) + functional.mse_loss(found["a"], data["one"])


def multiplies(model: Any, data: Any) -> Tensor:
    """Give a loss scores that are computed from its labels."""
    found = model(data["one"], data["two"])
    return functional.mse_loss(found["c"], data["label_c"]) + functional.cross_entropy(
        found["a"] * data["label_a"][:, None], data["label_a"]
    )


def compares_batches(model: Any, data: Any) -> Tensor:
    """Give a loss scores that depend on the other examples."""
    found = model(data["one"], data["two"])
    normal = (found["a"] - found["a"].mean(0)) / found["a"].std(0)
    return functional.mse_loss(found["c"], data["label_c"]) + functional.cross_entropy(normal, data["label_a"])


@pytest.mark.long
@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (reconstructs, "which modalities= names as an input, not as a label"),
        (multiplies, "is computed from the labels"),
        (compares_batches, "the same examples gave other outputs without 8 of the others"),
    ],
)
def test_a_head_that_cannot_be_settled_costs_itself(
    loss: Callable[[Any, Any], Tensor], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    report = report_of(loss)
    assert report.heads == {}
    expected = report_of(lambda m, d: functional.mse_loss(m(d["one"], d["two"])["c"], d["label_c"]))
    assert report.values == expected.values
    (line,) = [message for message in caplog.messages if "is not measured: " in message]
    assert line.startswith("MultimodalMonitor: ")
    assert why in line
    assert "\n" not in line


def test_a_head_whose_labels_are_all_missing_has_shares_and_no_score() -> None:
    data = batch()
    data["label_a"] = torch.full_like(data["label_a"], -100)
    report = report_of(step, data=data)
    assert list(report.heads) == ["a", "b"]
    assert "score" in report.values
    assert "score" in report.heads["b"].values
    assert "score" not in report.heads["a"].values
    assert report.heads["a"].values["total/one"] == pytest.approx(1)


def test_labels_that_do_not_fit_cost_the_head(caplog: pytest.LogCaptureFixture) -> None:
    data = batch()
    data["wrong"] = data["label_a"] + 5
    report = report_of(step, data=data, target={"a": "wrong"})
    assert list(report.heads) == ["b"]
    assert any("head a is not measured: ConfigurationError: task='multiclass'" in one for one in caplog.messages)


def test_a_leaf_that_does_not_exist_costs_the_head(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert list(report_of(step, target={"a": "nothing"}).heads) == ["b"]
    assert any("there is no leaf 'nothing' in the batch; leaves found: one, two" in one for one in caplog.messages)


def test_the_main_head_still_ends_the_run_where_its_own_labels_do_not_fit() -> None:
    data = batch()
    data["wrong"] = data["label_a"]
    with pytest.raises(ConfigurationError, match="task='regression' with 2 outputs needs targets of 2"):
        report_of(step, data=data, target={"c": "wrong"})


def test_an_explainer_that_cannot_explain_a_head_is_left_out_there() -> None:
    from mviz_lightning.explainers import DIME

    class Third(DIME):
        def check(self, outputs: int) -> None:
            if outputs < 3:
                raise ConfigurationError("needs three outputs")

    with pytest.warns(match="swapping 'two'"):
        report = report_of(step, heads=["a", "b"], explainers=[Third(num_examples=1)])
    assert "dime" in report.results
    assert "dime" not in report.heads["b"].results
