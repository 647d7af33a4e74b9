"""What pictures (of one run and over the epochs) and tables of explanations show, down to the pixel."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.batches import floats, integers, probe_of
from helpers.few import spread
from helpers.modality_checks import BLUE, RED
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.text import Text

from mviz_lightning import Modality
from mviz_lightning.explainers import Attribution, Explanation, OutputExplanation
from mviz_lightning.explainers.dime.figure import ExplanationFigure
from mviz_lightning.explainers.dime.over_epochs import MOMENTS, picture_over_epochs, thinned
from mviz_lightning.explainers.dime.result import Moment
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.modalities.of_probe import modality_types_of
from mviz_lightning.plotting import canvas
from mviz_lightning.plotting.canvas import DPI
from mviz_lightning.plotting.labels import LETTERS, Labels
from mviz_lightning.plotting.panels import GAP, MARGIN, PANEL
from mviz_lightning.plotting.trust import shown, strength, verdict

NAMES = ["cat", "dog", "owl"]


PATCH = (DPI * PANEL / 2) ** 2  # pixels of a unit


def patches():
    """A white image of 2 x 2 units: colours are those of the weights."""
    return {"image": (torch.ones(8, 3, 8, 8), Modality("image", max_segments=4))}


def drawing(leaves, *, task="multiclass", class_names=NAMES, show_inputs=True):
    batch = {name: values for name, (values, _) in leaves.items()} | {"rest": torch.ones(8, 2)}
    said = {name: modality for name, (_, modality) in leaves.items() if modality is not None}
    kinds = modality_types_of(probe_of(batch, said | {"rest": Modality("rest")}))
    return DrawingContext({name: kinds[name] for name in said}, Labels(task, class_names), show_inputs)


def picture(shown, found, when=""):
    return ExplanationFigure(shown, "dime", when).picture(found)


def table_of(shown, drawn, when=""):
    return ExplanationFigure(shown, "dime", when).table(drawn)


def decomposition(labels, found):
    return labels.decomposition(found.output, found.role, found.unimodal, found.interaction, found.value)


def part(unimodal, interaction=None, unimodal_r2=0.9, interaction_r2=0.9):
    weights = [
        torch.tensor(w, dtype=torch.float64) for w in (unimodal, unimodal if interaction is None else interaction)
    ]
    return Attribution(*weights, unimodal_r2, interaction_r2)


def output(index=0, role="true and predicted", **parts):
    return OutputExplanation(index, role, 1.0, 0.25, 0.75, parts)


def explained(*outputs, predicted=0, target=0, example=0):
    return Explanation(example, 17, predicted, target, 0.9, outputs)


def coloured(weight):
    return tuple(round(255 * channel) for channel in colormaps["RdBu_r"]((weight + 1) / 2)[:3])


def column(pixels, number):
    left = MARGIN + number * (PANEL + GAP)
    return pixels[:, round(DPI * left) + 2 : round(DPI * (left + PANEL)) - 2]


def count(pixels, colour):
    return int((np.abs(pixels.astype(int) - colour).max(-1) <= 2).sum())


@pytest.fixture
def words(monkeypatch):
    """All that is written in the latest figure."""
    found, rasterise = [], canvas.pixels

    def read(figure):
        found[:] = [text.get_text() for text in figure.findobj(Text) if text.get_text()]
        return rasterise(figure)

    monkeypatch.setattr(canvas, "pixels", read)
    return found


def draw(*sides):
    return picture(drawing(patches()), explained(output(image=part(*sides)))).pixels


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("largest", [1e-6, 1.0, 300.0])
def test_uc_and_mi_share_a_symmetric_scale_that_ends_at_the_largest_weight(sign, largest):
    strong, weak = sign * largest, -0.5 * sign * largest
    end, half = RED if sign > 0 else BLUE, coloured(-0.5 * sign)
    for sides in (1, -1):  # whichever side holds the largest
        pixels = draw(*[[strong, 0, 0, 0], [weak, 0, 0, 0]][::sides])
        first, second = column(pixels, 1), column(pixels, 2)
        for panels, colour in zip((first, second)[::sides], (end, half), strict=True):
            assert count(panels, colour) == pytest.approx(PATCH, rel=0.05)
        assert count((first, second)[::sides][1], end) == 0


def test_every_modality_has_a_scale_of_its_own():
    leaves = {name: (torch.ones(8, 3, 8, 8), Modality(name, max_segments=4)) for name in ("weak", "strong")}
    found = explained(output(weak=part([0.1, 0, 0, 0]), strong=part([0, 10, 0, 0])))
    pixels = picture(drawing(leaves), found).pixels
    assert [count(column(pixels, k), RED) for k in (1, 2)] == pytest.approx([2 * PATCH] * 2, rel=0.05)


@pytest.mark.parametrize(
    ("r2", "colour", "said"),
    [
        (0.2, RED, "R² 0.20"),
        (0.19, coloured(0.25), "R² 0.19: unreliable"),
        (-3.0, coloured(0.25), "R² -3.00: unreliable"),
        (math.nan, coloured(0), "no effect"),
    ],
)
def test_weights_that_do_not_foretell_unseen_masks_are_faded_and_said(words, r2, colour, said):
    for sides in ((r2, 0.77), (0.77, r2)):
        pixels = draw([1, 0, 0, 0], [1, 0, 0, 0], *sides)
        faded, other = (column(pixels, k) for k in ((1, 2) if sides[0] is r2 else (2, 1)))
        assert count(faded, colour) == pytest.approx(PATCH * (4 if colour == coloured(0) else 1), rel=0.05)
        assert count(other, RED) == pytest.approx(PATCH, rel=0.05)
        expected = [said if side is r2 else "R² 0.77" for side in sides]
        assert [text for text in words if "R²" in text or "effect" in text] == expected
    assert verdict(r2)[0] == said
    assert strength(r2) == {RED: 1, coloured(0): 0}.get(colour, 0.25)
    np.testing.assert_allclose(shown(torch.tensor([4.0]), r2), 4 * strength(r2))


def test_a_picture_is_640_pixels_wide_and_says_what_it_shows(words):
    found = explained(output(image=part([1, 0, 0, 0])), predicted=2, target=1)
    image = picture(drawing(patches()), found, "epoch 3 (step 40)")
    assert (image.pixels.shape[1:], image.pixels.dtype, image.keep) == ((640, 3), np.uint8, True)
    assert image.key == "dime/example_17"
    assert image.caption == "Example 17, epoch 3 (step 40): predicted owl (0.90), target dog - wrong"
    assert image.caption in [text.replace("\n", " ") for text in words]
    assert "cat (true and predicted): centred logit 1.00 = UC 0.25 + MI 0.75" in words
    assert "Masked parts become: image: the examples' mean." in image.note
    assert not any("Masked parts" in text for text in words)
    assert picture(drawing(patches()), found).caption.startswith("Example 17: predicted")


def test_a_mistake_gets_a_block_for_the_true_class_and_one_for_the_predicted(words):
    true, predicted = output(1, "true", image=part([1, 0, 0, 0])), output(2, "predicted", image=part([-1, 0, 0, 0]))
    one = picture(drawing(patches()), explained(true, target=1)).pixels
    two = picture(drawing(patches()), explained(true, predicted, predicted=2, target=1)).pixels
    assert len(two) - len(one) >= DPI * PANEL
    middle = len(two) // 2
    upper, lower = column(two[:middle], 1), column(two[middle:], 1)
    assert min(count(upper, RED), count(lower, BLUE)) == pytest.approx(PATCH, rel=0.05)
    assert count(upper, BLUE) == count(lower, RED) == 0
    assert [text.partition(":")[0] for text in words if "logit" in text] == ["dog (true)", "owl (predicted)"]


def text_leaf(texts=("red apple", "", "a")):
    return [texts[k % len(texts)] for k in range(8)], Modality("text")


def test_a_table_names_what_drives_and_every_column_is_of_one_type():
    columns = Modality("table", feature_names=["age", "height", "weight"])
    leaves = patches() | {"text": text_leaf(), "table": (floats(8, 3), columns)}
    image, age = part([1, -2, 0.5, 0], [0, 0, 0, 3], interaction_r2=0.1), part([0, 1, 3], unimodal_r2=math.nan)
    first = explained(output(0, "true", image=image, text=part([0.5, -1.5]), table=age), predicted=2)
    both = [output(k, image=image, text=part([]), table=age) for k in (1, 2)]
    second = explained(*both, target=None, predicted=1, example=1)
    found = drawing(leaves)
    drawn = [(one, picture(found, one)) for one in (first, second)]
    table = table_of(found, drawn, "epoch 1")
    assert (table.key, len(table.rows), {len(row) for row in table.rows}) == ("dime/examples", 3, {len(table.columns)})
    kinds = {name: {type(row[k]) for row in table.rows} for k, name in enumerate(table.columns)}
    others = {"example": {int}, "picture": {np.ndarray}, "UC": {float}, "MI": {float}, "error of MI": {float}}
    assert kinds == {name: {str} for name in table.columns} | others
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["target"], row["predicted"], row["output"], row["when"]) == ("cat", "owl", "cat", "epoch 1")
    image, text, columns = row["drives UC"].split("; ")
    assert (image, text) == ("image: row 1, col 2 -2.00, row 1, col 1 +1.00", "text: apple -1.50, red +0.50")
    assert columns == "table: no effect"  # as in the picture; its weights are rounding
    assert row["drives MI"].startswith("image: row 2, col 2 +3.00 (?); text: ")  # nothing is said of weights of 0
    assert table.rows[1][table.columns.index("target")] == "unknown"
    np.testing.assert_array_equal(table.rows[2][2], drawn[1][1].pixels)


def moments(parts, first=0):
    return [Moment(f"epoch {k}", k, explained(output(**one))) for k, one in enumerate(parts, first)]


@pytest.mark.parametrize("count", [1, 2, 6, 7, 100])
def test_a_picture_over_epochs_thins_to_five_moments_the_first_and_the_last_among_them(count):
    kept = thinned(range(count))
    assert list(kept) == sorted(set(kept))
    assert (kept[0], kept[-1], len(kept)) == (0, count - 1, min(count, MOMENTS))


def test_a_picture_over_epochs_shows_five_maps_on_one_scale_and_curves_of_all_moments(words, monkeypatch):
    plotted, plot = [], Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda self, *a, **k: (plotted.append((k["label"], *a)), plot(self, *a, **k))[1])
    found = moments([{"image": part([(k + 1) / 20, 0, 0, 0], [0, 0, 0, -0.5])} for k in range(20)], first=3)
    image = picture_over_epochs(found, drawing(patches()), "dime/example_17_over_epochs")
    assert (image.pixels.shape[1:], image.pixels.dtype) == ((640, 3), np.uint8)
    assert (image.key, image.caption) == ("dime/example_17_over_epochs", "from epoch 3 to epoch 22")
    labels = [text for text in words if text.startswith("epoch ")]
    assert len(labels) == MOMENTS
    assert (labels[0], labels[-1]) == ("epoch 3", "epoch 22")
    assert [(label, list(x), y[0]) for label, x, y in plotted] == [
        (label, list(range(3, 23)), value) for label, value in (("UC", 0.25), ("MI", 0.75), ("sum", 1.0))
    ]
    ends = (np.abs(image.pixels.astype(int) - RED).max(-1) <= 2).nonzero()[1]
    maps = ends[ends < 560]  # right of them is the colour bar
    assert maps.min() > 430  # in the last map alone
    assert count(image.pixels[:, :560], coloured(-0.5)) > 6 * 500


def test_a_picture_over_epochs_lists_the_strongest_words_in_their_order(words):
    weights = [[0.0] * 14 for _ in range(3)]
    for moment, unit in ((0, 13), (1, 2), (2, 7)):
        weights[moment][unit] = 1.0
    found = moments([{"text": part(one)} for one in weights])
    pixels = picture_over_epochs(
        found, drawing({"text": text_leaf([" ".join(f"w{k}" for k in range(14))])}), "x"
    ).pixels
    listed = list(dict.fromkeys(text for text in words if text[0] == "w" and text[1:].isdigit()))
    assert len(listed) == 10
    assert {"w2", "w7", "w13"} <= set(listed)
    assert listed == sorted(listed, key=lambda name: int(name[1:]))
    assert count(pixels[:, :560], RED) > 6 * 500  # three weights, alone and together


def test_an_example_without_units_is_drawn():
    leaves = patches() | {"text": text_leaf(["", "a b"])}
    one = {"image": part([1, 0, 0, 0]), "text": part([], unimodal_r2=math.nan, interaction_r2=math.nan)}
    assert picture(drawing(leaves), explained(output(**one))).pixels.shape[1] == 640
    assert picture_over_epochs(moments([one, one]), drawing(leaves), "x").pixels.shape[1] == 640


SECRETS = {
    "image": lambda seed: (floats(8, 3, 8, 8, seed=seed), Modality("x", max_segments=4)),
    "strings": lambda seed: ([("we go on ", "extraordinarily " * 3)[seed] * 3] * 8, Modality("x")),
    "other words": lambda seed: ([("we go on", "of it is")[seed]] * 8, Modality("x")),
    "token ids": lambda seed: (
        integers(5, 8, 9) + 5 * seed,
        Modality("x", decode=[*"aeiou", *(f"internationally{k}" for k in range(5))]),
    ),
    "table": lambda seed: (floats(8, 3, seed=seed), Modality("x")),
    "series": lambda seed: (floats(8, 12, 2, seed=seed), Modality("x", kind="series", max_segments=4)),
    "audio": lambda seed: (floats(8, 400, seed=seed), Modality("x", kind="audio", max_segments=4)),
    "regions": lambda seed: (floats(8, 4, 6, seed=seed), Modality("x", boxes="boxes")),
    "graph": lambda seed: (floats(8, 6, 4, seed=seed), Modality("x", edges="edges", max_segments=4)),
}


@pytest.mark.slow
@pytest.mark.parametrize("words", [True, False], ids=["words", "pixels"])
@pytest.mark.parametrize("kind", spread(SECRETS, 3))
def test_nothing_of_the_inputs_is_seen_where_they_are_not_to_be_shown(kind, words):
    seen = {}
    for show in (True, False):
        for seed in (0, 1):
            leaves = {"x": SECRETS[kind](seed)}
            if kind == "regions":
                corners = floats(8, 4, 2, 2, seed=seed).sigmoid().sort(2).values.flatten(2)
                leaves["boxes"] = corners, None
            if kind == "graph":
                leaves["edges"] = integers(6, 8, 2, 7, seed=seed), None
            found = drawing(leaves, show_inputs=show)
            segments = found.modality_types["x"].segments.count(0)
            one = {"x": part([(-1) ** k * (k + 1) for k in range(segments)])}
            image = picture(found, explained(output(**one)))
            rows = table_of(found, [(explained(output(**one)), image)]).rows
            texts = [cell for row in rows for cell in row if not isinstance(cell, np.ndarray)]
            seen[show, seed] = (
                (image.pixels, picture_over_epochs(moments([one, one]), found, "f").pixels),
                (image.caption, texts),
            )
    hidden, other = seen[False, 0], seen[False, 1]
    if words:
        assert hidden[1] == other[1]
    else:
        assert all(np.array_equal(left, right) for left, right in zip(hidden[0], other[0], strict=True))
    assert not np.array_equal(seen[True, 0][0][0], seen[True, 1][0][0])


@pytest.mark.parametrize("names", [["US$ up", "US$ down"], ["a$\\b", "b$"], ["\u732b", "\u72ac"]])
def test_names_of_classes_and_words_are_drawn_whatever_they_are(names):
    found = drawing(patches() | {"text": text_leaf([" ".join(f"${name}$" for name in names)])}, class_names=names)
    one = {"image": part([1, 0, 0, 0]), "text": part([1] * len(found.modality_types["text"].names(0)))}
    for image in (
        picture(found, explained(output(**one), target=1)),
        picture_over_epochs(moments([one, one]), found, "x"),
    ):
        assert image.pixels.std() > 10


@pytest.mark.parametrize(
    ("task", "names", "predicted", "target", "headline", "split"),
    [
        ("multiclass", NAMES, 1, 1, "predicted dog (0.90), target dog - right", "cat (true): centred logit"),
        ("multiclass", None, 1, 2, "predicted class 1 (0.90), target class 2 - wrong", "class 0 (true): centred logit"),
        ("multiclass", NAMES, 1, None, "predicted dog (0.90)", "cat (true): centred logit"),
        ("binary", ["ham", "spam"], 1, 0, "predicted spam (0.90), target ham - wrong", "logit of spam (true): logit"),
        ("binary", ["spam"], 0, 0, "predicted not spam (0.90), target not spam - right", "logit of spam (true): logit"),
        ("binary", None, 1, 1, "predicted class 1 (0.90), target class 1 - right", "logit of class 1 (true): logit"),
        ("multilabel", NAMES, [0, 2], [0], "predicted cat, owl (0.90), target cat - wrong", "cat (true): logit"),
        ("multilabel", NAMES, [], [], "predicted none (0.90), target none - right", "cat (true): logit"),
        ("regression", None, 1.23456, 2.0, "predicted 1.235 (0.90), target 2", "output 0 (true):"),
        ("regression", ["price", "size"], [1.5, 2.25], None, "predicted 1.5, 2.25 (0.90)", "price (true):"),
    ],
)
def test_predictions_targets_and_outputs_are_named_for_every_task(task, names, predicted, target, headline, split):
    labels = Labels(task, names)
    assert labels.headline(explained(predicted=predicted, target=target)) == headline
    whole = "1" if task == "regression" else "1.00"
    assert decomposition(labels, output(0, "true")) == f"{split} {whole} = UC 0.25 + MI 0.75"
    negative = replace(output(0, "output"), interaction=-2.0, value=-1.75)
    less = "2" if task == "regression" else "2.00"
    assert decomposition(labels, negative) == split.replace(" (true)", "") + f" -1.75 = UC 0.25 - MI {less}"


def test_long_names_of_outputs_give_way_to_numbers_and_small_values_have_digits() -> None:
    long = Labels("multiclass", ["eine au\u00dfergew\u00f6hnlich lange Bezeichnung einer Klasse" * 2])
    said = decomposition(long, output(0, "true"))
    assert said.startswith("eine au\u00dfergew\u00f6hnlich l")
    assert said.endswith("\u2026 (true): centred logit 1.00 = UC 0.25 + MI 0.75")
    assert len(said) == len(long.valued(0, "true", 1.0)) == LETTERS
    small = replace(output(0, "output"), value=2e-5, unimodal=-1.5e-5, interaction=3.5e-5)
    assert decomposition(Labels("regression"), small) == "output 0: 2e-05 = UC -1.5e-05 + MI 3.5e-05"
    silent = replace(output(0, "output"), value=1.31, unimodal=1.31, interaction=-2.2e-16, error=4e-16)
    assert decomposition(Labels("regression", head="size", single=True), silent) == "size: 1.31 = UC 1.31 + MI 0"
    assert decomposition(Labels("regression", single=True), silent) == "output: 1.31 = UC 1.31 + MI 0"
    assert decomposition(Labels("multiclass"), silent) == "class 0: centred logit 1.31 = UC 1.31 + MI 0"
    found = drawing(patches())
    small = output(image=part([3e-5, 0, 0, 0]))
    table = table_of(found, [(explained(small), picture(found, explained(small)))])
    assert "+3e-5" in table.rows[0][9]


@pytest.mark.slow
def test_pictures_of_all_kinds_on_used_panels_are_those_on_new_ones():
    leaves = patches() | {"text": text_leaf()}
    one = {"image": part([1, 0, 0, -1], [0, 2, 0, 0]), "text": part([0.5, -1.5])}
    single, double = explained(output(**one)), explained(output(0, "true", **one), output(1, "predicted", **one))
    used = drawing(leaves)

    def draw(on):
        yield lambda: picture(on(), double).pixels
        yield lambda: picture_over_epochs(moments([one] * 3), on(), "x").pixels
        yield lambda: picture(on(), single).pixels
        yield lambda: picture_over_epochs(moments([one] * 2, first=4), on(), "x").pixels

    for first, again in zip(draw(lambda: drawing(leaves)), draw(lambda: used), strict=True):
        np.testing.assert_array_equal(first(), again())
    panels = len(used.canvas.figure.axes)
    for action in draw(lambda: used):
        action()
    assert len(used.canvas.figure.axes) == panels
