"""Records: plain data that every sink can write."""

import struct
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mviz_lightning.sinks.plain import Brief

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""A picture, ``(H, W, 3)`` in 0..255. Always uint8: W&B turns float images black."""
Samples: TypeAlias = npt.NDArray[np.int16]
"""A sound, ``(T, C)``: T samples of C channels, with 16 bits each, as in WAV files."""
COMPRESSION_LEVEL = 3
"""zlib level of PNG files: higher levels take longer and make files hardly smaller."""


@dataclass(frozen=True)
class Picture(Brief):
    """A picture under a key; later runs write a new picture under the same key.

    Attributes:
        key: Name with the monitor's prefix, for example ``mviz/shares``; slashes make folders.
        pixels: ``(H, W, 3)`` uint8.
        caption: One line of text that loggers show with the picture.
        keep: Whether the file sink also keeps the pictures of earlier steps; loggers always do.
        note: How to read the picture, in sentences; shown beside the picture, because dashboards shrink the pixels.
        vector: Ending and bytes of a file with the picture as text and shapes; None if only the pixels exist.
    """

    key: str
    pixels: Pixels
    caption: str = ""
    keep: bool = False
    note: str = ""
    vector: tuple[str, bytes] | None = None

    @property
    def description(self) -> str:
        """The caption and, as a new paragraph, the note."""
        return "\n\n".join(filter(None, (self.caption, self.note)))

    @cached_property
    def png(self) -> bytes:
        """The bytes of a PNG file with caption and note inside, encoded once for all sinks.

        PNG's line filters are not used: with them, encoding takes three times as long, and drawings get no smaller.

        Raises:
            TypeError: The pixels are not ``(H, W, 3)`` uint8.
        """
        height, width, channels = self.pixels.shape
        if channels != 3 or self.pixels.dtype != np.uint8:
            raise TypeError(f"pixels of {self.key!r} are {self.pixels.shape} {self.pixels.dtype}, not (H, W, 3) uint8")
        lines = np.pad(self.pixels.reshape(height, -1), ((0, 0), (1, 0)))  # every line starts with its filter: 0, none
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits per channel, RGB
        told = self.description.encode("utf-8", "replace")
        chunks = [(b"IHDR", header), (b"iTXt", b"Description\0\0\0\0\0" + told)][: 2 if told else 1]
        chunks += [(b"IDAT", zlib.compress(lines.tobytes(), COMPRESSION_LEVEL)), (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)

    def _repr_png_(self) -> bytes:
        """Return the picture for notebooks."""
        return self.png


def _chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file: length, name, data, checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@dataclass(frozen=True)
class Table(Brief):
    """A table under a key; all cells of a column have one type.

    Attributes:
        key: Name with the monitor's prefix, for example ``mviz/dime/examples``.
        columns: Names of the columns.
        rows: Cells: text, numbers or pictures. A sink that cannot show pictures in a table omits their columns.
    """

    key: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | Pixels]]


@dataclass(frozen=True)
class MarkdownText:
    """A text under a key.

    Attributes:
        key: Name with the monitor's prefix, for example ``mviz/summary``.
        markdown: The text in Markdown.
    """

    key: str
    markdown: str


@dataclass(frozen=True)
class Alert:
    """A text under a key that the user should read now; W&B sends it as an alert.

    Attributes:
        key: Name with the monitor's prefix, for example ``mviz/collapse/image/alert``.
        title: A few words.
        text: Lines of plain text.
        urgent: True for a warning, False for a notice.
        head: The further head of the alert; ``""`` for the main one.
        modality: The modality of the alert; ``""`` for none.
        state: The modality's :class:`State`; None without a modality.
    """

    key: str
    title: str
    text: str
    urgent: bool = True
    head: str = ""
    modality: str = ""
    state: int | None = None


@dataclass(frozen=True)
class Sound(Brief):
    """A sound under a key.

    Attributes:
        key: Name with the monitor's prefix.
        samples: ``(T, C)`` int16.
        rate: Samples per second.
    """

    key: str
    samples: Samples
    rate: int


@dataclass(frozen=True)
class FileRecord:
    """A file that a logger stores unchanged, such as the report page; if possible, a later file of its key replaces it.

    Attributes:
        key: Name with the monitor's prefix, for example ``mviz/report``, without the ending of the file.
        path: The file. It may be replaced later.
    """

    key: str
    path: Path


Record: TypeAlias = Picture | Table | MarkdownText | Alert | Sound | FileRecord
"""All records that a sink's ``write`` takes."""


class State(IntEnum):
    """Whether a model uses a modality; logged as a number under ``mviz/collapse/<modality>``."""

    USED = 0
    """Swapping the modality among examples changes outputs or decisions."""
    UNUSED = 1
    """Swapping the modality changes almost nothing, and no information about the labels is found in it."""
    COLLAPSED = 2
    """Swapping the modality changes almost nothing, although it carries information about the labels."""
    REDUNDANT = 3
    """Swapping the modality changes almost nothing; it carries information, and the others carry the same."""


def of_head(head: str, name: str) -> str:
    """Return the name of a value or a record of a head, ``noun/total/image``; ``""`` is the main head."""
    return f"{head}/{name}" if head else name


def of_heads(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the values of all heads, from head -> name -> value, under names that begin with the head."""
    return {of_head(head, name): value for head, values in found.items() for name, value in values.items()}


@dataclass(frozen=True)
class Chart:
    """Logged keys that one diagram shows.

    Attributes:
        title: Title of the diagram.
        keys: Keys of the curves with the monitor's prefix; of a band: the curve, its lower and its upper bound.
        band: Whether the keys are one curve with its interval.
    """

    title: str
    keys: Sequence[str]
    band: bool = False


@dataclass(frozen=True)
class Dashboard:
    """The charts of a monitor's scalars; sinks get it once, before the first scalar.

    Attributes:
        name: Prefix of all keys of the monitor, for example ``mviz``.
        charts: The diagrams, in order.
    """

    name: str
    charts: Sequence[Chart]


@dataclass(frozen=True)
class RunRecord(Brief):
    """One run of the monitor: its place in the training, and its values.

    Attributes:
        phase: ``"fit"``, ``"validate"`` or ``"test"``; files and checkpoints keep it under the key ``stage``.
        epoch: Epoch of the training, from 0.
        step: Step on the x-axis of the loggers.
        values: Name without prefix -> value, such as ``{"interaction": 0.2}``; empty if the run failed.
        note: Remarks for a reader of the curve: an error, or that the probe was drawn again.
        evidence: Name -> further value for alarms and pictures, stored in files and checkpoints, but not logged.
            ``skill`` and ``skill_error``: the model's skill on all fixed examples, 0 at chance and 1 at perfection, and
            its standard error. ``decides``: 1 if the decisions on these examples differ, 0 if all are the same.
            ``single/<m>`` and ``single_output/<m>``, with more than 16 outputs: the largest share of a single output's
            variance that is lost without m, and the number of this output. ``retrieval``: 1 if the score is
            retrieval within groups; ``chance`` is then the score of random answers.
        heads: The further heads that were measured; their values and evidence have names that begin with the head's:
            ``noun/total/image``.

    Raises:
        ValueError: A value of ``collapse/<m>`` is not a :class:`State`.
    """

    phase: str = field(metadata={"key": "stage"})
    epoch: int
    step: int
    values: dict[str, float] = field(default_factory=dict)
    note: str = ""
    evidence: dict[str, float] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        states = tuple(of_head(head, "collapse/") for head in ("", *self.heads))
        for name, value in self.values.items():
            if name.startswith(states) and value not in list(State):
                raise ValueError(f"{name} is {value}, which is no state")

    def of_head(self, head: str) -> "RunRecord":
        """Return the run of one head, with its values under their plain names; ``""`` is the main head."""
        if not head:
            return self
        values, evidence = (
            {name.removeprefix(f"{head}/"): value for name, value in found.items() if name.startswith(f"{head}/")}
            for found in (self.values, self.evidence)
        )
        return RunRecord(self.phase, self.epoch, self.step, values, self.note, evidence)

    @property
    def stage(self) -> str:
        """The phase, under the name that files and checkpoints use."""
        return self.phase

    def state(self) -> dict[str, Any]:
        """Return plain types, for files and checkpoints."""
        state = {entry.metadata.get("key", entry.name): getattr(self, entry.name) for entry in fields(self)}
        for name in ("values", "evidence"):  # one string for each name, so that pickle writes it once for all runs
            state[name] = {sys.intern(key): value for key, value in state[name].items()}
        return {name: found for name, found in state.items() if found or name not in ("evidence", "heads")}


@dataclass(frozen=True)
class PredictionRecord(Brief):
    """One example's prediction and label, for pictures and tables.

    Attributes:
        example: Index among the fixed examples.
        position: Index in the validation set.
        predicted: Class, list of labels, value, or list of values.
        target: The label in the same form; None if it is unknown.
        probability: Probability of the predicted class; None for values.
    """

    example: int
    position: int
    predicted: Any
    target: Any
    probability: float | None
    _origin: Any = field(default=None, kw_only=True, compare=False, repr=False)  # set by a report, for display
