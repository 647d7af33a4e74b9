"""The picture of the shares: everything has its place, whatever modalities are called and scores are."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from mviz_lightning.callbacks.reporter import Reporter
from mviz_lightning.explainers.contribution_shares import figure
from mviz_lightning.explainers.contribution_shares.figure import (
    COLOURS,
    HEIGHT,
    MOST_RUNS,
    MOST_WHISKERS,
    NOT_USED,
    TOP,
    of_all,
    share_curves,
    shown_runs,
)
from mviz_lightning.explainers.contribution_shares.pair_figure import pair_curves
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.plotting import canvas
from mviz_lightning.plotting.canvas import DPI
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.session.explanation_history import ExplanationHistory
from mviz_lightning.session.history import History
from mviz_lightning.sinks.records import Dashboard, RunRecord, State
from mviz_lightning.testing import MemorySink


def rows(names, count=5, score=0.6, steps=10, *, states=False):
    return [RunRecord("fit", k, steps * (k + 1), dict(values(names, score, states=states))) for k in range(count)]


def values(names, score, *, states):
    keys = {"interaction": 0.1} | {f"contribution/{name}": 0.9 / len(names) for name in names}
    for key, value in (keys | {f"total/{name}": 0.9 / len(names) + 0.1 for name in names}).items():
        yield key, value
        yield bound_name(key, "low"), value - 0.05
        yield bound_name(key, "high"), value + 0.05
    yield "score", score
    for number, name in enumerate(names):
        if states:
            yield f"collapse/{name}", float(1 + number % 2)


def coloured(pixels, colour, strength=1.0):
    """Return rows and columns of pixels of a colour over white."""
    solid = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    return (np.abs(pixels.astype(int) - (255 - strength * (255 - solid))).max(-1) <= 3).nonzero()


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn."""
    found, rasterise = [], canvas.pixels
    monkeypatch.setattr(canvas, "pixels", lambda figure: (rasterise(figure), found.append(figure))[0])
    return found


NAMES = [["image", "text"], ["a", "b", "c"], ["image", "question text", "audio of the scene", "a table of numbers"]]


@pytest.mark.long
@pytest.mark.parametrize("names", NAMES, ids=len)
@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize(("score", "steps"), [(0.6, 10), (-1000.0, 120_000)])
def test_all_that_is_written_lies_in_the_picture_and_apart(figures, names, states, score, steps):
    drawn = rows(names, score=score, steps=steps, states=states)
    image = share_curves(drawn if steps < 1000 else [*drawn, *drawn[-1:]], names)
    assert image.pixels.shape[1] == 640
    (figure,) = figures
    above, below = figure.axes
    for axes in (above, below):
        legend, label = axes.get_legend().get_window_extent(), axes.xaxis.label.get_window_extent()
        assert figure.bbox.y0 <= legend.y0 < legend.y1 <= label.y0 + 2
        assert axes.bbox.x0 - 60 <= legend.x0 < legend.x1 <= axes.bbox.x1 + 12
        extent = axes.get_tightbbox()
        assert figure.bbox.x0 <= extent.x0 < extent.x1 <= figure.bbox.x1 + 1
    assert above.get_legend().get_window_extent().y0 > below.get_tightbbox().y1 + 5
    assert [text.get_text() for text in above.get_legend().get_texts()] == [
        "interaction",
        *(f"{name} alone" for name in names),
    ]
    marked = ["unused", "collapsed"] if states else []
    assert {text.get_text() for text in below.get_legend().get_texts()} == {
        *(f"{name} total" for name in names),
        *marked,
        "score",
    }


def test_an_alarm_is_drawn_above_a_redundant_modality_at_the_same_place(figures):
    drawn = rows(["a", "b", "c"])
    for row in drawn:
        row.values.update({"total/a": 0.0, "total/b": 0.0, "collapse/a": 2.0, "collapse/b": 3.0, "collapse/c": 0.0})
    share_curves(drawn, ["a", "b", "c"])
    marks = [line.get_marker() for line in figures[0].axes[1].lines]
    assert marks.index(NOT_USED[State.COLLAPSED]) > marks.index(NOT_USED[State.REDUNDANT])


@pytest.mark.parametrize("count", [1, 2, 12])
def test_the_bands_are_as_high_as_the_shares(count):
    image = share_curves(rows(["image", "text"], count), ["image", "text"])
    assert image.caption == f"epoch {count - 1}"
    above = image.pixels[: round(DPI * (TOP + HEIGHT))]
    for colour in COLOURS[:2]:
        found, columns = coloured(above, colour, 0.75)
        rows_of = found[np.abs(columns - np.median(columns)) < 20]
        assert np.ptp(rows_of) == pytest.approx(DPI * HEIGHT * 0.45 / 1.02, abs=3)


def test_the_x_axis_shows_steps_where_an_epoch_has_several_runs(figures):
    twice = [RunRecord("fit", 0, step, rows(["a", "b"], 1)[0].values) for step in (10, 20)]
    assert share_curves(twice, ["a", "b"]).caption == "step 20"
    assert [axes.get_xlabel() for axes in figures[0].axes] == ["step", "step"]


def test_twelve_modalities_have_colours_of_their_own():
    assert len({colour for _, colour in figure.coloured([f"m{k}" for k in range(12)])}) == 12


def test_of_a_long_training_some_intervals_are_lines_and_none_covers_a_share(figures):
    share_curves(rows(["a", "b"], 300), ["a", "b"])
    for axes in figures[0].axes:
        whiskers = [one for one in axes.collections if isinstance(one, LineCollection)]
        assert {len(one.get_segments()) for one in whiskers} == {MOST_WHISKERS}
        places = [segment[0][0] for segment in whiskers[0].get_segments()]
        assert (places[0], places[-1]) == (0, 299)


def test_of_a_long_training_curves_show_some_runs_evenly_and_say_so():
    many = [SimpleNamespace(epoch=epoch) for epoch in range(1000)]
    shown = [run.epoch for run in shown_runs(many)]
    assert (len(shown), shown[0], shown[-1]) == (MOST_RUNS, 0, 999)
    assert set(np.diff(shown)) == {5, 6}
    assert of_all(shown, many) == "; 200 of 1,000 runs are shown"
    few = many[:MOST_RUNS]
    assert shown_runs(few) is few
    assert of_all(few, few) == ""


@pytest.mark.parametrize("curves", [share_curves, pair_curves])
def test_the_time_to_draw_curves_does_not_grow_with_the_training(curves, monkeypatch):
    counts = []
    monkeypatch.setattr(
        f"{curves.__module__}.run_places", lambda shown: counts.append(len(shown)) or ([0.0] * len(shown), "epoch")
    )
    assert curves(rows(["image", "text"], count=450), ["image", "text"]).caption == "epoch 0; 200 of 450 runs are shown"
    assert counts == [200]


def test_the_gallery_stays_while_the_examples_do():
    reporter = Reporter(History(["a", "b"]), ExplanationHistory(), Dashboard("mviz", []), [MemorySink()])
    types = {"a": object()}

    def drawing(*, show_inputs: bool) -> DrawingContext:
        return DrawingContext(types, Labels("multiclass"), show_inputs)

    session = SimpleNamespace(drawing=drawing, explainable=True, heads={})
    reporter.illustrate(session, show_inputs=True)
    first = reporter.drawings[""]
    reporter.illustrate(session, show_inputs=True)
    assert reporter.drawings[""] is first
    types = {"a": object()}  # of a probe drawn anew
    reporter.illustrate(session, show_inputs=True)
    assert reporter.drawings[""] is not first
    assert reporter.drawings[""].modality_types is types
    reporter.illustrate(session, show_inputs=False)
    assert not reporter.drawings[""].show_inputs
