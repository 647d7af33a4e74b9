"""A model that returns probabilities, and a class that its head masks, through a training."""

import logging
from typing import Any

import pytest
import torch
from helpers.toy import Toy, fit, loader, monitor, trainer
from torch import Tensor, nn

from mviz_lightning import UnimodalCollapse
from mviz_lightning.explainers import DIME

SAID = "the model returns probabilities (each row sums to 1)"


class Masked(Toy):
    """Never says the last of its classes."""

    def forward(self, *modalities: Tensor) -> Tensor:
        logits = super().forward(*modalities)
        return torch.cat([logits[:, :-1], torch.full_like(logits[:, -1:], -torch.inf)], 1)


class Probable(Masked):
    """Returns probabilities."""

    def forward(self, *modalities: Tensor) -> Tensor:
        return super().forward(*modalities).softmax(1)

    def loss(self, batch: Any) -> Tensor:
        *modalities, label = batch
        return nn.functional.nll_loss((self(*modalities) + 1e-9).log(), label.clamp(max=1))


@pytest.mark.slow
def test_it_is_said_once_in_a_training_and_the_shares_are_those_of_the_logits(tmp_path, caplog) -> None:
    callback, module = monitor(explainers=[DIME(num_examples=2)]), Probable()
    with caplog.at_level(logging.INFO):
        fit(tmp_path, callback, UnimodalCollapse(), module=module)

    first, second = (row.note for row in callback.history)
    assert SAID in first
    assert "left out of the shares: class 2" in first
    assert "probabilities" not in second
    assert "class 2" not in second
    assert caplog.text.count(SAID) == caplog.text.count("left out of the shares: class 2") == 1
    assert caplog.text.count("task: multiclass, from nll_loss") == 1

    plain, twin = Masked(), monitor()
    plain.load_state_dict(module.state_dict())
    plain.validation_step = lambda *_: None
    trainer(tmp_path, twin).validate(plain, loader(seed=1), verbose=False)
    found, expected = callback.history[-1].values, twin.history[-1].values
    for name in ("contribution/image", "contribution/text", "interaction", "flips/image", "total_low/text", "score"):
        assert found[name] == pytest.approx(expected[name], abs=1e-5)


def test_a_resumed_training_reads_them_alike(tmp_path) -> None:
    fit(tmp_path, monitor(), module=Probable(), max_epochs=1).save_checkpoint(tmp_path / "last.ckpt")
    callback = monitor()
    resumed = trainer(tmp_path, callback, max_epochs=2)
    resumed.fit(Probable(), loader(shuffle=True), loader(seed=1), ckpt_path=tmp_path / "last.ckpt")

    assert [SAID in row.note for row in callback.history] == [True, True]  # each process of training says it once
