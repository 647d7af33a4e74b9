"""What the segments of one input add, drawn in the way of the input, whatever it is."""

import math
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from mviz_lightning.plotting.diagrams import Matrix, SegmentMap
from mviz_lightning.plotting.svg_charts import matrix_svg
from mviz_lightning.plotting.svg_maps import map_svg

SPACES = {"s": "http://www.w3.org/2000/svg"}

WEIGHTS = np.array([1.0, -2.0, math.nan, 0.0])

VIEWS = {
    "grid": {"view": "picture", "size": [32, 64], "grid": [2, 2], "webp": "UklGRg=="},
    "index": {"view": "picture", "size": [4, 4], "index": [[0, 4], [1, 2], [-1, 2], [2, 4], [3, 4]]},
    "words": {"view": "words"},
    "values": {"view": "values", "values": ["3.2", "red", "", "<b>"]},
    "lines": {
        "view": "lines",
        "channels": ["a", "b"],
        "values": [[0.0, 1.0, None, 2.0], [1.0, 1.0, 1.0]],
        "spans": [[0, 0.0, 0.5], [0, 0.5, 1.0], [1, 0.0, 1.0], [-1, 0.0, 0.1]],
        "x": "time [s]",
        "length": 3.2,
    },
    "graph": {"view": "graph", "nodes": [[0, 0], [1, 1], [0, 1], [1, 0]], "edges": [[0, 1]], "segment": [0, 1, 2, 3]},
    "boxes": {"view": "boxes", "size": [10, 10], "boxes": [[0, 0, 5, 5], [5, 5, 9, 9], [0, 5, 2, 9], [1, 1, 2, 2]]},
    "list": {"view": "list"},
    "unknown": {"view": "of a later version"},
    "none": {},
}


def drawn(view, weights=WEIGHTS, names=("<one>", "two", "three", "four"), **settings):
    return ET.fromstring(map_svg(SegmentMap("m", "m: UC", names, weights, 2.0, view, **settings)))  # noqa: S314


def fills(root):
    """Return the opacity of each segment's colour, by what pointing at it tells."""
    parents = {child: parent for parent in root.iter() for child in parent}
    found = {}
    for tip in root.iter(f"{{{SPACES['s']}}}title"):
        parent = parents[tip]
        shapes = [parent, *parent] if parent is not root else []
        for shape in shapes:
            if shape.get("fill-opacity") is not None:
                found[tip.text] = (shape.get("fill"), float(shape.get("fill-opacity")))
    return found


@pytest.mark.parametrize("name", VIEWS)
def test_each_segment_has_the_colour_of_its_weight_and_tells_it(name):
    found = fills(drawn(VIEWS[name]))
    assert found["two: -2.00"] == ("#0072B2", 0.85)
    colour, opacity = found["<one>: +1.00"]
    bars = name in ("values", "list", "unknown", "none")  # there the length tells the size
    assert (colour, opacity) == ("#D55E00", 0.85 if bars else 0.425)
    assert "three: not known" in found
    assert "four: 0.00" in found or "four: +0.00" in found


@pytest.mark.parametrize("name", VIEWS)
def test_a_map_without_segments_is_drawn_too(name):
    root = drawn(VIEWS[name], np.array([]), ())
    assert root.find("s:desc", SPACES).text == "no segments"


def test_a_map_that_is_not_to_be_trusted_is_faint():
    found = fills(drawn(VIEWS["grid"], strength=0.25, foot="R² 0.05: unreliable"))
    assert found["two: -2.00"] == ("#0072B2", pytest.approx(0.2125, abs=1e-3))


def test_weights_lie_over_a_faded_picture_and_none_over_a_plain_one():
    assert drawn(VIEWS["grid"]).find("s:image", SPACES).get("class") == "mviz-under"
    assert drawn(VIEWS["grid"], np.array([]), ()).find("s:image", SPACES).get("class") is None


def test_segments_of_any_shape_take_few_points():
    rng = np.random.default_rng(0)
    index = [[int(rng.integers(0, 30)), 7] for _ in range(224 * 32)]
    svg = map_svg(SegmentMap("m", "m", [str(n) for n in range(30)], rng.normal(size=30), 1.0, {
        "view": "picture", "size": [224, 224], "index": index,
    }))  # fmt: skip
    assert len(svg) < 200_000


def test_many_segments_without_a_picture_are_listed_by_strength():
    weights = np.linspace(0.01, 1, 100)
    root = drawn({}, weights, [f"column {place}" for place in range(100)])
    said = [text.text for text in root.iter(f"{{{SPACES['s']}}}text")]
    assert "column 99" in said
    assert "column 10" not in said
    assert "and 76 weaker ones" in said


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (49, 3), (3, 60)])
def test_a_matrix_of_any_shape_is_drawn(shape):
    weights = np.full(shape, 0.5)
    names = [[f"<{place}>" for place in range(count)] for count in shape]
    root = ET.fromstring(matrix_svg(Matrix("title", *names, weights)))  # noqa: S314
    assert len(root.findall("s:rect", SPACES)) == math.prod(shape)
    assert float(root.get("width")) == 600
