"""Callbacks that can be copied and pickled, before a fit and after it, and that come back from spawned processes."""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

from mviz_lightning.callbacks.error_policy import ErrorPolicy, guarded
from mviz_lightning.callbacks.lightning_packages import LightningModule, PackageCallback, Trainer
from mviz_lightning.callbacks.return_address import ReturnAddress


class Portable(PackageCallback):
    """A callback whose copies and pickles leave out what belongs to one run of one trainer.

    Attributes:
        RUNNING: Names of the attributes that are left out. Lightning sets the model's ``log`` and ``log_dict`` on every
            callback.
        RETURNED: Names of the attributes that a spawned process sends back.
    """

    RUNNING: ClassVar[frozenset[str]] = frozenset({"log", "log_dict"})
    RETURNED: ClassVar[frozenset[str]] = frozenset()

    _error_policy: ErrorPolicy
    _address: ReturnAddress

    def __copy__(self) -> "Portable":
        """Return a deep copy: fitting a copy with a shared history would empty the history of the original."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        self.take_back()
        return {name: value for name, value in vars(self).items() if name not in self.RUNNING}

    @guarded
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Send the results back at the end of a run in a spawned process."""
        self.send_back(trainer)

    def send_back(self, trainer: Trainer) -> None:
        """Send the results to the process with the user's callback object, if this is another process."""
        if trainer.is_global_zero and self._address.is_abroad:
            state = self.__getstate__()
            self._address.send({name: state[name] for name in self.RETURNED})

    def take_back(self) -> None:
        """Take the results that a spawned process sent, if there are new ones."""
        if found := self._address.receive():
            self._take(found)

    def _take(self, found: Mapping[str, Any]) -> None:
        vars(self).update(found)
