"""Trainings of models that keep state in unusual places end with the same bits, or the user is told and may choose."""

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.toy import Toy, fit, monitor
from torch import Tensor, nn

from mviz_lightning.errors import ConfigurationError, MonitorWarning

CALLS: list[int] = []


class Counting(Toy):
    """Its outputs depend on how often it was called."""

    def __init__(self, count: Callable[["Counting"], float]) -> None:
        super().__init__()
        self.count = count
        self.space, self.teachers = SimpleNamespace(calls=0), [nn.BatchNorm1d(4)]

    def forward(self, *modalities: Tensor) -> Tensor:
        outputs: Tensor = super().forward(*modalities) * (1 + 0.01 * self.count(self))
        return outputs


FEW = {"num_examples": 16, "group_size": 4, "reference": 16}
SHORT = {"limit_train_batches": 2, "limit_val_batches": 1}


def by_object(module: Counting) -> float:
    module.space.calls += 1
    return module.space.calls % 7


def by_teacher(module: Counting) -> float:
    module.teachers[0](torch.ones(2, 4))
    return float(module.teachers[0].num_batches_tracked) % 7


def by_weights(module: Counting) -> float:
    module.head.weight.data.mul_(0.999)
    return 0.0


def by_weights_in_numpy(module: Counting) -> float:
    module.head.weight.detach().numpy()[:] *= 0.999
    return 0.0


def by_global(_: Counting) -> float:
    CALLS.append(1)
    return len(CALLS) % 7


def weights(folder: Path, count: Any, *callbacks: Any, **settings: Any) -> dict[str, Tensor]:
    """Train and return the weights."""
    CALLS.clear()
    torch.manual_seed(0)
    module = Counting(count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MonitorWarning)
        fit(folder, *callbacks, module=module, max_epochs=1, **SHORT, **settings)
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.long
@pytest.mark.parametrize("sanity", [0, 2])
@pytest.mark.parametrize("count", [by_object, by_teacher, by_weights, by_weights_in_numpy])
def test_a_training_ends_with_the_same_bits(tmp_path: Path, count: Any, sanity: int) -> None:
    alone = weights(tmp_path, count, num_sanity_val_steps=sanity)
    assert same(alone, weights(tmp_path, count, monitor(**FEW), num_sanity_val_steps=sanity))


def train(folder: Path, **settings: Any) -> tuple[Any, list[str]]:
    """Train a model that counts globally; return the monitor and its warnings."""
    CALLS.clear()
    watch = monitor(on_disagreement="log", **FEW, **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(folder, watch, module=Counting(by_global), num_sanity_val_steps=0, **SHORT)
    return watch, [str(one.message) for one in caught if "CALLS" in str(one.message)]


def test_what_cannot_be_put_back_is_warned_of_once(tmp_path: Path) -> None:
    watch, told = train(tmp_path)
    (line,) = told
    assert line.startswith(
        f"MultimodalMonitor: running the model changed CALLS of {__name__}, which the monitor cannot"
    )
    assert line.endswith(
        "Or choose on_side_effect='disable' to switch the monitor off, or 'ignore' to go on without this warning."
    )
    assert not watch._run.disabled


def test_the_monitor_can_be_switched_off_then(tmp_path: Path) -> None:
    watch, told = train(tmp_path, on_side_effect="disable")
    assert len(told) == 1
    assert told[0].startswith(
        f"MultimodalMonitor: the monitor is off, since running the model changed CALLS of {__name__}"
    )
    assert watch.history[1].note.startswith("running the model changed CALLS")
    assert not watch.history[1].values


def test_nothing_is_said_if_it_is_to_be_ignored(tmp_path: Path) -> None:
    watch, told = train(tmp_path, on_side_effect="ignore")
    assert told == []
    assert not watch._run.disabled


def test_another_value_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="on_side_effect='stop': choose 'warn', 'disable' or 'ignore'"):
        monitor(on_side_effect="stop")
