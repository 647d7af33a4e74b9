"""What pictures and tables of unimodal importance show, down to the pixel."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from explainers.test_dime_figure import coloured, count, drawing, patches
from helpers.batches import floats
from helpers.modality_checks import BLUE, RED
from matplotlib.figure import Figure
from matplotlib.text import Text

from mviz_lightning import Modality
from mviz_lightning.explainers import UnimodalImportance
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.explainers.unimodal_importance.explainer import NUM_TOTALS
from mviz_lightning.explainers.unimodal_importance.figure import (
    LETTERS,
    METHODS,
    NAME,
    PANEL,
    in_lines,
    strongest,
    sum_verdict,
)
from mviz_lightning.explainers.unimodal_importance.result import (
    ExampleImportance,
    ImportanceResult,
    OutputImportance,
    SegmentAttribution,
)
from mviz_lightning.plotting import canvas
from mviz_lightning.plotting.canvas import DPI, WIDTH
from mviz_lightning.plotting.labels import format_weight
from mviz_lightning.plotting.panels import GAP, MARGIN
from mviz_lightning.sinks.records import Picture, Record, Table

PATCH = (DPI * PANEL / 2) ** 2
"""Pixels of a segment."""


def column(pixels: Any, number: int) -> Any:
    left = MARGIN + number * (PANEL + GAP)
    return pixels[:, round(DPI * left) + 2 : round(DPI * (left + PANEL)) - 2]


def part(
    weights: list[float], change: float | None = None, method: str = "occlusion", **rest: Any
) -> SegmentAttribution:
    return SegmentAttribution(
        torch.tensor(weights).double(), sum(weights) if change is None else change, method, **rest
    )


def result(*outputs: Mapping[str, SegmentAttribution], role: str = "predicted") -> ImportanceResult:
    """Return what was found of one example, its outputs 0, 1, and so on."""
    found = [OutputImportance(output, role, 0.5, parts) for output, parts in enumerate(outputs)]
    return ImportanceResult(examples=[ExampleImportance(0, 17, 1, 0, 0.9, found)])


def drawn(found: ImportanceResult, shown: DrawingContext | None = None, when: str = "") -> list[Record]:
    return list(UnimodalImportance().draw(found, drawing(patches()) if shown is None else shown, when))


def picture(found: ImportanceResult, shown: DrawingContext | None = None) -> np.ndarray:
    image = drawn(found, shown)[0]
    assert isinstance(image, Picture)
    return image.pixels


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[Text]:
    """All that is written in the latest figure."""
    found, rasterise = [], canvas.pixels

    def read(figure: Figure) -> Any:
        pixels = rasterise(figure)
        found[:] = [text for text in figure.artists if isinstance(text, Text) and text.get_text()]
        return pixels

    monkeypatch.setattr(canvas, "pixels", read)
    return found


def words(texts: list[Text]) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in texts)


def test_colours_are_symmetric_and_end_at_the_largest_weight() -> None:
    found = column(picture(result({"image": part([2.0, -2.0, 1.0, 0.0])})), 1)
    assert count(found, RED) == pytest.approx(PATCH, rel=0.05)
    assert count(found, BLUE) == pytest.approx(PATCH, rel=0.05)
    assert count(found, coloured(0.5)) == pytest.approx(PATCH, rel=0.05)


def test_each_output_and_each_modality_has_a_scale_of_its_own() -> None:
    leaves = {name: (torch.ones(8, 3, 8, 8), Modality(name, max_segments=4)) for name in ("weak", "strong")}
    maps = ({"weak": part([s, 0, 0, 0]), "strong": part([0, 30 * s, 0, 0])} for s in (0.1, 7.0))
    assert count(column(picture(result(*maps), drawing(leaves)), 1), RED) == pytest.approx(4 * PATCH, rel=0.05)


@pytest.mark.parametrize(
    ("r2", "strength", "said"),
    [
        (0.2, 1, "R² 0.20"),
        (0.19, 0.25, "R² 0.19: unreliable"),
        (-2.0, 0.25, "R² -2.00: unreliable"),
        (math.nan, 0, "no effect"),
        (None, 1, "adds up to +1.00"),
    ],
)
def test_lime_is_faded_where_it_does_not_foretell_masks_and_others_are_not(
    texts: list[Text], r2: float | None, strength: float, said: str
) -> None:
    method = "shap" if r2 is None else "lime"
    image = drawn(result({"image": part([1.0, 0, 0, 0], method=method, r2=r2)}))[0]
    assert isinstance(image, Picture)
    found = column(image.pixels, 1)
    # Of a white image, weights of 0 are all but white.
    assert count(found, coloured(strength)) == pytest.approx(PATCH if strength else 4 * PATCH, rel=0.05)
    assert said in [text.get_text() for text in texts]
    assert f", by {METHODS[method]}, from what it is" in image.note


def test_rounding_is_no_effect(texts: list[Text]) -> None:
    for weights, floor in (([1e-9, -1e-9, 0, 0], 1e-6), ([0.0] * 4, 0.0)):
        found = picture(result({"image": part(weights, floor=floor)}))
        assert count(column(found, 1), RED) == count(column(found, 1), BLUE) == 0
        assert count(found, RED) == 0  # no colour bar
        assert "no effect" in words(texts)
        assert "row 1" not in words(texts)


@pytest.mark.parametrize(
    ("weights", "change", "said", "red"),
    [
        ([0.5, 0.5], 1.0, "adds up to +1.00", False),
        ([0.5, 0.5], 1.04, "adds up to +1.04", False),
        ([0.5, 0.5], 1.1, "adds up to +1.00, not +1.10", True),
        ([1.0, -1.0], 0.3, "adds up to +0.00, not +0.30", True),
    ],
)
def test_it_is_said_whether_weights_add_up(weights: list[float], change: float, said: str, *, red: bool) -> None:
    derived = replace(part(weights, change), method="integrated_gradients")
    assert sum_verdict(derived) == (said, "#b03000" if red else "#222222")
    assert sum_verdict(replace(derived, method="occlusion")) == (said, "#222222")  # need not add up


def test_the_strongest_parts_are_listed_beside_the_map(texts: list[Text]) -> None:
    names = [f"name{k}" for k in range(8)]
    leaves = {"table": (floats(8, 8), Modality("table", kind="tabular", feature_names=names))}
    picture(result({"table": part([0.1, -0.9, 0.05, 0.7, 0, -0.2, 0.0004, 0.3])}), drawing(leaves))
    listed = [text for text in texts if text.get_text().startswith("name")]
    assert [text.get_text() for text in listed] == ["name1", "name3", "name7", "name5", "name0"]
    weights = [text.get_text() for text in texts if text.get_ha() == "right"]
    assert weights == ["-0.90", "+0.70", "+0.30", "-0.20", "+0.10"]
    assert all(text.get_position()[0] == pytest.approx(NAME / WIDTH) for text in listed)


def test_equal_weights_are_listed_in_the_order_of_their_units() -> None:
    found = strongest(part([0.5, -0.5, 1.0, 0.5]), ["a", "b", "c", "d"])
    assert list(found) == [("c", 1.0), ("a", 0.5), ("b", -0.5), ("d", 0.5)]
    assert list(strongest(part([0.5, -0.5, 1.0]), ["a", "b", "c"], 1)) == [("c", 1.0)]


LONG = [f"channel {k}, an incomprehensibly long name of a column {k}" for k in range(6)]


def test_long_names_and_small_numbers_stay_inside_the_picture_and_off_each_other(texts: list[Text]) -> None:
    leaves = {
        name: (floats(8, 6, seed=k), Modality(name, kind="tabular", feature_names=LONG))
        for k, name in enumerate(("first", "second"))
    }
    weights = part([-0.00123, 0.00234, -0.00345, 0.00456, 0.0099, 1e-5], change=0.123)
    found = picture(result(*[{"first": weights, "second": weights}] * 2), drawing(leaves))
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.x1 <= found.shape[1], text
        assert box.y0 >= 0, text
    for number_, (text, box) in enumerate(boxes):
        for other, beside in boxes[:number_]:
            wide = min(box.x1, beside.x1) - max(box.x0, beside.x0)
            high = min(box.y1, beside.y1) - max(box.y0, beside.y0)
            assert wide <= 1 or high <= 3, f"{text!r} on {other!r}"  # boxes of letters have room above and below


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("cat", ["cat"]),
        ("channel 2, steps 114-120", ["channel 2,", "steps 114-120"]),
        ("x" * 25, ["x" * LETTERS, "x" * (25 - LETTERS)]),
        ("x" * 99, ["x" * LETTERS, "x" * (LETTERS - 1) + "…"]),
        ("", [""]),
    ],
)
def test_names_are_broken_once_and_then_cut(name: str, lines: list[str]) -> None:
    assert in_lines(name) == lines
    assert all(len(line) <= LETTERS for line in lines)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "+0.00"),
        (12.345, "+12.35"),
        (-0.1, "-0.10"),
        (0.0523, "+0.052"),
        (-0.07, "-0.070"),
        (-0.00123, "-0.0012"),
        (1e-5, "+1e-5"),
    ],
)
def test_weights_are_short(value: float, written: str) -> None:
    assert format_weight(value) == written


def test_a_picture_says_which_output_which_class_and_why_another_method(texts: list[Text]) -> None:
    one = part([1.0, 0, 0, 0], method="occlusion", reason="no gradient reaches it")
    image = drawn(result({"image": one}, {"image": one}, role="true"))[0]
    assert isinstance(image, Picture)
    said = words(texts)
    assert "Example 17: predicted dog (0.90), target cat - wrong" in said
    assert "cat (true): logit 0.50" in said
    assert "dog (true): logit 0.50" in said
    assert "image by occlusion: no gradient reaches it." in image.note
    assert "by occlusion, from" not in image.note  # nobody asked for it
    picture(result({"image": part([1.0, 0, 0, 0])}, role="output"))
    assert "cat: logit 0.50" in words(texts)


def test_a_regression_has_values(texts: list[Text]) -> None:
    picture(result({"image": part([1.0, 0, 0, 0])}, role="output"), drawing(patches(), task="regression"))
    assert "cat: 0.5 " in words(texts)


def test_without_inputs_neither_the_picture_nor_the_table_tells_them(texts: list[Text]) -> None:
    leaves = {"text": (["secret words here"] * 8, Modality("text"))}
    found = result({"text": part([1.0, -2.0, 0.5])})
    for show in (True, False):
        image, table = drawn(found, drawing(leaves, show_inputs=show))
        assert isinstance(image, Picture)
        assert isinstance(table, Table)
        said = words(texts) + str([row[8] for row in table.rows])
        assert ("secret" in said) == ("words -2.00" in said.replace("-2.00 words", "words -2.00")) == show
        assert ("(not shown)" in said) == ("word 2" in said) == (not show)


def test_there_is_a_row_for_every_output_and_a_picture_for_every_example() -> None:
    outputs = {"image": part([1.0, 0, -3.0, 0.5], change=0)}, {"image": part([0.0, 0, 0, 0])}
    image, table = drawn(result(*outputs), when="epoch 3")
    assert isinstance(image, Picture)
    assert isinstance(table, Table)
    assert (image.key, table.key) == ("importance/example_17", "importance/examples")
    assert image.keep
    assert image.pixels.shape[1:] == (640, 3)
    cells = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [cell["output"] for cell in cells] == ["cat", "dog"]
    assert cells[0]["strongest parts"] == "image: row 2, col 1 -3.00, row 1, col 1 +1.00, row 2, col 2 +0.50"
    assert cells[0]["gap"] == pytest.approx(1 / 3)
    assert cells[1]["gap"] == 0
    assert (cells[0]["when"], cells[0]["example"], cells[0]["target"], cells[0]["predicted"]) == (
        "epoch 3", 17, "cat", "dog"
    )  # fmt: skip
    assert cells[0]["method"] == "image: occlusion"
    for column_ in zip(*table.rows, strict=True):
        assert len({type(cell) for cell in column_}) == 1


def test_nothing_is_drawn_of_scalars_alone() -> None:
    assert drawn(ImportanceResult(values={"total/image": 1.0})) == []


def test_every_method_has_a_name() -> None:
    assert set(METHODS) == set(NUM_TOTALS)
