"""What a first day meets: a first validation that fails, several outputs, a module without forward."""

import logging
import warnings
from typing import Any

import pytest
from helpers.few import few
from helpers.toy import Toy, Unseen, fit, loader, monitor, trainer
from lightning.pytorch import LightningModule
from torch import Tensor

from mviz_lightning import ConfigurationError, MonitorWarning


class Ailing(Unseen):
    """Cannot be asked by a monitor, as long as it says so."""

    ailing = True

    def forward(self, *modalities: Tensor) -> Tensor:
        if self.ailing:
            raise ValueError("the cache is not warm")
        return super().forward(*modalities)

    def loss(self, batch: Any) -> Tensor:
        found, self.ailing = self.ailing, False
        value = super().loss(batch)
        self.ailing = found
        return value


def messages(caught: list[warnings.WarningMessage]) -> list[str]:
    return [str(one.message) for one in caught if issubclass(one.category, MonitorWarning)]


def test_every_validation_says_why_the_first_one_failed(tmp_path):
    watch = monitor()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, watch, module=Ailing(), max_epochs=3, num_sanity_val_steps=0)
    assert len(watch.history) == 3
    for row in watch.history:
        assert "the cache is not warm" in row.note
        assert "no validation batch came" not in row.note
    assert len([message for message in messages(caught) if "the cache is not warm" in message]) == 1


def test_what_failed_at_the_first_validation_may_work_at_the_second(tmp_path):
    class Recovering(Ailing):
        def on_train_epoch_start(self) -> None:
            self.ailing = self.current_epoch == 0

    watch = monitor()
    with pytest.warns(MonitorWarning, match="the cache is not warm"):
        fit(tmp_path, watch, module=Recovering(), num_sanity_val_steps=0)
    first, second = watch.history
    assert first.values == {}
    assert "the cache is not warm" in first.note
    assert second.values["total/image"] > 0
    assert second.note == ""


def test_a_fit_that_goes_on_says_the_real_reason_too(tmp_path):
    watch, module = monitor(), Ailing()
    with pytest.warns(MonitorWarning, match="the cache is not warm"):
        chosen = fit(tmp_path, watch, module=module, max_epochs=1, num_sanity_val_steps=0)
    chosen.fit_loop.max_epochs, chosen.num_sanity_val_steps = 2, 2
    with pytest.warns(MonitorWarning, match="the cache is not warm"):
        chosen.fit(module, loader(), loader(seed=1))
    assert chosen.current_epoch == 2


class SeveralHeads(Unseen):
    """Scores of the first modality, and of both."""

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(self.encoders[0](image)), super().forward(image, text)

    def loss(self, batch: Any) -> Tensor:
        return Toy.loss(Whole(self), batch)


class Whole:
    """What the training calls: the scores of both."""

    def __init__(self, module: SeveralHeads) -> None:
        self.module = module

    def __call__(self, *modalities: Tensor) -> Tensor:
        return self.module(*modalities)[1]


@pytest.mark.slow
@pytest.mark.parametrize("sanity", few([0, 2]))
def test_a_modality_that_does_not_reach_the_output_is_named_once_and_the_run_goes_on(tmp_path, sanity):
    watch = monitor()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, watch, module=SeveralHeads(), max_epochs=3, num_sanity_val_steps=sanity)
    (message,) = [message for message in messages(caught) if "bit-identical" in message]
    assert "swapping 'text' among 16 examples" in message
    assert "pass predict=lambda module, batch: module(image=batch[0], text=batch[1])[1]." in message
    assert [row.values["total/text"] for row in watch.history] == pytest.approx([0, 0, 0], abs=1e-9)


def test_the_output_that_the_step_scores_is_measured_without_a_doubt(tmp_path):
    class Seen(SeveralHeads):
        validation_step = Toy.validation_step

    watch = monitor()
    fit(tmp_path, watch, module=Seen())
    assert watch._run.session.call == "self(batch[0], batch[1])[1]"
    assert all(row.values["total/text"] > 0.01 for row in watch.history)


def test_doubts_are_said_once_even_where_what_comes_of_them_fails_again(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, monitor(task="binary"), module=SeveralHeads(), max_epochs=3, num_sanity_val_steps=0)
    assert len([message for message in messages(caught) if "bit-identical" in message]) == 1
    assert any("task='binary'" in message for message in messages(caught))


class Headless(Unseen):
    """All of it stands in a submodule; the training calls that."""

    forward = LightningModule.forward

    def __init__(self) -> None:
        super().__init__()
        self.net = Toy()

    def loss(self, batch: Any) -> Tensor:
        return self.net.loss(batch)


def test_a_module_without_forward_is_measured_by_its_only_child_that_returns_scores(tmp_path, caplog):
    watch = monitor()
    with caplog.at_level(logging.INFO):
        trainer(tmp_path, watch).fit(Headless(), loader(), loader(seed=1))
    assert caplog.text.count("Headless has no forward; its submodule is called: net.forward(0, 1)") == 1
    assert all(row.values for row in watch.history)


class Twofold(Headless):
    """Two submodules return scores."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = Toy()


@pytest.mark.slow
def test_of_two_submodules_one_is_asked_for_with_a_call_that_works(tmp_path):
    with pytest.raises(
        ConfigurationError, match=r"Twofold has no forward; its submodules are: encoders, head, net, teacher\. "
    ) as caught:
        trainer(tmp_path, monitor()).fit(Twofold(), loader(), loader(seed=1))
    line = str(caught.value).rpartition("predict=")[2].removesuffix(".")
    assert line == "lambda module, batch: module.net(batch[0], batch[1])"
    watch = monitor(predict=eval(line))  # noqa: S307 - it is our own
    trainer(tmp_path, watch).fit(Twofold(), loader(), loader(seed=1))
    assert all(row.values for row in watch.history)
