"""What is said of a model's fused features, on models whose features are known."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.batches import floats, integers, probe_of, seeded
from matplotlib.text import Text as Letters
from reference import features as slow
from torch import Tensor, nn

from mviz_lightning import ConfigurationError, Modality
from mviz_lightning.batch import parse_modalities
from mviz_lightning.batch.rows import example_count
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.explainers.multimodal_representation.concepts import Concept, Trait, Traits, traits
from mviz_lightning.explainers.multimodal_representation.explainer import MultimodalRepresentation, in_turn
from mviz_lightning.explainers.multimodal_representation.figure import ACROSS, ROOM, colours_of
from mviz_lightning.explainers.multimodal_representation.result import ActivatingExample, Feature, Representation
from mviz_lightning.functional import contribution_shares
from mviz_lightning.metrics import ContributionShares
from mviz_lightning.modalities.of_probe import modality_types_of
from mviz_lightning.plotting import canvas
from mviz_lightning.plotting.canvas import DPI, Canvas
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.plotting.panels import GAP
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session
from mviz_lightning.session.shared_rows import requested_rows
from mviz_lightning.sinks.records import Picture, Table

COUNT = 160
WORDS = ["[PAD]", "red", "dog", "cat", "the", "a", "runs", "sleeps", "house"]
RED = 1


def data() -> dict[str, Tensor]:
    """Return images, texts of five words of which a quarter hold "red", labels, and a leaf of no modality."""
    image = floats(COUNT, 3, 4, 4, seed=1)
    text = integers(7, COUNT, 5, seed=2) + 2
    text[integers(4, COUNT, seed=3) == 0, 0] = RED
    brightness = image.mean((1, 2, 3))
    return {
        "image": image,
        "text": text,
        "label": (brightness > 0).long() + 2 * (text == RED).any(1),
        "camera": (brightness > 0.15).long(),
        "row": torch.arange(COUNT),
    }


class Planted(nn.Module):
    """Features of known dependence; the head gives four outputs, whatever they mean."""

    kinds = (0, 1, 2, 2, 1, -1, 0)
    """By feature: 0 the image, 1 the text, 2 both, -1 nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(7, 4)

    @staticmethod
    def planted(image: Tensor, text: Tensor) -> Tensor:
        a, b = 5 * image.mean((1, 2, 3)), ((text == 3).float().sum(1) - 0.7)
        red = 3 * (text == RED).any(1).float()
        return torch.stack([a, b, 2 * a * b, a + b, red, torch.full_like(a, 0.7), a.relu()], 1)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.head(self.planted(image, text))


MODALITIES = {"image": Modality("image"), "text": Modality("text", decode=WORDS, pad_value=0)}


def session(module: nn.Module, modalities=MODALITIES, examples=None, **options) -> Session:
    """Return a session whose run has been made."""
    settings = {"num_examples": 128, "group_size": 16, "reference": 512, "target": "label", **options}
    found, batch = (
        Session(SessionConfig(parse_modalities(modalities), **settings)),
        data() if examples is None else examples,
    )
    count = example_count(next(iter(batch.values())))
    found.collect(batch, lambda size: [None] * size)
    found.dry_run(module.eval())
    found.check()
    found.collect(batch, lambda _: [1000 + position for position in range(count)])
    found.complete()
    found.run()
    return found


def result_of(found: Session, **options) -> Representation:
    explained = found.explain(MultimodalRepresentation(**options))
    assert isinstance(explained.result, Representation)
    assert explained.notes == []
    return explained.result


@pytest.fixture(scope="module")
def planted() -> Session:
    return session(seeded(Planted))


@pytest.fixture(scope="module")
def result(planted) -> Representation:
    return result_of(planted, features_shown=7, name="fixed")


def test_planted_features_are_classed_right(result) -> None:
    assert result.kinds.tolist() == list(Planted.kinds)
    truth = {0: (1, 0, 0), 1: (0, 1, 0), 2: (0, 0, 1), 4: (0, 1, 0), 5: (0, 0, 0), 6: (1, 0, 0)}
    for number, shares in truth.items():
        assert result.shares[number].tolist() == pytest.approx(shares, abs=0.1)
    both = result.shares[3]
    assert float(both[:2].min()) > 0.2
    assert float(both[2]) == pytest.approx(0, abs=1e-6)


def test_scalars_count_the_classes(result) -> None:
    values = result.values
    assert (values["only_image"], values["only_text"], values["multimodal"]) == (2 / 6, 2 / 6, 2 / 6)
    assert values["dead"] == 1 / 7
    assert set(values) == {"only_image", "only_text", "multimodal", "dead", "rank", "rank_image", "rank_text"}


def test_ranks_are_those_of_real_examples_and_of_what_each_modality_adds(planted, result) -> None:
    leaves = planted.probe.leaves
    features = Planted.planted(leaves["image"], leaves["text"]).double()
    assert result.values["rank"] == pytest.approx(slow.effective_rank((features - features.mean(0)).numpy()), rel=1e-5)
    assert 1 < result.values["rank_image"] < 3.5  # a, and a.relu(); of the product what chance leaves
    assert 1 < result.values["rank_text"] < 3.5


def test_shares_of_every_feature_are_those_of_the_metric_with_that_one_output(planted, result) -> None:
    probe = planted.probe
    metric = ContributionShares(["image", "text"], task="regression", group_size=16)
    rows = probe.groups[:, metric.design.tuples]
    image, text = probe.leaves["image"][rows[..., 0].flatten()], probe.leaves["text"][rows[..., 1].flatten()]
    features = Planted.planted(image, text).view(*rows.shape[:2], -1)
    for feature in result.shown:
        components = torch.cat(
            [metric.design.components(group).unsqueeze(0) for group in features[..., [feature.number]].double()]
        )
        expected = contribution_shares(components, ["image", "text"])
        names = ["contribution/image", "contribution/text", "interaction"]
        sides = [feature.shares, feature.low, feature.high]
        for side, ending in zip(sides, ["", "_low", "_high"], strict=True):
            keys = [re.sub("^[a-z]+", lambda found, ending=ending: found[0] + ending, name) for name in names]
            assert side == pytest.approx([float(expected[key]) for key in keys], abs=1e-5)


def test_the_strongest_examples_are_exact_and_named_by_their_position(planted, result) -> None:
    leaves, positions = planted.probe.leaves, planted.positions
    features = Planted.planted(leaves["image"], leaves["text"])
    for feature in result.shown:
        expected = slow.strongest(features[:, feature.number].tolist(), 6)
        assert [strong.example for strong in feature.examples] == expected
        assert [strong.position for strong in feature.examples] == [positions[example] for example in expected]
        for strong in feature.examples:
            assert strong.activation == pytest.approx(float(features[strong.example, feature.number]), abs=1e-5)
            assert strong.target == int(leaves["label"][strong.example])


def test_a_planted_word_is_named_with_exact_counts(planted, result) -> None:
    concept = concepts_of(result, 4)[0]
    carrying = int((planted.probe.leaves["text"] == RED).any(1).sum())
    assert concept.trait in {Trait("word", "text", "red"), Trait("class", "label", 2), Trait("class", "label", 3)}
    red = next(found for found in concepts_of(result, 4) if found.trait.value == "red")
    assert (red.hits, red.drawn, red.having, red.total) == (carrying, carrying, carrying, COUNT)
    assert red.q < 1e-20


def test_a_planted_value_of_another_leaf_and_a_class_are_named(result) -> None:
    found = {concept.trait for concept in concepts_of(result, 0)}
    assert Trait("value", "camera", 1) in found
    assert all(trait.source != "row" for trait in found)


def test_a_feature_that_does_not_vary_is_not_chosen_and_has_no_strongest_examples(planted, result) -> None:
    assert sorted(feature.number for feature in result.shown) == [0, 1, 2, 3, 4, 6]
    named = result_of(planted, features=[5], name="named").shown[0]
    assert (named.kind, named.examples, named.concepts) == (-1, [], [])


def concepts_of(result: Representation, number: int) -> list[Concept]:
    return list(next(feature.concepts for feature in result.shown if feature.number == number))


def test_counts_and_certainty_of_concepts_are_those_of_a_slow_count(planted, result) -> None:
    leaves = planted.probe.leaves
    features = Planted.planted(leaves["image"], leaves["text"])
    known = traits(planted.probe, "multiclass")
    chances, drawn = {}, {}
    for feature in result.shown:
        values = features[:, feature.number].tolist()
        order = slow.strongest(values, COUNT)
        drawn[feature.number] = [i for i in order if values[i] >= values[order[min(16, len(order)) - 1]]]
        for trait in known.named:
            having = [i for i in range(COUNT) if has(leaves, i, trait)]
            hits = len(set(having) & set(drawn[feature.number]))
            chance = slow.at_least(hits, len(drawn[feature.number]), len(having), COUNT)
            chances[feature.number, trait] = float(chance), hits, len(having)
    q = dict(zip(chances, slow.benjamini_hochberg([p for p, *_ in chances.values()]), strict=True))
    for feature in result.shown:
        own = [trait for trait in known.named if q[feature.number, trait] < 0.05]
        assert len(feature.concepts) == min(3, len(own))
        for concept in feature.concepts:
            _, hits, having = chances[feature.number, concept.trait]
            assert (concept.hits, concept.having) == (hits, having)
            assert concept.drawn == len(drawn[feature.number])
            assert concept.q == pytest.approx(q[feature.number, concept.trait], rel=1e-6)


def has(leaves, example: int, trait: Trait) -> bool:
    if trait.kind == "word":
        return WORDS.index(str(trait.value)) in leaves["text"][example].tolist()
    return int(leaves["label" if trait.kind == "class" else trait.source][example]) == trait.value


# -- Which features are shown, and what is remembered ------------------------------------------------------------------


def test_classes_are_shown_in_turn_the_most_varying_first() -> None:
    kinds = torch.tensor([0, 0, 1, 2, 2, -1, 0])
    deviation = torch.tensor([1.0, 3.0, 0.5, 1.0, 2.0, 9.0, 2.0])
    assert in_turn(kinds, deviation) == [4, 2, 1, 3, 6, 0]


def test_the_same_features_are_shown_through_the_training_and_their_examples_compared() -> None:
    module = seeded(Scaled)
    found = session(module)
    first = result_of(found, features_shown=3)
    assert "overlap" not in first.values
    assert all(feature.overlap is None for feature in first.shown)
    module.scale.data = torch.tensor([0.1, 0.1, -1.0, 0.1, 9.0, 1.0, 5.0])
    second = result_of(found, features_shown=3)
    assert [feature.number for feature in second.shown] == [feature.number for feature in first.shown]
    for before, after in zip(first.shown, second.shown, strict=True):
        top = [{strong.position for strong in feature.examples} for feature in (before, after)]
        assert after.overlap == len(top[0] & top[1]) / len(top[0] | top[1])
    overlaps = {feature.number: feature.overlap for feature in second.shown}
    assert overlaps[2] == 0  # its sign was turned
    assert second.values["overlap"] == pytest.approx(np.mean(list(overlaps.values())))
    assert result_of(found, features_shown=3).values["overlap"] == 1


class Scaled(Planted):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(7))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.head(self.scale * self.planted(image, text))


def test_other_features_are_chosen_where_something_else_is_asked(planted) -> None:
    found = session(seeded(Planted))
    assert len(result_of(found, features_shown=2).shown) == 2
    assert len(result_of(found, features_shown=4).shown) == 4
    assert [feature.number for feature in result_of(found, features=[6, 1, 6]).shown] == [6, 1]
    assert result_of(found, features_shown=0).shown == []


def test_what_is_remembered_is_plain(result) -> None:
    def plain(value) -> bool:
        if type(value) is dict:
            return all(type(key) is str and plain(entry) for key, entry in value.items())
        return all(map(plain, value)) if type(value) is list else type(value) in (int, float, str)

    assert plain(result.memory)
    assert set(result.memory["top"]) == {str(feature.number) for feature in result.shown}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features_shown": -1}, r"features_shown=-1\): give 0 or more"),
        ({"examples_shown": 0}, r"examples_shown=0\): give 1 or more"),
        ({"every_n_validations": 0}, r"every_n_validations=0\): give 1 or more"),
        ({"features": []}, r"features=\[\]\): give numbers of features from 0 on"),
        ({"features": [2, -1]}, r"features=\[2, -1\]\): give numbers"),
        ({"features": "5"}, r"features='5'\): give numbers"),
        ({"features": ["5"]}, r"features=\['5'\]\): give numbers"),
        ({"features": 1.5}, r"features=1\.5\): give numbers"),
    ],
)
def test_impossible_arguments_are_refused(options, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MultimodalRepresentation(**options)


def test_a_feature_that_the_model_does_not_have_is_refused(planted) -> None:
    with pytest.raises(
        ConfigurationError, match=r"features=\[3, 7\]\): there are 7 features; 7 is out of range; allowed are 0 to 6"
    ):
        planted.explain(MultimodalRepresentation(features=[3, 7]))


def test_it_costs_the_rows_of_the_shares_and_those_of_the_reference_set(planted) -> None:
    grid, own = 128 * 16, 128
    assert planted.explain(MultimodalRepresentation(features_shown=0)).rows == grid + COUNT - own
    found = planted.explain(MultimodalRepresentation())
    top = {feature.examples[0].example for feature in found.result.shown}
    assert found.rows == grid + COUNT - own + len(top) * (16 + 5)  # patches and words


def test_a_budget_counts_the_closer_look(planted) -> None:
    grid, own = 128 * 16, 128
    asked = MultimodalRepresentation(features_shown=2).plan(planted._prepared().probe_context, [])
    assert asked.second_round_rows == 2 * (16 + 5)
    assert requested_rows(asked) == grid + COUNT - own + asked.second_round_rows


def test_parts_of_the_strongest_example_are_what_is_lost_without_them(planted, result) -> None:
    leaves, kinds = planted.probe.leaves, planted.modality_types
    filling = torch.as_tensor(kinds["image"].segments.baseline)
    for feature in result.shown:
        example, number = feature.examples[0].example, feature.number
        image, text = leaves["image"][[example]], leaves["text"][[example]]
        whole = Planted.planted(image, text)[0, number]
        for unit in range(16):
            masked = image.clone()
            place = (..., unit // 4, unit % 4)
            masked[place] = filling.expand_as(image)[place]
            lost = float(whole - Planted.planted(masked, text)[0, number])
            assert float(feature.parts["image"][unit]) == pytest.approx(lost, abs=1e-5)
        for unit in range(5):
            masked = text.clone()
            masked[0, unit] = 0
            lost = float(whole - Planted.planted(image, masked)[0, number])
            assert float(feature.parts["text"][unit]) == pytest.approx(lost, abs=1e-5)


# -- Tasks and numbers of modalities -----------------------------------------------------------------------------------


class Three(nn.Module):
    """Features of a, b, c, b * c and nothing."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(5, outputs)

    def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        parts = [a[:, 0], b[:, 0], c[:, 0], b[:, 1] * c[:, 1], torch.zeros(len(a))]
        return self.head(torch.stack(parts, 1))


TASKS = [("multiclass", 3), ("binary", 1), ("multilabel", 3), ("regression", 1), ("regression", 2)]


def three(task: str, outputs: int, count: int = 72) -> dict[str, Tensor]:
    batch = {name: floats(count, 2, seed=seed) for seed, name in enumerate("abc")}
    label = {
        "multiclass": integers(3, count, seed=5),
        "binary": (batch["a"][:, 0] > 0).long(),
        "multilabel": integers(2, count, outputs, seed=6),
        "regression": floats(count, outputs, seed=7).squeeze(1),
    }[task]
    return {**batch, "label": label}


@pytest.mark.long
@pytest.mark.parametrize(("task", "outputs"), TASKS)
def test_three_modalities_and_every_task(task, outputs) -> None:
    module = seeded(lambda: Three(outputs))
    settings = {"modalities": ["a", "b", "c"], "num_examples": 72, "group_size": 12, "task": task}
    found = session(module, examples=three(task, outputs), **settings)
    result = result_of(found, features_shown=2)
    assert result.kinds.tolist() == [0, 1, 2, 3, -1]
    assert result.values["rank_a"] == pytest.approx(1, abs=1e-5)  # the interaction of the others adds nothing
    records = drawn(result, found, task)
    assert [feature.kind for feature in result.shown] == [3, 2]
    assert len(records) == 1 + 2 + 1


def test_without_labels_and_without_a_task() -> None:
    batch = {name: leaf for name, leaf in three("binary", 1).items() if name != "label"}
    settings = {"modalities": ["a", "b", "c"], "num_examples": 72, "group_size": 12, "target": None}
    result = result_of(session(seeded(lambda: Three(1)), examples=batch, **settings))
    assert result.kinds.tolist() == [0, 1, 2, 3, -1]
    assert all(strong.target is None for feature in result.shown for strong in feature.examples)


class Late(nn.Module):
    """Two logits that are added: the last linear layer sees the text alone."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(48, 4), nn.Linear(5, 4)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.image(image.flatten(1)) + self.text(text.float())


def test_a_layer_before_the_fusion_is_told() -> None:
    found = session(seeded(Late))
    result = result_of(found)
    assert result.unfused == "text"
    assert result.values["only_text"] == 1
    assert result.values["rank_image"] == 0
    assert "give a later layer=" in " ".join(written(result, found, "overview").split())
    assert result_of(session(seeded(Planted))).unfused is None


@pytest.mark.filterwarnings("ignore:swapping 'image' among 16 examples leaves the scores bit-identical")
def test_a_model_that_follows_one_modality_is_not_told_of_another_layer() -> None:
    class TextOnly(Planted):
        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            return self.head(self.planted(torch.zeros_like(image), text))

    assert result_of(session(seeded(TextOnly))).unfused is None


@pytest.mark.filterwarnings("ignore:swapping 'text' among 16 examples leaves the scores bit-identical")
def test_a_model_all_of_whose_features_are_dead() -> None:
    class Dead(Planted):
        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            return self.head(torch.zeros(len(image), 7)) + image.mean((1, 2, 3))[:, None] * torch.arange(4)

    found = session(seeded(Dead))
    result = result_of(found)
    assert result.values == {
        "only_image": 0, "only_text": 0, "multimodal": 0, "dead": 1, "rank": 0, "rank_image": 0, "rank_text": 0
    }  # fmt: skip
    assert [record.key for record in drawn(result, found)] == ["method/overview"]


# -- Traits ------------------------------------------------------------------------------------------------------------


def test_traits_are_words_classes_and_few_distinct_values_that_are_frequent() -> None:
    batch = {
        "text": ["The cat.", "the dog", "THE cat", "(cat) a", "b", "c"],
        "image": torch.ones(6, 2),
        "label": torch.tensor([0, 1, 0, 0, 1, 2]),
        "site": ["x", "x", "x", "y", "y", "x"],
        "flag": torch.tensor([[1], [1], [1], [0], [0], [0]]).bool(),
        "weight": floats(6),
        "box": torch.ones(6, 4, dtype=torch.long),
    }
    found = traits(probe_of(batch, ("image", "text"), "label"), "multiclass")
    carriers = {trait: found.carriers[:, k].nonzero().flatten().tolist() for k, trait in enumerate(found.named)}
    assert carriers == {
        Trait("word", "text", "the"): [0, 1, 2],
        Trait("word", "text", "cat"): [0, 2, 3],
        Trait("class", "label", 0): [0, 2, 3],
        Trait("value", "site", "x"): [0, 1, 2, 5],
        Trait("value", "flag", True): [0, 1, 2],
        Trait("value", "flag", False): [3, 4, 5],
    }


def test_labels_that_are_on_are_traits_and_values_to_regress_on_are_none() -> None:
    batch = {"a": floats(4, 2), "b": floats(4, 2), "label": torch.tensor([[1, 0], [1, 1], [1, 0], [0, 0]])}
    probe = probe_of(batch, ("a", "b"), "label")
    assert traits(probe, "multilabel").named == [Trait("class", "label", 0)]
    assert traits(probe, "regression").named == []


def test_every_word_of_a_long_text_counts() -> None:
    words = [f"w{k}" for k in range(200)]
    probe = probe_of({"image": floats(4, 2), "text": [" ".join(words)] * 4}, ("image", "text"))
    assert [trait.value for trait in traits(probe, "multiclass").named] == words


def test_without_traits_or_groups_there_is_no_concept() -> None:
    nothing = Traits([], torch.zeros(6, 0, dtype=torch.bool))
    assert nothing.concepts([[0, 1], [2]]) == [[], []]
    assert nothing.concepts([]) == []


# -- Pictures ----------------------------------------------------------------------------------------------------------


def drawn(result, found, task="multiclass", *, show_inputs=True):
    return MultimodalRepresentation(name="method").draw(
        result, DrawingContext(found.modality_types, Labels(task), show_inputs), "epoch 3"
    )


def written(result, found, name, **options) -> str:
    """Return all that is written in one picture."""
    wanted = [feature for feature in result.shown if f"feature_{feature.number}" == name]
    with pytest.MonkeyPatch.context() as patch:
        seen: list[str] = []

        def read(figure):
            seen.append("\n".join(text.get_text() for text in figure.findobj(Letters)))
            return canvas_pixels(figure)

        canvas_pixels = canvas.pixels
        patch.setattr(canvas, "pixels", read)
        records = drawn(replace(result, shown=wanted), found, **options)
    assert len(seen) == len(records) - len(wanted)  # all but the table
    return seen[-1] if name == "overview" else seen[0]


def test_there_is_a_picture_for_every_feature_an_overview_and_a_table(planted, result) -> None:
    records = drawn(result, planted)
    numbers = [feature.number for feature in result.shown]
    assert [record.key for record in records] == [
        "method/overview", *(f"method/feature_{number}" for number in numbers), "method/features"
    ]  # fmt: skip
    images = [record for record in records if isinstance(record, Picture)]
    assert all(image.pixels.shape[1:] == (640, 3) and image.pixels.dtype == np.uint8 for image in images)
    table = records[-1]
    assert isinstance(table, Table)
    assert [row[1] for row in table.rows] == numbers
    assert [row[3] for row in table.rows] == [
        ["image only", "text only", "multimodal"][feature.kind] for feature in result.shown
    ]
    for column in zip(*table.rows, strict=True):
        assert len({type(cell) for cell in column}) == 1


def test_a_picture_says_what_a_feature_follows_and_what_its_strongest_have_in_common(planted, result) -> None:
    words = written(result, planted, "feature_4")
    carrying = int((planted.probe.leaves["text"] == RED).any(1).sum())
    assert "Feature 4, epoch 3: text only" in words
    assert f"'red' in {carrying} of {carrying} (of all: {carrying} of 160)" in words
    assert "The 6 of 160 examples that activate it most:" in words
    assert all(f"#{strong.position}" in words for strong in feature_of(result, 4).examples)


def feature_of(result, number) -> Feature:
    return next(feature for feature in result.shown if feature.number == number)


@pytest.mark.slow
def test_where_nothing_stands_out_that_is_said(planted, result) -> None:
    plain = replace(result, shown=[replace(feature_of(result, 4), concepts=[])])
    assert "none stands out" in written(plain, planted, "feature_4")


def test_a_constant_feature_is_drawn_without_examples(planted) -> None:
    found = session(seeded(Planted))
    words = written(result_of(found, features=[5]), found, "feature_5")
    assert "The feature has the same value in all 160 examples." in words


def test_without_inputs_no_words_no_values_and_no_pictures_are_shown(planted, result) -> None:
    two = replace(result, shown=[feature_of(result, 4), feature_of(result, 0)])
    shown, hidden = ({record.key: record for record in drawn(two, planted, show_inputs=show)} for show in (True, False))
    words = written(result, planted, "feature_4", show_inputs=False)
    assert "red" not in words
    assert "1 not shown" in words or "2 not shown" in words
    assert "camera" not in written(result, planted, "feature_0", show_inputs=False)
    assert hidden["method/feature_0"].pixels.shape[0] < shown["method/feature_0"].pixels.shape[0]
    cells = [cell for row in hidden["method/features"].rows for cell in row if isinstance(cell, str)]
    assert not any("red" in cell or "camera" in cell for cell in cells)


def test_the_bar_is_as_long_as_the_shares(planted, result) -> None:
    feature = replace(feature_of(result, 4), shares=[0.25, 0.5, 0.25])
    pixels = drawn(replace(result, shown=[feature]), planted)[1].pixels
    for colour, share in zip(colours_of(result), feature.shares, strict=True):
        rgb = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        longest = int((pixels == rgb).all(-1).sum(1).max())  # of all rows, those of the bar have most of a colour
        assert longest == pytest.approx(ROOM * DPI * share, abs=4)


def test_images_are_drawn_small_and_in_order() -> None:
    batch = {"image": torch.zeros(8, 3, 4, 4), "rest": torch.ones(8, 2)}
    for example in range(8):
        batch["image"][example, example % 3] = 1
    kinds = modality_types_of(probe_of(batch, {"image": Modality("image"), "rest": Modality("rest")}))
    examples = [ActivatingExample(example, 10 + example, 1.0, None) for example in (2, 0, 1)]
    feature = Feature(0, 0, [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], 1.0, examples, [], None)
    result = Representation(
        modalities=["image", "rest"], kinds=torch.tensor([0]), shares=torch.tensor([[1.0, 0, 0]]), total=8,
        shown=[feature],
    )  # fmt: skip
    drawing = DrawingContext({"image": kinds["image"]}, Labels("multiclass"))
    pixels = MultimodalRepresentation(name="method").draw(result, drawing, "")[1].pixels
    lefts = [
        int((pixels == colour).all(-1).any(0).nonzero()[0][0]) for colour in ([0, 0, 255], [255, 0, 0], [0, 255, 0])
    ]
    assert lefts == sorted(lefts)
    assert lefts[1] - lefts[0] == pytest.approx((ROOM + GAP) / ACROSS * DPI, abs=3)


def test_one_canvas_serves_all_pictures(planted, result, monkeypatch) -> None:
    made = []
    start = Canvas.__init__
    monkeypatch.setattr(Canvas, "__init__", lambda self, *sizes: (made.append(self), start(self, *sizes))[1])
    drawn(result, planted)
    assert len(made) == 1
