"""Watching a step leaves nothing behind and never stands in its way."""

from typing import Any

import pytest
import torch
from helpers.steps import TwoNets, batch, schema_of
from torch.nn import functional
from torch.nn.modules import module as hooks

from mviz_lightning.observation.observed_step import StepObserver
from mviz_lightning.observation.recorder import StepRecorder


def global_hooks() -> list[int]:
    return [len(held) for name, held in vars(hooks).items() if name.startswith("_global") and isinstance(held, dict)]


def step(m: Any, b: Any) -> Any:
    return functional.cross_entropy(m(b["image"], b["text"]), b["y"])


def test_a_watched_step_returns_what_it_returns_and_is_put_back() -> None:
    module, data, observer = TwoNets(step), batch(), StepObserver()
    expected, before, kept = module.validation_step(data, 0), global_hooks(), dict(vars(module))
    observer.watch(module, "validation_step", data, schema_of(data))

    assert torch.equal(module.validation_step(data, 0), expected)
    assert observer.pop_record() is not None
    assert (vars(module), global_hooks()) == (kept, before)


def test_a_step_that_raises_in_forward_raises_its_own_error_and_is_put_back() -> None:
    def failing(m: Any, b: Any) -> Any:
        return m(b["image"], b["text"], b["y"])

    module, data, observer = TwoNets(failing), batch(), StepObserver()
    before, kept = global_hooks(), dict(vars(module))
    observer.watch(module, "validation_step", data, schema_of(data))

    with pytest.raises(TypeError, match="positional arguments"):
        module.validation_step(data, 0)
    assert (vars(module), global_hooks()) == (kept, before)


def test_a_step_that_catches_an_error_of_a_module_is_recorded_all_the_same() -> None:
    def trying(m: Any, b: Any) -> Any:
        try:
            m.image_net(b["text"])
        except RuntimeError:
            return step(m, b)

    module, data = TwoNets(trying), batch()
    recorder = StepRecorder(module, data, schema_of(data))
    with recorder.watching():
        module.validation_step(data, 0)

    assert [event.name for event in recorder.record.events] == ["cross_entropy"]


def test_a_step_that_is_never_called_is_put_back() -> None:
    module, data, observer = TwoNets(step), batch(), StepObserver()
    kept = dict(vars(module))
    observer.watch(module, "validation_step", data, schema_of(data))
    observer.release()

    assert vars(module) == kept
    assert observer.pop_record() is None
