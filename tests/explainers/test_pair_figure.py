"""The picture of scores of pairs: retrieval against chance, and the embeddings of both sides, each with its name."""

import re
from itertools import pairwise

import numpy as np
import pytest

from mviz_lightning.collapse.towers import CHANCE, RETRIEVAL
from mviz_lightning.explainers.contribution_shares.dashboard import dashboard
from mviz_lightning.explainers.contribution_shares.pair_figure import pair_curves
from mviz_lightning.explainers.contribution_shares.tables import history_table, share_table
from mviz_lightning.plotting import canvas
from mviz_lightning.sinks.records import RunRecord

NAMES = ["image", "text", "audio"]
"""Of a model of three modalities, whose first head scores pairs of two of them."""


def run(epoch, score, *, collapse=0.0, **values):
    geometry = {"modality_gap": 1.1, "alignment": 0.7, "uniformity/image": -3.06, "uniformity/text": -2.9}
    ranks = {"effective_rank/image": 21.46, "effective_rank/text": 19.2}
    totals = {"total/image": 1.0, "total/text": 0.98, "total_low/text": 0.9, "total_high/text": 1.06}
    found = totals | geometry | ranks | values | {"score": score, "collapse/image": collapse}
    return RunRecord("fit", epoch, 10 * epoch, found, evidence={RETRIEVAL: 1.0, CHANCE: 0.0625})


def written(figure):
    return [text for text in [*figure.artists, *(t for axes in figure.axes for t in axes.texts)] if text.get_text()]


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn."""
    found, rasterise = [], canvas.pixels
    monkeypatch.setattr(canvas, "pixels", lambda figure: (rasterise(figure), found.append(figure))[0])
    return found


def test_retrieval_comes_first_with_chance_and_each_curve_is_named_with_its_last_value(figures):
    picture = pair_curves([run(0, 0.2), run(1, 0.66), run(2, 0.99)], NAMES, "image_text")
    assert (picture.key, picture.caption) == ("shares", "head image_text, epoch 2")
    assert picture.pixels.shape[1] == 640
    words = [text.get_text() for text in written(figures[0])]
    assert words[0].replace("\n", " ") == "Head image_text: pairs of image and text, over the training"
    assert words[1] == "retrieval"
    ends = [[text.get_text() for text in axes.texts] for axes in figures[0].axes]
    assert ends == [
        ["chance 0.06", "0.99"],
        ["one line", "text 19.2", "image 21.5"],
        ["unrelated", "0.70"],
        ["one point", "image -3.06", "text -2.90"],
        ["1.10"],
        ["text 0.98", "image 1.00"],
    ]
    first = figures[0].axes[0]
    assert any(np.allclose(line.get_ydata(), 0.0625) for line in first.lines)
    np.testing.assert_allclose(first.lines[0].get_ydata(), [0.2, 0.66, 0.99])


@pytest.mark.long
@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("long", [False, True])
def test_all_that_is_written_lies_in_the_picture_and_names_of_curves_apart(figures, runs, equal, long):
    values = {"effective_rank/text": 21.46, "uniformity/text": -3.06, "total/text": 1.0} if equal else {}
    rows = [run(k, 0.5, collapse=2.0, **values) for k in range(runs)]
    names = ["picture at the left", "picture at the right"] if long else ["image", "text"]
    named = dict(zip(("image", "text"), names, strict=True))
    for row in rows:
        for old, new in named.items():
            for key in [key for key in row.values if key.endswith(f"/{old}")]:
                row.values[key.replace(f"/{old}", f"/{new}")] = row.values.pop(key)
    pair_curves(rows, names, "a head with a name" if long else "")
    (figure,) = figures
    boxes = {text: text.get_window_extent() for text in written(figure)}
    for box in boxes.values():
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    for axes in figure.axes:
        ends = sorted((boxes[text] for text in axes.texts if re.search(r"\d", text.get_text())), key=lambda box: box.y0)
        assert all(lower.y1 <= upper.y0 + 2 for lower, upper in pairwise(ends))
    assert "✖ collapsed" in {text.get_text() for text in boxes}


def test_what_was_not_measured_is_left_out(figures):
    kept = {"total/image", "total/text", "score"}
    found = [
        RunRecord("fit", 0, 1, {k: v for k, v in run(0, 0.5).values.items() if k in kept}, evidence={RETRIEVAL: 1})
    ]
    pair_curves(found, NAMES)
    titles = [text.get_text() for text in figures[0].artists]
    assert [title for title in titles if title in ("retrieval", "total effect", "alignment")] == [
        "retrieval",
        "total effect",
    ]


def test_the_history_of_pairs_names_chance_and_lists_the_embeddings():
    header, line = history_table([run(0, 0.662)], NAMES).splitlines()
    columns = re.split(r"\s{2,}", header)
    assert columns == [
        *("epoch", "step", "retrieval (chance 0.06)", "gap", "alignment", "image uniformity", "text uniformity"),
        *("image rank", "text rank", "image total [95 %]", "text total [95 %]", "not used"),
    ]
    assert re.split(r"\s{2,}", line)[:9] == ["0", "0", "0.662", "1.100", "0.700", "-3.060", "-2.900", "21.5", "19.2"]


def test_charts_of_pairs_begin_with_retrieval_and_the_embeddings():
    keys = [*run(0, 0.5, emap_score=0.06).values, "contribution/image", "contribution/text", "interaction"]
    titles = [chart.title for chart in dashboard("mviz", ["image", "text"], keys).charts]
    assert titles[0] == "score, and score of the unimodal contributions alone"
    assert titles[2] == "modality gap, and distance of matching embeddings"
    assert titles.index("total/image with 95 %") == 5


def test_a_report_of_pairs_tells_where_the_embeddings_lie():
    told = share_table(run(0, 0.662, emap_score=0.06, emap_gap=0.6).values, ["image", "text"]).splitlines()[-1]
    assert told == (
        "embeddings: modality gap 1.100; alignment 0.700; uniformity image -3.060, text -2.900; "
        "effective rank image 21.5, text 19.2"
    )
