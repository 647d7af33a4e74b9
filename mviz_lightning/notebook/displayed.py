"""The common display of all results: in notebooks and consoles, and as figures, data and frames."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.sinks.plain import Brief, plain_data

if TYPE_CHECKING:
    from pandas import DataFrame

    from mviz_lightning.notebook.card import Card
    from mviz_lightning.plotting.axes import FigureAndAxes, GivenAxes


class Displayed(Brief):
    """A result with a display: a notebook draws it, ``print`` writes its table, and ``repr`` has one to three lines.

    A subclass defines :meth:`_card`.
    """

    def _card(self) -> "Card":
        """Return the sentence, the diagrams and the rows of the display."""
        raise NotImplementedError(f"{type(self).__name__} has no card")

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        """Return the result as HTML and as text, for notebooks.

        Args:
            include: The requested MIME types; None for all.
            exclude: MIME types to leave out.
        """
        writers: dict[str, Callable[[], str]] = {"text/plain": self.__str__, "text/html": self._html}
        return {
            mime: write()
            for mime, write in writers.items()
            if (not include or mime in include) and mime not in (exclude or ())
        }

    def _html(self) -> str:
        from mviz_lightning.notebook.page import card_html  # jinja2 is loaded only for a display

        return card_html(self._card())

    def plot(self, ax: "GivenAxes" = None) -> "FigureAndAxes":
        """Draw the main diagram with matplotlib.

        Args:
            ax: Axes to draw into; by default the axes of a new figure.

        Returns:
            The figure and the axes.

        Raises:
            ConfigurationError: There is nothing to draw, such as no run yet.
        """
        from mviz_lightning.plotting.axes import plot_diagram

        card = self._card()
        diagrams = [*card.diagrams, *(diagram for part in card.parts for diagram in part.diagrams)]
        if not diagrams:
            raise ConfigurationError(f"{type(self).__name__}.plot: there is nothing to draw ({card.verdict}).")
        return plot_diagram(diagrams[0], ax)

    def to_dict(self) -> Any:
        """Return everything as dicts, lists, texts and numbers, for ``json.dumps``.

        NaN and infinities become None, because JSON has neither; tensors become nested lists.
        """
        return plain_data(self)

    def to_pandas(self) -> "DataFrame":
        """Return the numbers as a data frame, with one observation per row; the guide on notebooks lists the columns.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        from mviz_lightning.notebook.frames import data_frame

        return data_frame(self._card().frame)
