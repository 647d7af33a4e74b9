"""Training with everything attached ends with the same bits as training without."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers.delicate import Delicate, same, train
from lightning.pytorch import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from mviz_lightning import Modality, MultimodalMonitor
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)

STAGES = [
    UnimodalImportance(num_examples=1, num_totals=2),
    CrossModalInteraction(num_examples=1, method="second_order"),
    MultimodalRepresentation(),
    MultimodalPrediction(num_examples=1),
    ErrorAnalysis(num_examples=1),
]


def everything(**settings: Any) -> MultimodalMonitor:
    return MultimodalMonitor(
        {"image": Modality("image", baseline="zero"), "text": "text"},
        target="label",
        num_examples=32,
        group_size=8,
        pictures_every_n_validations=4,
        explainers=[DIME(num_examples=1, every_n_validations=5), *STAGES],
        **settings,
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_training_with_everything_attached_is_bit_identical(tmp_path, workers):
    alone = train(tmp_path, workers=workers)
    watch = everything()
    watched = train(tmp_path, watch, workers=workers, logger=TensorBoardLogger(tmp_path))
    assert len(watch.history) == 9
    assert all(row.values for row in watch.history)
    # At the first validation, at the sixth, which finds gradients of two batches, and when the training has ended.
    assert [len(entry.explanations) for entry in watch.explanation_history.entries] == [1, 1, 1]
    assert watch.explanation_history.entries[1].step == watch.history[5].step
    assert {what: same(alone[what], watched[what]) for what in alone} == dict.fromkeys(alone, True)


class Careless(Callback):
    """Does one thing that a hand-written monitor might do."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        self.act(module, batch)


CARELESS = {
    "draws a random number": lambda module, batch: torch.rand(1),
    "shuffles with NumPy": lambda module, batch: np.random.permutation(4),
    "calls the model": lambda module, batch: module(batch["image"], batch["text"]),
    "takes a gradient": lambda module, batch: _backward(module, batch),
    "leaves training mode on": lambda module, batch: module.text[1].train(),
}


def _backward(module, batch):
    with torch.enable_grad():
        module(batch["image"], batch["text"]).sum().backward()


@pytest.mark.long
@pytest.mark.parametrize("act", CARELESS.values(), ids=CARELESS.keys())
def test_the_comparison_sees_careless_monitors(tmp_path, act):
    assert not same(train(tmp_path), train(tmp_path, Careless(act)))


def test_a_failing_monitor_leaves_no_trace_either(tmp_path):
    def broken(module: Delicate, batch: Any) -> Tensor:
        torch.rand(3), np.random.rand()
        module.calls += 5
        outputs = module(batch["image"], batch["text"])
        if len(outputs) > 16:
            raise RuntimeError("no such luck")
        return outputs

    alone = train(tmp_path)
    watch = MultimodalMonitor(
        {"image": "image", "text": "text"}, target="label", num_examples=32, group_size=8, predict=broken
    )
    with pytest.warns(UserWarning, match="a run failed.*no such luck"):
        watched = train(tmp_path, watch)
    assert {what: same(alone[what], watched[what]) for what in alone} == dict.fromkeys(alone, True)


class AtTheEnd(Callback):
    """Does one thing when the training ends."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def on_train_end(self, trainer, module):
        self.act(module, {"image": torch.ones(4, 4), "text": torch.ones(4, 4), "label": torch.zeros(4).long()})


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in CARELESS if "mode" not in name])  # Lightning sets it once more
def test_the_comparison_sees_what_careless_monitors_do_at_the_end(tmp_path, name):
    assert not same(train(tmp_path), train(tmp_path, AtTheEnd(CARELESS[name])))


@pytest.mark.slow
def test_explanations_that_fail_leave_no_trace_either(tmp_path):
    def broken(module: Delicate, batch: Any) -> Tensor:
        torch.rand(3), np.random.rand()
        module.calls += 5
        if module.trainer.global_step and bool((batch["image"] == 0).any()):
            raise RuntimeError("no such luck")
        return module(batch["image"], batch["text"])

    alone = train(tmp_path)
    with pytest.warns(UserWarning, match="failed: RuntimeError: no such luck"):
        watched = train(tmp_path, everything(predict=broken))
    assert {what: same(alone[what], watched[what]) for what in alone} == dict.fromkeys(alone, True)
