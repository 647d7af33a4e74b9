"""Everything that is measured of a model on a GPU, without one: a stand-in refuses to mix tensors of two devices."""

import warnings

import pytest
import torch
from helpers.batches import FAMILIES, floats, integers
from helpers.elsewhere import GPU, Elsewhere, MixedDevicesError, is_elsewhere, moved
from torch import Tensor, nn

from mviz_lightning import explain
from mviz_lightning.errors import MonitorWarning
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    ExampleRanking,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)

COST = ("seconds", "rows", "overhead")
ALL = [
    DIME(num_examples=1),
    UnimodalImportance(num_examples=1, num_totals=2),
    CrossModalInteraction(num_examples=1),
    CrossModalInteraction(num_examples=1, method="second_order", name="second"),
    MultimodalRepresentation(),
    MultimodalPrediction(num_examples=1),
    ErrorAnalysis(num_examples=1),
    ExampleRanking(),
]
LABELS = {
    "multiclass": (3, integers(3, 48)),
    "binary": (1, integers(2, 48)),
    "regression": (1, floats(48)),
    "several values": (40, floats(48, 40)),
    "multilabel": (3, integers(2, 48, 3).float()),
}

OF_BOTH = ("ViLT", "CNN and LSTM")
"""Families whose models make tensors of the CPU themselves: places of patches, lengths of packed texts."""


class Late(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.image, self.text, self.head = nn.Linear(4, 8), nn.Linear(3, 8), nn.Linear(8, outputs)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        encoded = self.image(image)
        return self.head((encoded * self.text(text)).tanh() + encoded)


def measured(module: nn.Module, batch, *, there: bool, **settings) -> dict[str, object]:
    """Return the values of a model here, or of one that claims to lie on a GPU; the monitor warns of nothing.

    With them come the ways in which pairs of segments were compared: what cannot be derived twice has another one.
    """
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", MonitorWarning)
        if not there:
            report = explain(module, [batch], **settings)
        else:
            with Elsewhere():
                report = explain(moved(module), [batch], **settings)
    second = report.findings.get("second")
    compared = [] if second is None else [pair.method for one in second.examples for pair in one.outputs[0].pairs]
    return {"compared": compared} | {key: value for key, value in report.values.items() if key not in COST}


def late(outputs: int) -> nn.Module:
    torch.manual_seed(0)
    return Late(outputs)


@pytest.mark.parametrize(
    ("task", "explainers"),
    [("multiclass", []), *(pytest.param(task, ALL, marks=pytest.mark.slow) for task in LABELS)],
)
def test_every_task_is_measured_where_the_model_is(task, explainers):
    outputs, labels = LABELS[task]
    batch = {"image": floats(48, 4), "text": floats(48, 3, seed=1), "label": labels}
    kind = task if task in {"multilabel", "binary", "multiclass"} else "regression"
    settings = {"modalities": ["image", "text"], "target": "label", "task": kind, "explainers": explainers}
    settings |= {"num_examples": 24, "group_size": 8}
    here = measured(late(outputs), batch, there=False, **settings)
    assert measured(late(outputs), batch, there=True, **settings) == here
    assert 0 < here["contribution/image"] < 1


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in OF_BOTH])
def test_models_of_every_family_are_measured_where_they_are(family):
    values = []
    for there in (False, True):
        module, batch, modalities, target, outputs, predict = FAMILIES[family](48)
        settings = {"modalities": modalities, "target": target, "predict": predict}
        settings["task"] = "multiclass" if outputs > 1 else "regression"
        values.append(measured(module, batch, there=there, **settings))
    assert values[0] == values[1]


def test_the_stand_in_refuses_what_a_gpu_refuses():
    with Elsewhere():
        there = torch.randn(4, 4, device="cuda")
        assert (there + 1).device == GPU
        assert (there * torch.tensor(2.0)).device == GPU
        assert there[torch.tensor([1])].is_cuda
        assert there.cpu().device.type == "cpu"
        for refused in (lambda: there + torch.ones(4), lambda: torch.ones(4)[there[0].long()]):
            with pytest.raises(MixedDevicesError, match="expected all tensors to be on the same device"):
                refused()
        with pytest.raises(TypeError, match="convert cuda:0 device type tensor to numpy"):
            there.numpy()
    assert is_elsewhere(there)
