"""Plots of metrics with several values: bars with intervals, or curves over the steps."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from mviz_lightning.functional.contribution import bound_name

if TYPE_CHECKING:
    from mviz_lightning.plotting.axes import FigureAndAxes, GivenAxes


SIDES: tuple[Literal["low", "high"], ...] = ("low", "high")


class Plottable:
    """A metric whose ``plot`` shows the intervals of its values."""

    compute: Any
    _plot: Any

    def plot(self, val: Any = None, ax: "GivenAxes" = None) -> "FigureAndAxes":
        """Draw the values with matplotlib, like ``plot`` of other torchmetrics.

        Args:
            val: A result of ``compute`` or ``forward``, or a list with one result per step; by default the current
                result of ``compute``.
            ax: Axes to draw into; by default the axes of a new figure.

        Returns:
            The figure and the axes.
        """
        found = self.compute() if val is None else val
        steps = [found] if isinstance(found, Mapping) else found
        if not (isinstance(steps, Sequence) and steps and all(isinstance(step, Mapping) for step in steps)):
            figure_and_axes: FigureAndAxes = self._plot(found, ax)
            return figure_and_axes
        values = [{name: float(value) for name, value in step.items()} for step in steps]
        draw = _draw_bars if isinstance(found, Mapping) else _draw_curves
        return draw(type(self).__name__, values, ax)


def _shown(values: Mapping[str, float]) -> list[str]:
    """Return the names of the values that are not bounds of other values."""
    bounds = {bound_name(name, "low") for name in values} | {bound_name(name, "high") for name in values}
    return [name for name in values if name not in bounds]


def _numbers(values: Mapping[str, float], name: str) -> tuple[float, float, float]:
    """Return a value and its bounds; NaN if it has none."""
    low, high = (values.get(bound_name(name, side), math.nan) for side in SIDES)
    return values.get(name, math.nan), low, high


def _draw_bars(title: str, steps: Sequence[Mapping[str, float]], ax: "GivenAxes") -> "FigureAndAxes":
    from mviz_lightning.plotting.axes import plot_diagram
    from mviz_lightning.plotting.diagrams import Bar, Bars

    (values,) = steps
    return plot_diagram(Bars(title, [Bar(name, *_numbers(values, name)) for name in _shown(values)]), ax)


def _draw_curves(title: str, steps: Sequence[Mapping[str, float]], ax: "GivenAxes") -> "FigureAndAxes":
    import numpy as np

    from mviz_lightning.plotting.axes import plot_diagram
    from mviz_lightning.plotting.diagrams import Curve, Curves
    from mviz_lightning.plotting.panels import COLOURS

    curves = []
    for place, name in enumerate(_shown(steps[0])):
        value, low, high = np.array([_numbers(values, name) for values in steps]).T
        curves.append(Curve(name, value, low, high, COLOURS[place % len(COLOURS)]))
    return plot_diagram(Curves(title, list(range(len(steps))), "step", curves, percent=False), ax)
