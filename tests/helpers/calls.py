"""Choose the call of a model on a batch, and run what its messages propose."""

from typing import Any

import pytest
from helpers.batches import learn
from torch import Tensor, nn

from mviz_lightning import ConfigurationError
from mviz_lightning.engine.call_choice import choose_call
from mviz_lightning.engine.model_call import ModelCall
from mviz_lightning.engine.model_outputs import scores


def chosen(
    module: nn.Module, batch: Any, modalities: Any = ("image", "text"), target: str | None = None, predict: Any = None
) -> ModelCall:
    return choose_call(module.eval(), learn(batch, modalities, target), batch, predict)


def outputs_of(module: nn.Module, batch: Any, modalities: Any = ("image", "text"), target: str | None = None) -> Tensor:
    """Return what the call that was chosen gives, with the labels out of the way."""
    return scores(chosen(module, batch, modalities, target).predict(module, batch)).detach()


def refusal(module: nn.Module, batch: Any, modalities: Any = ("image", "text"), **settings: Any) -> str:
    """Return the message with which a model is refused."""
    with pytest.raises(ConfigurationError) as caught:
        chosen(module, batch, modalities, **settings)
    return str(caught.value)


def pasted(message: str) -> Any:
    """Return the function in which a message ends, as Python reads it."""
    line = message.rpartition("predict=")[2].removesuffix(".")
    assert line.startswith("lambda module, batch: ")
    return eval(line)  # noqa: S307 - it is our own
