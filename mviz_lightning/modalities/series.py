"""Time series: blocks of time; up to 8 channels are masked separately."""

from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.batch import Segmentation, Segments
from mviz_lightning.batch.masking import joined
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.modalities.base import ModalityType
from mviz_lightning.modalities.image import blend
from mviz_lightning.modalities.segment_names import feature_names, names_of_runs, time_span
from mviz_lightning.modalities.segmentation import blocks, runs
from mviz_lightning.modalities.step_leaf import StepLeaf, masked_with, most_frequent_entry
from mviz_lightning.modalities.typical_values import fill
from mviz_lightning.modalities.views import curve, means
from mviz_lightning.plotting.text_fitting import distinct, text_capacity, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

MAX_LANES = 8
"""Largest number of channels that are masked and drawn separately."""

MIN_CHARACTERS_FOR_LABELS = 16
"""Smallest number of characters that fit into a line of a panel with labels; smaller panels get none."""


class Series(ModalityType):
    """Time series ``(N, T, D)``, ``(N, T)`` or ``(N, T, ...)``; ``Modality(time_axis=...)`` names another time axis.

    The drawing is a table of time steps and rows (channels or frequencies). With up to 8 channels, each channel is a
    lane; otherwise all channels are one lane. A segment is a block of time in a lane; padded steps belong to no
    segment. Further leaves of the modality with the same steps (known and observed columns, categories) add channels.
    """

    name = "series"
    expected: ClassVar[str] = "(N, T), (N, T, D) or (N, T, ...)"
    default_time_axis: ClassVar[int] = 1
    """The time axis if ``Modality(time_axis=...)`` is not given."""
    max_blocks: ClassVar[int] = 24
    """Largest number of blocks of time in a lane."""
    takes_companions: ClassVar[bool] = True
    """Whether further leaves with the same time steps are masked too."""
    row_direction: ClassVar[int] = 1
    """1 draws the first row at the top, -1 at the bottom."""
    colour_map: ClassVar[str] = "viridis"
    """Name of the Matplotlib colour map for tables of more than 8 rows."""

    @classmethod
    def fits(cls, values: Any) -> bool:
        """Return whether a leaf is a floating-point tensor with three axes."""
        return isinstance(values, Tensor) and values.dim() == 3 and values.is_floating_point()

    def cut(self) -> Segmentation:
        """Divide every lane into blocks of time."""
        self._check()
        real = self.real_entries(self._time)
        self._real = torch.ones(1, self._length, dtype=torch.bool) if real is None else real
        self._lane_labels = self._named_lanes()
        self._index = self._numbered()
        return joined([self._part(leaf, index) for leaf, index in zip(self._leaves, self._shared_out(), strict=True)])

    def _part(self, leaf: StepLeaf, index: Tensor) -> Segments:
        return Segments(leaf.path, leaf.as_leaf(index), self._fill(leaf, leaf.as_leaf(self._real.unsqueeze(2))))

    def _shared_out(self) -> list[Tensor]:
        """Return the segment of every entry of each leaf's table, ``(N or 1, T, D or 1)``."""
        if len(self._leaves) == 1 or self._index.shape[2] == 1:
            return [self._index for _ in self._leaves]
        return list(torch.split(self._index, [leaf.table.shape[2] for leaf in self._leaves], 2))

    def _check(self) -> None:
        values = self.values
        if not isinstance(values, Tensor) or values.dim() < 2 or not values.numel():
            raise ConfigurationError(
                f"kind={self.name!r} of {self.path!r}: expected {self.expected}; found "
                f"{tuple(getattr(values, 'shape', ())) or type(values).__name__}."
            )
        if not 0 < self._time < values.dim():
            raise ConfigurationError(
                f"time_axis={self.modality.time_axis} of {self.path!r}: give an axis of {tuple(values.shape)}, not the "
                "first, which counts the examples."
            )

    @cached_property
    def _time(self) -> int:
        """The time axis of the leaf, from 0."""
        axis = self.default_time_axis if self.modality.time_axis is None else self.modality.time_axis
        return axis % self.values.dim() if -self.values.dim() <= axis else axis

    @property
    def _length(self) -> int:
        return int(self.values.shape[self._time])

    @property
    def _rate(self) -> float | None:
        """Steps per second; None if unknown."""
        return self.modality.rate

    @cached_property
    def _row_axis(self) -> int | None:
        """The axis of the channels; None if there is only one lane."""
        return 3 - self._time if self.values.dim() == 3 else None

    @cached_property
    def _leaves(self) -> list[StepLeaf]:
        """The leaves that are masked, the values first."""
        own = StepLeaf(self.path, self.values, self._time, self._row_axis)
        more = [
            StepLeaf.of(path, leaf, self._time)
            for path, leaf in self.companions.items()
            if self.takes_companions and masked_with(leaf, self._time, self._length)
        ]
        return [own, *more]

    @cached_property
    def _rows(self) -> Tensor:
        """The rows of the drawing, ``(N, T, D)``: the channels of all leaves."""
        return torch.cat([leaf.table for leaf in self._leaves], 2)

    @cached_property
    def _lanes(self) -> Tensor:
        """The lane of every row, ``(D,)``; ``(1,)`` if all rows share one lane."""
        alone = self._rows.shape[2] <= min(MAX_LANES, self.modality.max_segments)
        return torch.arange(self._rows.shape[2] if alone else 1)

    @property
    def _blocks_per_lane(self) -> int:
        """Largest number of blocks of time in a lane."""
        return min(self.max_blocks, self.modality.max_segments // (int(self._lanes.max()) + 1))

    @cached_property
    def _channel_names(self) -> list[str]:
        """The names of all rows."""
        counts = {leaf.path: leaf.table.shape[2] for leaf in self._leaves}
        return feature_names(self.modality, counts, "channel")

    def _named_lanes(self) -> list[str]:
        return self._channel_names if len(self._lanes) > 1 else [""]

    def _numbered(self) -> Tensor:
        """Return the segment of every entry of the table, ``(N or 1, T, D or 1)``, from 0 in every example."""
        block = runs(self._real.long() * 2 - 1, self._blocks_per_lane).unsqueeze(2)
        count = block.amax(1, keepdim=True) + 1 if block.numel() else 0
        return (self._lanes * count + block).where(block >= 0, -1)

    def _fill(self, leaf: StepLeaf, mask: Tensor) -> Tensor:
        """Return the baseline of a leaf's real entries (True in ``mask``); for categories, the most frequent one."""
        if leaf.holds_reals or leaf.path == self.path:
            return fill(self, leaf.values, [0, leaf.time], mask)
        return most_frequent_entry(leaf.values, leaf.time, self._real)

    @property
    def baseline(self) -> str:
        """The baseline of masked blocks, in words."""
        categories = any(not leaf.holds_reals for leaf in self._leaves[1:])
        return f"{super().baseline}, of integers the most frequent value" if categories else super().baseline

    def names(self, example: int, *, inputs: bool = True) -> list[str]:
        """Return the lane and time of every segment."""
        steps = self._steps(example)
        block = blocks(len(steps), self._blocks_per_lane)
        times = []
        for number in range(int(block.max()) + 1 if len(block) else 0):
            run = steps[block == number]
            times.append(time_span(int(run[0]), int(run[-1]), self._rate))
        return [f"{lane}, {time}" if lane else time for lane in self._lane_labels for time in times]

    def _steps(self, example: int) -> Tensor:
        """Return the steps of an example that are not padding, ``(T,)``."""
        return self._real[example if len(self._real) > 1 else 0].nonzero()[:, 0]

    def view(self, example: int, *, inputs: bool = True) -> dict[str, Any]:
        """Return the curves of all channels, and the span of each segment in them.

        More than 8 channels are stored as the means of 8 runs of adjacent channels, each channel scaled to 0..1.
        """
        lanes, length = range(len(self._lane_labels)), len(self._steps(example))
        block = blocks(length, self._blocks_per_lane)
        ends = [0, *block.bincount().cumsum(0).tolist()] if length else [0]
        found: dict[str, Any] = {
            "view": "lines",
            "channels": self._curve_names(),
            "spans": [[self._curve_of(lane), a / length, b / length] for lane in lanes for a, b in pairwise(ends)],
            "x": "steps" if self._rate is None else "s",
            "length": length if self._rate is None else length / self._rate,
        }
        return found | ({"values": [curve(one) for one in self._curves(example)]} if inputs else {})

    def _curve_names(self) -> list[str]:
        """Return the names of the stored curves."""
        return names_of_runs(self._channel_names, MAX_LANES)

    def _curve_of(self, lane: int) -> int:
        """Return the curve of a lane; -1 if one lane contains all curves."""
        return lane if len(self._lane_labels) > 1 else -1

    def _curves(self, example: int) -> npt.NDArray[Any]:
        """Return the stored curves of an example, ``(C, T)``."""
        table = self.table(example)
        if table is not None:
            return means(table, blocks(len(table), MAX_LANES).numpy())
        rows: npt.NDArray[Any] = self._rows[example][self._steps(example)].double().nan_to_num().numpy().T
        return rows

    def aspect(self, example: int, *, inputs: bool = True) -> float:
        """Return height over width of a panel; time is on the horizontal axis."""
        return 0.6

    def table(self, example: int) -> npt.NDArray[Any] | None:
        """Return an example as brightness, ``(D, T)`` in 0..1; None for up to 8 rows, which are drawn as lines."""
        if self._rows.shape[2] <= MAX_LANES:
            return None
        low, high = self._range
        steps = self._rows[example][self._steps(example)].double().nan_to_num()
        table: npt.NDArray[Any] = ((steps - low) / (high - low).clamp(min=1e-12)).clamp(0, 1).numpy().T
        return table

    @cached_property
    def _range(self) -> tuple[Tensor, Tensor]:
        """The darkest and brightest value of every row: two standard deviations below and above the examples' mean."""
        rows = self._rows.double().nan_to_num().flatten(0, 1)
        mean, deviation = rows.mean(0), rows.std(0, correction=0)
        return mean - 2 * deviation, mean + 2 * deviation

    def draw(self, axes: "Axes", example: int) -> None:
        """Draw a line per row, or a table of colours for more than 8 rows."""
        table = self.table(example)
        if table is None:
            self._draw_lines(axes, example)
        elif table.size:
            self._show(axes, table, cmap=self.colour_map, vmin=0, vmax=1)
        self._label(axes, example)

    def paint(
        self, axes: "Axes", example: int, weights: npt.NDArray[Any], colours: "ScalarMappable", *, inputs: bool = True
    ) -> None:
        """Draw the input in grey over coloured blocks."""
        segments = (
            self._index[example if len(self._index) > 1 else 0][self._steps(example)].numpy().T[:: self.row_direction]
        )
        table = self.table(example) if inputs else None
        if segments.size:
            painted = colours.to_rgba(weights, bytes=True)[..., :3]
            self._show(axes, painted[segments] if table is None else self._tinted(painted, segments, table))
        if inputs and table is None:
            self._draw_lines(axes, example)
        self._label(axes, example)

    def _tinted(self, painted: npt.NDArray[Any], segments: npt.NDArray[Any], table: npt.NDArray[Any]) -> Any:
        """Multiply the colours of segments by a table; their numbers of rows and columns may differ."""
        rows, columns = (
            np.arange(size) * have // max(size, 1) for size, have in zip(table.shape, segments.shape, strict=True)
        )
        # Large values are dark, as in print, so silence does not change the colours.
        return blend(painted[segments[rows][:, columns]], 255 * (1 - table[..., None]))

    def _show(self, axes: "Axes", picture: Any, **style: Any) -> None:
        """Draw an image with its first row at the top into the area 0..1 of a panel."""
        axes.imshow(picture, extent=(0, 1, 0, 1), aspect="auto", interpolation="nearest", **style)

    def _draw_lines(self, axes: "Axes", example: int) -> None:
        rows = self._rows[example][self._steps(example)].double().nan_to_num().numpy()
        if not rows.size:
            return
        low, size = rows.min(0), np.ptp(rows, 0)
        scaled = np.where(size > 0, (rows - low) / np.where(size > 0, size, 1), 0.5)
        lanes = rows.shape[1]
        heights = 1 - (np.arange(lanes) + 0.9 - 0.8 * scaled) / lanes
        places = (np.arange(len(rows)) + 0.5) / len(rows)
        axes.plot(places, heights, color="#333333", linewidth=0.9, marker="." if len(rows) == 1 else "")

    def _label(self, axes: "Axes", example: int) -> None:
        """Write the lanes to the left and the duration below, if they fit."""
        columns, lines = text_capacity(axes)
        if min(columns, 4 * lines) < MIN_CHARACTERS_FOR_LABELS:
            axes.set(xlim=(0, 1), ylim=(0, 1))
            return
        names = distinct(self.margin(), int(columns) // 3)
        margin = (max(map(len, names)) + 0.8) / columns if any(names) else 0
        axes.set(xlim=(-margin / (1 - margin), 1), ylim=(-1 / (lines - 1), 1))
        for number, name in enumerate(names):
            write(axes, -0.4 / columns, 1 - (number + 0.5) / len(names), name, ha="right", va="center_baseline")
        write(axes, 0.3 / columns, -0.5 / (lines - 1), "0", va="center_baseline")
        write(axes, 1 - 0.3 / columns, -0.5 / (lines - 1), self._duration(example), ha="right", va="center_baseline")

    def margin(self) -> list[str]:
        """Return the labels to the left of the lanes."""
        return [name.removeprefix("channel ") for name in self._lane_labels]

    def _duration(self, example: int) -> str:
        length = len(self._steps(example))
        return f"{length} steps" if self._rate is None else f"{length / self._rate:.3g} s"
