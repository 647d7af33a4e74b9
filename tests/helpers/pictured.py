"""What is written in pictures, and whether it lies inside of them."""

from collections.abc import Sequence
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from mviz_lightning.explainers import Explainer
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.plotting import canvas
from mviz_lightning.plotting.canvas import LEGIBLE
from mviz_lightning.sinks.records import Picture, Record


def pictured(
    explainer: Explainer, result: Any, drawing: DrawingContext, when: str = ""
) -> tuple[dict[str, Record], dict[str, list[str]]]:
    """Return the records of a result by key, and each picture's lines, its note as the last; text outside fails."""
    written: list[list[str]] = []
    draw = canvas.pixels

    def read(figure: Figure) -> Any:
        pixels, renderer = draw(figure), FigureCanvasAgg(figure).get_renderer()  # drawing puts labels in their places
        hidden = undrawn(figure)
        found = [t for t in figure.findobj(Text) if seen(t) and t not in hidden and t.get_text().strip()]
        for text in found:
            box = text.get_window_extent(renderer)
            inside = box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0 and box.y1 <= figure.bbox.height
            assert inside, f"{text.get_text()!r} leaves the picture: {box}"
            assert shown_size(text) >= LEGIBLE, f"{text.get_text()!r} is {shown_size(text):.1f} pixels tall"
        written.append([line for text in found for line in text.get_text().split("\n")])
        return pixels

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canvas, "pixels", read)
        records = explainer.draw(result, drawing, when)
    images = [record for record in records if isinstance(record, Picture)]
    said = [[*lines, *filter(None, [image.note])] for lines, image in zip(written, images, strict=True)]
    return {record.key: record for record in records}, dict(zip(keys(images), said, strict=True))


def shown_size(text: Text) -> float:
    """Return the font size in pixels of a text at the width at which TensorBoard shows pictures."""
    figure = text.get_figure()
    return text.get_fontsize() * figure.dpi / 72 * canvas.SHOWN_WIDTH / figure.bbox.width


def keys(records: Sequence[Record]) -> list[str]:
    return [record.key for record in records]


def seen(text: Text) -> bool:
    return text.get_visible() and (text.axes is None or text.axes.get_visible())


def undrawn(figure: Figure) -> set[Text]:
    """Return the labels of ticks beyond the ends of their axis."""
    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)]
    ticks = [(tick, sorted(axis.get_view_interval())) for axis in axes for tick in axis.get_major_ticks()]
    beyond = [tick for tick, (low, high) in ticks if not low <= tick.get_loc() <= high]
    return {label for tick in beyond for label in (tick.label1, tick.label2)}
