"""Callbacks that can be copied and pickled, before a fit and after it."""

import copy
from typing import Any, ClassVar

from lightning.pytorch import Callback


class Portable(Callback):
    """A callback whose copies and pickles leave out what belongs to one run of one trainer.

    Attributes:
        RUNNING: Names of the attributes that are left out. Lightning sets the model's ``log`` and ``log_dict`` on every
            callback.
    """

    RUNNING: ClassVar[frozenset[str]] = frozenset({"log", "log_dict"})

    def __copy__(self) -> "Portable":
        """Return a deep copy: one that shared its history would empty the original's when it is fitted."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self.RUNNING}
