"""Explicit arguments win over what the step shows, and what differs is said."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from helpers.toy import MODALITIES, Toy, examples
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import (
    MulticlassAUROC,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)

from mviz_lightning import explain
from mviz_lightning.batch import parse_modalities
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.errors import MonitorWarning
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

SETTINGS: dict[str, Any] = {"modalities": MODALITIES, "num_examples": 32, "group_size": 8}


def model(outputs: int = 3) -> Toy:
    torch.manual_seed(0)
    return Toy(outputs=outputs)


def batch(count: int = 64) -> list[Tensor]:
    return list(examples(count).tensors)


def cross_entropy(module: Any, data: Any) -> Tensor:
    return nn.functional.cross_entropy(module(*data[:2]), data[2])


def shares(found: Any) -> dict[str, float]:
    return {key: value for key, value in found.values.items() if key != "agreement"}


def told(**settings: Any) -> dict[str, float]:
    """Return the shares of a model whose every fact is told by hand."""
    by_hand = {"target": "2", "task": "multiclass", "predict": lambda module, data: module(*data[:2])}
    return shares(explain(model(), [batch()], **SETTINGS | by_hand | settings))


def accuracy(module: Any, data: Any) -> Tensor:
    return (module(*data[:2]).argmax(1) == data[2]).float().mean()


def named(module: Any, data: Any) -> Tensor:
    classes = ["cat", "dog", "owl"]
    labels = torch.tensor([classes.index(name) for name in data["name"]])
    return nn.functional.cross_entropy(module(data["image"], data["text"]), labels)


@pytest.mark.long
@pytest.mark.parametrize("step", [cross_entropy, accuracy, "validation_step"])
def test_explain_follows_a_step_as_if_everything_were_told(step):
    class Named(Toy):
        def validation_step(self, batch: Any, _: int) -> Tensor:
            return cross_entropy(self, batch)

    torch.manual_seed(0)
    found = explain(Named(), [batch()], step=step, task="multiclass" if step is accuracy else None, **SETTINGS)
    assert shares(found) == pytest.approx(told(), abs=1e-6)
    assert found.values["agreement"] == 1.0


def test_explain_follows_a_step_whose_labels_are_strings():
    image, text, label = batch()
    data = {"image": image, "text": text, "name": [["cat", "dog", "owl"][index] for index in label.tolist()]}
    modalities = {"image": "image", "text": "text"}
    found = explain(model(), [data], step=named, **SETTINGS | {"modalities": modalities})
    assert shares(found) == pytest.approx(told(), abs=1e-6)


def with_softmax(module: Any, data: Any) -> Tensor:
    return module(*data[:2]).softmax(1)


def test_probabilities_in_place_of_the_scores_are_said():
    with pytest.warns(MonitorWarning, match=r"differ by .* correlation 1\.00 with their softmax: probabilities\?"):
        explain(model(), [batch()], predict=with_softmax, step=cross_entropy, task="multiclass", **SETTINGS)


def test_probabilities_of_one_output_are_said():
    def step(module: Any, data: Any) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(module(*data[:2]).squeeze(1), (data[2] > 0).float())

    with pytest.warns(MonitorWarning, match=r"with their sigmoid: probabilities\?"):
        explain(model(1), [batch()], predict=lambda m, d: m(*d[:2]).sigmoid(), step=step, task="binary", **SETTINGS)


def test_logits_that_differ_by_a_shift_over_the_classes_are_the_same():
    def shifted(module: Any, data: Any) -> Tensor:
        return module(*data[:2]) + data[0].sum(1, keepdim=True)

    explain(model(), [batch()], predict=shifted, step=cross_entropy, task="multiclass", **SETTINGS)


@pytest.mark.slow
def test_the_target_chooses_the_head():
    def step(module: Any, data: Any) -> Tensor:
        scores = module(*data[:2])
        coarse = nn.functional.cross_entropy(scores[:, :2] * 1.0, data[2])
        return coarse + nn.functional.cross_entropy(scores[:, 2:] * 3.0, data[3])

    image, text, label = batch()
    data, by_hand = [image, text, label.clamp(max=1), label], lambda module, data: module(*data[:2])[:, 2:] * 3.0
    found = explain(model(5), [data], step=step, target="3", **SETTINGS)
    expected = explain(model(5), [data], target="3", predict=by_hand, task="multiclass", **SETTINGS)
    assert shares(found) == pytest.approx(shares(expected), abs=1e-6)


def test_a_target_that_no_loss_uses_is_said_and_wins():
    data = [*batch(), batch()[2].flip(0)]
    with pytest.warns(
        MonitorWarning, match=r"your step does not use target='3' as a target: cross_entropy .* batch\[2\]"
    ):
        found = explain(model(), [data], step=cross_entropy, target="3", **SETTINGS)
    expected = explain(model(), [data], target="3", predict=lambda m, d: m(*d[:2]), task="multiclass", **SETTINGS)
    assert shares(found) == pytest.approx(shares(expected), abs=1e-6)


def test_a_task_unlike_the_loss_is_said_and_wins():
    def step(module: Any, data: Any) -> Tensor:
        return nn.functional.mse_loss(module(*data[:2]).squeeze(1), data[2].float())

    data = [*batch()[:2], batch()[2].clamp(max=1)]
    with pytest.warns(MonitorWarning, match="task='binary', but mse_loss in your step belongs to task='regression'"):
        found = explain(model(1), [data], step=step, task="binary", **SETTINGS)
    assert "flips/image" in found.values


def own_metric(metric: Any) -> Any:
    def step(module: Any, data: Any) -> Tensor:
        scores = module(*data[:2])
        metric.update(scores.mean()) if isinstance(metric, MeanMetric) else metric.update(scores, data[2])
        return nn.functional.cross_entropy(scores, data[2])

    return step


class WithMetric(Toy):
    """Holds a metric that its step updates."""

    def __init__(self, metric: Any) -> None:
        super().__init__()
        self.metric = metric

    def validation_step(self, batch: Any, _: int) -> None:
        own_metric(self.metric)(self, batch)


def measured(metric: Any, **settings: Any) -> Any:
    torch.manual_seed(0)
    return explain(WithMetric(metric), [batch()], step="validation_step", **SETTINGS | {"num_examples": 64} | settings)


@pytest.mark.parametrize("metric", [MulticlassF1Score(3, average="macro"), MulticlassAUROC(3)])
def test_the_users_own_metric_is_the_score(metric, caplog):
    caplog.set_level("INFO")
    found = measured(metric.clone())
    expected = metric.clone()
    torch.manual_seed(0)
    with torch.no_grad():
        expected.update(WithMetric(metric)(*batch()[:2]), batch()[2])
    assert found.values["score"] == pytest.approx(float(expected.compute()), abs=1e-6)
    assert f"score: {type(metric).__name__}, which your own step updates; score= sets another" in caplog.text


@pytest.mark.long
@pytest.mark.parametrize(
    "metric",
    [MulticlassConfusionMatrix(3), MeanMetric(), MulticlassCalibrationError(3), MulticlassF1Score(3, average="none")],
)
def test_a_metric_that_cannot_be_a_score_leaves_the_default(metric, caplog):
    caplog.set_level("INFO")
    assert measured(metric).values["score"] == pytest.approx(told(num_examples=64)["score"])
    assert "your own step updates" not in caplog.text


def test_a_given_score_wins_over_the_users_own_metric():
    assert measured(MulticlassF1Score(3, average="macro"), score=MulticlassAUROC(3)).values["score"] == pytest.approx(
        told(num_examples=64, score=MulticlassAUROC(3))["score"], abs=1e-6
    )


@dataclass(frozen=True)
class Beside(Ranks):
    """A process beside another one, to which the step told something."""

    told: Any = field(default=None)

    def gather(self, value: Any) -> list[Any]:
        return [value, self.told if isinstance(value, tuple) else value]


@pytest.mark.parametrize("told", [(3, "multiclass", True), None, (3, "multiclass", False), (3, None, False)])
def test_processes_to_which_the_step_tells_different_things_do_not_wait_for_one_another(told):
    session = Session(SessionConfig(parse_modalities(MODALITIES)), Beside(told=told))
    session.collect(batch(), lambda count: range(count))
    session.dry_run(model(), step=cross_entropy)
    if told in ((3, "multiclass", True), None):
        session.check(complete=False)
    else:
        with pytest.raises(RuntimeError, match="the step showed other outputs, tasks or labels on other processes"):
            session.check(complete=False)
