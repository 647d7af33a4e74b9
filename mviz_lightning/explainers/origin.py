"""The origin of a result: its method, and the context for drawing its inputs and naming its classes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from mviz_lightning.notebook.displayed import Displayed
from mviz_lightning.sinks.records import Picture

if TYPE_CHECKING:
    from mviz_lightning.explainers.base import Explainer
    from mviz_lightning.explainers.drawing import DrawingContext
    from mviz_lightning.explainers.found import Result
    from mviz_lightning.plotting.axes import FigureAndAxes, GivenAxes
    from mviz_lightning.plotting.labels import Labels

R = TypeVar("R")


@dataclass(frozen=True)
class Origin:
    """The context that a result needs for a display with names and inputs.

    Attributes:
        explainer: The method.
        result: The whole result.
        drawing: Modality types, names of classes, and whether inputs may be shown.
    """

    explainer: "Explainer"
    result: "Result"
    drawing: "DrawingContext"

    def picture(self, name: str) -> Picture | None:
        """Return the method's picture with a name such as ``example_378``, or its first picture; None if none."""
        records = self.explainer.draw(self.result, self.drawing, self.drawing.labels.moment(""))
        found = [record for record in records if isinstance(record, Picture)]
        named = [one for one in found if name in ("", one.key.rpartition("/")[2])]
        return named[0] if named else None


class FromMethod(Displayed):
    """A result of a method, or a part of one; a report sets its :class:`Origin`."""

    _origin: Any

    @property
    def _labels(self) -> "Labels":
        """Names of classes and outputs; their numbers if the names are unknown."""
        from mviz_lightning.plotting.labels import Labels

        return Labels("regression") if self._origin is None else self._origin.drawing.labels

    @property
    def _picture_name(self) -> str | None:
        """Name of its picture; ``""`` for the first picture of the method, None if it has none."""
        return ""

    def plot(self, ax: "GivenAxes" = None) -> "FigureAndAxes":
        """Show the picture that the method draws, or the main diagram if there is none.

        Args:
            ax: Axes to draw into; by default the axes of a new figure.

        Returns:
            The figure and the axes.
        """
        from mviz_lightning.plotting.axes import plot_picture

        name = self._picture_name
        picture = None if self._origin is None or name is None else self._origin.picture(name)
        return super().plot(ax) if picture is None else plot_picture(picture, ax)


def with_origin(result: R, explainer: "Explainer", drawing: "DrawingContext") -> R:
    """Return a result whose parts have their origin, for displays with names and inputs."""
    return _bound(result, Origin(explainer, result, drawing))  # type: ignore[arg-type, no-any-return]


def _bound(found: Any, origin: Origin) -> Any:
    """Return a dataclass with the origin set in it and in all entries of its lists that have this field."""
    if (
        not is_dataclass(found)
        or isinstance(found, type)
        or not any(entry.name == "_origin" for entry in fields(found))
    ):
        return found
    held = {entry.name: getattr(found, entry.name) for entry in fields(found) if entry.name != "_origin"}
    lists = {
        name: [_bound(one, origin) for one in value]
        for name, value in held.items()
        if isinstance(value, Sequence) and not isinstance(value, str) and any(map(is_dataclass, value))
    }
    return replace(found, _origin=origin, **lists)
