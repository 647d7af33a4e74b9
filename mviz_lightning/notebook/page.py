"""Cards as HTML for notebooks: no script, no request, and colours that follow the notebook's theme."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from mviz_lightning.functional.numerals import fixed
from mviz_lightning.notebook.card import Card, TidyRows
from mviz_lightning.plotting.diagrams import Bars, Curves, Diagram, Matrix, SegmentMap
from mviz_lightning.plotting.svg import safe
from mviz_lightning.plotting.svg_charts import bars_svg, curves_svg, matrix_svg
from mviz_lightning.plotting.svg_maps import map_svg

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

MOST_ROWS = 60
"""Largest number of rows that a notebook shows; further ones are counted."""


def card_html(card: Card) -> str:
    """Return a card as HTML."""
    return _template().render(card=card)


@cache
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("mviz_lightning.notebook", "templates")
    environment = Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, finalize=_clean
    )
    environment.filters.update(
        {"svg": _svg, "grouped": _grouped, "cell": _cell, "shown": _shown_rows, "numeric": _is_number}
    )
    return environment.get_template("card.html.j2")


def _clean(value: Any) -> Any:
    """Return text without control characters and without a line break before a percent sign; markup is unchanged."""
    return safe(value).replace(" %", "\N{NO-BREAK SPACE}%") if type(value) is str else value


def _svg(diagram: Diagram) -> "Markup":
    """Return a diagram as SVG, in which all text is escaped."""
    from markupsafe import Markup

    if isinstance(diagram, Bars):
        drawn = bars_svg(diagram)
    elif isinstance(diagram, Curves):
        drawn = curves_svg(diagram)
    else:
        drawn = matrix_svg(diagram) if isinstance(diagram, Matrix) else map_svg(diagram)
    return Markup(drawn)  # noqa: S704 - plotting.svg escapes all text and all attributes


def _grouped(diagrams: Sequence[Diagram]) -> list[list[Diagram]]:
    """Return groups of diagrams: consecutive maps of one modality form a group, every other diagram is alone."""
    groups: list[list[Diagram]] = []
    for diagram in diagrams:
        before = groups[-1][-1] if groups else None
        beside = isinstance(diagram, SegmentMap) and isinstance(before, SegmentMap)
        if beside and diagram.modality == before.modality:  # type: ignore[union-attr]
            groups[-1].append(diagram)
        else:
            groups.append([diagram])
    return groups


def _cell(value: Any) -> str:
    """Return a cell as text: numbers with up to four digits after the point."""
    if value is None or value != value:  # NaN  # noqa: PLR0124
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return fixed(value, 4).rstrip("0").rstrip(".") if 1e-3 <= abs(value) < 1e6 or not value else f"{value:.3g}"
    return str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown_rows(frame: TidyRows) -> list[Any]:
    return list(frame.rows[:MOST_ROWS])
