"""Tables: one row of numbers per example; every column is a segment."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.batch import Segmentation, Segments
from mviz_lightning.batch.masking import joined
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.modalities.base import ModalityType
from mviz_lightning.modalities.segment_names import feature_names
from mviz_lightning.modalities.segmentation import blocks
from mviz_lightning.modalities.typical_values import fill, most_frequent
from mviz_lightning.plotting.canvas import colour_limit
from mviz_lightning.plotting.text_fitting import GREY, distinct, shortened, text_capacity, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

MAX_ROWS = 12
"""Largest number of columns listed by name in a panel."""

MAX_LINES_PER_ROW = 1.2
"""Largest number of list rows per text line of a panel's height; with more, rows would overlap."""

KEPT = 3
"""Largest number of values of a run of columns in a view."""


class Tabular(ModalityType):
    """Tables ``(N, D)``, or ``(N,)`` for a single column, of floats, integers or booleans.

    ``(N, 1, D)`` is a table too: graphs in a batch may have their row of a table as ``(1, D)``. A modality may have
    several such leaves, for example real numbers and categories; their columns are joined. A segment is a column, or a
    run of adjacent columns if there are more than ``max_segments``.
    """

    name = "tabular"
    thumbnail = False

    @classmethod
    def fits(cls, values: Any) -> bool:
        """Return whether a leaf is a column, or a table of floats or booleans; integer tables are token ids."""
        if not _is_table(values):
            return False
        return bool(values.is_floating_point() or values.dtype == torch.bool or values.dim() == 1)

    @classmethod
    def fits_beside(cls, values: Any, further: Sequence[Any]) -> bool:
        """Return whether a leaf fits, or has the categories of a table whose real numbers are in a further leaf."""
        return cls.fits(values) or are_categories(values, further)

    def cut(self) -> Segmentation:
        """Make every column a segment, or runs of adjacent columns if there are more than ``max_segments``."""
        if not _is_table(self.values):
            raise ConfigurationError(
                f"kind='tabular' of {self.path!r}: expected (N,), (N, D) or (N, 1, D); found "
                f"{tuple(getattr(self.values, 'shape', ())) or type(self.values).__name__}."
            )
        widths = {path: table.shape[1] for path, table in self._tables.items()}
        self._labels = feature_names(self.modality, widths, "column")
        self._numbers = blocks(len(self._labels), self.modality.max_segments)
        numbered = torch.split(self._numbers, list(widths.values()))
        return joined([self._part(path, numbers) for path, numbers in zip(widths, numbered, strict=True)])

    def _part(self, path: str, numbers: Tensor) -> Segments:
        """Return the segments of one leaf, from the segment numbers ``(D,)`` of its columns."""
        shape = (1, *self.leaves[path].shape[1:])
        filling = self._fill(self._tables[path]).expand(1, len(numbers))
        return Segments(path, numbers.view(shape), filling.reshape(shape))

    @cached_property
    def _tables(self) -> dict[str, Tensor]:
        """The leaves with columns as tables, ``(N, D)`` each."""
        leaves = {self.path: self.values, **self.companions}
        return {path: leaf.reshape(len(leaf), -1) for path, leaf in leaves.items() if _is_table(leaf)}

    def _uses_mode(self, table: Tensor) -> bool:
        """Whether the baseline is the most frequent value: the mean of integers may be no valid value.

        A ``baseline`` of the user applies to real numbers; it applies to integers only if all columns are integers.
        """
        real = any(known.is_floating_point() for known in self._tables.values())
        return not table.is_floating_point() and (real or self.modality.baseline is None)

    def _fill(self, table: Tensor) -> Tensor:
        return most_frequent(table).unsqueeze(0) if self._uses_mode(table) else fill(self, table, [0])

    @property
    def baseline(self) -> str:
        """The baseline of masked columns, in words."""
        modes = [self._uses_mode(table) for table in self._tables.values()]
        if not any(modes):
            return super().baseline
        return "the most frequent value" if all(modes) else f"{super().baseline}, of integers the most frequent value"

    def names(self, example: int, *, inputs: bool = True) -> list[str]:
        """Return the names of the columns; they do not depend on the example."""
        columns = [(self._numbers == segment).nonzero()[:, 0] for segment in range(self.segments.count(example))]
        return [self._run_name(int(run[0]), int(run[-1])) for run in columns]

    def _run_name(self, first: int, last: int) -> str:
        if first == last:
            return self._labels[first]
        if self.modality.feature_names is None and len(self._tables) == 1:
            return f"columns {first + 1}-{last + 1}"
        return f"{self._labels[first]} to {self._labels[last]}"

    def view(self, example: int, *, inputs: bool = True) -> dict[str, Any]:
        """Return the value of each segment; for a run of columns, the first values."""
        if not inputs:
            return {"view": "values"}
        row = [_written(value) for table in self._tables.values() for value in table[example].flatten().tolist()]
        runs = [
            [row[column] for column in (self._numbers == segment).nonzero()[:, 0].tolist()]
            for segment in range(self.segments.count(example))
        ]
        return {"view": "values", "values": [", ".join(run[:KEPT]) + ", ..." * (len(run) > KEPT) for run in runs]}

    def aspect(self, example: int, *, inputs: bool = True) -> float:
        """Return height over width of a panel with room for all lines."""
        rows = max(min(len(self._labels), MAX_ROWS), min(self.segments.count(example), MAX_ROWS + 1))
        return max(0.09 * rows + 0.05, 0.35)

    def draw(self, axes: "Axes", example: int) -> None:
        """List the names and values of the columns; if they do not fit, draw bars in standard deviations."""
        row = [_written(value) for table in self._tables.values() for value in table[example].tolist()]
        letters, lines = text_capacity(axes)
        width = int(letters) - max(map(len, row), default=0) - 2
        if len(row) > min(MAX_ROWS, MAX_LINES_PER_ROW * lines) or (len(row) > 1 and width < 2):
            self._draw_bars(axes, example)
            return
        _prepare(axes, len(row))
        for line, (name, value) in enumerate(zip(distinct(self._labels, width), row, strict=True)):
            write(axes, 0.02, line + 0.5, name, va="center_baseline")
            write(axes, 0.98, line + 0.5, value, va="center_baseline", ha="right")

    def _draw_bars(self, axes: "Axes", example: int) -> None:
        table = torch.cat([table.double() for table in self._tables.values()], 1)
        real = table.isfinite()
        count = real.sum(0).clamp(min=1)
        away = (table - table.where(real, 0).sum(0) / count).where(real, 0)
        scores = (away[example] / (away.square().sum(0) / count).sqrt().clamp(min=1e-12)).clamp(-3.5, 3.5).numpy()
        places = np.arange(len(scores))
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.vlines(places, 0, scores, colors="#444444", linewidth=max(80 / len(scores), 0.7))
        axes.set(xlim=(-1, len(scores)), ylim=(-3.7, 5))
        told, room = f"{len(scores)} columns, in SD", int(text_capacity(axes)[0])
        told = told if len(told) <= room else shortened(f"{len(scores)} columns", room)
        write(axes, 0.02, 0.98, told, transform=axes.transAxes, va="top")

    def paint(
        self, axes: "Axes", example: int, weights: npt.NDArray[Any], colours: "ScalarMappable", *, inputs: bool = True
    ) -> None:
        """Draw a bar for every segment; with more than ``MAX_ROWS`` segments, only for the strongest."""
        names = self.names(example, inputs=inputs)
        shown = (
            np.argsort(-np.abs(weights), kind="stable")[:MAX_ROWS] if len(names) > MAX_ROWS else np.arange(len(names))
        )
        width = _prepare(axes, len(shown) + (len(names) > MAX_ROWS))
        limit, lines = colour_limit(colours, weights), np.arange(len(shown)) + 0.5
        lengths = 0.18 * np.clip(weights[shown] / limit, -1, 1)
        axes.barh(lines, lengths, left=0.8, height=0.8, color=colours.to_rgba(weights[shown]), linewidth=0)
        axes.vlines(0.8, 0, len(shown), colors=GREY, linewidth=0.8)
        for line, name in zip(
            lines, distinct([names[segment] for segment in shown], int(0.6 * width) - 1), strict=True
        ):
            write(axes, 0.02, line, name, va="center_baseline")
        if len(names) > MAX_ROWS:
            write(axes, 0.02, MAX_ROWS + 0.5, f"{len(names) - MAX_ROWS} weaker ones", va="center_baseline", color=GREY)


def are_categories(values: Any, further: Sequence[Any]) -> bool:
    """Return whether integers ``(N, T)`` are columns, not tokens: with real columns, and no leaf with T entries.

    Args:
        values: A leaf.
        further: The further leaves of its modality.
    """
    if not _is_table(values) or values.dim() == 1 or values.is_floating_point():
        return False
    tensors = [leaf for leaf in further if isinstance(leaf, Tensor)]
    per_token = any(leaf.dim() > 1 and values.shape[1] in (leaf.shape[1], leaf.shape[-1]) for leaf in tensors)
    return not per_token and any(_is_table(leaf) and leaf.is_floating_point() for leaf in tensors)


def _is_table(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and (leaf.dim() in (1, 2) or (leaf.dim() == 3 and leaf.shape[1] == 1))


def _written(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _prepare(axes: "Axes", lines: int) -> int:
    """Set a panel's axes to a number of lines from the top; return the number of characters that fit into a line."""
    columns, room = text_capacity(axes)
    axes.set(xlim=(0, 1), ylim=(max(lines, min(room, 4)), 0))
    return int(columns)
