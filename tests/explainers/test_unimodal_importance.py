"""What the explainer of unimodal importance says of models whose answers are known."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from explainers.test_multimodal_representation import session
from helpers.batches import LateFusion, floats, integers, seeded
from reference import importance as slow
from reference.slow import every_mask, mask_weights, weighted_ridge
from torch import Tensor, nn

from mviz_lightning import ConfigurationError, Modality
from mviz_lightning.explainers.unimodal_importance.explainer import NUM_TOTALS, UnimodalImportance
from mviz_lightning.explainers.unimodal_importance.result import (
    ExampleImportance,
    ImportanceResult,
    OutputImportance,
    SegmentAttribution,
)
from mviz_lightning.session.session import Session
from mviz_lightning.session.shared_rows import requested_rows

COUNT, UNITS = 96, {"a": 4, "b": 3}
METHODS = list(NUM_TOTALS)
FINE = {"steps": 256, "samples": 200_000}
"""So fine that methods have no error of their own: all masks there are, and LIME's penalty shared among them."""

TABLES = {name: Modality(name, kind="tabular", baseline="zero") for name in UNITS}


def tables(count: int = COUNT) -> dict[str, Tensor]:
    columns = {name: floats(count, segments, seed=segments) for name, segments in UNITS.items()}
    return {**columns, "label": integers(3, count, seed=9)}


class Known(nn.Module):
    """``forward(a, b)`` of three outputs, with weights ``(4, 3)`` and ``(3, 3)``."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(floats(4, 3, seed=5)), nn.Parameter(floats(3, 3, seed=6))


class Linear(Known):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ self.a + b @ self.b + 1

    def truth(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        return {"a": a.unsqueeze(-1) * self.a, "b": b.unsqueeze(-1) * self.b}


class Bilinear(Known):
    """All interaction: each modality, in the presence of the other, adds the whole output."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a @ self.a) * (b @ self.b)

    def truth(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        left, right = a @ self.a, b @ self.b
        return {"a": a.unsqueeze(-1) * self.a * right, "b": b.unsqueeze(-1) * self.b * left}


class Separable(Known):
    """A bend for every unit, and nothing between units."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return sum(part.sum(1) for part in self.truth(a, b).values())

    def truth(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        return {"a": (a.unsqueeze(-1) * self.a).tanh(), "b": (b.unsqueeze(-1) * self.b).sin()}

    def slopes(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        left, right = a.unsqueeze(-1) * self.a, b.unsqueeze(-1) * self.b
        return {"a": left / left.cosh().square(), "b": right * right.cos()}


def of(module: nn.Module, batch: Any = None, modalities: Any = TABLES, **options: Any) -> Session:
    settings = {"num_examples": 64, "group_size": 8, **options}
    return session(module, modalities, tables() if batch is None else batch, **settings)


def result_of(found: Session, **options: Any) -> ImportanceResult:
    explained = found.explain(UnimodalImportance(**options))
    assert isinstance(explained.result, ImportanceResult)
    assert explained.notes == []
    return explained.result


def values_of(found: Session, example: int) -> dict[str, Tensor]:
    assert found.probe is not None
    return {name: found.probe.leaves[name][example] for name in UNITS}


def row_of(found: Session, values: Mapping[str, Tensor]) -> Tensor:
    """Return the outputs of one row on its own."""
    module = found._tried.evaluator.module
    return module(**{name: value.unsqueeze(0) for name, value in values.items()})[0].detach()


def every_part(result: ImportanceResult) -> list[tuple[ExampleImportance, OutputImportance, str, SegmentAttribution]]:
    parts = [
        (example, output, name, part)
        for example in result.examples
        for output in example.outputs
        for name, part in output.parts.items()
    ]
    assert parts
    return parts


def assert_known(found: Session, result: ImportanceResult, truth: str = "truth", tolerance: float = 1e-4) -> None:
    """Every weight is what the model says of its units."""
    for example, output, name, part in every_part(result):
        module = found._tried.evaluator.module
        expected = getattr(module, truth)(**values_of(found, example.example))[name][:, output.output].detach()
        scale = float(expected.abs().max())
        torch.testing.assert_close(part.weights.float(), expected, rtol=0, atol=tolerance * scale)


# -- Known answers -----------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", [Linear, Bilinear])
def test_all_methods_find_what_is_linear_in_a_modality(model: type[nn.Module], method: str) -> None:
    found = of(model())
    assert_known(found, result_of(found, method=method, **FINE), tolerance=3e-4)


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion", "lime", "shap"])
def test_methods_that_look_at_the_whole_way_find_what_each_unit_adds(method: str) -> None:
    found = of(Separable())
    assert_known(found, result_of(found, method=method, **FINE), tolerance=3e-4)


def test_the_gradient_is_the_slope_times_the_way() -> None:
    found = of(Separable())
    result = result_of(found, method="gradient")
    assert_known(found, result, "slopes")
    with pytest.raises(AssertionError):
        assert_known(found, result, tolerance=0.1)


def test_sixteen_steps_are_near_and_all_masks_exact() -> None:
    found = of(Separable())
    for method, tolerance in (("integrated_gradients", 0.01), ("shap", 1e-4)):
        assert_known(found, result_of(found, method=method), tolerance=tolerance)


class Fused(nn.Module):
    """Units that interact in and across modalities."""

    def __init__(self) -> None:
        super().__init__()
        self.net = seeded(lambda: LateFusion(4, 3))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.net(3 * a, 3 * b)


def game(found: Session, example: int, name: str, output: int) -> slow.Game:
    """What one output is where only some units of a modality stay: one forward of one row."""
    values = values_of(found, example)

    def play(there: frozenset[int]) -> float:
        kept = torch.tensor([unit in there for unit in range(UNITS[name])])
        return float(row_of(found, {**values, name: values[name] * kept})[output])

    return play


@pytest.mark.parametrize(("method", "reference"), [("shap", slow.shapley_of_subsets), ("occlusion", slow.occluded)])
def test_units_that_interact_get_what_a_slow_count_gives(method: str, reference: Any) -> None:
    found = of(Fused())
    for example, output, name, part in every_part(result_of(found, method=method)):
        played = game(found, example.example, name, output.output)
        np.testing.assert_allclose(part.weights.numpy(), reference(played, UNITS[name]), atol=1e-5)


def test_lime_gives_a_slow_ridge_regression_on_the_masks() -> None:
    found = of(Fused())
    for example, output, name, part in every_part(result_of(found, method="lime")):
        masks = every_mask(UNITS[name])
        responses = slow.played(game(found, example.example, name, output.output), masks.astype(bool).tolist())
        _, expected = weighted_ridge(masks, responses, mask_weights(masks), alpha=len(masks) / 64)
        np.testing.assert_allclose(part.weights.numpy(), expected, atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_the_change_and_the_gap_are_those_of_the_model(method: str) -> None:
    found = of(Fused())
    for example, output, name, part in every_part(result_of(found, method=method)):
        played = game(found, example.example, name, output.output)
        whole, without = (played(frozenset(range(count))) for count in (UNITS[name], 0))
        assert output.value == pytest.approx(whole, abs=1e-5)
        assert part.change == pytest.approx(whole - without, abs=1e-5)
        weights = part.weights.tolist()
        scale = max(abs(part.change), sum(map(abs, weights)))
        assert part.gap == pytest.approx(abs(sum(weights) - part.change) / scale, abs=1e-9)


def test_weights_add_up_as_each_method_promises() -> None:
    found = of(Fused())
    gaps = {method: result_of(found, method=method, **FINE).values for method in METHODS}
    for name in UNITS:
        assert gaps["shap"][f"gap/{name}"] < 1e-6
        assert gaps["integrated_gradients"][f"gap/{name}"] < 1e-4
        assert gaps["gradient"][f"gap/{name}"] > 0.05
        assert gaps["occlusion"][f"gap/{name}"] > 0.05


def test_the_gap_is_a_share_of_what_changes_and_none_of_rounding() -> None:
    assert SegmentAttribution(torch.zeros(3), 0.0, "shap").gap == 0
    assert SegmentAttribution(torch.tensor([1e-7, 2e-7]), 1e-7, "shap", floor=1e-6).gap == 0
    assert SegmentAttribution(torch.tensor([1e-7, 2e-7]), 1e-7, "shap").gap == pytest.approx(2 / 3)
    assert SegmentAttribution(torch.tensor([1.0, -1.0]), 0.0, "gradient").gap == 0
    assert SegmentAttribution(torch.tensor([1.0, 1.0]), 0.0, "gradient").gap == 1


@pytest.mark.parametrize(("power", "trusted"), [(1, True), (4, False)])
def test_lime_tells_how_well_it_foretells_masks_and_others_do_not(power: int, trusted: bool) -> None:
    class Together(nn.Module):
        """The sum of four units, or their product: then no unit adds anything alone."""

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            joint = a.sum(1) if power == 1 else 10 * a.prod(1)
            return joint.unsqueeze(1) * torch.tensor([1.0, 2.0, 3.0]) + b

    found = of(Together())
    for method in METHODS:
        for _, _, name, part in every_part(result_of(found, method=method)):
            if name == "a" and method == "lime":
                assert part.r2 is not None
                assert (part.r2 >= 0.2) == trusted
            elif method != "lime":
                assert part.r2 is None


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:swapping 'b' among 16 examples leaves the scores bit-identical")
@pytest.mark.parametrize("hearing", [0.0, 1e-8], ids=["not at all", "within rounding"])
@pytest.mark.parametrize("method", METHODS)
def test_a_modality_that_is_not_used_adds_nothing(method: str, hearing: float) -> None:
    class Deaf(Linear):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return super().forward(a, hearing * b)

    result = result_of(of(Deaf()), method=method)
    for key in ("total", "share", "gap"):
        assert result.values[f"{key}/b"] == pytest.approx(0, abs=1e-6)
    assert result.values["share/a"] == pytest.approx(1)
    for _, _, name, part in every_part(result):
        assert part.has_effect == (name == "a")
        assert part.r2 is None or math.isnan(part.r2) == (name == "b")


# -- Which outputs -----------------------------------------------------------------------------------------------------


def test_the_true_and_the_predicted_class_are_explained() -> None:
    batch, module = tables(), Linear()
    said = module(batch["a"], batch["b"]).argmax(1)
    batch["label"] = torch.where(torch.arange(COUNT) % 8 > 0, said, batch["label"])
    found = of(module, batch)
    assert found.probe is not None
    result, kinds = result_of(found, num_examples=12), set()
    for example in result.examples:
        about, values = example, values_of(found, example.example)
        logits = row_of(found, values)
        true, predicted = int(found.probe.leaves["label"][about.example]), int(logits.argmax())
        roles = {true: "true and predicted"} if true == predicted else {true: "true", predicted: "predicted"}
        assert {output.output: output.role for output in example.outputs} == roles
        assert (about.target, about.predicted) == (true, predicted)
        assert about.probability == pytest.approx(float(logits.softmax(0)[predicted]), abs=1e-5)
        assert about.position == 1000 + int((tables()["a"] == values["a"]).all(1).nonzero())
        for output in example.outputs:
            assert output.value == pytest.approx(float(logits[output.output]), abs=1e-5)
        kinds |= set(roles.values())
    assert kinds == {"true and predicted", "true", "predicted"}
    assert_known(found, result)


@pytest.mark.parametrize("method", METHODS)
def test_outputs_are_explained_as_they_are_named_and_the_first_counts(method: str) -> None:
    found = of(Linear())
    result = result_of(found, method=method, outputs=[2, 0, 2], **FINE)
    for example in result.examples:
        assert [(output.output, output.role) for output in example.outputs] == [(2, "output"), (0, "output")]
    assert_known(found, result, tolerance=3e-4)
    assert result.values["total/a"] == pytest.approx(totals(found, method, output=2)["a"], rel=1e-3)


LABELS: dict[str, Any] = {
    "multiclass": integers(3, COUNT),
    "binary": integers(2, COUNT),
    "multilabel": integers(2, COUNT, 3),
    "regression": floats(COUNT),
    "regression of two": floats(COUNT, 2),
}


class Head(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.net, self.outputs = Linear(), outputs

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.net(a, b)[:, : self.outputs]

    def truth(self, a: Tensor, b: Tensor) -> Mapping[str, Tensor]:
        return self.net.truth(a, b)


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("kind", "outputs", "roles"),
    [
        ("multiclass", 3, {"true", "predicted", "true and predicted"}),
        ("binary", 1, {"output"}),
        ("multilabel", 3, {"true", "predicted", "true and predicted"}),
        ("regression", 1, {"output"}),
        ("regression of two", 2, {"output"}),
    ],
)
def test_every_task_is_explained(kind: str, outputs: int, roles: set[str], method: str) -> None:
    found = of(Head(outputs), {**tables(), "label": LABELS[kind]}, task=kind.split(" ", maxsplit=1)[0])
    result = result_of(found, method=method, num_examples=8, num_totals=4, **FINE)
    assert {output.role for _, output, _, _ in every_part(result)} <= roles
    assert_known(found, result, tolerance=3e-4)
    values = result.values
    assert set(values) == {f"{key}/{name}" for key in ("total", "share", "gap") for name in UNITS}
    assert values["share/a"] + values["share/b"] == pytest.approx(1)


def test_without_labels_the_predicted_class_is_explained() -> None:
    batch = {name: values for name, values in tables().items() if name != "label"}
    result = result_of(of(Linear(), batch, target=None, task="multiclass"))
    assert {output.role for _, output, _, _ in every_part(result)} == {"predicted"}
    assert all(example.target is None for example in result.examples)


# -- How modalities enter ----------------------------------------------------------------------------------------------

LONGEST, TOKENS = 5, 12


class Bag(nn.Module):
    """``forward(image, ids, mask)``: a token adds the numbers of its embedding, as often as the image is large."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(TOKENS, 3)

    def forward(self, image: Tensor, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        words = self.words(ids)
        words = words if mask is None else words * mask.unsqueeze(-1)
        return words.sum(1) * image.sum(1, keepdim=True)


def sentences(count: int = COUNT) -> dict[str, Tensor]:
    lengths = integers(LONGEST, count, seed=4) + 1
    mask = (torch.arange(LONGEST) < lengths.unsqueeze(1)).long()
    ids = (integers(TOKENS - 1, count, LONGEST, seed=5) + 1) * mask
    return {"image": floats(count, 2), "ids": ids, "mask": mask, "label": integers(3, count)}


@pytest.mark.long
@pytest.mark.parametrize("masked", [True, False], ids=["attention mask", "token 0"])
@pytest.mark.parametrize("method", METHODS)
def test_tokens_are_followed_to_their_embeddings(method: str, masked: bool) -> None:
    module, batch = seeded(Bag), sentences()
    text = Modality("ids", mask="mask") if masked else Modality("ids", pad_value=0, companions=["mask"])
    if not masked:
        batch["mask"] = torch.ones_like(batch["mask"])
    found = of(module, batch, {"image": "image", "text": text})
    assert found.probe is not None
    lengths = set()
    for example, output, name, part in every_part(result_of(found, method=method, num_examples=8, **FINE)):
        if name == "text":
            image, ids = (found.probe.leaves[key][example.example] for key in ("image", "ids"))
            without = 0.0 if masked else module.words.weight[0]
            expected = ((module.words.weight[ids[ids > 0]] - without)[:, output.output] * image.sum()).detach()
            scale = float(expected.abs().max())
            torch.testing.assert_close(part.weights.float(), expected, rtol=0, atol=4e-4 * scale)
            assert (part.method, part.reason) == (method, "")
            lengths.add(len(part.weights))
    assert len(lengths) > 2  # examples have units of their own


class Letters(nn.Module):
    """``forward(image, text)``: every word adds its number of letters."""

    def forward(self, image: Tensor, text: Sequence[str]) -> Tensor:
        letters = torch.tensor([float(len(words.replace(" ", ""))) for words in text])
        return image[:, :1] + letters.unsqueeze(1) * torch.tensor([1.0, -1.0, 2.0])


def spoken(count: int = COUNT) -> dict[str, Any]:
    texts = [" ".join("ab" * (1 + (row + place) % 3) for place in range(1 + row % 4)) for row in range(count)]
    return {"image": floats(count, 2), "text": texts, "label": integers(3, count)}


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_strings_are_occluded_where_nothing_can_be_derived(method: str) -> None:
    found = of(Letters(), spoken(), ["image", "text"])
    assert found.probe is not None
    lengths = set()
    for example, output, name, part in every_part(result_of(found, method=method, num_examples=8, **FINE)):
        derives = method in ("gradient", "integrated_gradients")
        if name == "image":
            assert (part.method, part.reason) == (method, "")
        else:
            asked = "occlusion" if derives else method
            assert (part.method, bool(part.reason)) == (asked, derives)
            assert "strings" in part.reason or not derives
            words = found.probe.leaves["text"][example.example].split()
            sign = [1.0, -1.0, 2.0][output.output]
            assert part.weights.tolist() == pytest.approx([len(word) * sign for word in words], rel=4e-4)
            lengths.add(len(words))
    assert lengths == {1, 2, 3, 4}


def test_strings_take_as_few_examples_for_totals_as_occlusion_does() -> None:
    found = of(Letters(), spoken(), ["image", "text"])
    methods, explainer = found._prepared(), UnimodalImportance(method="integrated_gradients")
    examples = methods.selection.examples(explainer, found._own)
    asked = explainer.plan(methods.probe_context, examples)
    assert found.probe is not None
    occluded = {*examples, *found.probe.groups.T.flatten()[: NUM_TOTALS["occlusion"]].tolist()}
    derived = {*examples, *found.probe.groups.T.flatten()[: NUM_TOTALS["integrated_gradients"]].tolist()}
    whole, _, _, *masked = asked.queries
    assert sorted(whole.sources[:, 0].tolist()) == sorted(derived)
    assert len(masked) == len(occluded) < len(derived)


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients"])
def test_an_encoder_that_is_detached_is_occluded_and_the_reason_given(method: str) -> None:
    class Detached(Separable):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return super().forward(a.detach(), b)

    found = of(Detached())
    result = result_of(found, method=method, **FINE)
    for _, _, name, part in every_part(result):
        assert part.method == (method if name == "b" else "occlusion")
        assert ("no gradient of the outputs reaches 'a'" in part.reason) == (name == "a")
        assert part.reason == "" or name == "a"
    if method == "integrated_gradients":
        assert_known(found, result, tolerance=3e-4)
        assert result.values["total/a"] == pytest.approx(totals(found, "occlusion")["a"], rel=1e-3)


@pytest.mark.filterwarnings("ignore:swapping 'a'")
def test_of_what_the_model_does_not_read_it_is_said_so() -> None:
    class Ignores(Separable):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return super().forward(torch.zeros(a.shape), b)

    reasons = {(name, part.reason) for _, _, name, part in every_part(result_of(of(Ignores()), method="gradient"))}
    assert reasons == {("a", "the model does not depend on a"), ("b", "")}


@pytest.mark.parametrize("method", METHODS)
def test_the_only_unit_of_a_modality_adds_the_whole_change(method: str) -> None:
    found = of(Linear(), modalities={**TABLES, "a": Modality("a", kind="tabular", baseline="zero", max_segments=1)})
    for _, _, name, part in every_part(result_of(found, method=method)):
        if name == "a":
            assert part.weights.tolist() == pytest.approx([part.change], rel=1e-4)


def test_three_modalities_are_explained_beside_one_another() -> None:
    class Three(nn.Module):
        def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
            return a[:, :3] * b + c

    modalities = {name: Modality(name, kind="tabular", baseline="zero") for name in "abc"}
    result = result_of(of(Three(), {**tables(), "c": floats(COUNT, 3, seed=8)}, modalities, group_size=12))
    assert set(result.examples[0].outputs[0].parts) == {"a", "b", "c"}
    assert sum(result.values[f"share/{name}"] for name in "abc") == pytest.approx(1)


# -- Totals ------------------------------------------------------------------------------------------------------------


def totals(found: Session, method: str, count: int | None = None, output: int | None = None) -> dict[str, float]:
    """Sum absolute weights up one example at a time: the first of every group, then the second of every group."""
    assert found.probe is not None
    chosen = [int(group[place]) for place in range(found.probe.groups.shape[1]) for group in found.probe.groups]
    chosen = chosen[: NUM_TOTALS[method] if count is None else count]
    module, sums = found._tried.evaluator.module, dict.fromkeys(UNITS, 0.0)
    for example in chosen:
        values = values_of(found, example)
        logits = row_of(found, values)
        counted = int(logits.argmax()) if output is None else output
        for name, truth in module.truth(**values).items():
            sums[name] += float(sum(abs(weight) for weight in truth[:, counted].tolist())) / len(chosen)
    return sums


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [None, 5])
def test_totals_are_those_of_a_slow_sum_over_examples(method: str, count: int | None) -> None:
    found = of(Bilinear(), task="multiclass")
    values = result_of(found, method=method, num_totals=count, **FINE).values
    expected = totals(found, method, count)
    for name, total in expected.items():
        assert values[f"total/{name}"] == pytest.approx(total, rel=1e-3)
        assert values[f"share/{name}"] == pytest.approx(total / sum(expected.values()), rel=1e-3)
        assert values[f"gap/{name}"] == pytest.approx(0, abs=1e-3)


def test_the_gap_is_a_mean_over_the_same_examples() -> None:
    found = of(Separable(), task="multiclass")
    values = result_of(found, method="gradient", num_totals=6).values
    gaps: dict[str, list[float]] = {name: [] for name in UNITS}
    assert found.probe is not None
    for example in found.probe.groups[:6, 0].tolist():
        columns = values_of(found, example)
        predicted = int(row_of(found, columns).argmax())
        module = found._tried.evaluator.module
        for name in UNITS:
            slopes, added = (getattr(module, side)(**columns)[name][:, predicted] for side in ("slopes", "truth"))
            gaps[name].append(SegmentAttribution(slopes.detach(), float(added.detach().sum()), "gradient").gap)
    for name, several in gaps.items():
        assert values[f"gap/{name}"] == pytest.approx(sum(several) / 6, rel=1e-4)
        assert max(several) > 1.2 * sum(several) / 6


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_asked_for_that_nobody_wants(method: str) -> None:
    found = of(Linear())
    without_totals = result_of(found, method=method, num_totals=0, name="pictures")
    assert without_totals.values == {}
    assert len(without_totals.examples) == 4
    without_examples = result_of(found, method=method, num_examples=0, num_totals=4, name="scalars")
    assert without_examples.examples == []
    assert without_examples.values["total/a"] == pytest.approx(totals(found, method, 4)["a"], rel=0.3)
    nothing = found.explain(UnimodalImportance(method=method, num_examples=0, num_totals=0, name="nothing"))
    assert (nothing.rows, nothing.result) == (0, ImportanceResult(examples=()))


def test_totals_do_not_depend_on_which_examples_are_drawn() -> None:
    found = of(Bilinear())
    few, many = (result_of(found, num_examples=count, name=f"{count}").values for count in (0, 12))
    assert few == pytest.approx(dict(many), abs=1e-6)


# -- What it costs -----------------------------------------------------------------------------------------------------

MASKS = {"occlusion": {"a": 4, "b": 3}, "lime": {"a": 16, "b": 8}, "shap": {"a": 14, "b": 6}}


@pytest.mark.parametrize("method", METHODS)
def test_it_costs_the_rows_that_are_said(method: str) -> None:
    found = of(Fused(), target=None, task="multiclass")  # one output each
    explainer = UnimodalImportance(method=method, num_totals=8, steps=5)
    explained = found.explain(explainer)
    result = explained.result
    assert isinstance(result, ImportanceResult)
    assert found.probe is not None
    drawn = {example.example for example in result.examples}
    everyone = drawn | {int(group[0]) for group in found.probe.groups}
    ends = 3 * len(everyone)
    if method in MASKS:
        # Masks of LIME hold the two ends, which were asked for already; so does occlusion of nothing but one.
        extra = sum(count - 2 * (method == "lime") for count in MASKS[method].values()) * len(everyone)
        assert explained.rows == ends + extra
    else:
        steps = 1 if method == "gradient" else 5
        assert explained.rows == ends + steps * 2 * len(everyone)


def test_it_is_left_out_where_the_budget_does_not_suffice() -> None:
    found = of(Fused())
    explainer = UnimodalImportance(num_totals=4, steps=3)
    methods = found._prepared()
    examples = methods.selection.examples(explainer, found._own)
    rows = requested_rows(explainer.plan(methods.probe_context, examples))
    result, notes = methods.explain(explainer, examples, rows)
    assert result is not None
    assert notes == []
    result, notes = methods.explain(explainer, examples, rows - 1)
    assert result is None
    assert notes == [f"importance was left out: it takes {rows} rows, and the budget has {rows - 1} more"]


@pytest.mark.slow
def test_the_same_is_found_whatever_the_chunks_and_whether_encodings_are_reused() -> None:
    results = [
        [part.weights for *_, part in every_part(result_of(of(Fused(), chunk_size=size, reuse=reuse), method=method))]
        for method in ("integrated_gradients", "shap")
        for size, reuse in ((128, True), (7, True), (128, False))
    ]
    for first, *others in (results[:3], results[3:]):
        for other in others:
            for expected, weights in zip(first, other, strict=True):
                torch.testing.assert_close(weights, expected, rtol=1e-3, atol=1e-5)


# -- Arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_examples": -1}, r"num_examples=-1\): give 0 or more"),
        ({"every_n_validations": 0}, r"every_n_validations=0\): give 1 or more"),
        ({"steps": 0}, r"steps=0\): give 1 or more"),
        ({"samples": 1}, r"samples=1\): give 2 or more"),
        ({"num_totals": -1}, r"num_totals=-1\): give 0 or more"),
        (
            {"method": "saliency"},
            r"method='saliency'\): choose one of gradient, integrated_gradients, occlusion, lime, shap",
        ),
        ({"outputs": []}, r"outputs=\[\]\): name at least one output, or leave outputs= out"),
    ],
)
def test_impossible_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        UnimodalImportance(**options)


@pytest.mark.parametrize("outputs", [[0, 3], [-1]])
def test_an_output_that_the_model_does_not_have_is_refused(outputs: list[int]) -> None:
    with pytest.raises(
        ConfigurationError, match=r"the model has 3 outputs; (3|-1) is out of range; allowed are 0 to 2"
    ):
        of(Linear(), explainers=[UnimodalImportance(outputs=outputs)])
