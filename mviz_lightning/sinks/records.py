"""What is written: plain data that any sink can take."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""``(H, W, 3)`` in 0..255. Always uint8: W&B turns float images black."""

Samples: TypeAlias = npt.NDArray[np.int16]
"""``(T, C)`` a sound's channels, as files of sound hold them."""

COMPRESSION = 3
"""Of pictures: more takes longer and saves next to nothing."""


@dataclass(frozen=True)
class Picture:
    """A picture under a key; keys of one training are written again and again.

    Attributes:
        key: Its name; slashes make folders.
        pixels: The picture.
        caption: A line of text beside it.
        keep: Whether files keep the pictures of earlier steps too; loggers always do.
    """

    key: str
    pixels: Pixels
    caption: str = ""
    keep: bool = False

    @cached_property
    def png(self) -> bytes:
        """The picture as a file with its caption inside, encoded once for all sinks.

        Lines are not filtered: that takes Pillow three times as long, and files of drawings do not get smaller.

        Raises:
            TypeError: The pixels are no ``(H, W, 3)`` uint8.
        """
        height, width, channels = self.pixels.shape
        if channels != 3 or self.pixels.dtype != np.uint8:
            raise TypeError(f"pixels of {self.key!r} are {self.pixels.shape} {self.pixels.dtype}, not (H, W, 3) uint8")
        lines = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # each begins with the number of its filter: none
        lines[:, 1:] = self.pixels.reshape(height, -1)
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, three of colour
        described = b"Description\0\0\0\0\0" + self.caption.encode("utf-8", "replace")
        chunks = [(b"IHDR", header), (b"iTXt", described)][: 2 if self.caption else 1]
        chunks += [(b"IDAT", zlib.compress(lines.tobytes(), COMPRESSION)), (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    """Return a part of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@dataclass(frozen=True)
class Table:
    """A table under a key; every cell of a column is of one type.

    Attributes:
        key: Its name.
        columns: Their names.
        rows: Of text, numbers or pictures; a sink that cannot show a picture in a table leaves that column out.
    """

    key: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | Pixels]]


@dataclass(frozen=True)
class MarkdownText:
    """A text under a key, in Markdown."""

    key: str
    markdown: str


@dataclass(frozen=True)
class Alert:
    """A text under a key that somebody should read now.

    Attributes:
        key: Its name.
        title: In a few words.
        text: Lines of plain text.
        urgent: Whether it is a warning; otherwise a notice.
    """

    key: str
    title: str
    text: str
    urgent: bool = True


@dataclass(frozen=True)
class Sound:
    """A sound under a key.

    Attributes:
        key: Its name.
        samples: What is heard.
        rate: Of them in a second.
    """

    key: str
    samples: Samples
    rate: int


Record: TypeAlias = Picture | Table | MarkdownText | Alert | Sound
"""What sinks take beside rows."""


class State(IntEnum):
    """What a model does with a modality; logged as a number."""

    USED = 0
    UNUSED = 1
    """Swapping it changes next to nothing; as far as can be told, there is nothing to gain from it."""
    COLLAPSED = 2
    """Unused, and it carries information."""


@dataclass(frozen=True)
class Chart:
    """Logged keys that belong into one diagram.

    Attributes:
        title: Of the diagram.
        keys: Curves, with the prefix of the monitor; of a band: the curve, its lower and its upper bound.
        band: Whether the keys are one curve with its interval.
    """

    title: str
    keys: Sequence[str]
    band: bool = False


@dataclass(frozen=True)
class Dashboard:
    """How the scalars of a monitor are arranged, said once before the first of them.

    Attributes:
        name: Prefix of all keys of the monitor.
        charts: The diagrams.
    """

    name: str
    charts: Sequence[Chart]


@dataclass(frozen=True)
class RunRecord:
    """One run of the monitor: its place in the training, and its values.

    Attributes:
        phase: ``"fit"``, ``"validate"`` or ``"test"``; files and checkpoints keep it under the key ``stage``.
        epoch: Epoch of the training, from 0.
        step: Step on the x-axis of the loggers.
        values: Name without prefix -> value, such as ``{"interaction": 0.2}``; empty when the run failed.
        note: What a reader of the curve has to know: an error, or that the probe was drawn anew.

    Raises:
        ValueError: A value of ``collapse/<m>`` is no :class:`State`.
    """

    phase: str = field(metadata={"key": "stage"})
    epoch: int
    step: int
    values: dict[str, float] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if name.startswith("collapse/") and value not in list(State):
                raise ValueError(f"{name} is {value}, which is no state")

    @property
    def stage(self) -> str:
        """The phase, under the name that files and checkpoints use."""
        return self.phase

    def state(self) -> dict[str, Any]:
        """Return plain types, for files and checkpoints."""
        return {entry.metadata.get("key", entry.name): getattr(self, entry.name) for entry in fields(self)}
