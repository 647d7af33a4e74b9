"""A damaged entry of the monitor's part of a checkpoint costs itself, and never the training that goes on."""

import copy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy import Toy, loader, monitor, trainer

from mviz_lightning import MonitorWarning, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.explainers import DIME, ErrorAnalysis, MultimodalPrediction, MultimodalRepresentation

Path_ = tuple[Any, ...]


def absent(_: Any) -> Any:
    """Stand for the entry that is taken out."""
    raise KeyError


def halved(value: Any) -> Any:
    if isinstance(value, dict):
        return dict(list(value.items())[: len(value) // 2])
    return value[: len(value) // 2] if isinstance(value, str | list | tuple) or _is_array(value) else value


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0


DAMAGES: dict[str, Callable[[Any], Any]] = {
    "missing": absent,
    "nothing": lambda _: None,
    "a text": lambda _: "rubbish",
    "a number": lambda _: -7.5,
    "a tensor": lambda _: torch.zeros(2, 3),
    "a half": halved,
}


def watching(**settings: Any) -> MultimodalMonitor:
    methods = [DIME(num_examples=2), ErrorAnalysis(), MultimodalRepresentation(), MultimodalPrediction(num_examples=1)]
    return monitor(explainers=methods, **settings)


def train(folder: Path, epochs: int, state: Any = None) -> tuple[MultimodalMonitor, Any, dict[str, Tensor]]:
    torch.manual_seed(0)
    watch, module = watching(), Toy()
    chosen = trainer(folder, watch, UnimodalCollapse("stop"), max_epochs=epochs)
    chosen.fit(module, loader(48, shuffle=True), loader(48, seed=1), ckpt_path=state)
    return watch, chosen, module.state_dict()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: Any) -> dict[str, Any]:
    """Return what a training of two epochs saves."""
    folder = tmp_path_factory.mktemp("first")
    _, chosen, _ = train(folder, 2)
    chosen.save_checkpoint(folder / "whole.ckpt")
    return torch.load(folder / "whole.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def resumed(checkpoint: dict[str, Any], tmp_path_factory: Any) -> dict[str, Tensor]:
    """Return the weights of a training that went on with all of it."""
    folder = tmp_path_factory.mktemp("whole")
    torch.save(checkpoint, folder / "whole.ckpt")
    watch, _, weights = train(folder, 3, folder / "whole.ckpt")
    assert [row.epoch for row in watch.history] == [0, 1, 2]
    return weights


KEY = "MultimodalMonitor{'name': 'mviz'}"


def entries(value: Any, depth: int, at: Path_ = ()) -> Iterator[Path_]:
    """Yield the places of all entries, the whole first; of lists the first two entries."""
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list | tuple) else ()
    for key, one in inner if len(at) < depth else ():
        yield from entries(one, depth, (*at, key))


def damaged(state: Any, at: Path_, damage: Callable[[Any], Any]) -> Any:
    """Return a state of which one entry is damaged; None where the damage would leave it as it is."""
    if not at:
        return damage(state)
    key, *rest = at
    found = copy.copy(state) if not isinstance(state, tuple) else list(state)
    try:
        found[key] = damaged(state[key], tuple(rest), damage)
    except KeyError:
        del found[key]
    return found if not isinstance(state, tuple) else tuple(found)


def resume(folder: Path, checkpoint: dict[str, Any], state: Any) -> tuple[MultimodalMonitor, dict[str, Tensor], set[str]]:
    """Go on with another state of the monitor; return it, the weights and the warnings."""
    torch.save(checkpoint | {"callbacks": checkpoint["callbacks"] | {KEY: state}}, folder / "damaged.ckpt")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", MonitorWarning)
        watch, _, weights = train(folder, 3, folder / "damaged.ckpt")
    return watch, weights, {str(one.message) for one in caught if "took more than" not in str(one.message)}


def fuzzed(folder: Path, checkpoint: dict[str, Any], resumed: dict[str, Tensor], places: list[Path_]) -> list[str]:
    """Return what went wrong with any damage of these places."""
    wrong = []
    for at in places:
        for name, damage in DAMAGES.items():
            if not at and damage is absent:
                continue
            state = damaged(checkpoint["callbacks"][KEY], at, damage)
            try:
                watch, weights, said = resume(folder, checkpoint, state)
            except Exception as error:
                wrong.append(f"{at} {name}: {type(error).__name__}: {error}")
                continue
            if not all(torch.equal(weights[key], resumed[key]) for key in resumed):
                wrong.append(f"{at} {name}: other weights")
            if not watch.history[-1].values or len(said) > 1:
                wrong.append(f"{at} {name}: {watch.history[-1].note} {said}")
    return wrong
