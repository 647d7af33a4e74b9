"""What is kept of inputs: the same picture and the same segments as figures show, small, and nothing where hidden."""

import base64
import json
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from helpers.modality_checks import made
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as Pillow
from torch import Tensor

from mviz_lightning.modalities.views import curve, grid_index, run_lengths, segments_of
from mviz_lightning.sinks.plain import plain_data

CHAIN = torch.tensor([[[0, 1, 2, 0, 0], [1, 2, 3, 0, 0]]] * 2)
BOXES = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.25, 0.5, 1.0, 1.0], [0.1, 0.1, 0.2, 0.3]]] * 2)
HALF = torch.tensor([[1, 1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1]])

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("image", {"values": torch.rand(2, 3, 20, 30)}),
    ("image", {"values": torch.rand(2, 300, 400), "kind": "image"}),
    ("image", {"values": torch.rand(2, 3, 20, 30), "superpixels": True}),
    ("video", {"values": torch.rand(2, 6, 3, 16, 20)}),
    ("patches", {"values": torch.rand(2, 12, 48), "grid": "g", "others": {"g": torch.tensor([[3, 4], [3, 4]])}}),
    ("text", {"values": ["a red circle", "blue"]}),
    ("tabular", {"values": torch.rand(2, 5)}),
    ("tabular", {"values": torch.rand(2, 90)}),
    ("series", {"values": torch.rand(2, 8, 3)}),
    ("series", {"values": torch.rand(2, 8, 30)}),
    ("series", {"values": torch.rand(2, 8, 3), "mask": "m", "others": {"m": HALF}}),
    ("audio", {"values": torch.rand(2, 900), "kind": "audio", "sample_rate": 100}),
    ("audio", {"values": torch.rand(2, 16, 40), "kind": "audio"}),
    ("graph", {"values": torch.rand(2, 4, 3), "edges": "e", "others": {"e": CHAIN}}),
    ("regions", {"values": torch.rand(2, 3, 5), "boxes": "b", "others": {"b": BOXES}, "kind": "regions"}),
    ("regions", {"values": torch.rand(2, 3, 5), "kind": "regions"}),
]


def modality_type(given: dict[str, Any]) -> Any:
    return made(given["values"], **{name: value for name, value in given.items() if name != "values"})


def view(one: Any, *, inputs: bool = True, example: int = 0) -> dict[str, Any]:
    """Return a view as a file holds it."""
    found: dict[str, Any] = json.loads(json.dumps(plain_data(one.view(example, inputs=inputs), 6), allow_nan=False))
    return found


def index_of(found: dict[str, Any]) -> np.ndarray:
    """Return the segment of every pixel of a kept picture, as a reader rebuilds it."""
    height, width = found["size"]
    if "grid" in found:
        return grid_index(height, width, *found["grid"])
    return np.repeat(*np.array(found["index"]).T).reshape(height, width)


def picture_of(found: dict[str, Any]) -> np.ndarray:
    return np.asarray(Pillow.open(BytesIO(base64.b64decode(found["webp"]))).convert("RGB"))


@pytest.mark.parametrize(("kind", "given"), KINDS, ids=lambda one: one if isinstance(one, str) else "")
def test_a_view_names_each_segment_and_is_small(kind, given):
    one = modality_type(given)
    assert one.name == kind
    for example in (0, 1):
        found, segments = view(one, example=example), one.segments.count(example)
        assert len(json.dumps(found)) < 60_000
        assert all(len(found[name]) == segments for name in ("spans", "boxes") if name in found)
        assert found["view"] != "values" or len(found["values"]) == segments
        assert len(one.names(example)) == segments


@pytest.mark.parametrize(("kind", "given"), KINDS, ids=lambda one: one if isinstance(one, str) else "")
def test_a_hidden_view_holds_nothing_of_the_input(kind, given):
    one, other = modality_type(given), modality_type({**given, "values": changed(given["values"])})
    if not given.get("superpixels"):  # whose number depends on the picture
        assert view(one, inputs=False) == view(other, inputs=False)
    assert not {"webp", "values", "edges", "boxes", "nodes"} & set(view(one, inputs=False))


def changed(values: Any) -> Any:
    return values.flip(0) if isinstance(values, Tensor) else [text.upper() for text in values]


@pytest.mark.parametrize(("kind", "given"), [one for one in KINDS if one[0] in ("image", "video", "patches")])
def test_a_kept_picture_is_that_of_the_figures(kind, given):
    one = modality_type(given)
    found, pixels = view(one), one.pixels(0)
    assert max(found["size"]) <= 224
    if max(pixels.shape) <= 64:
        assert np.array_equal(picture_of(found), pixels)
    else:
        shrunk = np.asarray(Pillow.fromarray(pixels).resize(found["size"][::-1], Pillow.Resampling.BOX)).astype(float)
        assert abs(picture_of(found) - shrunk).mean() < 20  # noise is the hardest picture to compress


@pytest.mark.long
@pytest.mark.parametrize(("kind", "given"), [one for one in KINDS if one[0] in ("image", "video", "patches")])
def test_kept_segments_are_those_that_are_masked(kind, given):
    one = modality_type(given)
    found, drawn = index_of(view(one)), one._index(0)
    if drawn.shape == found.shape:
        assert np.array_equal(found, drawn)
    else:
        assert set(np.unique(found)) == set(np.unique(drawn))
        assert abs(np.bincount(found.ravel()) / found.size - np.bincount(drawn.ravel()) / drawn.size).max() < 0.002


def test_pixels_that_are_never_masked_belong_to_no_segment():
    real = torch.ones(2, 20, 30, dtype=torch.bool)
    real[0, :5], real[0, 8, 3] = False, False
    one = made(torch.rand(2, 3, 20, 30), mask="m", others={"m": real})
    assert np.array_equal(index_of(view(one)), one._index(0))
    assert one._index(0).shape == (15, 30)


@pytest.mark.parametrize("given", [one for kind, one in KINDS if kind in ("series", "audio")])
def test_spans_are_the_steps_that_are_masked(given):
    one = modality_type(given)
    for example in (0, 1):
        found, steps = view(one, example=example), one._steps(example)
        index = one._index[example if len(one._index) > 1 else 0][steps].numpy()
        lanes = index.shape[1]
        for segment, (_, start, stop) in enumerate(found["spans"]):
            masked = np.flatnonzero((index == segment).any(1))
            assert round(start * len(steps)) == masked[0]
            assert round(stop * len(steps)) == masked[-1] + 1
        channels = {channel for channel, _, _ in found["spans"]}
        assert channels == ({-1} if lanes == 1 else set(range(len(found["channels"]))))
        assert len(found["values"]) == len(found["channels"])
        assert all(len(one) <= 200 for one in found["values"])


def test_a_lane_is_the_curve_of_its_channel():
    values = torch.zeros(2, 8, 3)
    values[0, :, 1] = 7.0
    found = view(made(values, feature_names=["a", "b", "c"]))
    assert found["channels"] == ["a", "b", "c"]
    assert [max(one) for one in found["values"]] == [0, 7, 0]
    assert [channel for channel, _, _ in found["spans"]] == [0] * 8 + [1] * 8 + [2] * 8


def test_high_bands_of_a_sound_are_at_the_top():
    loud = torch.zeros(2, 16, 40)
    loud[0, 15] = 1.0  # the highest frequency
    one = made(loud, kind="audio")
    found = view(one)
    assert found["channels"] == ["high", "mid-high", "mid-low", "low"]
    assert [max(one) > 0.2 for one in found["values"]] == [True, False, False, False]
    highest = [name.startswith("high") for name in one.names(0)]
    assert [channel == 0 for channel, _, _ in found["spans"]] == highest


def test_a_click_stays_in_a_long_waveform():
    wave = torch.zeros(2, 40_000)
    wave[0, 12_345] = 0.9
    found = view(made(wave, kind="audio", sample_rate=8000))
    assert (found["length"], found["x"], max(found["values"][0])) == (5.0, "s", pytest.approx(0.9))


def test_boxes_lie_in_pixels_of_the_kept_picture():
    picture = torch.rand(2, 3, 300, 600)
    one = made(torch.rand(2, 3, 5), kind="regions", boxes="b", picture="p", others={"b": BOXES, "p": picture})
    found = view(one)
    assert found["size"] == [112, 224]
    assert found["boxes"][1] == pytest.approx([56, 56, 224, 112])
    assert picture_of(found).shape == (112, 224, 3)


def test_a_graph_has_the_segments_of_its_clusters():
    one = made(torch.rand(2, 4, 3), edges="e", others={"e": CHAIN}, max_segments=2)
    found = view(one)
    assert found["edges"] == [[0, 1], [1, 2], [2, 3]]
    assert found["segment"] == one._index[0].tolist()
    assert np.array(found["nodes"]).shape == (4, 2)


def test_values_of_runs_of_columns_are_those_of_the_first():
    assert view(made(torch.arange(20.0).view(2, 10), max_segments=2))["values"] == ["0, 1, 2, ...", "5, 6, 7, ..."]
    assert view(made(torch.tensor([[1, 0], [0, 1]]).bool()))["values"] == ["True", "False"]


@given(arrays(np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 3)))
def test_runs_give_the_index_back(index):
    runs = run_lengths(index)
    assert np.array_equal(np.repeat(*np.array(runs).T).reshape(index.shape), index)
    assert all(a != b for (a, _), (b, _) in pairwise(runs))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 9), st.integers(1, 9))
def test_a_grid_is_kept_as_its_rows_and_columns(height, width, rows, columns):
    rows, columns = min(rows, height), min(columns, width)
    index = grid_index(height, width, rows, columns)
    assert segments_of(index, (height, width)) == {"grid": [rows, columns]}


@settings(max_examples=30)
@given(arrays(np.float64, st.integers(0, 999), elements=st.floats(-9, 9)))
def test_a_kept_curve_has_the_range_of_the_whole(values):
    kept = curve(values)
    assert len(kept) <= 200
    assert (len(kept) == 0) == (len(values) == 0)
    if len(values):
        assert (kept.min(), kept.max()) == (values.min(), values.max())
