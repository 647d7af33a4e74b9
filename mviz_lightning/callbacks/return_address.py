"""Send the results of a callback from a spawned process back to the user's callback object."""

import multiprocessing
import os
import pickle
from collections.abc import Mapping
from multiprocessing.context import get_spawning_popen
from pathlib import Path
from tempfile import gettempdir, mkstemp
from typing import Any, Generic, TypeVar
from uuid import uuid4
from weakref import finalize

from mviz_lightning.errors import describe_error, warn_user

T = TypeVar("T")


class ReturnAddress:
    """A file from a spawned process to the process that spawned it; only the same user can read it.

    With ``ddp_spawn``, ``ddp_fork`` and ``ddp_notebook`` callbacks run in other processes, and their results are lost
    when these end. No hook of a callback runs in the process with the user's own object. So this object reads the file
    when its results are accessed.
    """

    def __init__(self) -> None:
        self._home, self._path = os.getpid(), Path(gettempdir()) / f"mviz-{uuid4().hex}"
        finalize(self, self._path.unlink, missing_ok=True)

    def __reduce__(self) -> Any:
        """Return a new address for a copy, which is another callback, but this address for a spawned process."""
        return (ReturnAddress, ()) if get_spawning_popen() is None else (_same, (self._home, self._path))

    @property
    def is_abroad(self) -> bool:
        """Whether this process was spawned by the one in which the callback was made."""
        parent = multiprocessing.parent_process()
        return parent is not None and parent.pid == self._home

    def send(self, found: Mapping[str, Any]) -> None:
        """Write values for the process with the user's object."""
        handle, written = mkstemp(prefix=self._path.name, dir=self._path.parent)
        with os.fdopen(handle, "wb") as file:
            pickle.dump(found, file)
        Path(written).replace(self._path)

    def receive(self) -> Mapping[str, Any]:
        """Return, once, the values that a spawned process sent; an empty mapping in any other process."""
        if os.getpid() != self._home:
            return {}
        found = self.peek()
        self._path.unlink(missing_ok=True)
        return found

    def peek(self) -> Mapping[str, Any]:
        """Return the values in the file, without deleting it; an empty mapping without a file."""
        try:
            with self._path.open("rb") as file:
                return dict(pickle.load(file))  # noqa: S301 - of a process of the same run
        except FileNotFoundError:
            return {}
        except Exception as error:
            warn_user(f"what the spawned processes found is lost: {describe_error(error)}")
            return {}


def _same(home: int, path: Path) -> ReturnAddress:
    address = ReturnAddress.__new__(ReturnAddress)
    vars(address).update(_home=home, _path=path)
    return address


class Returned(Generic[T]):
    """An attribute whose value comes back from a spawned process; each access first takes the values sent so far."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, callback: Any, owner: type) -> T:
        if callback is None:
            raise AttributeError(self.name)
        callback.take_back()
        try:
            found: T = vars(callback)[self.name]
        except KeyError:
            raise AttributeError(self.name) from None
        return found

    def __set__(self, callback: Any, value: T) -> None:
        vars(callback)[self.name] = value
