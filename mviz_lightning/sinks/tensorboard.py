"""Pictures, sounds, tables and texts for TensorBoard."""

import re
from collections.abc import Sequence
from html import escape
from numbers import Integral
from typing import Any
from weakref import WeakKeyDictionary

from mviz_lightning.sinks.base import Refusals, logged_key, without_pictures
from mviz_lightning.sinks.records import Alert, Chart, Dashboard, MarkdownText, Picture, Record, RunRecord, Sound, Table

LAYOUTS: "WeakKeyDictionary[Any, dict[str, Any]]" = WeakKeyDictionary()
"""Logger -> what was arranged in it. TensorBoard knows the latest layout only, so each says the earlier ones again."""

MARKUP = str.maketrans({character: f"\\{character}" for character in "\\`*_[]|"} | {"\n": " ", "\r": " "})
"""What Markdown would take for markup in a cell."""


class TensorBoardSink:
    """Writes to a ``TensorBoardLogger`` of either namespace.

    Args:
        logger: The logger; its writer is used.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def open(self, layout: Dashboard) -> None:
        """Arrange the scalars on the page "Custom Scalars"."""
        charts = {chart.title: self._chart(chart) for chart in layout.charts}
        known = LAYOUTS.get(self._logger, {})
        if charts and known.get(layout.name) != charts:
            merged = {**known, layout.name: charts}
            self._logger.experiment.add_custom_scalars(merged)
            LAYOUTS[self._logger] = merged

    def _chart(self, chart: Chart) -> list[Any]:
        """Return a diagram: bands name their tags, curves give patterns, which match from the start of a tag on."""
        tags = [logged_key(self._logger, key) for key in chart.keys]
        return ["Margin", tags] if chart.band else ["Multiline", [f"^{re.escape(tag)}$" for tag in tags]]

    def write(self, records: Sequence[Record], step: int, *, with_trainer_row: bool = False) -> None:
        """Write each record at its step; TensorBoard has no rows to join."""
        refused = Refusals()
        for record in records:
            with refused.of(record.key):
                self._write(record, step)
        refused.tell()

    def _write(self, record: Record, step: int) -> None:
        writer, key = self._logger.experiment, logged_key(self._logger, record.key)
        if isinstance(record, Picture):
            _add_image(writer, key, record, step)
        elif isinstance(record, Sound):
            # It takes one channel, in -1..1; 1 / 32767 is what it multiplies by.
            writer.add_audio(key, record.samples.mean(1) / 32767, step, sample_rate=record.rate)
        else:
            writer.add_text(key, _markdown(record), step)

    def row(self, row: RunRecord) -> None:
        """Leave scalars to the trainer."""


def _add_image(writer: Any, key: str, image: Picture, step: int) -> None:
    """Write a picture as the file that it is already: ``add_image`` encodes it anew."""
    file: Any = getattr(writer, "file_writer", None)
    if not type(file).__module__.startswith("torch."):  # closed for now, or tensorboardX with protocols of its own
        writer.add_image(key, image.pixels, step, dataformats="HWC")
        return
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

    height, width, channels = image.pixels.shape
    shown = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=image.png)
    file.add_summary(Summary(value=[Summary.Value(tag=key, image=shown)]), step)


def _markdown(record: Table | MarkdownText | Alert) -> str:
    if isinstance(record, Alert):
        return f"**{_cell(record.title)}**\n\n```\n{record.text}\n```"
    return markdown_table(record) if isinstance(record, Table) else record.markdown


def markdown_table(table: Table) -> str:
    """Return a table in Markdown, without its pictures."""
    names, rows = without_pictures(table)
    lines = [[_cell(cell) for cell in line] for line in (names, *rows)]
    lines.insert(1, ["---"] * len(names))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: str | float) -> str:
    if isinstance(cell, str):
        return escape(cell, quote=False).translate(MARKUP)
    return str(cell) if isinstance(cell, Integral) else f"{cell:.3f}"
