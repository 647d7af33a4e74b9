"""A disk on which little space is left."""

import errno
import io
from typing import Any


class SmallDisk:
    """Stands for ``io.open``: files take only so many bytes, as on a disk that is full then.

    Attributes:
        left: Number of bytes that still can be written.
    """

    def __init__(self, left: int) -> None:
        self.left, self._open = left, io.open

    def __call__(self, path: Any, mode: str = "r", buffering: int = -1, *text: Any, **named: Any) -> Any:
        """Open a file; only those that are written in bytes are limited."""
        if "b" not in mode or not set(mode) & set("wax+"):
            return self._open(path, mode, buffering, *text, **named)
        raw = _Limited(path, mode.replace("b", ""))
        raw.disk = self
        if buffering == 0:
            return raw
        return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)


class _Limited(io.FileIO):
    disk: SmallDisk

    def write(self, data: Any) -> int:
        whole = bytes(data)
        part = whole[: self.disk.left]
        if whole and not part:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.disk.left -= len(part)
        return super().write(part)
