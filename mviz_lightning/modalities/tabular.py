"""Tables: one row of numbers per example; every column is a segment."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.batch import Segments
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.modalities.base import ModalityType, fill
from mviz_lightning.modalities.segment_names import feature_names
from mviz_lightning.modalities.segmentation import blocks
from mviz_lightning.plotting.canvas import colour_limit
from mviz_lightning.plotting.text_fitting import GREY, distinct, shortened, text_capacity, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

MAX_ROWS = 12
"""Largest number of columns that a panel lists by name."""

MAX_LINES_PER_ROW = 1.2
"""Largest number of lines in the height of one line: closer lines overlap."""


class Tabular(ModalityType):
    """Tables ``(N, D)``, or ``(N,)`` for a single column, of floats, integers or booleans.

    A segment is a column, or a run of neighbouring columns where there are more than ``max_segments``.
    """

    name = "tabular"
    integer_baseline = "mode"  # the mean of integers may be no valid value
    thumbnail = False

    @classmethod
    def fits(cls, values: Any) -> bool:
        """Return whether a leaf is a column, or a table of floats or booleans; integer tables are token ids."""
        if not isinstance(values, Tensor) or values.dim() not in (1, 2):
            return False
        return values.is_floating_point() or values.dtype == torch.bool or values.dim() == 1

    def cut(self) -> Segments:
        """Make every column a segment, or runs of neighbours where there are more than ``max_segments``."""
        values = self.values
        if not isinstance(values, Tensor) or values.dim() not in (1, 2):
            raise ConfigurationError(
                f"kind='tabular' of {self.path!r}: expected (N,) or (N, D); found "
                f"{tuple(getattr(values, 'shape', ())) or type(values).__name__}."
            )
        self._labels = feature_names(self.modality, self._table.shape[1], "column")
        index = blocks(self._table.shape[1], self.modality.max_segments).unsqueeze(0)
        filling = fill(self, self._table, [0])
        if values.dim() == 1:
            index, filling = index.squeeze(1), filling.squeeze(1)
        return Segments(self.path, index, filling)

    @cached_property
    def _table(self) -> Tensor:
        """The leaf as a table, ``(N, D)``."""
        values: Tensor = self.values
        return values if values.dim() == 2 else values.unsqueeze(1)

    def names(self, example: int, *, inputs: bool = True) -> list[str]:
        """Return the names of the columns; they do not depend on the example."""
        index = self.segments.index[0]  # type: ignore[attr-defined]
        columns = [
            (index.flatten() == segment).nonzero()[:, 0].tolist() for segment in range(self.segments.count(example))
        ]
        return [self._run_name(run[0], run[-1]) for run in columns]

    def _run_name(self, first: int, last: int) -> str:
        if first == last:
            return self._labels[first]
        if self.modality.feature_names is None:
            return f"columns {first + 1}-{last + 1}"
        return f"{self._labels[first]} to {self._labels[last]}"

    def aspect(self, example: int, *, inputs: bool = True) -> float:
        """Return height over width of a panel with room for all lines."""
        rows = max(min(self._table.shape[1], MAX_ROWS), min(self.segments.count(example), MAX_ROWS + 1))
        return max(0.09 * rows + 0.05, 0.35)

    def draw(self, axes: "Axes", example: int) -> None:
        """List the names and values of the columns; where they do not fit, draw bars in standard deviations."""
        row = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in self._table[example].tolist()]
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
        table = self._table.double()
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
        """Draw a bar for every segment; of more than ``MAX_ROWS``, for the strongest."""
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


def _prepare(axes: "Axes", lines: int) -> int:
    """Set a panel's axes to a number of lines from the top; return how many characters fit into a line."""
    columns, room = text_capacity(axes)
    axes.set(xlim=(0, 1), ylim=(max(lines, min(room, 4)), 0))
    return int(columns)
