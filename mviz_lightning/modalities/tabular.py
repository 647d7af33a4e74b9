"""Tables: a row of numbers, cut into columns."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.batch import Segments
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.modalities.base import ModalityType, blocks, fill
from mviz_lightning.modalities.parts import full_scale, labels
from mviz_lightning.plotting.lettering import GREY, distinct, extent, shortened, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

ROWS = 12
"""Columns that can be listed in a panel."""

PACKED = 1.2
"""Lines that can be read in the room of one."""


class Tabular(ModalityType):
    """``(N, D)``, or ``(N,)`` for a single column, of floats, integers or booleans."""

    name = "tabular"
    thumbnail = False

    @classmethod
    def fits(cls, values: Any) -> bool:
        """Tell whether a leaf has a column or some; tables of integers are texts."""
        if not isinstance(values, Tensor) or values.dim() not in (1, 2):
            return False
        return values.is_floating_point() or values.dtype == torch.bool or values.dim() == 1

    def cut(self) -> Segments:
        """Cut columns, or runs of neighbours where there are many."""
        values = self.values
        if not isinstance(values, Tensor) or values.dim() not in (1, 2):
            raise ConfigurationError(
                f"kind='tabular' of {self.path!r}: expected (N,) or (N, D); found "
                f"{tuple(getattr(values, 'shape', ())) or type(values).__name__}."
            )
        self._labels = labels(self.modality, self._table.shape[1], "column")
        index = blocks(self._table.shape[1], self.modality.max_segments).unsqueeze(0)
        filling = self._fill()
        if values.dim() == 1:
            index, filling = index.squeeze(1), filling.squeeze(1)
        return Segments(self.path, index, filling)

    @cached_property
    def _table(self) -> Tensor:
        """``(N, D)``."""
        values: Tensor = self.values
        return values if values.dim() == 2 else values.unsqueeze(1)

    @property
    def _counts(self) -> bool:
        """Tell whether a mean would be no value of the table's own."""
        return self.modality.baseline is None and not self.values.is_floating_point()

    def _fill(self) -> Tensor:
        if self._counts:
            return self._table.long().mode(0, keepdim=True).values.to(self._table.dtype)
        return fill(self, self._table, [0])

    @property
    def baseline(self) -> str:
        """What a masked column turns into."""
        return "the most frequent value" if self._counts else super().baseline

    def names(self, example: int, *, inputs: bool = True) -> list[str]:
        """Return the columns' names, which tell nothing of an example."""
        index = self.segments.index[0]  # type: ignore[attr-defined]
        runs = [
            (index.flatten() == segment).nonzero()[:, 0].tolist() for segment in range(self.segments.count(example))
        ]
        return [self._run_name(run[0], run[-1]) for run in runs]

    def _run_name(self, first: int, last: int) -> str:
        if first == last:
            return self._labels[first]
        if self.modality.feature_names is None:
            return f"columns {first + 1}-{last + 1}"
        return f"{self._labels[first]} to {self._labels[last]}"

    def aspect(self, example: int, *, inputs: bool = True) -> float:
        """Return a height that leaves room for all rows."""
        rows = max(min(self._table.shape[1], ROWS), min(self.segments.count(example), ROWS + 1))
        return max(0.09 * rows + 0.05, 0.35)

    def draw(self, axes: "Axes", example: int) -> None:
        """List names and values; what there is no room to list is bars, in deviations from the examples."""
        row = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in self._table[example].tolist()]
        letters, lines = extent(axes)
        width = int(letters) - max(map(len, row), default=0) - 2
        if len(row) > min(ROWS, PACKED * lines) or (len(row) > 1 and width < 2):
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
        told, room = f"{len(scores)} columns, in SD", int(extent(axes)[0])
        told = told if len(told) <= room else shortened(f"{len(scores)} columns", room)
        write(axes, 0.02, 0.98, told, transform=axes.transAxes, va="top")

    def paint(
        self, axes: "Axes", example: int, weights: npt.NDArray[Any], colours: "ScalarMappable", *, inputs: bool = True
    ) -> None:
        """Draw a bar for every column, for the strongest ones where there are many."""
        names = self.names(example, inputs=inputs)
        shown = np.argsort(-np.abs(weights), kind="stable")[:ROWS] if len(names) > ROWS else np.arange(len(names))
        width = _prepare(axes, len(shown) + (len(names) > ROWS))
        limit, lines = full_scale(colours, weights), np.arange(len(shown)) + 0.5
        lengths = 0.18 * np.clip(weights[shown] / limit, -1, 1)
        axes.barh(lines, lengths, left=0.8, height=0.8, color=colours.to_rgba(weights[shown]), linewidth=0)
        axes.vlines(0.8, 0, len(shown), colors=GREY, linewidth=0.8)
        for line, name in zip(
            lines, distinct([names[segment] for segment in shown], int(0.6 * width) - 1), strict=True
        ):
            write(axes, 0.02, line, name, va="center_baseline")
        if len(names) > ROWS:
            write(axes, 0.02, ROWS + 0.5, f"{len(names) - ROWS} weaker ones", va="center_baseline", color=GREY)


def _prepare(axes: "Axes", lines: int) -> int:
    """Set a panel to lines from the top; return how many letters fit into one."""
    columns, room = extent(axes)
    axes.set(xlim=(0, 1), ylim=(max(lines, min(room, 4)), 0))
    return int(columns)
