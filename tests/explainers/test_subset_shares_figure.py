"""The picture of classes and subgroups: everything has its place, whatever they are called."""

import numpy as np
import pytest
from helpers.pictured import seen, undrawn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from mviz_lightning.explainers.contribution_shares.subset_figure import SHOWN, subset_pictures
from mviz_lightning.explainers.contribution_shares.subset_keys import subset_charts, total_name
from mviz_lightning.plotting import canvas
from mviz_lightning.plotting.panels import COLOURS


def values(kind, subsets, modalities):
    found = {}
    for place, subset in enumerate(subsets):
        for number, name in enumerate(modalities):
            value = ((place * 7 + number * 3) % 11) / 10
            bounds = {None: value, "low": value - 0.1, "high": value + 0.1}
            found |= {total_name(kind, subset, name, side): bound for side, bound in bounds.items()}
    return found


@pytest.fixture
def figures(monkeypatch):
    found, rasterise = [], canvas.pixels
    monkeypatch.setattr(canvas, "pixels", lambda figure: (rasterise(figure), found.append(figure))[0])
    return found


NAMES = [["image", "text"], ["a", "b", "c"], ["image", "question text", "audio of the scene", "a table of numbers"]]
SUBSETS = [["positive"], ["cat", "a_very_long_name_of_a_class_indeed", "dog"], [f"site_{k}" for k in range(40)]]


@pytest.mark.parametrize("modalities", NAMES, ids=len)
@pytest.mark.parametrize("subsets", SUBSETS, ids=len)
def test_all_that_is_written_lies_in_the_picture_and_apart(figures, modalities, subsets):
    (picture,) = subset_pictures(values("class", subsets, modalities), modalities, "epoch 12 (step 120000)")
    (figure,) = figures
    renderer = FigureCanvasAgg(figure).get_renderer()
    hidden = undrawn(figure)
    written = [t for t in figure.findobj(Text) if seen(t) and t not in hidden and t.get_text().strip()]
    boxes = [text.get_window_extent(renderer) for text in written]
    for text, box in zip(written, boxes, strict=True):
        inside = box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0 and box.y1 <= figure.bbox.height
        assert inside, text.get_text()
    for k, box in enumerate(boxes):
        for other in boxes[:k]:
            assert not (
                box.x0 < other.x1 - 1 and other.x0 < box.x1 - 1 and box.y0 < other.y1 - 2 and other.y0 < box.y1 - 2
            )
    assert picture.pixels.shape[1] == 640
    assert len([text for text in written if text.get_text() in subsets]) >= min(len(subsets), SHOWN) - 1


def test_dots_stand_where_the_values_are_and_whiskers_where_the_bounds_are(figures):
    modalities, subsets = ["image", "text"], ["cat", "dog"]
    given = values("class", subsets, modalities)
    subset_pictures(given, modalities, "")
    axes = figures[0].axes[0]
    order = sorted(subsets, key=lambda one: -given[total_name("class", one, "image")])
    for line, modality, colour in zip(axes.lines, modalities, COLOURS, strict=False):
        assert line.get_color() == colour
        np.testing.assert_allclose(line.get_xdata(), [given[total_name("class", one, modality)] for one in order])
    bars = [segment for part in axes.collections[:2] for segment in part.get_segments()]
    ends = [(segment[0][0], segment[1][0]) for segment in bars]
    expected = [
        tuple(given[total_name("class", one, m, side)] for side in ("low", "high")) for m in modalities for one in order
    ]
    np.testing.assert_allclose(ends, expected)


def test_of_many_subsets_the_largest_and_the_smallest_are_shown(figures):
    subsets = [f"site_{k}" for k in range(40)]
    given = values("subgroup", subsets, ["image", "text"])
    subset_pictures(given, ["image", "text"], "")
    shown = figures[0].axes[0].lines[0].get_xdata()
    everything = sorted((given[total_name("subgroup", one, "image")] for one in subsets), reverse=True)
    assert list(shown) == [*everything[: SHOWN // 2], *everything[-SHOWN // 2 :]]


def test_both_kinds_have_a_picture_and_none_is_drawn_of_nothing():
    both = values("class", ["a"], ["x", "y"]) | values("subgroup", ["b"], ["x", "y"])
    assert [picture.key for picture in subset_pictures(both, ["x", "y"], "")] == ["by_class", "by_subgroup"]
    assert subset_pictures({"total/x": 0.5}, ["x", "y"], "") == []


def test_each_modality_has_a_diagram_of_all_classes():
    keys = list(values("class", ["cat", "dog"], ["x", "y"]))
    assert [(chart.title, list(chart.keys)) for chart in subset_charts(["x", "y"], keys)] == [
        ("total effect of x by class", ["class/cat/total/x", "class/dog/total/x"]),
        ("total effect of y by class", ["class/cat/total/y", "class/dog/total/y"]),
    ]
    assert subset_charts(["x", "y"], ["total/x", "interaction"]) == []
