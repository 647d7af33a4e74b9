"""Metrics of several values as diagrams: bars with intervals, or curves over the steps."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mviz_lightning.functional.contribution import bound_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Plottable:
    """A metric whose ``plot`` shows the intervals of its values."""

    compute: Any
    _plot: Any

    def plot(self, val: Any = None, ax: "Axes | None" = None) -> "tuple[Figure, Axes]":
        """Draw the values with matplotlib, as all torchmetrics do.

        Args:
            val: What ``compute`` or ``forward`` returned, or a list of these, one for each step; by default what
                ``compute`` returns now.
            ax: Axes to draw into; by default those of a new figure.

        Returns:
            The figure and the axes.
        """
        found = self.compute() if val is None else val
        steps = [found] if isinstance(found, Mapping) else found
        if not (isinstance(steps, Sequence) and steps and all(isinstance(step, Mapping) for step in steps)):
            figure_and_axes: tuple[Figure, Axes] = self._plot(found, ax)
            return figure_and_axes
        values = [{name: float(value) for name, value in step.items()} for step in steps]
        draw = _draw_bars if isinstance(found, Mapping) else _draw_curves
        return draw(type(self).__name__, values, ax)


def _shown(values: Mapping[str, float]) -> list[str]:
    """Return the names of the values that are no bounds of others."""
    bounds = {bound_name(name, "low") for name in values} | {bound_name(name, "high") for name in values}
    return [name for name in values if name not in bounds]


def _numbers(values: Mapping[str, float], name: str) -> list[float]:
    """Return a value and its bounds; NaN where it has none."""
    return [values.get(key, math.nan) for key in (name, bound_name(name, "low"), bound_name(name, "high"))]


def _draw_bars(title: str, steps: Sequence[Mapping[str, float]], ax: "Axes | None") -> "tuple[Figure, Axes]":
    from mviz_lightning.plotting.axes import plot_diagram
    from mviz_lightning.plotting.diagrams import Bar, Bars

    (values,) = steps
    return plot_diagram(Bars(title, [Bar(name, *_numbers(values, name)) for name in _shown(values)]), ax)


def _draw_curves(title: str, steps: Sequence[Mapping[str, float]], ax: "Axes | None") -> "tuple[Figure, Axes]":
    import numpy as np

    from mviz_lightning.plotting.axes import plot_diagram
    from mviz_lightning.plotting.diagrams import Curve, Curves
    from mviz_lightning.plotting.panels import COLOURS

    curves = [
        Curve(name, *np.array([_numbers(values, name) for values in steps]).T, COLOURS[place % len(COLOURS)])
        for place, name in enumerate(_shown(steps[0]))
    ]
    return plot_diagram(Curves(title, list(range(len(steps))), "step", curves, percent=False), ax)
