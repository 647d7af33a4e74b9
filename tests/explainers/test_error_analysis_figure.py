"""How errors are drawn and listed: every number where it belongs, nothing cut off, nothing told that is secret."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import planted
from helpers.pictured import pictured
from helpers.planted import COUNT

from mviz_lightning.explainers import ErrorAnalysis
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.explainers.error_analysis.cases import sentences
from mviz_lightning.explainers.error_analysis.figure import COLOURS, COLUMN, SHOWN, TOTAL
from mviz_lightning.explainers.error_analysis.result import ClassErrors, ErrorResult
from mviz_lightning.plotting.canvas import DPI, WIDTH
from mviz_lightning.plotting.labels import Labels, named
from mviz_lightning.sinks.records import Picture, Table

TASKS = ["multiclass", "binary", "multilabel", "regression"]
LONG = ["a class of a name that is long beyond all measure", "another, hardly shorter than the first", "third class"]
METHOD = ErrorAnalysis(name="method")
WHEN = "epoch 12 (step 3400)"


@pytest.fixture(scope="module", params=TASKS)
def case(request):
    """Return task, session and result."""
    batch, unimodal, interaction, _ = planted.errors(request.param)
    found = planted.session(planted.Pair(unimodal, interaction), batch, task=request.param)
    result = found.explain(ErrorAnalysis(num_examples=4)).result
    assert isinstance(result, ErrorResult)
    return request.param, found, result


def drawing(found, task, **options):
    return DrawingContext(found.modality_types, Labels(task, LONG[1:] if task == "binary" else LONG), **options)


@pytest.mark.long
def test_there_are_pictures_of_classes_of_the_worst_and_of_the_rescued(case) -> None:
    task, found, result = case
    records, _ = pictured(METHOD, result, drawing(found, task), WHEN)
    assert list(records) == [
        "method/classes", "method/counts", "method/worst", "method/rescued", "method/examples"
    ]  # fmt: skip
    images = [record for record in records.values() if isinstance(record, Picture)]
    assert all(image.pixels.shape[1:] == (640, 3) and image.pixels.dtype == np.uint8 for image in images)
    for table in (records["method/counts"], records["method/examples"]):
        assert isinstance(table, Table)
        for name, *column in zip(table.columns, *table.rows, strict=True):
            assert len({type(cell) for cell in column}) == 1, name


@pytest.mark.long
def test_every_class_stands_there_with_its_numbers(case) -> None:
    task, found, result = case
    records, written = pictured(METHOD, result, drawing(found, task))
    table = records["method/counts"]
    assert table.columns[3:] == list(result.counts)
    assert [list(row[3:]) for row in table.rows] == [list(one.counts.values()) for one in shown(result, task)]
    assert [row[2] for row in table.rows] == [sum(one.counts.values()) for one in shown(result, task)]
    numbers = [line for line in written["method/classes"] if line.isdigit()]
    names = [name for name in COLOURS if name in result.counts]
    expected = [
        str(number)
        for one in shown(result, task)
        for number in [*(one.counts[name] for name in names), sum(one.counts.values())]
    ]
    assert expected == numbers[: len(expected)]


def shown(result, task):
    if task == "regression":
        return result.classes
    wrong = {one.index: sum(one.counts[name] for name in ("spoiled", "unrepaired", "misled")) for one in result.classes}
    return sorted(result.classes, key=lambda one: (-wrong[one.index], -one.counts["rescued"], one.index))


def test_bars_are_as_long_as_the_numbers() -> None:
    counts = {"right": 5, "rescued": 10, "spoiled": 20, "unrepaired": 30, "misled": 10}
    result = ErrorResult(
        counts=counts, classes=[ClassErrors(0, counts)], worst=[], rescued=[], history=[(0, 9, counts)]
    )
    pixels = pictured(METHOD, result, DrawingContext({}, Labels("multiclass")))[0]["method/classes"].pixels
    lengths = {}
    for name in ("rescued", "spoiled", "unrepaired", "misled"):
        rgb = [int(COLOURS[name][k : k + 2], 16) for k in (1, 3, 5)]
        rows = (pixels[round(0.95 * DPI) :, : round(DPI * (WIDTH - 4 * COLUMN - TOTAL - 0.1))] == rgb).all(-1).sum(1)
        lengths[name] = int(rows[rows > 0].mean())
    scale = sum(lengths.values()) / 70
    for name, length in lengths.items():  # a column of pixels at either end is of mixed colour
        assert length == pytest.approx(scale * counts[name], abs=2)


def test_many_classes_share_a_row() -> None:
    counts = {"right": 1, "rescued": 0, "spoiled": 0, "unrepaired": 2, "misled": 1}
    many = [ClassErrors(k, counts) for k in range(SHOWN + 7)]
    total = {name: (SHOWN + 7) * number for name, number in counts.items()}
    result = ErrorResult(counts=total, classes=many, worst=[], rescued=[], history=[(0, 9, total)])
    records, written = pictured(METHOD, result, DrawingContext({}, Labels("multiclass")))
    at = written["method/classes"].index("7 others")
    assert written["method/classes"][at + 1 : at + 6] == ["0", "0", "14", "7", "28"]
    assert len(records["method/counts"].rows) == SHOWN + 7
    assert "method/examples" not in records


def test_cases_are_described_in_lines_that_need_no_break(case) -> None:
    task, found, result = case
    _, written = pictured(METHOD, result, drawing(found, task), WHEN)
    for name, listed in (("worst", result.worst), ("rescued", result.rescued)):
        lines = written[f"method/{name}"]
        assert WHEN in " ".join(lines[:2])
        at = [lines.index(next(line for line in lines if f"Example {one.position}:" in line)) for one in listed]
        assert len(set(at)) == len({one.position for one in listed})
        for place, one in zip(at, listed, strict=True):
            if at.count(place) == 1:
                split = f"{one.value:.3g} = UC" if task == "regression" else f"{one.value:.2f} = UC {one.unimodal:.2f}"
                assert one.category in lines[place]
                assert any(split in line for line in lines[place + 1 : place + 4])


def test_numbers_outlast_long_names(case) -> None:
    task, _, result = case
    said = Labels(task, LONG[1:] if task == "binary" else LONG)
    for one in [*result.worst, *result.rescued]:
        lines = sentences(one, said, 43)
        assert len(lines) == 5
        assert all(len(line) <= 43 for line in lines)
        sign = "-" if one.interaction < 0 else "+"
        mi = f"{sign} MI {abs(one.interaction):.2f}"[:-1] if abs(one.interaction) > 1e-6 * abs(one.value) else "+ MI 0"
        assert f" {mi}" in lines[2] or task == "regression"
        if one.probability is not None:
            assert lines[3].endswith(f"({one.probability:.2f})")


def test_beside_three_modalities_there_is_no_stump_of_its_logit(case) -> None:
    task, _, result = case
    if task != "multiclass":
        pytest.skip("only classes have an output without a name of its own")
    one = replace(result.worst[0], value=3.61, unimodal=3.61, interaction=-0.001, error=0.0001)
    split = "3.61 = UC 3.61 - MI 0.00 (±0.00)"
    assert sentences(one, Labels(task), 37)[2] == split
    assert sentences(one, Labels(task), 60)[2] == f"its logit: {split}"


def test_a_name_of_which_little_would_be_left_is_left_out() -> None:
    assert named("output 0", ": 1.31 = UC 1", 21) == "output 0: 1.31 = UC 1"
    assert named("output 0", ": 1.31 = UC 1", 19) == "outpu…: 1.31 = UC 1"
    assert named("output 0", ": 1.31 = UC 1", 18) == "1.31 = UC 1"
    assert named("a", ": 1.31 = UC 1", 14) == "a: 1.31 = UC 1"


def test_the_loss_is_not_cut_off(case) -> None:
    task, _, result = case
    one = replace(result.worst[0], loss=0.00015449)
    what, cost = sentences(one, Labels(task), 80)[0].split(", ")
    assert cost == ("absolute error" if task == "regression" else "loss") + " 0.000154"
    assert what == f"Example {one.position}: {one.category}"
    room = len(what) + 2 + len(cost)
    assert sentences(one, Labels(task), room)[0] == f"{what}, {cost}"
    assert sentences(one, Labels(task), room - 1)[:2] == [what, cost]
    assert len(sentences(one, Labels(task), room - 1)) == 6


@pytest.mark.long
def test_rows_carry_the_inputs_of_their_example(case) -> None:
    task, found, result = case
    records, _ = pictured(METHOD, result, drawing(found, task), "head attributes_of_the_person, epoch 12 (step 3400)")
    table = records["method/examples"]
    listed = [*(("worst", one) for one in result.worst), *(("rescued", one) for one in result.rescued)]
    assert table.columns[-1] == "inputs"
    for row, (name, one) in zip(table.rows, listed, strict=True):
        assert row[1:4] == [name, one.position, one.category]
        assert row[9:12] == [one.value, one.unimodal, one.interaction]
        red = (one.position - 1000) / 64
        colour = [round(255 * red), round(255 * (1 - red)), round(255 * 0.5)]
        near = np.abs(row[-1].astype(int) - colour).max(-1) <= 2
        assert near.mean() > 0.2


@pytest.mark.slow
def test_without_inputs_nothing_of_them_is_told(case) -> None:
    task, found, result = case
    open_records, written = pictured(METHOD, result, drawing(found, task))
    assert any("secret" in line for line in written["method/worst"])
    records, written = pictured(METHOD, result, drawing(found, task, show_inputs=False))
    assert list(records) == ["method/classes", "method/counts", "method/examples"]
    assert "secret" not in str(written) + str(planted.texts(list(records.values())))
    assert list(records["method/examples"].columns) == list(open_records["method/examples"].columns[:-1])
    assert not any(isinstance(cell, np.ndarray) for row in records["method/examples"].rows for cell in row)


@pytest.mark.long
@pytest.mark.parametrize(("epochs", "unit", "marks"), [([0, 3, 6], "epoch", {"0", "6"}), ([0, 0, 1], "step", {"40"})])
def test_the_course_is_that_of_the_training(case, epochs, unit, marks) -> None:
    task, found, result = case
    assert "method/over_time" not in pictured(METHOD, result, drawing(found, task))[0]
    zero = dict.fromkeys(result.counts, 0)
    history = zip(epochs, [20, 40, 60], [result.counts, zero, result.counts], strict=True)
    second = replace(result, history=list(history))
    records, written = pictured(METHOD, second, drawing(found, task), WHEN)
    assert records["method/over_time"].pixels.shape[1] == 640
    lines = written["method/over_time"]
    assert unit in lines
    assert marks <= set(lines)
    assert {name for name in COLOURS if name in result.counts} <= set(lines)


@pytest.mark.long
def test_nothing_is_drawn_of_what_there_is_none(case) -> None:
    task, found, result = case
    bare = replace(result, rescued=[])
    records, _ = pictured(METHOD, bare, drawing(found, task))
    assert "method/rescued" not in records
    assert {row[1] for row in records["method/examples"].rows} == {"worst"}
    assert "method/examples" not in pictured(METHOD, replace(bare, worst=[]), drawing(found, task))[0]


@pytest.mark.long
def test_the_headline_counts(case) -> None:
    task, found, result = case
    _, written = pictured(METHOD, result, drawing(found, task), WHEN)
    lines = written["method/classes"]
    first, said = lines[0], " ".join(lines[1 : lines.index("■")])
    counts, total = result.counts, sum(result.counts.values())
    assert first == f"What failed, {WHEN}"
    if task == "regression":
        lowered, raised = counts["lowered"], counts["raised"]
        assert said == f"Of {COUNT} values, MI lowers the error of {lowered} and raises the error of {raised}."
        return
    wrong, spoiled = total - counts["right"] - counts["rescued"], counts["spoiled"]
    noun = "labels" if task == "multilabel" else "examples"
    told = f"{wrong} of {total} {noun} are wrong, {spoiled} of them spoiled by MI; MI rescued {counts['rescued']}."
    assert said == (told if wrong else f"None of {total} {noun} is wrong; MI rescued {counts['rescued']}.")
