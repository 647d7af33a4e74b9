"""Where the fused features of a model are found, and that they are those that its last layer is given."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from helpers.batches import FAMILIES, LateFusion, ModelCase, call_inputs, call_named, floats, probe_of, seeded
from torch import Tensor, nn

from mviz_lightning import ConfigurationError
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.features import find_layer, require_layer, with_features
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.engine.query import Derivative, Query
from mviz_lightning.explainers import Explainer, ProbeContext, Request, Responses, Result
from mviz_lightning.functional import design
from mviz_lightning.session.runner import Runner
from mviz_lightning.session.shared_rows import requested_rows
from mviz_lightning.sinks.records import Record

COUNT = 16


def pair(count: int = COUNT) -> dict[str, Tensor]:
    return {"image": floats(count, 4), "text": floats(count, 3, seed=1)}


class Fused(nn.Module):
    """Two encoders, a fusion of 5 features, and a head that is not the last linear layer to be called."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.image_net = nn.Sequential(nn.Linear(4, 5), nn.Tanh())
        self.text_net = nn.Sequential(nn.Linear(3, 5), nn.Tanh())
        self.fusion = nn.Linear(10, 5)
        self.head = nn.Linear(5, outputs)
        self.auxiliary = nn.Linear(5, 7)

    def fused(self, image: Tensor, text: Tensor) -> Tensor:
        return self.fusion(torch.cat([self.image_net(image), self.text_net(text)], 1)).relu()

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        features = self.fused(image, text)
        return self.head(features), self.auxiliary(features)


def test_the_layer_whose_output_is_the_scores_is_found_though_another_is_called_later() -> None:
    assert find_layer(seeded(Fused), call_named, pair()) == "head"


class Siamese(nn.Module):
    """The same head for both modalities."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Linear(4, 5), nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.head(self.left(image)) + self.head(self.right(text))


def test_otherwise_the_last_one_that_was_called() -> None:
    assert find_layer(seeded(LateFusion), call_named, pair()) == "text_net.2"
    module = seeded(Siamese)
    assert find_layer(module, call_named, pair()) == "head"
    found = with_features(call_named, "head")(module, pair())
    assert torch.equal(found[:, :5], module.right(pair()["text"]))  # what the last call was given


def test_scores_of_one_column_are_recognised_however_they_are_shaped() -> None:
    module = seeded(lambda: Fused(1))
    assert find_layer(module, lambda module, batch: call_named(module, batch)[0].squeeze(1), pair()) == "head"


class Steps(nn.Module):
    """A linear layer that is called on every step of a sequence, and one on the whole."""

    def __init__(self, *, pooled: bool) -> None:
        super().__init__()
        self.head = nn.Linear(7, 3)
        self.steps = nn.Linear(7, 3)
        self.pooled = pooled

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        both = torch.cat([image, text], 1)
        stepped = self.steps(both.unsqueeze(1).expand(-1, 4, -1)).mean(1)
        return self.head(both) + stepped if self.pooled else stepped


def test_layers_that_are_called_on_sequences_do_not_count() -> None:
    assert find_layer(seeded(lambda: Steps(pooled=True)), call_named, pair()) == "head"
    with pytest.raises(ConfigurationError, match=r"Steps calls no linear layer on one vector for each example.*layer="):
        find_layer(seeded(lambda: Steps(pooled=False)), call_named, pair())


class NoLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Bilinear(4, 3, 2)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.head(image, text)


def test_a_model_without_linear_layers_is_told_to_name_one() -> None:
    module = seeded(NoLinear)
    with pytest.raises(ConfigurationError, match="NoLinear calls no linear layer"):
        find_layer(module, call_named, pair())
    found = with_features(call_named, "head")(module, pair())
    assert torch.equal(found[:, :4], pair()["image"])  # the first argument


@pytest.mark.parametrize("layer", ["head", "fusion", "image_net"])
def test_features_are_what_the_layer_is_given_and_the_scores_follow(layer) -> None:
    module, batch = seeded(Fused), pair()
    encoded = torch.cat([module.image_net(batch["image"]), module.text_net(batch["text"])], 1)
    given = {"head": module.fused(**batch), "fusion": encoded, "image_net": batch["image"]}[layer]
    found = with_features(call_named, layer)(module, batch)
    assert torch.equal(found, torch.cat([given, module(**batch)[0]], 1))


class InPlace(nn.Module):
    """A layer behind which the features are overwritten."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = nn.ReLU(inplace=True)
        self.head = nn.Linear(7, 2)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        both = torch.cat([image, text], 1)
        scores = self.head(self.activation(both))
        both.zero_()
        return scores


def test_features_are_those_before_the_layer_works_in_place() -> None:
    batch = pair()
    both = torch.cat([batch["image"], batch["text"]], 1)
    found = {
        layer: with_features(call_named, layer)(seeded(InPlace), batch)[:, :7].detach()
        for layer in ("activation", "head")
    }
    assert torch.equal(found["activation"], both)
    assert torch.equal(found["head"], both.relu())


def test_features_of_several_axes_are_flattened() -> None:
    found = with_features(call_named, "steps")(seeded(lambda: Steps(pooled=True)), pair())
    assert found.shape == (COUNT, 4 * 7 + 3)


def test_a_layer_that_is_not_there_or_not_called_or_of_another_length_is_named() -> None:
    module = seeded(Fused)
    with pytest.raises(ConfigurationError, match=r"layer='hed'.*no such submodule.*fusion, head, auxiliary"):
        require_layer(module, "hed")
    require_layer(module, "image_net.0")
    module.idle = nn.Linear(2, 2)
    with pytest.raises(ConfigurationError, match="layer='idle' is not called"):
        with_features(call_named, "idle")(module, pair())

    def transposed(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        module.idle(floats(3, 2))
        return module(**batch)

    with pytest.raises(ConfigurationError, match=r"layer='idle' is given \(3, 2\) for 16 examples"):
        with_features(transposed, "idle")(module, pair())


class ListHead(nn.Module):
    """A head that is given a list."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(7, 2)

    def forward(self, parts: list[Tensor]) -> Tensor:
        return self.net(torch.cat(parts, 1))


class GivesList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = ListHead()

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.head([image, text])


def test_a_layer_that_is_given_no_tensor_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"layer='head' is given no tensor; name another submodule"):
        with_features(call_named, "head")(seeded(GivesList), pair())
    assert find_layer(seeded(GivesList), call_named, pair()) == "head.net"


def test_no_wrapper_stays_on_the_model() -> None:
    module = seeded(Fused)
    find_layer(module, call_named, pair())
    with_features(call_named, "head")(module, pair())
    assert all("forward" not in vars(child) for child in module.modules())


# -- The features of a layer -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Seen(Result):
    responses: Responses


@dataclass(frozen=True, kw_only=True)
class Ask(Explainer):
    """Asks for all recombinations of the group and for all examples as they are."""

    name: str = "ask"
    every_n_validations: int = 1
    layer: str | None = None
    needs_features = True

    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        probe = probe_context.probe
        recombined = Query(probe.groups[:, probe_context.design.tuples].flatten(0, 1))
        return Request([recombined, Query.aligned(torch.arange(probe.size), len(probe.schema.names))])

    def explain(self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses) -> Seen:
        return Seen(responses=responses, memory={"times": responses.memory.get("times", 0) + 1})

    def draw(self, result: Result, *_: object) -> Sequence[Record]:
        return ()


def runner(module: nn.Module, batch=None, modalities=("image", "text"), predict=call_named, **options) -> Runner:
    probe = probe_of(pair() if batch is None else batch, modalities)
    names, outputs = probe.schema.names, options.pop("outputs", 3)
    plan = design(len(names), probe.size)
    probe_context = ProbeContext(probe, options.pop("task", "multiclass"), plan, list(range(probe.size)))
    return Runner(probe_context, Evaluator(module.eval(), predict, **options), Ranks(), outputs)


def rows_of(found: Runner) -> dict[str, Tensor]:
    """Return the recombined and the aligned rows, as the explainer asks for them."""
    tuples = torch.cat([found.probe_context.design.tuples, torch.arange(COUNT).unsqueeze(1).expand(-1, 2)])
    return {"image": pair()["image"][tuples[:, 0]], "text": pair()["text"][tuples[:, 1]]}


def asked(found: Runner, **options) -> tuple[Tensor, Tensor]:
    """Return the features and the outputs of all rows."""
    result, notes = found.explain(Ask(**options), [])
    assert isinstance(result, Seen)
    assert notes == []
    return torch.cat(list(result.responses.features)), torch.cat(list(result.responses.outputs))


@pytest.mark.parametrize("reuse", [True, False])
def test_the_runner_gives_every_row_its_features_and_outputs(reuse) -> None:
    module = seeded(Fused)
    found = runner(module, reuse=reuse)
    features, outputs = asked(found)
    rows = rows_of(found)
    torch.testing.assert_close(features, module.fused(**rows).detach())
    torch.testing.assert_close(outputs, module(**rows)[0].detach())


def test_encodings_are_reused_where_the_layer_lies_behind_them() -> None:
    found = runner(seeded(Fused))
    asked(found)
    assert found.evaluators._featured["ask"].reuse
    assert found.evaluators._featured["ask"]._plan.modules == ["image_net", "text_net"]


@pytest.mark.parametrize("layer", ["image_net.1", "text_net.0", "image_net"])
def test_a_layer_inside_of_an_encoder_is_asked_plainly(layer) -> None:
    module = seeded(Fused)
    found = runner(module)
    features, outputs = asked(found, layer=layer)
    rows = rows_of(found)
    given = {"image_net.1": module.image_net[0](rows["image"]), "text_net.0": rows["text"], "image_net": rows["image"]}
    torch.testing.assert_close(features, given[layer].detach())
    torch.testing.assert_close(outputs, module(**rows)[0].detach())


def test_late_fusion_has_the_features_of_its_last_linear_layer() -> None:
    module = seeded(LateFusion)
    found = runner(module)
    features, outputs = asked(found)
    torch.testing.assert_close(features, module.text_net[:2](rows_of(found)["text"]).detach())
    torch.testing.assert_close(outputs, module(**rows_of(found)).detach())


def test_the_features_that_one_survey_asks_for_are_found_once() -> None:
    found = runner(seeded(Fused))
    asked(found)
    before, rows = found.evaluators._featured["ask"], found.rows
    asked(found)
    assert found.evaluators._featured["ask"] is before
    assert found.rows == 2 * rows == 2 * COUNT**2


def test_a_survey_is_told_what_it_remembered() -> None:
    found = runner(seeded(Fused))
    asked(found)
    asked(found)
    assert found.state.remembered == {"ask": {"times": 2}}


def test_a_survey_that_exceeds_the_budget_is_left_out() -> None:
    found = runner(seeded(Fused))
    result, notes = found.explain(Ask(), [], budget=COUNT**2 - 1)
    assert result is None
    assert notes == ["ask was left out: it takes 256 rows, and the budget has 255 more"]
    assert found.explain(Ask(), [], budget=COUNT**2)[0] is not None


def test_rows_of_derivatives_count_for_every_step() -> None:
    query = Query.aligned(torch.arange(3), 2)
    derivative = Derivative(query, torch.zeros(3, dtype=torch.long), "image", steps=5)
    assert requested_rows(Request([query, query], [derivative])) == 3 + 15
    assert requested_rows(Request()) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"layer": "nowhere"}, "layer='nowhere': the model has no such submodule"), ({"layer": "idle"}, "not called")],
)
def test_a_wrong_layer_is_a_wrong_configuration(options, message) -> None:
    module = seeded(Fused)
    module.idle = nn.Linear(2, 2)
    with pytest.raises(ConfigurationError, match=message):
        runner(module).explain(Ask(**options), [])


def test_a_model_that_scores_all_pairs_has_no_features() -> None:
    found = runner(seeded(Fused), all_pairs=call_named)
    with pytest.raises(ConfigurationError, match="scores all pairs has no fused features"):
        found.explain(Ask(), [])


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_features_are_found_in_every_family_that_has_linear_layers(name) -> None:
    case: ModelCase = FAMILIES[name](COUNT)
    module = case.module.eval()
    predict = case.predict or (call_inputs if name == "MulT" else _call(name))
    found = runner(module, case.batch, case.modalities, predict, outputs=case.outputs, task="multilabel")
    if name == "CNN and LSTM":
        with pytest.raises(ConfigurationError, match="calls no linear layer"):
            asked(found)
        return
    features, outputs = asked(found)
    assert features.shape[1] > 1
    assert len(features) == len(outputs)
    assert outputs.shape[1] == case.outputs
    assert float(features.std(0).max()) > 0


def _call(name: str):
    if name == "late fusion":
        return call_named
    if name == "list batch":
        return lambda module, batch: module(batch)
    return lambda module, batch: module(**{key: leaf for key, leaf in batch.items() if key != "labels"})
