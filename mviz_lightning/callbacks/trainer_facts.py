"""Facts that the callbacks read from the Trainer, and values that they log through it."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mviz_lightning.batch import tree
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.errors import NotMeasurableError
from mviz_lightning.session.history import History
from mviz_lightning.sinks.portable_names import portable_key, portable_name

LARGEST = 1e30
"""Size of a placeholder that is worse than any share or score; finite in float32."""

VERSION = re.compile(r"version_([0-9]+)")
"""Name of a numbered folder. ``isdigit`` would accept "²", which ``int`` refuses."""


def refuse_unsupported(trainer: Any) -> None:
    """Raise an error for strategies with which the model cannot be called outside its own steps.

    Raises:
        NotMeasurableError: The strategy is FSDP of the first generation.
    """
    if any(kind.__name__ == "FSDPStrategy" for kind in type(trainer.strategy).__mro__):
        raise NotMeasurableError(
            "strategy='fsdp' shards parameters so that the model cannot be called outside its own steps; use "
            "strategy='ddp' or ModelParallelStrategy (FSDP2) with the monitor."
        )


def step_name(trainer: Any) -> str:
    """Return the name of the user's step that the trainer calls with the batches that are measured."""
    return "test_step" if trainer.state.fn.value == "test" else "validation_step"


def trains(trainer: Any) -> bool:
    """Return whether the trainer runs a fit."""
    return bool(trainer.state.fn.value == "fit")


@contextmanager
def beyond_sanity_check(trainer: Any) -> Iterator[None]:
    """Set the trainer's stage to validation in the block: many replayed steps return at once in the sanity check."""
    before = trainer.state.stage
    if trainer.sanity_checking:
        trainer.state.stage = type(before).VALIDATING
    try:
        yield
    finally:
        trainer.state.stage = before


def ranks(trainer: Any) -> Ranks:
    """Return the processes of the training; those that get the same batches are replicas of one share."""
    data = getattr(trainer.strategy, "distributed_sampler_kwargs", {"num_replicas": 1, "rank": 0})
    shares, rank = data["num_replicas"], data["rank"]
    return Ranks(rank, shares, replicas=trainer.world_size // shares)


def writes(trainer: Any) -> bool:
    """Return whether this process writes: the first process does, except in a ``fast_dev_run``."""
    return bool(trainer.is_global_zero and not trainer.fast_dev_run)


def step(trainer: Any) -> int:
    """Return the step at which the trainer logs validation metrics: batches that stepped, not ``global_step``."""
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


def skips_validation(trainer: Any) -> bool:
    """Return whether a training resumes after a batch whose validation Lightning leaves out.

    A checkpoint that is written every n steps is written before the validation of its step. Lightning then resumes with
    the next batch.
    """
    loop, every_n_epochs = trainer.fit_loop.epoch_loop, trainer.check_val_every_n_epoch
    batches = loop.batch_progress.current
    if not loop.restarting or batches.ready == batches.completed or not trainer.enable_validation:
        return False
    if every_n_epochs is None:
        return bool((loop.total_batch_idx + 1) % trainer.val_check_batch == 0)
    epochs = trainer.current_epoch + (batches.ready < trainer.num_training_batches)  # a finished epoch is counted
    return bool(batches.ready % trainer.val_check_batch == 0 and epochs % every_n_epochs == 0)


def batch_number(trainer: Any) -> int:
    """Return the number of the running training batch over all epochs and processes."""
    return int(trainer.fit_loop.epoch_loop.total_batch_idx * trainer.world_size + trainer.global_rank)


def end(trainer: Any) -> tuple[int, int]:
    """Return the last epoch and its step at the end of the training; the trainer's own counts are one further."""
    return max(0, trainer.current_epoch - 1), max(0, step(trainer) - 1)


def may_stop(trainer: Any) -> bool:
    """Return whether ``min_epochs`` and ``min_steps`` are met, so that the training may end now or with this epoch.

    ``should_stop`` must not be set earlier: it would stay set even if later checks find the modality used.
    """
    fit = trainer.fit_loop
    epochs = fit.epoch_progress.current.processed + fit.epoch_loop.batch_progress.is_last_batch
    return bool(epochs >= (fit.min_epochs or 0) and trainer.global_step >= (fit.min_steps or 0))


def is_last_batch(trainer: Any) -> bool:
    """Return whether the running batch is the last of this validation or test; iterable data sets included."""
    loops = {"fit": trainer.fit_loop.epoch_loop.val_loop, "validate": trainer.validate_loop, "test": trainer.test_loop}
    return bool(loops[trainer.state.fn.value].batch_progress.is_last_batch)


def positions(trainer: Any, dataloader_idx: int, first: int, count: int, ranks: Ranks) -> list[int | None]:
    """Return the positions of a batch's examples in the data set; None for an example that a sampler repeats.

    Args:
        trainer: The trainer whose validation or test runs.
        dataloader_idx: Index of the batch's loader.
        first: Number of examples of this loader that this process saw before.
        count: Number of examples in the batch.
        ranks: The processes.
    """
    # A distributed sampler deals examples to the processes in turn, and repeats the first ones until all have equally
    # many. For other streams too, examples of different processes must not get the same position.
    interleaved = (position * ranks.count + ranks.rank for position in range(first, first + count))
    sampler = _sampler(trainer, dataloader_idx)
    if ranks.count == 1 or not hasattr(sampler, "num_replicas"):
        return list(interleaved)
    total = len(sampler.dataset)
    return [position if position < total else None for position in interleaved]


def unknown_loader(trainer: Any, dataloader_idx: int) -> str:
    """Return an error message if there is no loader with this index; ``""`` if there is one."""
    count = len(_loaders(trainer))
    if dataloader_idx < count:
        return ""
    return f"dataloader_idx={dataloader_idx}: that loader gave no batch; 0 is the first, and {count - 1} the last."


def _loaders(trainer: Any) -> list[Any]:
    """Return the loaders of this validation or test in the order of their indices."""
    loaders = trainer.test_dataloaders if trainer.state.fn.value == "test" else trainer.val_dataloaders
    combined = isinstance(loaders, list | tuple | dict)
    return [loader for _, loader in tree.leaves(loaders)] if combined else [loaders]


def _sampler(trainer: Any, dataloader_idx: int) -> Any:
    loader = dict(enumerate(_loaders(trainer))).get(dataloader_idx)
    return getattr(getattr(loader, "batch_sampler", None), "sampler", None) or getattr(loader, "sampler", None)


def logged(name: str, key: str) -> str:
    """Return the key under which the trainer logs a value of the monitor of this name."""
    return portable_key(f"{name}/{key}")


def log(module: Any, name: str, values: Mapping[str, float], *, sync: bool, shown: Collection[str] = ()) -> bool:
    """Log values under the monitor's name, in the row of the validation loss and before callbacks look at it.

    Args:
        module: The user's module.
        name: Name of the monitor.
        values: Name without prefix -> value.
        sync: Whether there are several processes.
        shown: Names of the values that the progress bar shows too, until others of these names come.
    """
    for bar in (False, True):
        named = {logged(name, key): value for key, value in values.items() if (key in shown) is bar}
        if named:
            module.log_dict(named, bar, on_step=False, on_epoch=True, batch_size=1, sync_dist=sync)
    return True


def stand_in(trainer: Any, name: str, keys: Iterable[str], history: History) -> None:
    """Provide a value for callbacks that monitor a key without a value; the curves have a gap there.

    EarlyStopping and ModelCheckpoint fail on a missing or NaN value. Every key keeps its last value. Before its first
    value, it gets a finite placeholder that is worse than any value.
    """
    last = history.fitted[-1].values if history.fitted else {}
    for key in keys:
        value = last[key] if key in last else _worst(trainer, logged(name, key))
        trainer.callback_metrics.setdefault(logged(name, key), torch.tensor(value))


def stand_in_monitored(trainer: Any, name: str, keys: Iterable[str], history: History) -> None:
    """Provide a value for monitored keys among ``keys``: without a value, the callback would end the training."""
    monitored = {getattr(callback, "monitor", None) for callback in trainer.callbacks}
    stand_in(trainer, name, [key for key in keys if logged(name, key) in monitored], history)


def _worst(trainer: Any, key: str) -> float:
    modes = {callback.mode for callback in trainer.callbacks if getattr(callback, "monitor", None) == key}
    return LARGEST if modes == {"min"} else -LARGEST if modes == {"max"} else 0.0


def run_folder(trainer: Any, name: str) -> Path:
    """Return the folder of this run's files, the same on all processes; all of them must call this.

    It is inside the folder of the first logger's run. Without a logger, or if its folder is not on this machine, it is
    a numbered folder in the trainer's root.
    """
    own = portable_name(portable_key(name))
    try:
        folder = _logger_folder(trainer) if trainer.loggers else None
    except Exception:  # a logger may raise before its first record
        folder = None
    if folder is None or "://" in folder:
        chosen = _next_version(Path(trainer.default_root_dir) / own)
    else:
        chosen = Path(folder) / own
    return Path(trainer.strategy.broadcast(str(chosen)))


def run_name(trainer: Any, folder: Path) -> str:
    """Return a short name of a run: name and version of its logger, ``openmoji/version_3``.

    Args:
        trainer: The trainer.
        folder: Folder of the monitor's files; its parents replace a name or version that the logger does not have.
    """
    logger = trainer.loggers[0] if trainer.loggers else None
    above, run = folder.parent.parent.name, folder.name if logger is None else folder.parent.name
    version = getattr(logger, "version", None)
    version = f"version_{version}" if isinstance(version, int) else version
    return f"{getattr(logger, 'name', None) or above}/{version or run}"


def _logger_folder(trainer: Any) -> str | None:
    logger = trainer.loggers[0]
    if getattr(logger, "log_dir", None):
        return str(logger.log_dir)
    if logger.version is None:
        return None
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return str(Path(logger.save_dir or trainer.default_root_dir) / str(logger.name) / version)


def _next_version(root: Path) -> Path:
    numbered = [VERSION.fullmatch(path.name) for path in root.glob("version_*")]
    taken = [int(match[1]) for match in numbered if match]
    return root / f"version_{max(taken, default=-1) + 1}"
