"""Different learning rates for single encoders."""

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from torch import nn
from torch.optim import Optimizer

from mviz_lightning.actions.base import Action, Alarms, require_number
from mviz_lightning.actions.encoders import Encoders, encoder_parameters, parse_encoders, require_encoders
from mviz_lightning.errors import ConfigurationError

COPYING = {"LBFGS", "ZeroRedundancyOptimizer"}
"""Optimizers that update copies of their parameter groups."""


class EncoderLearningRate(Action):
    """Multiplies the learning rate of the collapsed modality's encoder, and of the other modalities' encoders.

    Learning rates per modality: Yao and Mihalcea, "Modality-specific learning rates for effective multimodal additive
    late-fusion" (Findings of ACL 2022).

    The step is bit-identical to that of an optimizer in which these parameters have their own group with the multiplied
    rate. For each step, the group is split after the backward pass and restored after the update. So the optimizer's
    state, its groups in checkpoints, and the rates that schedulers read and write do not change. Scaled gradients would
    only be equivalent for SGD without weight decay; they have no effect with Adam, which divides by their size.

    Args:
        factor: Factor on the rate of the collapsed modality's encoder.
        others: Factor on the rate of the other encoders; 0 stops them.
        encoders: Modality -> name of its encoder in the model, ``{"image": "vision_tower"}``, or a list of names. By
            default the submodules whose parameters are used for one modality alone, found by tracing a forward pass; a
            log line names them.

    Raises:
        ConfigurationError: An argument has a value that is not allowed.

    Example:
        >>> from mviz_lightning import UnimodalCollapse
        >>> from mviz_lightning.actions import EncoderLearningRate
        >>> alarm = UnimodalCollapse(action=EncoderLearningRate(factor=10, others=0.1))
    """

    uses_encoders = True

    def __init__(self, factor: float = 10.0, others: float = 1.0, encoders: Encoders | None = None) -> None:
        self.factor = require_number(f"EncoderLearningRate(factor={factor!r})", factor, math.inf, 10)
        self.others = require_number(f"EncoderLearningRate(others={others!r})", others, math.inf, 0.1)
        self.encoders = parse_encoders("EncoderLearningRate", encoders)

    def announce(self, alarms: Alarms) -> str:
        """Return the rates and their factors, in words."""
        rest = f", those of {' and '.join(alarms.others)} by {self.others:g}" if self.others != 1 else ""
        return (
            f"Until the alarm ends, the learning rate of the encoder of {' and '.join(alarms.silent)} is multiplied by "
            f"{self.factor:g}{rest}."
        )

    def require(self, alarms: Alarms) -> None:
        """Check the names of ``encoders``."""
        require_encoders("EncoderLearningRate", self.encoders, alarms)

    def during_step(self, optimizer: Optimizer, alarms: Alarms, number: int) -> AbstractContextManager[object]:
        """Split the groups.

        Raises:
            ConfigurationError: An encoder is unknown or frozen, or the optimizer updates copies of its groups.
        """
        if type(optimizer).__name__ in COPYING:
            raise ConfigurationError(
                f"{type(optimizer).__name__} steps by copies of its parameter groups, so the rate of one encoder "
                "cannot be changed; use another optimizer, such as AdamW or SGD."
            )
        return _split(optimizer, self._factors(alarms))

    def _factors(self, alarms: Alarms) -> dict[nn.Parameter, float]:
        """Return the factor of every parameter that has one other than 1."""
        wanted = dict.fromkeys(alarms.silent, self.factor) | dict.fromkeys(alarms.others, self.others)
        return {
            parameter: factor
            for name, factor in wanted.items()
            if factor != 1
            for parameter in encoder_parameters("EncoderLearningRate", name, self.encoders, alarms)
        }


@contextmanager
def _split(optimizer: Optimizer, factors: Mapping[nn.Parameter, float]) -> Iterator[None]:
    """Move parameters with a factor into groups with the multiplied rate; restore the groups afterwards."""
    groups, undo = list(optimizer.param_groups), []
    for group in groups:
        parts: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            parts.setdefault(factors.get(parameter, 1.0), []).append(parameter)
        (first, own), *more = sorted(parts.items(), key=lambda part: part[0] != 1) or [(1.0, [])]
        undo.append((group, group["params"], group["lr"], first))
        optimizer.param_groups.extend({**group, "params": part, "lr": group["lr"] * factor} for factor, part in more)
        group.update(params=own, lr=group["lr"] if first == 1 else group["lr"] * first)
    try:
        yield
    finally:
        del optimizer.param_groups[len(groups) :]
        for group, parameters, rate, first in undo:
            group.update(params=parameters, **({} if first == 1 else {"lr": rate}))
