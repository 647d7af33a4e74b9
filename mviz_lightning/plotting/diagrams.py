"""What a diagram shows, as plain data; SVG for notebooks and matplotlib for figures both draw it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mviz_lightning.functional.numerals import fixed
from mviz_lightning.plotting.panels import COLOURS

FloatArray: TypeAlias = npt.NDArray[np.float64]
"""FloatArray of one kind, any shape."""

BEYOND = (-0.25, 1.25)
"""Ends of an axis of shares: what lies beyond is drawn at the edge; one wide interval would squeeze all the others."""

VALUE, ALONE, TOGETHER = "#999999", COLOURS[2], COLOURS[3]
"""Colours of an output, of its unimodal contribution (UC) and of its multimodal interaction (MI)."""


@dataclass(frozen=True)
class Bar:
    """A number with its interval.

    Attributes:
        label: What it is the number of.
        value: The number.
        low: Lower bound of its interval; NaN where it has none.
        high: Upper bound.
        colour: Colour of the bar, ``#rrggbb``.
    """

    label: str
    value: float
    low: float = math.nan
    high: float = math.nan
    colour: str = COLOURS[0]


@dataclass(frozen=True)
class Bars:
    """FloatArray of one unit, one below the other.

    Attributes:
        title: What the diagram shows.
        bars: The numbers, from the top.
        percent: Whether they are shares, which are written in percent and drawn from 0 to 100.
    """

    title: str
    bars: Sequence[Bar]
    percent: bool = False

    def words(self, bar: Bar) -> str:
        """Return a number with its interval as text."""
        return share_words(bar.value, bar.low, bar.high) if self.percent else number_words(bar.value, bar.low, bar.high)

    @property
    def span(self) -> tuple[float, float]:
        """Both ends of the axis."""
        found = [number for bar in self.bars for number in (bar.value, bar.low, bar.high) if math.isfinite(number)]
        if self.percent:
            return max(BEYOND[0], min([0.0, *found])), min(BEYOND[1], max([1.0, *found]))
        low, high = min([0.0, *found]), max([0.0, *found])
        return (low, high) if low < high else (0.0, 1.0)


@dataclass(frozen=True)
class Mark:
    """A point of a curve that needs attention.

    Attributes:
        place: Index of the point.
        words: What is said of it, for example ``image collapsed``.
        urgent: Whether it is an alarm.
    """

    place: int
    words: str
    urgent: bool = True


@dataclass(frozen=True)
class Curve:
    """A number over the runs of a training, with its interval.

    Attributes:
        label: What it is the number of.
        values: ``(N,)`` the number at each run; NaN where a run has none.
        low: ``(N,)`` lower bounds; NaN where there are none.
        high: ``(N,)`` upper bounds.
        colour: Colour, ``#rrggbb``; ``""`` for the colour of the text, dotted.
        marks: Points that need attention.
    """

    label: str
    values: FloatArray
    low: FloatArray
    high: FloatArray
    colour: str = ""
    marks: Sequence[Mark] = ()


@dataclass(frozen=True)
class Curves:
    """FloatArray over the runs of a training.

    Attributes:
        title: What the diagram shows.
        places: ``(N,)`` where the runs stand on the x-axis.
        axis: What the x-axis counts: ``epoch`` or ``step``.
        curves: The numbers.
        percent: Whether they are shares, which are written in percent and drawn from 0 to 100.
    """

    title: str
    places: Sequence[float]
    axis: str
    curves: Sequence[Curve]
    percent: bool = True

    def words(self, curve: Curve, place: int) -> str:
        """Return the number of a run with its interval as text."""
        numbers = [float(found[place]) for found in (curve.values, curve.low, curve.high)]
        return share_words(*numbers) if self.percent else number_words(*numbers)

    @property
    def span(self) -> tuple[float, float]:
        """Both ends of the y-axis: 0 to 1, and more where values are beyond."""
        stacked = [np.concatenate([curve.values, curve.low, curve.high]) for curve in self.curves]
        found = np.concatenate([*stacked, [0.0, 1.0]])
        found = found[np.isfinite(found)].clip(*(BEYOND if self.percent else (None, None)))
        return float(found.min()), float(found.max())


@dataclass(frozen=True)
class SegmentMap:
    """What the segments of one input add to an output.

    Attributes:
        modality: The modality; maps of one stand beside one another.
        title: Modality and kind of the weights: ``image: UC``.
        names: Names of the segments.
        weights: ``(U,)`` in the unit of the output.
        limit: Weight at the end of the colour scale.
        view: How the input looks, as :meth:`ModalityType.view` tells it; empty where nothing is known.
        strength: Strength of the colours, 0 to 1: weak for an unreliable map.
        foot: What stands below, for example ``R² 0.84``.
    """

    modality: str
    title: str
    names: Sequence[str]
    weights: FloatArray
    limit: float
    view: Mapping[str, Any] = field(default_factory=dict)
    strength: float = 1.0
    foot: str = ""

    def tint(self, segment: int) -> float:
        """Return the weight of a segment on the colour scale, -1 to 1; 0 for NaN."""
        weight = float(self.weights[segment]) if segment < len(self.weights) else 0.0
        if not (self.limit > 0 and math.isfinite(weight)):
            return 0.0
        return max(-1.0, min(1.0, weight / self.limit)) * self.strength


@dataclass(frozen=True)
class Matrix:
    """FloatArray by row and column, in colours.

    Attributes:
        title: What the diagram shows.
        rows: Names of the rows.
        columns: Names of the columns.
        weights: ``(R, C)``.
        diverging: Whether 0 is in the middle of the colour scale and not at its start.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    weights: FloatArray
    diverging: bool = True

    @property
    def limit(self) -> float:
        """Number at the end of the colour scale."""
        finite = np.abs(self.weights[np.isfinite(self.weights)])
        return float(finite.max()) if finite.size else 0.0


Diagram: TypeAlias = Bars | Curves | SegmentMap | Matrix
"""All diagrams."""


def share_words(value: float, low: float = math.nan, high: float = math.nan) -> str:
    """Write a share in percent, with its interval if it has one.

    Example:
        >>> share_words(0.824, 0.781, 0.86), share_words(0.004), share_words(float("nan"))
        ('82 % [78, 86]', '0.4 %', 'not measured')
    """
    if not math.isfinite(value):
        return "not measured"
    known = math.isfinite(low) and math.isfinite(high)
    bounds = f" [{_hundred(low)}, {_hundred(high)}]" if known else ""
    return f"{_hundred(value)} %{bounds}"


def _hundred(share: float) -> str:
    """Write a share times 100: whole, or with one decimal below 1."""
    return fixed(100 * share, 0 if abs(share) >= 0.00995 or abs(share) < 0.0005 else 1)


def number_words(value: float, low: float = math.nan, high: float = math.nan) -> str:
    """Write a number with three digits, with its interval if it has one.

    Example:
        >>> number_words(0.7412, 0.56, 0.92), number_words(12.0), number_words(float("nan"))
        ('0.741 [0.56, 0.92]', '12', 'not measured')
    """
    if not math.isfinite(value):
        return "not measured"
    bounds = f" [{_short(low)}, {_short(high)}]" if math.isfinite(low) and math.isfinite(high) else ""
    return f"{_short(value)}{bounds}"


def _short(value: float) -> str:
    return f"{value + 0.0:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers between both ends, about ``count``.

    Example:
        >>> ticks(0, 1), ticks(-3, 12, 4)
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 5.0, 10.0])
    """
    rough = (high - low) / max(count, 1)
    if not (rough > 0 and math.isfinite(rough)):
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) + 0.0 for place in range(first, last + 1)]
