"""How actions reach into a training: a method of the model that is replaced, and the steps of an optimizer."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from typing import Any

from torch import nn
from torch.optim import Optimizer

from mviz_lightning.errors import ConfigurationError


@contextmanager
def changed_batches(module: nn.Module, change: Callable[[Any], Any]) -> Iterator[None]:
    """Let the model's ``training_step`` get changed batches; afterwards the model is as it was.

    Args:
        module: The model.
        change: From a batch to what the step gets in its place.
    """
    before = vars(module).get("training_step")
    step: Callable[..., Any] = getattr(module, "training_step")  # noqa: B009 - a module has no such method for mypy

    @wraps(step)  # Lightning reads the signature
    def training_step(batch: Any, *arguments: Any, **named: Any) -> Any:
        return step(change(batch), *arguments, **named)

    vars(module)["training_step"] = training_step
    try:
        yield
    finally:
        vars(module).pop("training_step")
        if before is not None:
            vars(module)["training_step"] = before


@contextmanager
def in_every_step(optimizer: Optimizer, context: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
    """Enter a context in every step of an optimizer: behind the closure with the backward pass, before the update.

    So what a training step or a scheduler writes to the optimizer is written outside the context.

    Args:
        optimizer: The optimizer.
        context: Makes the context; neither it nor what it makes may raise.

    Raises:
        ConfigurationError: The optimizer is none of PyTorch.
    """
    if not isinstance(optimizer, Optimizer):
        raise ConfigurationError(
            f"the optimizer is a {type(optimizer).__name__}, whose steps cannot be watched; use one of torch.optim."
        )
    steps = _Steps(context)
    handles = [optimizer.register_step_pre_hook(steps.before), optimizer.register_step_post_hook(steps.after)]
    try:
        yield
    finally:
        steps.after()
        for handle in handles:
            handle.remove()


class _Steps:
    """The hooks of an optimizer."""

    def __init__(self, context: Callable[[], AbstractContextManager[Any]]) -> None:
        self._context, self._step = context, ExitStack()

    def before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        """Enter the context; if the step gets a closure, let it do so when it has run."""
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._enter()
            return None

        def closed() -> Any:
            self.after()  # an optimizer may call its closure several times
            result = closure()
            self._enter()
            return result

        return args[:1] + args[2:], {**kwargs, "closure": closed}

    def _enter(self) -> None:
        self.after()  # of an update that failed
        self._step.enter_context(self._context())

    def after(self, *_: Any) -> None:
        """Leave the context."""
        self._step.close()
