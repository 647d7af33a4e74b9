"""Letters of pictures are legible at the width at which TensorBoard shows them."""

import numpy as np
import pytest
from helpers.pictured import pictured, shown_size
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from mviz_lightning.explainers import Explainer
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.explainers.found import Result
from mviz_lightning.plotting import canvas
from mviz_lightning.plotting.axes import plot_picture
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.plotting.text_fitting import FONT_SIZE
from mviz_lightning.plotting.text_wrapping import FONT_SIZES
from mviz_lightning.sinks.picture_notes import MOST, PictureNotes
from mviz_lightning.sinks.records import MarkdownText, Picture


class Writing(Explainer):
    """A method whose picture holds a text of one size."""

    name = "writing"

    def __init__(self, size):
        self.size = size

    def plan(self, probe_context, examples):
        raise NotImplementedError

    def explain(self, probe_context, examples, responses):
        raise NotImplementedError

    def draw(self, result, drawing, when):
        page = canvas.Canvas()
        page.text(0.1, 0.1, "words", fontsize=self.size)
        return [Picture("writing/one", page.pixels())]


def written(size):
    return pictured(Writing(size), Result(values={}), DrawingContext({}, Labels("multiclass")))[1]


def test_the_smallest_letters_have_eight_pixels_where_tensorboard_shows_them():
    assert min(FONT_SIZES) == FONT_SIZE
    assert written(FONT_SIZE) == {"writing/one": ["words"]}
    page = canvas.Canvas()
    page.text(0, 0, "words", fontsize=FONT_SIZE)
    (text,) = page.figure.findobj(Text, include_self=False)
    size = FigureCanvasAgg(page.figure).get_renderer().points_to_pixels(text.get_fontsize())
    assert size * canvas.SHOWN_WIDTH / canvas.PIXELS >= canvas.LEGIBLE


def test_the_check_of_all_figures_finds_smaller_letters():
    with pytest.raises(AssertionError, match=r"'words' is 7\.5 pixels tall"):
        written(7.5)


def test_the_shown_size_follows_from_the_width_of_the_figure():
    page = canvas.Canvas(width=2 * canvas.WIDTH)
    page.text(0, 0, "x", fontsize=8)
    (text,) = page.figure.findobj(Text, include_self=False)
    assert shown_size(text) == pytest.approx(canvas.LEGIBLE / 2, rel=0.01)


def picture(key, note="", fill=0):
    return Picture(key, np.full((40, 60, 3), fill, np.uint8), "caption", note=note)


def test_notes_are_one_text_for_each_kind_once_and_again_when_they_change():
    notes = PictureNotes()
    drawn = [
        picture("dime/example_1", "a"),
        picture("dime/example_2", "a"),
        picture("dime/x", "b"),
        picture("shares", "c"),
    ]
    told = [MarkdownText("dime/how_to_read", "a\n\nb"), MarkdownText("how_to_read", "c")]
    assert notes.of([*drawn, picture("dime/bare")]) == told
    assert notes.of(drawn) == []
    assert notes.of([picture("shares", "d"), picture("dime/example_3")]) == [MarkdownText("how_to_read", "d")]
    (many,) = notes.of([picture(f"x/{number}", str(number)) for number in range(50)])
    assert len(many.markdown.split()) == MOST


def test_a_note_with_markup_is_shown_as_it_is():
    (told,) = PictureNotes().of([picture("dime/x", "parts of <img src=x onerror=a> and _a_ [b](c)")])
    assert told.markdown == r"parts of &lt;img src=x onerror=a&gt; and \_a\_ \[b\](c)"


def test_caption_and_note_lie_in_the_file_of_a_picture():
    told = picture("x", "how to read it")
    assert told.description == "caption\n\nhow to read it"
    assert b"caption\n\nhow to read it" in told.png
    assert picture("x").description == "caption"


def test_a_picture_that_is_plotted_has_its_note_below():
    import matplotlib.pyplot as plt

    figure, axes = plot_picture(picture("x", "how to read it " * 5))
    try:
        assert " ".join(text.get_text().replace("\n", " ") for text in axes.texts) == ("how to read it " * 5).strip()
    finally:
        plt.close(figure)
