"""Hooks of actions into a training: a replaced ``training_step``, and hooks on the steps of an optimizer."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any

from torch import nn
from torch.optim import Optimizer

from mviz_lightning.errors import ConfigurationError, Guard


@contextmanager
def changed_batches(module: nn.Module, change: Callable[[Any], Any], guard: Guard) -> Iterator[None]:
    """Pass changed batches to the model's ``training_step``; on exit, the model is restored.

    Args:
        module: The model.
        change: Function from a batch to its replacement.
        guard: Calls ``change``; if that fails, the step gets the unchanged batch.
    """
    before = vars(module).get("training_step")
    step: Callable[..., Any] = getattr(module, "training_step")  # noqa: B009 - a module has no such method for mypy

    @wraps(step)  # Lightning inspects the signature
    def training_step(batch: Any, *arguments: Any, **named: Any) -> Any:
        return step(guard(partial(change, batch), batch), *arguments, **named)

    vars(module)["training_step"] = training_step
    try:
        yield
    finally:
        vars(module).pop("training_step")
        if before is not None:
            vars(module)["training_step"] = before


@contextmanager
def in_every_step(optimizer: Optimizer, enter: Callable[[ExitStack], None], guard: Guard) -> Iterator[None]:
    """Enter contexts in every step of an optimizer: after the closure with the backward pass, before the update.

    So changes that a training step or a scheduler makes to the optimizer are made outside the contexts.

    Args:
        optimizer: The optimizer.
        enter: Enters the contexts of a step, in a stack.
        guard: Calls ``enter`` and the exits; if one fails, the step continues.

    Raises:
        ConfigurationError: The optimizer is not a PyTorch optimizer.
    """
    if not isinstance(optimizer, Optimizer):
        raise ConfigurationError(
            f"the optimizer is a {type(optimizer).__name__}, whose steps cannot be watched; use one of torch.optim."
        )
    steps = _Steps(enter, guard)
    with ExitStack() as stack:
        stack.callback(optimizer.register_step_pre_hook(steps.before).remove)
        stack.callback(optimizer.register_step_post_hook(steps.after).remove)
        stack.callback(steps.after)
        yield


class _Steps:
    """The hooks of an optimizer."""

    def __init__(self, enter: Callable[[ExitStack], None], guard: Guard) -> None:
        self._enter, self._guard, self._step = enter, guard, ExitStack()

    def before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        """Enter the contexts; if the step has a closure, enter them after the closure has run."""
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._guard(self._begin)
            return None

        def closed() -> Any:
            self._guard(self._step.close)  # an optimizer may call its closure several times
            result = closure()
            self._guard(self._begin)
            return result

        return args[:1] + args[2:], {**kwargs, "closure": closed}

    def _begin(self) -> None:
        self._step.close()  # left by a failed update
        self._enter(self._step)

    def after(self, *_: Any) -> None:
        """Leave the contexts."""
        self._guard(self._step.close)
