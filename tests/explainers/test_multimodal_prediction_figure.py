"""How sparse models are drawn and listed: bars, what activates their features, and the way to stage 3."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import planted
from helpers.pictured import pictured
from matplotlib.font_manager import FontProperties
from torch import nn

from mviz_lightning.explainers import MultimodalPrediction, MultimodalRepresentation
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.explainers.multimodal_prediction.figure import GAP, LOWERS, NAME, RAISES
from mviz_lightning.explainers.multimodal_prediction.result import PredictionResult, ReferenceExample
from mviz_lightning.explainers.multimodal_prediction.thumbnails import ACROSS as THUMBNAILS_ACROSS
from mviz_lightning.explainers.multimodal_prediction.thumbnails import MODALITIES, Stamps
from mviz_lightning.modalities.of_probe import modality_types_of
from mviz_lightning.plotting.canvas import DPI, WIDTH, Canvas
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.plotting.panels import MARGIN
from mviz_lightning.plotting.text_rendering import font
from mviz_lightning.sinks.records import Picture, Table

TASKS = ["multiclass", "binary", "multilabel", "regression"]
LONG = ["a class of a name that is long beyond all measure", "another, hardly shorter than the first", "third class"]
METHOD = MultimodalPrediction(name="method")
WHEN = "epoch 12 (step 3400)"


class Coloured(nn.Module):
    """Features: how red a picture is, the number of the second word, and a constant."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(3, outputs)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[2.0, 1, 0], [-2, 1, 0], [0, -2, 0]])[:outputs])
            self.head.bias.zero_()

    def forward(self, image, text):
        red, word = 4 * image[:, 0, 0, 0] - 1, text[:, 1] - 43.0
        return self.head(torch.stack([red, word, torch.ones(len(image))], 1))


@pytest.fixture(scope="module", params=TASKS)
def case(request):
    """Return task, session and result."""
    batch = planted.errors(request.param)[0]
    found = planted.session(Coloured(planted.OUTPUTS[request.param]), batch, task=request.param)
    found.explain(MultimodalRepresentation(features=[0], name="stage3"))
    result = found.explain(MultimodalPrediction(num_examples=3)).result
    assert isinstance(result, PredictionResult)
    assert all(one.effects for one in result.examples)
    return request.param, found, result


def drawing(found, task, **options):
    return DrawingContext(found.modality_types, Labels(task, LONG[1:] if task == "binary" else LONG), **options)


def test_there_is_a_picture_for_every_example_three_tables_and_a_summary(case) -> None:
    task, found, result = case
    records, _ = pictured(METHOD, result, drawing(found, task), WHEN)
    positions = [one.position for one in result.examples]
    assert list(records) == [
        *(f"method/example_{position}" for position in positions),
        "method/examples", "method/weights", "method/outputs", "method/summary",
    ]  # fmt: skip
    images = [record for record in records.values() if isinstance(record, Picture)]
    assert all(image.pixels.shape[1:] == (640, 3) and image.pixels.dtype == np.uint8 for image in images)
    for table in [record for record in records.values() if isinstance(record, Table)]:
        for name, *column in zip(table.columns, *table.rows, strict=True):
            assert len({type(cell) for cell in column}) <= 1, name


def test_features_stand_there_with_weight_activation_and_what_they_add(case) -> None:
    task, found, result = case
    _, written = pictured(METHOD, result, drawing(found, task), WHEN)
    for one in result.examples:
        lines = written[f"method/example_{one.position}"]
        assert f"Example {one.position}, {WHEN}" in lines[0]
        for effect in one.effects:
            at = lines.index(f"feature {effect.feature}")
            assert lines[at + 1] == f"{effect.weight:+.2g} x {effect.activation:+.2f} = {effect.effect:+.2g}"
        joined = " ".join(lines)
        assert f"from {result.non_zero[one.output]} of 3 features" in joined
        assert ("Here it predicts" in joined) == (task != "regression")
        assert ("the same." in joined) == bool(one.agrees)


@pytest.mark.long
def test_the_words_of_the_example_and_of_those_that_activate_a_feature_are_written(case) -> None:
    task, found, result = case
    _, written = pictured(METHOD, result, drawing(found, task))
    kind = found.modality_types["text"]
    for one in result.examples:
        lines = [line for line in written[f"method/example_{one.position}"] if "secret" in line]
        examples = [one.example]
        for effect in one.effects:
            examples += [strong.example for strong in result.activating[effect.feature]]
        assert [line[:13] for line in lines] == [" ".join(kind.names(example))[:13] for example in examples]


@pytest.mark.long
def test_pictures_of_the_example_and_of_those_that_activate_a_feature_are_drawn_in_order(case) -> None:
    task, found, result = case
    records, _ = pictured(METHOD, result, drawing(found, task))
    for one in result.examples:
        pixels = records[f"method/example_{one.position}"].pixels
        place = [first_of(pixels, colour_of(found, one.example))]
        for effect in one.effects:
            strong = result.activating[effect.feature]
            place += [first_of(pixels, colour_of(found, found_one.example), below=place[0]) for found_one in strong]
        assert all(row is not None for row in place)


def colour_of(found, example):
    red = float(found.probe.leaves["image"][example, 0, 0, 0])
    return np.array([round(255 * red), round(255 * (1 - red)), round(255 * 0.5)])


def first_of(pixels, colour, below=-1):
    """Return the first row, below some, in which a colour covers a stamp's width."""
    wide = (np.abs(pixels.astype(int) - colour).max(-1) <= 1).sum(1) >= 25
    rows = np.nonzero(wide)[0]
    return next((int(row) for row in rows if row > below), None)


@pytest.mark.long
def test_what_inputs_are_those_of_is_not_cut_off(case) -> None:
    task, found, result = case
    _, written = pictured(METHOD, result, drawing(found, task), WHEN)
    said = {line for lines in written.values() for line in lines if line == "most activating examples:"}
    assert [font(FontProperties(size=8), 8 * DPI / 72).getlength(words) <= 1.9 * DPI for words in said] == [True]


def test_bars_point_to_where_the_effect_goes(case) -> None:
    task, found, result = case
    records, _ = pictured(METHOD, result, drawing(found, task, show_inputs=False))
    for one in result.examples:
        pixels = records[f"method/example_{one.position}"].pixels
        largest = one.effects[0].effect
        colour = RAISES if largest > 0 else LOWERS
        rgb = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        columns = np.nonzero((pixels == rgb).all(-1).any(0))[0]
        left, right = DPI * (MARGIN + NAME), DPI * (WIDTH - MARGIN - GAP)
        middle = (left + right) / 2  # of the panel
        assert (columns.mean() > middle) == (largest > 0)
        # The zero line covers a pixel, and at either end one is of mixed colour.
        assert np.ptp(columns) + 1 == pytest.approx((right - left) / 2.16, abs=3)


def test_tables_lead_to_stage_three(case) -> None:
    task, found, result = case
    records, _ = pictured(METHOD, result, drawing(found, task), WHEN)
    table = records["method/examples"]
    effects = [(one, effect) for one in result.examples for effect in one.effects]
    for row, (one, effect) in zip(table.rows, effects, strict=True):
        named = dict(zip(table.columns, row, strict=True))
        assert (named["when"], named["example"]) == (WHEN, one.position)
        assert named["feature"] == f"feature {effect.feature}"
        assert named["weight x activation"] == effect.weight * effect.activation
        assert named["picture of MultimodalRepresentation"] == ("" if effect.feature else "stage3/feature_0")
        positions = [str(strong.position) for strong in result.activating[effect.feature]]
        assert named["most activating examples"] == ", ".join(positions)
        assert named["picture"] is records[f"method/example_{one.position}"].pixels
    weights = records["method/weights"]
    assert [row[1] for row in weights.rows] == [f"feature {feature}" for feature, *_ in result.weights]
    assert [row[4] for row in weights.rows] == ["" if feature else "stage3/feature_0" for feature, *_ in result.weights]
    assert [row[2] for row in records["method/outputs"].rows] == list(result.non_zero.values())


@pytest.mark.long
def test_without_inputs_nothing_of_them_is_told(case) -> None:
    task, found, result = case
    shown, _ = pictured(METHOD, result, drawing(found, task))
    records, written = pictured(METHOD, result, drawing(found, task, show_inputs=False))
    assert list(records) == list(shown)
    assert "secret" not in str(written) + str(planted.texts(list(records.values())))
    for key, record in records.items():
        if isinstance(record, Picture):
            assert len(record.pixels) < len(shown[key].pixels)
            assert not any("activate" in line for line in written[key])
    others, _ = pictured(
        MultimodalPrediction(name="method"),
        result,
        replace(drawing(found, task, show_inputs=False), modality_types=other_modality_types(found)),
    )
    for key, record in records.items():
        if isinstance(record, Picture):
            assert np.array_equal(record.pixels, others[key].pixels)


def other_modality_types(found):
    """Return the kinds of other inputs."""
    leaves = {path: leaf.flip(0) for path, leaf in found.probe.leaves.items()}
    return modality_types_of(replace(found.probe, leaves=leaves))


def test_an_output_that_is_always_or_never_predicted_takes_no_feature(case) -> None:
    task, found, result = case
    one = replace(result.examples[0], effects=[])
    bare = replace(result, examples=[one], non_zero={}, weights=[])
    records, written = pictured(METHOD, bare, drawing(found, task))
    lines = written[f"method/example_{one.position}"]
    assert "no feature" in lines
    assert "always or never" in " ".join(lines)
    assert records["method/examples"].rows == []


def test_without_examples_there_are_tables_alone(case) -> None:
    task, found, result = case
    records, _ = pictured(METHOD, replace(result, examples=[]), drawing(found, task))
    assert list(records) == ["method/weights", "method/outputs", "method/summary"]


@pytest.mark.long
def test_the_summary_says_how_far_the_sparse_model_goes(case) -> None:
    task, found, result = case
    values = {"fidelity": 0.876, "fidelity_baseline": 0.25, "accuracy": 0.6}
    known = replace(result, values=values, non_zero={0: 2, 1: 5}, penalty=0.0123, held_out=16)
    text = pictured(METHOD, known, drawing(found, task), WHEN)[0]["method/summary"].markdown
    assert text.startswith(
        f"**{WHEN}**: 2 to 5 of 3 features have a weight for an output (1 are constant); penalty 0.0123"
    )
    assert "chosen on 16 held-out examples" in text
    assert ("R² 0.876 (a constant: 0.250)" if task == "regression" else "88 % of the model's held-out") in text
    assert ("R² 0.600" if task == "regression" else "accuracy 0.600") in text
    del values["accuracy"]
    assert (
        "labels"
        not in pictured(METHOD, replace(known, values=values), drawing(found, task))[0]["method/summary"].markdown
    )


@pytest.mark.long
def test_one_canvas_serves_all_pictures(case, monkeypatch) -> None:
    task, found, result = case
    made, start = [], Canvas.__init__
    monkeypatch.setattr(Canvas, "__init__", lambda self, *sizes: (made.append(self), start(self, *sizes))[1])
    single = [replace(result, examples=[one]) for one in result.examples]
    alone = [next(iter(pictured(METHOD, one, drawing(found, task))[0].values())) for one in single]
    made.clear()
    together = list(pictured(METHOD, result, drawing(found, task))[0].values())
    assert len(made) == 1
    for one, other in zip(alone, together, strict=False):
        assert np.array_equal(one.pixels, other.pixels)


def test_modalities_that_cannot_be_read_so_small_are_left_out() -> None:
    kinds = planted_kinds()
    shown = Stamps.of(DrawingContext(kinds, Labels("binary")), 3).modality_types
    assert [kind.name for kind in shown.values()] == ["image", "text"]
    assert Stamps.of(DrawingContext({"table": kinds["table"]}, Labels("binary")), 3).modality_types == {}
    assert Stamps.of(DrawingContext(kinds, Labels("binary"), show_inputs=False), 3).modality_types == {}


def test_no_more_modalities_are_shown_than_there_is_room_for() -> None:
    image = planted_kinds()["image"]
    for count in range(1, 6):
        stamps = Stamps.of(DrawingContext({f"m{k}": image for k in range(count)}, Labels("binary")), 3)
        assert len(stamps.modality_types) == min(count, MODALITIES)
        assert stamps.width * len(stamps.modality_types) <= THUMBNAILS_ACROSS + 1e-9  # the rest is for the words
        assert stamps.left + stamps.width * len(stamps.modality_types) == pytest.approx(WIDTH - MARGIN)


def planted_kinds():
    batch = {**planted.errors("binary")[0], "table": torch.rand(planted.COUNT, 3)}
    module = planted.Pair(torch.linspace(-1, 1, planted.COUNT).unsqueeze(1), torch.zeros(planted.COUNT, 1))

    class Three(planted.Pair):
        def forward(self, image, text, table):
            return super().forward(image, text) + table[:, :1]

    found = planted.session(
        Three(module.unimodal.detach(), module.interaction.detach()), batch,
        {**planted.MODALITIES, "table": "table"}, task="binary", group_size=16, pairs=False,
    )  # fmt: skip
    return modality_types_of(found.probe)


def test_activating_examples_are_plain_data() -> None:
    assert ReferenceExample(3, 17) == ReferenceExample(example=3, position=17)
