"""Letters that Pillow draws stand where matplotlib would put them."""

import numpy as np
import pytest
from helpers.versions import WHOLE_PIXELS
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

from mviz_lightning.plotting.canvas import DPI, Canvas
from mviz_lightning.plotting.text_fitting import character_width
from mviz_lightning.plotting.text_rendering import COMPLEX_SCRIPTS, PillowText, font


def drawn(kind, words, x=0.5, y=0.5, **style):
    """Rasterise words of one class, ``(200, 400, 3)``."""
    figure = Figure((4, 2), dpi=100, facecolor="white")
    figure.add_artist(kind(x, y, words, **style))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def box(pixels):
    """Return left, right, top and bottom of what is not white."""
    rows, columns = (pixels.min(-1) < 200).nonzero()
    return columns.min(), columns.max(), rows.min(), rows.max()


STYLES = [{"size": 8.5}, {"size": 10, "weight": "bold"}, {"size": 9, "family": "DejaVu Sans Mono"}]


@pytest.mark.parametrize("style", STYLES, ids=["sans", "bold", "mono"])
@pytest.mark.parametrize("va", ["top", "center", "baseline", "bottom", "center_baseline"])
@pytest.mark.parametrize("ha", ["left", "center", "right"])
def test_a_line_covers_the_pixels_that_matplotlib_covers(ha, va, style):
    words = "R² 0.93: logit of apples (MI)"
    found, truth = (drawn(kind, words, ha=ha, va=va, **style) for kind in (PillowText, Text))
    beside = 2 + WHOLE_PIXELS * len(words) / 2
    np.testing.assert_allclose(box(found)[:2], box(truth)[:2], atol=beside)
    np.testing.assert_allclose(box(found)[2:], box(truth)[2:], atol=2)
    dark = [255 * found.size - found.sum(), 255 * truth.size - truth.sum()]
    assert dark[0] == pytest.approx(dark[1], rel=0.15)


@pytest.mark.parametrize("ha", ["left", "center", "right"])
def test_lines_are_aligned_and_stand_apart_by_the_line_spacing(ha):
    pixels = drawn(PillowText, "Hmmmmmm\nH\nHmm", ha=ha, va="top", size=10, linespacing=1.44)
    dark = (pixels.min(-1) < 128).any(1)
    starts = (np.diff(dark.astype(int)) == 1).nonzero()[0]
    assert list(np.diff(starts)) == [20, 20]  # 1.44 x 10 points, at 100 dots an inch
    edges = [box(pixels[start : start + 15])[:2] for start in starts]
    places = {"left": [left for left, _ in edges], "right": [right for _, right in edges]}
    places["center"] = [sum(edge) / 2 for edge in edges]
    assert np.ptp(places[ha]) <= 1
    assert len(starts) == 3


@pytest.mark.parametrize(("va", "rows"), [("top", (100, 147)), ("center", (76, 124)), ("bottom", (53, 100))])
def test_lines_lie_on_their_side_of_the_place(va, rows):
    # Two spacings of 1.2 and a line of 10 points take 3.4 x 13.9 pixels.
    _, _, top, bottom = box(drawn(PillowText, "Hp\nHp\nHp", va=va, size=10))
    assert rows[0] <= top < bottom <= rows[1]


def test_a_dollar_is_no_formula():
    whole, half = (box(drawn(PillowText, words, size=10)) for words in ("$a$ \\alpha", "a \\alpha"))
    assert whole[1] - half[1] == pytest.approx(2 * font(FontProperties(size=10), 1000 / 72).getlength("$"), abs=2)


def test_letters_have_their_colour_and_strength():
    solid, faint = (
        drawn(PillowText, "\u2588" * 4, color=colour, size=20) for colour in ("#b03000", (0.0, 0.0, 1.0, 0.5))
    )
    assert (solid == (176, 48, 0)).all(-1).sum() > 500
    assert (np.abs(faint - (127, 127, 255)) <= 1).all(-1).sum() > 500


def test_letters_stand_on_a_colour_of_their_own():
    pixels = drawn(PillowText, "12", color="#ffffff", back="#b03000", size=20)
    on, letters = (pixels == (176, 48, 0)).all(-1), box(drawn(PillowText, "12", size=20))
    assert on.sum() > 300
    left, right, top, bottom = box(np.where(on[..., None], 0, 255).repeat(3, -1))
    assert left <= letters[0]
    assert right >= letters[1]
    assert top <= letters[2] < letters[3] <= bottom


@pytest.mark.parametrize(("x", "y"), [(0, 0), (1, 1), (-0.1, 1.1), (3, 0.5)])
def test_letters_beyond_the_border_are_cut(x, y):
    pixels = drawn(PillowText, "wide words\nin two lines", x, y, ha="center", va="center", size=20)
    assert (pixels.min() < 100) == (abs(x) <= 1)


def test_no_words_and_hidden_words_draw_nothing():
    assert drawn(PillowText, "").min() == drawn(PillowText, "word", visible=False).min() == 255


def test_a_cell_is_as_wide_as_matplotlibs_and_intricate_scripts_are_known():
    for size in (8, 9, 10):
        text = Figure(dpi=100).text(0, 0, "m" * 20, family="DejaVu Sans Mono", size=size)
        close = 0.5 if WHOLE_PIXELS else 0.05
        assert character_width(size, 100) == pytest.approx(text.get_window_extent().width / 20, abs=close)
    assert [bool(COMPLEX_SCRIPTS.search(word)) for word in ("שלום", "سلام", "naïve…", "猫", "R²")] == [1, 1, 0, 0, 0]
    assert drawn(PillowText, "سلام", size=20).min() < 100


def test_idle_axes_are_left_out_and_come_back_with_ticks():
    canvas = Canvas(2)
    assert [axis.get_visible() for axis in _axes(canvas, ticks=False)] == [False, False]
    assert [axis.get_visible() for axis in _axes(canvas, ticks=True)] == [True, False]
    assert len(canvas.figure.axes) == 1


def _axes(canvas, *, ticks):
    canvas.begin(2)
    panel = canvas.panel(1, 0.2, 3, 1, "role")
    if ticks:
        panel.set_xticks([0, 1], ["a", "b"])
    bottom = canvas.pixels()[round(1.25 * DPI) : round(1.45 * DPI)]
    assert (bottom.min() < 100) == ticks
    return panel.xaxis, panel.yaxis
