"""The adapter for TensorBoard: pictures, sounds, tables and texts."""

import re
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any
from weakref import WeakKeyDictionary

from mviz_lightning.sinks.base import EndedAlarms, Refusals, fenced, logged_key, markdown_escaped, without_pictures
from mviz_lightning.sinks.records import (
    Alert,
    Chart,
    Dashboard,
    FileRecord,
    MarkdownText,
    Picture,
    Record,
    RunRecord,
    Sound,
    Table,
)

DASHBOARDS: "WeakKeyDictionary[Any, dict[str, Any]]" = WeakKeyDictionary()
"""Logger -> its written charts. TensorBoard uses only the latest layout, so a new layout repeats the earlier charts."""


class TensorBoardSink:
    """Writes to a ``TensorBoardLogger`` of ``lightning`` or ``pytorch_lightning``.

    Args:
        logger: The logger; the sink uses its ``SummaryWriter``.
    """

    takes = (Picture, Sound, Table, MarkdownText, Alert)

    def __init__(self, logger: Any) -> None:
        self._logger, self._ended = logger, EndedAlarms()

    def open(self, dashboard: Dashboard) -> None:
        """Write the charts of the page "Custom Scalars"."""
        charts = {chart.title: self._chart(chart) for chart in dashboard.charts}
        known = DASHBOARDS.get(self._logger, {})
        if charts and known.get(dashboard.name) != charts:
            merged = {**known, dashboard.name: charts}
            self._logger.experiment.add_custom_scalars(merged)
            DASHBOARDS[self._logger] = merged

    def _chart(self, chart: Chart) -> list[Any]:
        """Return a chart: a band lists its tags; curves are patterns, which match from the start of a tag."""
        tags = [logged_key(self._logger, key) for key in chart.keys]
        return ["Margin", tags] if chart.band else ["Multiline", [f"^{re.escape(tag)}$" for tag in tags]]

    def write(self, records: Sequence[Record], step: int, *, with_trainer_row: bool = False) -> None:
        """Write every record at this step; TensorBoard has no rows, so ``with_trainer_row`` has no effect.

        Raises:
            SinkError: Some records could not be written; the others are written.
        """
        refused = Refusals()
        for record in records:
            with refused.of(record.key):
                self._write(record, step)
        refused.raise_first()

    def _write(self, record: Record, step: int) -> None:
        writer, key = self._logger.experiment, logged_key(self._logger, record.key)
        if isinstance(record, Picture):
            _add_picture(writer, key, record, step)
        elif isinstance(record, Sound):
            # TensorBoard takes one channel in -1..1 and multiplies it by 32767.
            writer.add_audio(key, record.samples.mean(1) / 32767, step, sample_rate=record.rate)
        elif not isinstance(record, FileRecord):
            whole = replace(record, text=self._ended.text_of(record, step)) if isinstance(record, Alert) else record
            writer.add_text(key, _markdown(whole), step)

    def row(self, row: RunRecord) -> None:
        """Do nothing: the trainer logs the scalars."""

    def close(self) -> None:
        """Do nothing: the trainer closes the writer."""


def _add_picture(writer: Any, key: str, picture: Picture, step: int) -> None:
    """Write a picture as its PNG file, which exists already: ``add_image`` would encode it again."""
    file: Any = getattr(writer, "file_writer", None)
    if not type(file).__module__.startswith(
        "torch."
    ):  # a closed writer, or tensorboardX, which has its own protocol buffers
        writer.add_image(key, picture.pixels, step, dataformats="HWC")
        return
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

    height, width, channels = picture.pixels.shape
    image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=picture.png)
    file.add_summary(Summary(value=[Summary.Value(tag=key, image=image)]), step)


def _markdown(record: Table | MarkdownText | Alert) -> str:
    if isinstance(record, Alert):
        return f"**{_cell(record.title)}**\n\n{fenced(record.text)}"
    return markdown_table(record) if isinstance(record, Table) else record.markdown


def markdown_table(table: Table) -> str:
    """Return a table in Markdown, without its columns of pictures."""
    names, rows = without_pictures(table)
    lines = [[_cell(cell) for cell in line] for line in (names, *rows)]
    lines.insert(1, ["---"] * len(names))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: str | float) -> str:
    if isinstance(cell, str):
        return markdown_escaped(cell)
    return str(cell) if isinstance(cell, Integral) else f"{round(cell, 3) + 0.0:.3f}"  # never -0.000
