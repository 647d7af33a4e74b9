"""Call the user's own ``validation_step`` again without side effects: nothing is logged, and all is put back."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

from torch import nn

from mviz_lightning.engine.held_state import HeldState
from mviz_lightning.engine.inert import Inert, inert_packages
from mviz_lightning.engine.isolation import isolated, lightning_modules
from mviz_lightning.engine.snapshots import Restore, ignore, restore_at_exit, snapshot_attributes, snapshot_contents
from mviz_lightning.engine.write_guard import CollectiveBan, WriteGuard, world_size
from mviz_lightning.errors import NotMeasurableError

Step: TypeAlias = str | Callable[[nn.Module, Any], Any]
"""The name of a step of the module, or a function of the module and a batch."""


class StopStep(BaseException):
    """Raised by an observer inside a step once it has what it needs; no ``except Exception`` catches it."""


@contextmanager
def muted(module: nn.Module, *, seed: int | None = 0, step: Step | None = None) -> Iterator[WriteGuard]:
    """Prepare a module so that the user's own step can be called inside the block without side effects.

    In addition to what :func:`isolated` does:

    - Loggers of the trainer and of the module do nothing, ``wandb.log`` and its like do nothing, and ``print`` of a
      LightningModule does nothing.
    - Optimizers, schedulers, the trainer's gathered values and variables of the step are put back.
    - Weights of any size that an operation of PyTorch writes are put back, also if the step raises or is stopped.
    - In a run on several processes, collectives raise.

    What is outside the module stays changed: files that the step writes, globals, what other processes received.

    Args:
        module: The user's model.
        seed: Seed of the random numbers that the step may draw; None for those of the evaluation around it.
        step: If the step is a function of the user's own, variables that it keeps are put back too.

    Yields:
        The guard of the weights; its ``written`` names, after the block, the parameters that the step changed.

    Raises:
        CollectiveInStep: The step ran a collective, even if it caught the error.
        ConfigurationError: A lazy layer of the module is not initialised yet.
    """
    with ExitStack() as stack:
        stack.enter_context(isolated(module, seed=seed))
        held = HeldState(module, step, *_optimizers(module))
        guard = WriteGuard(held.tensors)
        restore_at_exit(stack, [guard.restore, *held.restores, *_snapshot_trainer(module)])
        held.mute()
        _mute_trainer(module)
        stack.enter_context(inert_packages())
        stack.enter_context(_without_collectives())
        stack.enter_context(guard)
        yield guard


def call_step(module: nn.Module, step: Step, batch: Any, *, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
    """Call a step on a batch as the Trainer would.

    Args:
        module: The user's model.
        step: Name of the step, for example ``"validation_step"``, or a function ``step(module, batch)``.
        batch: The batch.
        batch_idx: Number of the batch, if the step takes it.
        dataloader_idx: Number of the loader, if the step takes it.

    Returns:
        What the step returns; None if an observer stopped it.

    Raises:
        NotMeasurableError: The step fetches its batches itself.
    """
    try:
        if not isinstance(step, str):
            return step(module, batch)
        method = getattr(module, step)
        if "dataloader_iter" in inspect.signature(method).parameters:
            raise NotMeasurableError(
                f"{step} takes dataloader_iter and fetches its batches itself, so it cannot be given other examples; "
                f"let it take a batch: def {step}(self, batch, batch_idx)"
            )
        return method(batch, *_numbers(method, batch_idx, dataloader_idx))
    except StopStep:
        return None


def _numbers(method: Callable[..., Any], batch_idx: int, dataloader_idx: int) -> list[int]:
    """Return the numbers that a step takes after the batch."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(method).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return [batch_idx]
    taken = [parameter for parameter in parameters if parameter.kind in kinds][1:3]
    wanted = [one for one in taken if one.default is one.empty or one.name in {"batch_idx", "dataloader_idx"}]
    return [batch_idx, dataloader_idx][: len(wanted)]


def _mute_trainer(module: nn.Module) -> None:
    """Make all that a LightningModule reaches through its Trainer record nothing; restored with the attributes."""
    for child in lightning_modules(module):
        vars(child).update({"print": ignore})
    trainer = vars(module).get("_trainer")
    if trainer is not None:
        vars(trainer).update(_loggers=[Inert(logger) for logger in trainer.loggers])
        if trainer._results is not None:
            vars(trainer._results).update(log=ignore)  # a ``self.log`` that was stored before reaches it


def _optimizers(module: nn.Module) -> list[Any]:
    """Return what a LightningModule's ``optimizers()`` and ``lr_schedulers()`` reach."""
    trainer = vars(module).get("_trainer")
    return [] if trainer is None else [*trainer.optimizers, *(one.scheduler for one in trainer.lr_scheduler_configs)]


def _snapshot_trainer(module: nn.Module) -> list[Restore]:
    """Return functions that restore a Trainer's attributes, its gathered metrics, and its profiler's times."""
    trainer = vars(module).get("_trainer")
    parts = [] if trainer is None else [trainer, trainer._logger_connector, trainer.profiler, trainer._results]
    attributes = [vars(part) for part in parts if part is not None]
    contents = snapshot_contents(value for part in attributes for value in part.values())
    return [*map(snapshot_attributes, attributes), *contents]


@contextmanager
def _without_collectives() -> Iterator[None]:
    """Refuse collectives if there is more than one process.

    Raises:
        CollectiveInStep: A collective was refused, even if the step caught the error.
    """
    if world_size() == 1:
        yield
        return
    with CollectiveBan() as ban:
        try:
            yield
        except Exception as error:
            if ban.refused:
                raise ban.error() from error
            raise
        if ban.refused:
            raise ban.error()
