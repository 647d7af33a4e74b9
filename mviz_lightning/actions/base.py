"""The interface of an action, and what it may know of the alarms that stand."""

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
        modalities: Name -> modality, all of the monitor's.
        silent: Names of the collapsed ones, in declared order.
        began: Names of those that were not collapsed at the check before.
        values: What the monitor measured at the latest check, without prefix: ``{"total/image": 0.01, ...}``.
        encoders: Name of a modality -> names of the submodules whose parameters serve this modality alone, as far as
            a traced forward shows them.
        may_stop: Whether ``min_epochs`` and ``min_steps`` are met.
        tokens: The tokens of the model's texts that stand for items of another modality.
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
    """What is done at an alarm; a subclass overrides what it needs.

    An object holds its arguments and nothing of a training, so that it can be copied and used again. A context undoes
    what it changes when it is left: :meth:`during` at the end of the alarm, of the training, or at an error. An error
    in an action costs a warning and the action, not the training. In distributed training every process does the same.

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
    """Whether the action reads ``Alarms.encoders``; only then they are looked for."""

    def announce(self, alarms: Alarms) -> str:
        """Return what the action does, in one line of the alarm; ``""`` for none."""
        return ""

    def require(self, alarms: Alarms) -> None:
        """Check the arguments before the training begins, when no alarm stands.

        Raises:
            ConfigurationError: An argument does not fit modalities or model.
        """

    def after_check(self, alarms: Alarms) -> None:
        """Act, once, after a validation whose check finds a modality collapsed."""

    def during(self, alarms: Alarms) -> AbstractContextManager[object]:
        """Return a context that is entered while alarms stand: after each check, and where a training continues."""
        return nullcontext()

    def during_step(self, optimizer: Optimizer, alarms: Alarms, number: int) -> AbstractContextManager[object]:
        """Return a context for one step of an optimizer: gradients are there and clipped, the update is not made yet.

        Args:
            optimizer: The optimizer.
            alarms: The alarms that stand.
            number: Number of the step, the same on all processes; a seed for what is drawn for it.
        """
        return nullcontext()

    def change_batch(self, batch: Any, alarms: Alarms, number: int) -> Any:
        """Return what the training step gets in place of a training batch, which itself must stay as it is.

        Args:
            batch: The batch, on the model's device.
            alarms: The alarms that stand.
            number: Number of the batch over all epochs and processes; a seed for what is drawn for it.
        """
        return batch


def overrides(action: Action, method: str) -> bool:
    """Return whether an action has a method of its own."""
    return getattr(type(action), method) is not getattr(Action, method)


def generator_of(*seeds: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator whose numbers depend on some whole numbers alone; torch's global one is not touched."""
    digest = hashlib.sha256(repr(seeds).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))


def require_number(given: str, value: float, most: float, example: float) -> float:
    """Return a number from 0 to ``most``.

    Args:
        given: The argument as it was given, for the error: ``ModalityDropout(p=2)``.
        value: Its value.
        most: Largest allowed value.
        example: A value that the message proposes.

    Raises:
        ConfigurationError: The value is no such number.
    """
    if not isinstance(value, Real) or not 0 <= value <= most:
        wanted = "0 or more" if most == math.inf else f"from 0 to {most:g}"
        raise ConfigurationError(f"{given}: give a number, {wanted}, for example {example:g}.")
    return float(value)
