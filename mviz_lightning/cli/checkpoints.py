"""Facts about checkpoints before they are loaded into a model: their moment, their shapes, and their examples."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mviz_lightning.callbacks.lightning_packages import Trainer
from mviz_lightning.callbacks.revisiting import Revisited, fit_loop_of
from mviz_lightning.errors import ConfigurationError, describe_error

TRUSTED = (
    "torch.load reads only weights and plain data, and this file contains other objects, which may run code. If you "
    "trust its author, set TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 before the command"
)

LISTED = 3
"""Largest number of parameters of each kind that an error names."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint without its weights.

    Attributes:
        path: The file.
        moment: The validation that measures its weights.
        fit_loop: Counts of its training.
        shapes: Name of a parameter or buffer -> shape.
        examples: Key of the state of each callback -> whether it holds examples of a monitor.
    """

    path: Path
    moment: Revisited
    fit_loop: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    examples: Mapping[str, bool]

    def misfit(self, model: Mapping[str, Tensor]) -> str:
        """Return a text about the parameters in which a model differs from the checkpoint.

        Args:
            model: State dict of the model.
        """
        own = {name: tuple(value.shape) for name, value in model.items()}
        both = [name for name in own if name in self.shapes and own[name] != self.shapes[name]]
        shapes = [f"{name} {self.shapes[name]} in the file and {own[name]} in the model" for name in both]
        parts = {
            "only in the model": [name for name in own if name not in self.shapes],
            "only in the file": [name for name in self.shapes if name not in own],
            "of another shape": shapes,
        }
        return "; ".join(f"{what}: {_listed(names)}" for what, names in parts.items() if names)


def read_checkpoints(trainer: Trainer, paths: Iterable[str], *, same_data: bool) -> list[Checkpoint]:
    """Return checkpoints in the order of their steps; if several have the same moment, only the first.

    Args:
        trainer: Reads the files as when it loads them into a model.
        paths: The files.
        same_data: Whether they are measured on the validation set of the training.

    Raises:
        ConfigurationError: A file is no checkpoint of Lightning.
    """
    found: dict[Revisited, Checkpoint] = {}
    for path in paths:
        checkpoint = _read(trainer, Path(path), same_data=same_data)
        found.setdefault(checkpoint.moment, checkpoint)
    return sorted(found.values(), key=lambda one: one.moment.step)


def _read(trainer: Trainer, path: Path, *, same_data: bool) -> Checkpoint:
    try:
        content: Any = trainer.strategy.load_checkpoint(path)
    except Exception as error:
        if "Unsupported global" in str(error):
            raise ConfigurationError(f"--ckpt {path}: {TRUSTED}") from error
        written = "Weights only load failed" not in str(error)  # its advice would be to trust the file
        reason = describe_error(error).partition("\n")[0] if written else "torch.save did not write it"
        raise ConfigurationError(f"--ckpt {path} is no checkpoint that Lightning can read: {reason}") from error
    weights = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping):
        held = _listed(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise ConfigurationError(
            f"--ckpt {path} is no checkpoint of a LightningModule, which has a state_dict: it holds {held}. Give a "
            "file that ModelCheckpoint or trainer.save_checkpoint wrote."
        )
    shapes = {name: tuple(value.shape) for name, value in weights.items() if isinstance(value, Tensor)}
    callbacks = content.get("callbacks") or {}
    examples = {str(key): _holds_examples(state) for key, state in callbacks.items()}
    return Checkpoint(path, Revisited.of(content, same_data=same_data), fit_loop_of(content), shapes, examples)


def _holds_examples(state: Any) -> bool:
    probe = state.get("probe") if isinstance(state, Mapping) else None
    return isinstance(probe, Mapping) and "leaves" in probe


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
