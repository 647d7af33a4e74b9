"""Callbacks that can be copied, before a fit and after it."""

from typing import Any, ClassVar

from lightning.pytorch import Callback


class Portable(Callback):
    """A callback of which a copy, a pickle too, leaves behind what belongs to one run of one trainer.

    Attributes:
        RUNNING: Names of the attributes that stay behind; the trainer hangs the model's two methods on every callback.
    """

    RUNNING: ClassVar[frozenset[str]] = frozenset({"log", "log_dict"})

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self.RUNNING}
