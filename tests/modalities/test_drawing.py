"""What kinds draw: colours stand where their units are, and nothing tells the content when inputs are not shown."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers.modality_checks import BLUE, RED, drawn, made, where

from mviz_lightning.plotting.text_fitting import distinct, write

SEEDED = torch.Generator().manual_seed(0)
WORDS = ["an old red fox ran away", "the new big car was sold"]
BOXES = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], [0.6, 0.1, 0.9, 0.3]]])
BOXES = torch.cat([BOXES, BOXES[:, [2, 0, 1]]])
EDGES = torch.randint(9, (2, 2, 12), generator=torch.Generator().manual_seed(1))
"""Edges of two graphs."""


def two(*shape: int) -> Any:
    """Two examples, alike in nothing."""
    return torch.randn(2, *shape, generator=SEEDED)


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "image": (two(3, 16, 16), {}),
    "grey image": (two(16, 16), {"kind": "image"}),
    "channels last": (two(16, 12, 4), {}),
    "superpixels": (two(3, 16, 16), {"superpixels": True}),
    "strings": (WORDS, {}),
    "long strings": ([" ".join([text] * 30) for text in WORDS], {}),
    "tokens": (torch.tensor([[5, 6, 7, 8, 9], [4, 3, 2, 1, 10]]), {"decode": [f"w{number}" for number in range(11)]}),
    "column": (two(), {}),
    "columns": (two(6), {}),
    "many columns": (two(30), {}),
    "very many columns": (two(300), {}),
    "flags": (two(4) > 0, {}),
    "series": (two(30, 3), {"feature_names": ["x", "y", "temperature"]}),
    "many channels": (two(30, 74), {"rate": 10}),
    "frames": (two(6, 3, 4, 4), {"kind": "series"}),
    "video": (two(6, 3, 16, 16), {"mean": 0.5, "std": 0.2}),
    "one step": (two(1, 2), {"kind": "series"}),
    "columns in one row": (two(1, 6), {}),
    "constant": (torch.ones(2, 30, 2), {}),
    "waveform": (two(800), {"kind": "audio", "rate": 100}),
    "spectrogram": (two(1, 40, 60), {"kind": "audio"}),
    "regions": (two(3, 4), {"boxes": "b", "picture": "p"}),
    "boxes without a picture": (two(3, 4), {"boxes": "b"}),
    "regions without boxes": (two(12, 4), {"kind": "regions"}),
    "graph": (two(9, 4), {"edges": "e"}),
    "types of nodes": (torch.randint(5, (2, 30), generator=SEEDED), {"edges": "e"}),
    "clusters": (two(30, 4), {"edges": "e", "max_segments": 7}),
}

ALIKE = {"superpixels", "constant", "one step"}
"""Whose units follow the image, or of which lines show no levels."""


def case(name: str, *, swapped: bool = False) -> Any:
    """Return a modality type, of the same examples in the other order if swapped."""
    values, options = CASES[name]
    if "superpixels" in options:
        pytest.importorskip("skimage")

    def order(leaf: Any) -> Any:
        return leaf[::-1] if isinstance(leaf, list) else leaf.flip(0) if swapped else leaf

    leaf = order(values) if swapped else values
    return made(leaf, others={"b": order(BOXES), "p": order(CASES["image"][0]), "e": order(EDGES)}, **options)


def weights_of(modality_type: Any) -> Any:
    return np.linspace(-1, 1, modality_type.segments.count(0))


@pytest.mark.parametrize("width", [195, 60])
@pytest.mark.parametrize("name", CASES)
def test_every_modality_type_draws_its_input_and_its_weights(name: str, width: int) -> None:
    modality_type = case(name)
    weights = weights_of(modality_type)

    pictures = [
        drawn(modality_type, width=width),
        drawn(modality_type, weights, width=width),
        drawn(modality_type, weights, inputs=False, width=width),
    ]
    assert all(picture.std() > 1 for picture in pictures)
    assert 0.1 <= modality_type.aspect(0) <= 1.6


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in CASES if name not in ALIKE])
def test_another_example_looks_different_only_where_inputs_are_shown(name: str) -> None:
    modality_type, other = case(name), case(name, swapped=True)
    weights = weights_of(modality_type)
    assert other.segments.count(0) == len(weights)

    assert not np.array_equal(drawn(modality_type), drawn(other))
    assert np.array_equal(drawn(modality_type, weights, inputs=False), drawn(other, weights, inputs=False))
    assert modality_type.names(0, inputs=False) == other.names(0, inputs=False)
    # Bars bear the columns' names, boxes lie on a picture if there is one.
    if "column" not in name and name not in {"flags", "regions without boxes"}:
        assert not np.array_equal(drawn(modality_type, weights), drawn(other, weights))


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in CASES if name != "superpixels"])
def test_other_weights_look_different(name: str) -> None:
    modality_type = case(name)
    weights = weights_of(modality_type) if modality_type.segments.count(0) > 1 else np.ones(1)
    for inputs in (True, False):
        assert (drawn(modality_type, weights, inputs=inputs) != drawn(modality_type, -weights, inputs=inputs)).any()


@pytest.mark.parametrize(
    ("values", "options", "segment", "place"),
    [
        (torch.ones(1, 3, 14, 14), {"mean": 0, "std": 1, "max_segments": 49}, 8, (1 / 7, 2 / 7, 1 / 7, 2 / 7)),
        (torch.ones(1, 14, 14, 3), {"mean": 0, "std": 1, "max_segments": 4}, 2, (0, 1 / 2, 1 / 2, 1)),
        (torch.ones(1, 16, 9), {"max_segments": 4}, 1, (1 / 4, 2 / 4, 0, 0.87)),
        (torch.ones(1, 9, 16), {"max_segments": 4, "time_axis": 2}, 0, (0, 1 / 4, 0, 0.87)),
        (torch.ones(1, 40), {"kind": "audio", "max_segments": 4}, 3, (3 / 4, 1, 0, 0.87)),
        # The lowest of four bands, in the second of two blocks.
        (torch.ones(1, 16, 40), {"kind": "audio", "max_segments": 8}, 1, (1 / 2, 1, 0.87 * 3 / 4, 0.87)),
        (torch.ones(1, 5, 3), {"kind": "regions"}, 4, (4 / 5, 1, 0, 1)),
        (torch.ones(1, 12, 3), {"kind": "regions"}, 10, (1 / 9, 2 / 9, 1 / 2, 1)),
    ],
)
@pytest.mark.parametrize("inputs", [True, False])
def test_a_segments_colour_is_where_the_segment_is(
    values: Any, options: Any, segment: int, place: Any, *, inputs: bool
) -> None:
    modality_type = made(values, **options)
    weights = np.zeros(modality_type.segments.count(0))
    weights[segment] = 1

    if inputs and options.get("kind") == "audio":
        return  # the sound shades its colours
    assert where(drawn(modality_type, weights, inputs=inputs), RED) == pytest.approx(place, abs=0.03)


@pytest.mark.parametrize(
    ("names", "cut"),
    [
        (["a", "b"], ["a", "b"]),
        (["a long name", "short"], ["a long…", "short"]),
        (["blood_mean", "blood_least"], ["…mean", "…least"]),
        (["blood_mean", "blood_least", "heart_mean"], ["blo…ean", "blo…ast", "hea…ean"]),
        (["patient_1_in_mm", "patient_2_in_mm", "patient_10_in_mm"], ["…1_in_…", "…2_in_…", "…10_in…"]),
        (["number_10_m", "number_16_m", "number_1_mm"], ["…10_m", "…16_m", "…1_mm"]),
        (["the same name", "the same name"], ["the sa…", "the sa…"]),
        ([], []),
    ],
)
def test_names_that_are_cut_can_be_told_apart(names: list[str], cut: list[str]) -> None:
    assert distinct(names, 7) == cut


@pytest.mark.parametrize("columns", [4, 60])
def test_columns_whose_long_names_begin_alike_are_told_apart(columns: int, written: list[str]) -> None:
    names = [f"patient_measurement_number_{number}_in_millimetres" for number in range(columns)]
    modality_type = made(two(columns), feature_names=names, max_segments=columns)
    for weights in (None, np.arange(1, columns + 1)):
        written.clear()
        drawn(modality_type, weights)
        listed = [line for line in written if "…" in line]
        assert len(set(listed)) == len(listed) == (0 if weights is None and columns > 12 else min(columns, 12))


@pytest.mark.parametrize(("width", "told"), [(195, "60 columns, in SD"), (75, "60 columns"), (50, "60 col…")])
def test_what_bars_are_fits_into_the_panel(width: int, told: str, written: list[str]) -> None:
    drawn(made(two(60)), width=width)
    assert written == [told]


@pytest.mark.parametrize(
    ("columns", "width", "height", "listed"),
    [(5, 180, 90, True), (12, 180, 203, True), (5, 73, 36, False), (12, 130, 100, False), (1, 73, 35, True)],
)
def test_rows_that_do_not_fit_are_bars(columns: int, width: int, height: int, *, listed: bool, written: Any) -> None:
    modality_type = made(torch.full((2, columns), -1.25), feature_names=[f"c{number}" for number in range(columns)])
    modality_type.aspect = lambda example, **_: height / width
    drawn(modality_type, width=width)
    assert written.count("-1.25") == (columns if listed else 0)
    assert sum("col" in text for text in written) == (not listed)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect what tables write."""
    seen: list[str] = []

    def collect(axes: Any, x: float, y: float, text: str, **style: Any) -> None:
        seen.append(text)
        write(axes, x, y, text, **style)

    monkeypatch.setattr("mviz_lightning.modalities.tabular.write", collect)
    return seen


def test_lanes_lie_above_each_other_in_the_channels_order() -> None:
    modality_type = made(torch.randn(1, 20, 2), max_segments=4)
    weights = np.array([1.0, 0, 0, -1])
    pixels = drawn(modality_type, weights, inputs=False)
    left, right, top, bottom = where(pixels, RED)
    assert (right, top, bottom) == pytest.approx(((1 + left) / 2, 0, 0.44), abs=0.03)
    assert where(pixels, BLUE)[2:] == pytest.approx((0.44, 0.87), abs=0.03)


def test_a_words_colour_is_behind_the_word() -> None:
    modality_type = made(["one two three"])
    pixels = drawn(modality_type, [0, 1, 0])
    left, right, _, _ = where(pixels, RED)
    # At 10 points a letter of the font takes 8 of the 195 pixels.
    assert (left * 195, right * 195) == pytest.approx((8 * 4.2, 8 * 8), abs=2)


def test_letters_are_white_on_dark_and_black_on_pale_colours() -> None:
    modality_type = made(["one two"])
    dark, pale = drawn(modality_type, [1, 0]), drawn(modality_type, [0.0, 0.0])
    assert (dark.min(-1) > 250)[4:14, 5:30].any()
    assert (pale.max(-1) < 30)[4:14, 5:30].any()


def test_special_tokens_are_pale_and_bear_no_colour() -> None:
    modality_type = made(torch.tensor([[1, 0]]), decode=["dog", "[CLS]"], special_ids=[1])
    pixels = drawn(modality_type, [1.0])
    assert where(pixels, RED)[0] * 195 > 8 * 5
    assert 120 < pixels[:, : 8 * 5].max(-1).min() < 200


@pytest.mark.parametrize("name", ["strings", "tokens"])
def test_text_stays_in_its_panel(name: str) -> None:
    from matplotlib.figure import Figure

    values, options = CASES[name]
    modality_type = made(
        [" ".join([*WORDS, "$x_1$ 漢字 \t x"] * 40)] if name == "strings" else values.repeat(1, 100), **options
    )
    for width in (1.95, 3.0, 0.9):
        figure = Figure(figsize=(width, width), dpi=100)
        axes = figure.add_axes((0, 0, 1, 1))
        modality_type.draw(axes, 0)
        panel = axes.get_window_extent()
        for line in axes.texts:
            box = line.get_window_extent()
            assert panel.x0 <= box.x0 <= box.x1 <= panel.x1 + 1
            assert panel.y0 - 3 <= box.y0


def test_the_strongest_words_of_a_long_text_are_shown() -> None:
    modality_type = made([" ".join(f"word{number:03}" for number in range(490))])
    weights = np.full(49, 0.01)
    weights[40] = 1
    assert where(drawn(modality_type, weights), RED)


def test_no_text_says_so() -> None:
    from matplotlib.figure import Figure

    modality_type = made(["", "a"])
    for act in (lambda axes: modality_type.draw(axes, 0), lambda axes: modality_type.paint(axes, 0, np.zeros(0), None)):
        axes = Figure().add_subplot()
        act(axes)
        assert [line.get_text() for line in axes.texts] == ["(no text)"]


def test_bars_point_where_the_weights_do_and_the_strongest_are_listed() -> None:
    few = drawn(made(torch.zeros(1, 2)), [1.0, -1.0])
    assert where(few, RED)[0] == pytest.approx(0.8, abs=0.02)
    assert where(few, BLUE)[1] == pytest.approx(0.8, abs=0.02)
    weights = np.full(30, 0.01)
    weights[29] = -1
    assert where(drawn(made(torch.zeros(1, 30)), weights), BLUE)[3] < 0.1


def test_boxes_bear_colours_where_they_are_and_the_strongest_lies_on_top() -> None:
    boxes = torch.tensor([[[0.0, 0.5, 0.5, 1.0], [0.25, 0.5, 0.75, 1.0]]])
    modality_type = made(torch.ones(1, 2, 3), boxes="b", others={"b": boxes})

    for weights, expected in (([1.0, -0.5], "red"), ([0.5, -1.0], "blue")):
        red, _, blue = drawn(modality_type, weights)[170, 75].tolist()
        assert ("red" if red > blue else "blue") == expected
    assert (drawn(modality_type, [1.0, -1.0])[:80] == 242).all()
