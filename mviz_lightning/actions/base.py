"""The interface of an action, and its information about the active alarms."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

from mviz_lightning.batch import Modality
from mviz_lightning.batch.interleaved.placeholders import NO_TOKENS, PlaceholderTokens
from mviz_lightning.errors import ConfigurationError


@dataclass(frozen=True)
class Alarms:
    """The modalities that are collapsed at the latest check.

    Attributes:
        trainer: The trainer.
        module: The user's model.
        modalities: Name -> modality, for all modalities of the monitor.
        silent: Names of the collapsed modalities, in declared order.
        began: Names of the collapsed modalities that were not collapsed at the previous check.
        values: Values of the monitor at the latest check, without prefix: ``{"total/image": 0.01, ...}``.
        encoders: Name of a modality -> names of the submodules whose parameters are used for this modality alone, found
            by tracing a forward pass.
        may_stop: Whether ``min_epochs`` and ``min_steps`` are met.
        tokens: The placeholder tokens in the model's texts.
    """

    trainer: Any
    module: nn.Module
    modalities: Mapping[str, Modality]
    silent: Sequence[str]
    began: Sequence[str] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    encoders: Mapping[str, Sequence[str]] = field(default_factory=dict)
    may_stop: bool = True
    tokens: PlaceholderTokens = NO_TOKENS

    @property
    def others(self) -> list[str]:
        """Names of the modalities that are not collapsed."""
        return [name for name in self.modalities if name not in self.silent]


class Action:
    """An action at an alarm; a subclass overrides the methods that it needs.

    An object stores its arguments and no state of a training, so it can be copied and reused. A context undoes its
    changes on exit: :meth:`during` exits at the end of the alarm, at the end of the training, or at an error. If an
    action raises an error, the action ends with a warning and the training continues. In distributed training every
    process runs the same actions.

    Example:
        >>> from contextlib import contextmanager
        >>> class SlowDown(Action):
        ...     @contextmanager
        ...     def during(self, alarms):
        ...         before, alarms.module.momentum = alarms.module.momentum, 0.5
        ...         yield
        ...         alarms.module.momentum = before
    """

    uses_encoders: ClassVar[bool] = False
    """Whether the action reads ``Alarms.encoders``; only then the encoders are searched."""

    def announce(self, alarms: Alarms) -> str:
        """Return one line about the action for the alarm; ``""`` for none."""
        return ""

    def require(self, alarms: Alarms) -> None:
        """Check the arguments before the training begins, without an active alarm.

        Raises:
            ConfigurationError: An argument does not fit the modalities or the model.
        """

    def after_check(self, alarms: Alarms) -> None:
        """Act once after each validation whose check finds a modality collapsed."""

    def during(self, alarms: Alarms) -> AbstractContextManager[object]:
        """Return a context for active alarms: it is entered after each check, and when a training is resumed."""
        return nullcontext()

    def during_step(self, optimizer: Optimizer, alarms: Alarms, number: int) -> AbstractContextManager[object]:
        """Return a context for one step of an optimizer: gradients are computed and clipped, the update follows.

        Args:
            optimizer: The optimizer.
            alarms: The active alarms.
            number: Number of the step, equal on all processes; a seed for random draws of this step.
        """
        return nullcontext()

    def change_batch(self, batch: Any, alarms: Alarms, number: int) -> Any:
        """Return a replacement for a training batch; the batch itself must not be changed.

        Args:
            batch: The batch, on the model's device.
            alarms: The active alarms.
            number: Number of the batch over all epochs and processes; a seed for random draws of this batch.
        """
        return batch


def overrides(action: Action, method: str) -> bool:
    """Return whether an action overrides a method."""
    return getattr(type(action), method) is not getattr(Action, method)


def generator_of(*seeds: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator whose numbers depend only on the seeds; PyTorch's global generator is not used."""
    digest = hashlib.sha256(repr(seeds).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))


def require_number(given: str, value: float, most: float, example: float) -> float:
    """Return a number from 0 to ``most``.

    Args:
        given: The argument as the user gave it, for the message: ``ModalityDropout(p=2)``.
        value: Its value.
        most: Largest allowed value.
        example: A value for the message to suggest.

    Raises:
        ConfigurationError: The value is not such a number.
    """
    if not isinstance(value, Real) or not 0 <= value <= most:
        wanted = "0 or more" if most == math.inf else f"from 0 to {most:g}"
        raise ConfigurationError(f"{given}: give a number, {wanted}, for example {example:g}.")
    return float(value)
