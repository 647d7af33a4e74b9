"""Does a training with the monitor leave the same bits as one without it?"""

from collections.abc import Mapping
from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.harness import attached, enter
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

OWN = "mviz/"
"""Prefix of the monitor's own values."""


def traces(case: Case, **told: Any) -> list[str]:
    """Return what of a training is another with the monitor than without it.

    Args:
        case: The case.
        told: Further arguments of the monitor.
    """
    return differing(_trained(case, []), _trained(case, [attached(case, told)]))


def differing(without: Mapping[str, Any], monitored: Mapping[str, Any]) -> list[str]:
    """Return the names under which two trainings left something else."""
    return [name for name in {**without, **monitored} if not _same(without.get(name), monitored.get(name))]


def _trained(case: Case, callbacks: list[Callback]) -> dict[str, Any]:
    """Return what a training leaves: weights, logged values, random numbers, and what lies on the modules."""
    with isolate_rng():
        torch.manual_seed(0)
        module, batches = case.module(), case.batches()
        trainer = enter(case, module, batches, callbacks)
        logged = {name: value for name, value in trainer.callback_metrics.items() if not name.startswith(OWN)}
        return {**_states(module), **logged, "random numbers": torch.get_rng_state(), **_attached_to(module)}


def _states(module: LightningModule) -> dict[str, Any]:
    """Return weights and buffers, those of modules in lists and of averages too."""
    held = {f"{name}[{key}]": value for name, value in vars(module).items() for key, value in _entries(value)}
    hidden = {f"{name}.{key}": value for name, part in held.items() for key, value in _state_of(part).items()}
    return {name: value.clone() for name, value in {**module.state_dict(), **hidden}.items()}


def _entries(value: Any) -> list[tuple[Any, Any]]:
    return list(enumerate(value)) if isinstance(value, list) else list(value.items()) if type(value) is dict else []


def _state_of(part: Any) -> dict[str, Tensor]:
    if isinstance(part, torch.nn.Module):
        return dict(part.state_dict())
    return {"": part} if isinstance(part, Tensor) else {}


def _attached_to(module: LightningModule) -> dict[str, Any]:
    """Return the names of attributes and the number of hooks of every module."""
    return {
        f"on {name or 'the module'}": (sorted(vars(part)), len(part._forward_hooks), len(part._forward_pre_hooks))
        for name, part in module.named_modules()
    }


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return left.dtype == right.dtype and torch.equal(left.nan_to_num(), right.nan_to_num())
    return type(left) is type(right) and bool(left == right)
