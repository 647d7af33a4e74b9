"""Sparse models of predictions, of models whose logits are a sparse linear function of their features."""

import numpy as np
import pytest
import torch
from helpers import planted
from helpers.batches import floats, integers
from jsonargparse import ArgumentParser
from reference import sparse as slow
from torch import nn

from mviz_lightning import ConfigurationError
from mviz_lightning.explainers import Explainer, MultimodalPrediction, MultimodalRepresentation
from mviz_lightning.explainers.multimodal_prediction.explainer import (
    ACTIVATED,
    BARS,
    WEIGHTS,
    PredictionResult,
    heaviest,
    held_out_half,
)
from mviz_lightning.explainers.multimodal_prediction.fidelity import FAMILIES, agreement, targets_of

COUNT, WIDTH = 400, 20
USED = {"multiclass": [3, 8, 12], "binary": [3, 8], "multilabel": [3, 8, 12], "regression": [3, 8]}
"""Features that the outputs depend on."""

TINY = 1e-6
"""A weight that changes the last bits of outputs, and no decision."""

TASKS = ["multiclass", "binary", "multilabel", "regression"]


class Sparse(nn.Module):
    """Features are the inputs of both modalities side by side; a head of few weights; two features are constant.

    The text has a weight too small to be found: a modality that changes no bit of the outputs is warned of.
    """

    def __init__(self, task: str, outputs: int | None = None) -> None:
        super().__init__()
        self.head = nn.Linear(WIDTH + 2, outputs or planted.OUTPUTS[task])
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias.zero_()
            self.head.weight[:, WIDTH - 1] = TINY
            for place, feature in enumerate(USED[task]):
                self.head.weight[place % len(self.head.weight), feature] = (-1.0) ** place * 3

    def forward(self, image, text):
        constant = torch.tensor([0.0, 0.3]).expand(len(image), 2)
        return self.head(torch.cat([image, text, constant], 1))


def batch(count=COUNT):
    return {"image": floats(count, WIDTH // 2, seed=1), "text": floats(count, WIDTH // 2, seed=2)}


def features_of(leaves):
    return torch.cat([leaves["image"], leaves["text"], torch.tensor([0.0, 0.3]).expand(len(leaves["image"]), 2)], 1)


def labelled(task, module, count=COUNT):
    found = batch(count)
    outputs = module(found["image"], found["text"]).detach()
    label = {
        "multiclass": outputs.argmax(1),
        "binary": (outputs[:, 0] > 0).long(),
        "multilabel": (outputs > 0).long(),
        "regression": outputs[:, 0] if outputs.shape[1] == 1 else outputs,
    }[task]
    return {**found, "label": label}


def session(task, module=None, examples=None, **options):
    module = module or Sparse(task)
    examples = labelled(task, module) if examples is None else examples
    settings = {"num_examples": 32, "task": task, **options}
    return planted.session(module, examples, ["image", "text"], **settings)


def result_of(found, **options) -> PredictionResult:
    explained = found.explain(MultimodalPrediction(**options))
    assert isinstance(explained.result, PredictionResult)
    return explained.result


@pytest.fixture(scope="module", params=TASKS)
def case(request):
    """Return task, session and result."""
    found = session(request.param)
    return request.param, found, result_of(found)


# -- What is planted is found again ------------------------------------------------------------------------------------


def test_planted_features_are_found_and_no_others_count(case) -> None:
    task, _, result = case
    outputs = planted.OUTPUTS[task]
    strength = torch.zeros(WIDTH + 2)
    for feature, _, weight in result.weights:
        strength[feature] = max(float(strength[feature]), abs(weight))
    order = strength.argsort(descending=True).tolist()
    assert sorted(order[: len(USED[task])]) == USED[task]
    assert float(strength[order[len(USED[task])]]) < 0.1 * float(strength[order[0]])
    signs = {(feature, place % outputs): (-1) ** place for place, feature in enumerate(USED[task])}
    found = {(feature, output): np.sign(weight) for feature, output, weight in result.weights}
    assert {key: found[key] for key in signs} == signs


@pytest.mark.long
def test_predictions_are_foretold_far_beyond_one_constant_answer(case) -> None:
    task, _, result = case
    values = result.values
    assert values["fidelity"] > 0.96
    assert values["accuracy"] == pytest.approx(values["fidelity"], abs=1e-6)  # the labels are what the model says
    assert values["fidelity_baseline"] < (0.05 if task == "regression" else 0.7)


def test_values_that_few_features_add_up_to_are_foretold_and_these_are_the_ones() -> None:
    result = result_of(session("regression"))
    assert {feature for feature, *_ in result.weights} == {3, 8}
    assert result.values["fidelity"] == pytest.approx(1, abs=1e-3)
    assert result.values["sparsity"] == 1 - 2 / (WIDTH + 2)
    assert result.non_zero == {0: 2}


def test_scalars_and_counts_agree(case) -> None:
    task, _, result = case
    assert set(result.values) == {"fidelity", "fidelity_baseline", "accuracy", "sparsity"}
    assert (result.features, result.constant) == (WIDTH + 2, 2)
    assert result.held_out == COUNT // 2
    assert set(result.non_zero) == set(range(planted.OUTPUTS[task]))
    used = sum(result.non_zero.values())
    assert result.values["sparsity"] == pytest.approx(1 - used / ((WIDTH + 2) * planted.OUTPUTS[task]))
    assert len(result.weights) == min(used, WEIGHTS)


def test_constant_features_have_no_weight(case) -> None:
    _, _, result = case
    assert {WIDTH, WIDTH + 1}.isdisjoint(feature for feature, *_ in result.weights)


class Noisy(Sparse):
    """What decides besides is no linear function of the features; or the least penalty would be the best one."""

    def forward(self, image, text):
        return super().forward(image, text) + 4 * torch.sin(50 * image[:, : self.head.out_features])


@pytest.mark.long
@pytest.mark.parametrize("task", TASKS)
def test_weights_and_fidelity_are_those_of_the_slow_elastic_net(task) -> None:
    found = session(task, Noisy(task))
    result = result_of(found)
    leaves, held_out = found.probe.leaves, half_of(found).numpy()
    features = features_of(leaves).double().numpy()[:, :WIDTH]  # the others are constant
    predicted = decided(found._tried.evaluator.module(leaves["image"], leaves["text"]).detach().double().numpy(), task)
    inside = features[~held_out]
    values = (features - inside.mean(0)) / inside.std(0)
    weights, intercept = slow.elastic_net(values[~held_out], predicted[~held_out], result.penalty, FAMILIES[task])
    assert len(result.weights) == np.count_nonzero(weights) > 0
    for feature, output, weight in result.weights:
        assert weight == pytest.approx(weights[feature, output], abs=1e-4)
    scores, unseen = (values @ weights + intercept)[held_out], predicted[held_out]
    assert result.values["fidelity"] == pytest.approx(fidelity(scores, unseen, task), abs=1e-6)


def decided(outputs, task):
    """Return what is fitted, in NumPy."""
    if task == "multiclass":
        return np.eye(outputs.shape[1])[outputs.argmax(1)]
    return (outputs - outputs.mean(0)) / outputs.std(0) if task == "regression" else (outputs > 0).astype(float)


def fidelity(scores, unseen, task):
    if task == "regression":
        return 1 - np.square(scores - unseen).sum() / np.square(unseen - unseen.mean(0)).sum()
    same = scores.argmax(1) == unseen.argmax(1) if task == "multiclass" else (scores > 0) == (unseen > 0.5)
    return same.mean()


def half_of(found):
    """Return which examples of a session that has explained are held out."""
    return held_out_half(found._runner.probe_context, torch.zeros(COUNT, 3))


# -- Examples ----------------------------------------------------------------------------------------------------------


def test_examples_are_ranked_by_weight_times_activation(case) -> None:
    task, found, result = case
    leaves, weights = found.probe.leaves, {(f, k): w for f, k, w in result.weights}
    features = features_of(leaves).double()
    assert len(result.examples) == 4
    for one in result.examples:
        effects = [abs(effect.effect) for effect in one.effects]
        assert effects == sorted(effects, reverse=True)
        assert 0 < len(effects) <= BARS
        for effect in one.effects:
            assert effect.effect == effect.weight * effect.activation
            if (effect.feature, one.output) in weights:
                assert effect.weight == weights[effect.feature, one.output]
            column = features[:, effect.feature]
            # Standardised on one half of the examples: the whole has nearly the same mean and deviation.
            about = (column[one.example] - column.mean()) / column.std()
            assert effect.activation == pytest.approx(float(about), abs=0.35)
        if task == "multiclass":
            assert one.output == one.predicted
        assert one.agrees is None if task == "regression" else isinstance(one.agrees, bool)
        assert found.positions[one.example] == one.position


def test_every_feature_that_is_named_has_the_examples_that_activate_it_most(case) -> None:
    _, found, result = case
    features, positions = features_of(found.probe.leaves), found.positions
    named = {feature for feature, *_ in result.weights}
    named |= {effect.feature for one in result.examples for effect in one.effects}
    assert set(result.activating) == named
    for feature, strong in result.activating.items():
        expected = sorted(range(COUNT), key=lambda k: -float(features[k, feature]))[:ACTIVATED]
        assert [one.example for one in strong] == expected
        assert [one.position for one in strong] == [positions[k] for k in expected]


def test_agreement_of_an_example_is_whether_the_sparse_model_says_the_same() -> None:
    result = result_of(session("multiclass"), num_examples=200, name="many")
    share = np.mean([one.agrees for one in result.examples])
    assert share == pytest.approx(result.values["fidelity"], abs=0.05)


# -- What cannot be told -----------------------------------------------------------------------------------------------


def test_a_class_that_is_never_predicted_is_left_out() -> None:
    module = Sparse("multiclass", 5)
    with torch.no_grad():
        module.head.bias[3:] = -50
    result = result_of(session("multiclass", module))
    assert set(result.non_zero) == {0, 1, 2}
    assert {output for _, output, _ in result.weights} <= {0, 1, 2}
    assert result.values["fidelity"] > 0.9


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:swapping 'text' among 16 examples leaves the scores bit-identical")
@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_predictions_that_are_always_the_same_need_no_feature(task) -> None:
    module = Sparse(task)
    with torch.no_grad():
        module.head.bias[0] = 1000
        module.head.weight[1:] = 0
        module.head.bias[1:] = -1000
    examples = {**labelled(task, module), "label": labelled(task, Sparse(task))["label"]}
    result = result_of(session(task, module, examples))
    assert (result.values["fidelity"], result.values["fidelity_baseline"]) == (1, 1)
    assert result.values["sparsity"] == 1
    assert (result.non_zero, result.weights, result.penalty) == ({}, [], 0)
    assert all(one.effects == [] and one.agrees for one in result.examples)


@pytest.mark.filterwarnings("ignore:swapping 'text' among 16 examples leaves the scores bit-identical")
def test_features_that_are_all_constant_foretell_what_one_answer_does() -> None:
    class Beside(Sparse):
        def forward(self, image, text):
            return self.head(torch.ones(len(image), WIDTH + 2)) + 3 * image[:, :3]

    result = result_of(session("multiclass", Beside("multiclass")))
    assert result.values["fidelity"] == result.values["fidelity_baseline"]
    assert (result.constant, result.weights) == (WIDTH + 2, [])


@pytest.mark.filterwarnings("ignore:swapping 'image' or 'text' among 16 examples leaves the scores bit-identical")
def test_values_that_never_vary_cannot_be_foretold() -> None:
    module = Sparse("regression")
    with torch.no_grad():
        module.head.weight.zero_()
        module.head.bias.fill_(0.1)
    examples = {**batch(), "label": floats(COUNT, seed=3)}
    with pytest.raises(RuntimeError, match="all values are constant, so a sparse model cannot predict them"):
        session("regression", module, examples).explain(MultimodalPrediction())


def test_several_values_of_which_one_never_varies() -> None:
    module = Sparse("regression", 2)
    with torch.no_grad():
        module.head.weight[0] = module.head.weight.sum(0)
        module.head.weight[1] = 0
        module.head.bias[1] = 0.1
    examples = {**batch(), "label": floats(COUNT, 2, seed=3)}
    result = result_of(session("regression", module, examples))
    assert result.values["fidelity"] == pytest.approx(1, abs=1e-3)
    assert {output for _, output, _ in result.weights} == {0}


def test_too_few_examples_are_refused() -> None:
    module = Sparse("binary")
    few = {name: leaf[:18] for name, leaf in labelled("binary", module).items()}
    found = session("binary", module, few, num_examples=16, group_size=8)
    with pytest.raises(RuntimeError, match=r"18 examples are too few for a sparse model; it takes 20 or more. Raise"):
        found.explain(MultimodalPrediction())


def test_without_labels_there_is_no_accuracy() -> None:
    result = result_of(session("multiclass", examples=batch(), target=None))
    assert set(result.values) == {"fidelity", "fidelity_baseline", "sparsity"}
    assert result.values["fidelity"] > 0.96
    assert all(one.target is None for one in result.examples)


def test_labels_of_nothing_are_not_foretold() -> None:
    module = Sparse("binary")
    examples = {**batch(), "label": integers(2, COUNT, seed=9)}
    values = result_of(session("binary", module, examples)).values
    assert values["fidelity"] > 0.96
    assert values["accuracy"] < 0.6


# -- Parts -------------------------------------------------------------------------------------------------------------


def test_halves_are_equally_large_and_hold_every_class_alike() -> None:
    found = session("multiclass")
    result_of(found)
    held = half_of(found)
    assert int(held.sum()) == COUNT // 2
    for label in range(3):
        own = held[found.probe.target == label]
        assert abs(int(own.sum()) - len(own) / 2) <= 1
    assert torch.equal(held, half_of(found))


def test_targets_are_what_a_sparse_model_is_fitted_to() -> None:
    logits = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    assert targets_of(logits, None, "multiclass").tolist() == [[0, 1], [1, 0]]
    assert targets_of(logits, torch.tensor([1, 1]), "multiclass").tolist() == [[0, 1], [0, 1]]
    assert targets_of(logits, None, "multilabel").tolist() == [[1, 1], [1, 0]]
    assert targets_of(logits[:, :1], torch.tensor([0, 1]), "binary").tolist() == [[0], [1]]
    assert targets_of(logits, None, "regression").tolist() == [[-1, 1], [1, -1]]
    assert targets_of(torch.full((2, 1), 0.1), None, "regression").tolist() == [[0], [0]]


def test_agreement_is_a_share_of_decisions_or_r2() -> None:
    targets, scores = torch.tensor([[1.0, 0], [0, 1], [0, 1]]), torch.tensor([[2.0, -1], [1, -1], [-1, 3]])
    assert agreement(scores, targets, "multiclass") == pytest.approx(2 / 3)
    assert agreement(scores, targets, "multilabel") == pytest.approx(4 / 6)
    values = torch.tensor([[1.0], [2.0], [3.0]])
    assert agreement(values, values, "regression") == 1
    assert agreement(torch.full((3, 1), 2.0), values, "regression") == 0
    assert agreement(torch.cat([values, values], 1), torch.cat([values, torch.ones(3, 1)], 1), "regression") == 1


def test_r2_leaves_out_constants_though_their_mean_is_rounded() -> None:
    values, constants = floats(49, 1).double(), torch.linspace(-1, 1, 50, dtype=torch.float64).expand(49, -1)
    assert ((constants - constants.mean(0)) != 0).any()
    assert agreement(torch.cat([values, constants + 1], 1), torch.cat([values, constants], 1), "regression") == 1
    with pytest.raises(RuntimeError, match="all values are constant"):
        agreement(constants + 1, constants, "regression")


def test_the_heaviest_weights_come_first_and_zeros_not_at_all() -> None:
    weights = torch.zeros(40, 2)
    weights[5, 1], weights[7, 0], weights[9, 1] = -3, 2, 1
    assert heaviest(weights) == [(5, 1, -3), (7, 0, 2), (9, 1, 1)]
    assert len(heaviest(torch.ones(40, 2))) == WEIGHTS


@pytest.mark.slow
def test_pictures_of_stage_three_are_named_where_they_show_the_same_features() -> None:
    found = session("multiclass")
    assert result_of(found).pictures == {}
    found.explain(MultimodalRepresentation(features=[3, 8], name="stage3"))
    found.explain(MultimodalRepresentation(features=[12], layer="head", name="elsewhere"))
    assert result_of(found).pictures == {3: "stage3/feature_3", 8: "stage3/feature_8"}
    assert result_of(found, layer="head", name="named").pictures == {12: "elsewhere/feature_12"}


# -- Arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_examples": -1}, r"MultimodalPrediction\(num_examples=-1\): give 0 or more"),
        ({"every_n_validations": 0}, r"MultimodalPrediction\(every_n_validations=0\): give 1 or more"),
    ],
)
def test_impossible_arguments_are_refused(options, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MultimodalPrediction(**options)


@pytest.mark.filterwarnings("ignore")  # jsonargparse's, of its own renamed methods
def test_it_is_built_from_yaml() -> None:
    parser = ArgumentParser()
    parser.add_argument("--explainer", type=Explainer)
    said = "{class_path: mviz_lightning.explainers.MultimodalPrediction, init_args: {num_examples: 3, layer: head}}"
    built = parser.instantiate_classes(parser.parse_args([f"--explainer={said}"])).explainer
    assert built == MultimodalPrediction(num_examples=3, layer="head")
    assert built.needs_features


def test_it_costs_a_forward_an_example() -> None:
    assert session("binary").explain(MultimodalPrediction()).rows == COUNT


@pytest.mark.slow
def test_other_features_are_taken_from_a_layer_that_is_named() -> None:
    class Deeper(Sparse):
        def __init__(self) -> None:
            super().__init__("multiclass")
            self.last = nn.Linear(3, 3)
            with torch.no_grad():
                self.last.weight.copy_(torch.eye(3))

        def forward(self, image, text):
            return self.last(super().forward(image, text))

    found = session("multiclass", Deeper())
    assert result_of(found, name="last").features == 3
    assert result_of(found, name="head", layer="head").features == WIDTH + 2
    with pytest.raises(ConfigurationError, match="nothing"):
        found.explain(MultimodalPrediction(name="none", layer="nothing"))
