"""Probabilities and masked classes: the logits behind them are decomposed, and nothing else."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from helpers.batches import Additive, LateFusion, floats, integers, seeded
from sklearn.metrics import label_ranking_average_precision_score
from torch import Tensor, nn
from torch.nn import functional

from mviz_lightning import explain
from mviz_lightning.engine import Evaluator, Query
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)
from mviz_lightning.functional import decomposable
from mviz_lightning.functional.outputs import (
    NEVER,
    largest_output,
    levelled,
    logits_of,
    masked_classes,
    masked_entries,
    noise_floor,
)
from mviz_lightning.session.explain import ShareReport

COUNT = 96
STAGES = [
    DIME(num_examples=3, masks=16),
    UnimodalImportance(num_examples=3, num_totals=4),
    CrossModalInteraction(num_examples=3),
    ErrorAnalysis(num_examples=2),
    MultimodalPrediction(num_examples=3, layer="body.text_net.2"),
    MultimodalRepresentation(features_shown=2, layer="body.text_net.2"),
]


class Headed(nn.Module):
    """What a function makes of the outputs of a model."""

    def __init__(self, head: Callable[[Tensor], Tensor], outputs: int = 3, *, additive: bool = True) -> None:
        super().__init__()
        self.body, self.head = seeded(lambda: (Additive if additive else LateFusion)(outputs=outputs)), head
        with torch.no_grad():
            for net in (self.body.image_net, self.body.text_net):
                net[2].weight *= 5 if additive else 2

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.head(self.body(image, text))


def report(head: Callable[[Tensor], Tensor], task: Any = "multiclass", outputs: int = 3, **options: Any) -> ShareReport:
    module = Headed(head, outputs, additive=options.pop("additive", True))
    targets = {
        "multiclass": integers(2, COUNT, seed=3),
        "binary": integers(2, COUNT, seed=3),
        "multilabel": integers(2, COUNT, outputs, seed=3),
        "regression": floats(COUNT, outputs, seed=3),
        None: None,
    }
    batch = {"image": floats(COUNT, 4, seed=1), "text": floats(COUNT, 3, seed=2), "labels": targets[task]}
    settings: dict[str, Any] = {"modalities": ["image", "text"], "target": "labels", "task": task} | options
    return explain(module, [batch], **settings)


def plain(logits: Tensor) -> Tensor:
    return logits


def by_hand(logits: Tensor) -> Tensor:
    return logits.exp() / logits.exp().sum(1, keepdim=True)


def joined(logits: Tensor) -> Tensor:
    return torch.cat([logits[:, :1].sigmoid(), logits[:, 1:].sigmoid().clone()], 1).clamp(1e-6, 1 - 1e-6)


# -- Probabilities -----------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("additive", [True, False], ids=["additive", "interacting"])
@pytest.mark.parametrize(
    ("task", "outputs", "head"),
    [
        ("multiclass", 3, lambda logits: logits.softmax(1)),
        ("multiclass", 3, lambda logits: logits.softmax(1).double()),
        ("multiclass", 3, by_hand),
        ("multiclass", 3, torch.sigmoid),
        ("binary", 1, torch.sigmoid),
        ("binary", 1, lambda logits: logits.clone().sigmoid_().squeeze(1)),
        ("multilabel", 3, torch.sigmoid),
        ("multilabel", 3, joined),
    ],
)
def test_the_shares_of_probabilities_are_those_of_their_logits(
    task: str, outputs: int, head: Callable[[Tensor], Tensor], additive: bool
) -> None:
    expected = report(plain, task, outputs, additive=additive)
    found = report(head, task, outputs, additive=additive)

    shares = [name for name in expected.values if name.startswith(("contribution", "total", "interaction", "flips"))]
    assert {name: found.values[name] for name in shares} == pytest.approx(
        {name: expected.values[name] for name in shares}, abs=2e-6
    )
    assert found.values["score"] == expected.values["score"]
    assert abs(found.values["interaction"]) < 1e-9 or not additive
    assert "the model returns probabilities" in found.notes


# -- Averages of probabilities -----------------------------------------------------------------------------------------


class Averaged(Headed):
    """Late fusion: averages the probabilities that a head makes of each modality alone."""

    def __init__(self, head: Any, outputs: int, average: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__(head, outputs)
        self.average = average

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.average(self.head(self.body.image_net(image)), self.head(self.body.text_net(text)))


def averaged(average: Callable[[Tensor, Tensor], Tensor], task: Any = "multiclass", **options: Any) -> ShareReport:
    outputs = 1 if task == "binary" else 3
    head = (lambda logits: logits.softmax(1)) if task == "multiclass" else torch.sigmoid
    targets = {"multiclass": integers(3, COUNT, seed=3), "binary": integers(2, COUNT, seed=3)}
    labels = targets.get(task, integers(2, COUNT, outputs, seed=3))
    batch = {"image": floats(COUNT, 4, seed=1), "text": floats(COUNT, 3, seed=2), "labels": labels}
    module = Averaged(head, outputs, average)
    return explain(module, [batch], modalities=["image", "text"], target="labels", task=task, **options)


GATE = floats(3, 2, seed=8)
AVERAGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "weights": lambda left, right: 0.5 * left + 0.5 * right,
    "half the sum": lambda left, right: (left + right) / 2,
    "Python's sum": lambda left, right: sum([left, right]) / 2,
    "mean": lambda left, right: torch.stack([left, right]).mean(0),
    "sum of a stack": lambda left, right: torch.stack([left, right], 1).sum(1) / 2,
    "lerp": lambda left, right: torch.lerp(left, right, 0.3),
    "matrix product": lambda left, right: torch.einsum("m,bmc->bc", GATE[0].softmax(0), torch.stack([left, right], 1)),
    "in place": lambda left, right: (0.5 * left).add_(0.5 * right),
}


@pytest.mark.long
@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
@pytest.mark.parametrize("average", AVERAGES.values(), ids=AVERAGES.keys())
def test_an_average_of_unimodal_probabilities_has_no_interaction(average: Any, task: str) -> None:
    found = averaged(average, task)

    assert abs(found.values["interaction"]) < 1e-9
    assert min(found.values[f"contribution/{name}"] for name in ("image", "text")) > 0.01
    assert found.notes.startswith("the model averages probabilities, so there are no logits")


AVERAGES_OF_CLASSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "normalised": lambda left, right: (left + right) / (left + right).sum(1, keepdim=True),
    "a gate of no modality": lambda left, right: (
        torch.stack([left, right], 1) * GATE[1].softmax(0).view(1, 2, 1).expand(len(left), 2, 1)
    ).sum(1),
}


@pytest.mark.parametrize("average", AVERAGES_OF_CLASSES.values(), ids=AVERAGES_OF_CLASSES.keys())
def test_so_have_averages_that_are_normalised_or_gated(average: Any) -> None:
    test_an_average_of_unimodal_probabilities_has_no_interaction(average, "multiclass")


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_averages_are_decided_and_scored_as_probabilities(task: str) -> None:
    found = averaged(AVERAGES["weights"], task, num_examples=COUNT)
    inputs = {"image": floats(COUNT, 4, seed=1), "text": floats(COUNT, 3, seed=2)}
    head = (lambda logits: logits.softmax(1)) if task == "multiclass" else torch.sigmoid
    module = Averaged(head, 1 if task == "binary" else 3, AVERAGES["weights"])
    outputs = module(**inputs)
    if task == "multiclass":
        expected = (outputs.argmax(1) == integers(3, COUNT, seed=3)).double().mean()
    elif task == "binary":
        expected = ((outputs.view(COUNT) > 0.5) == integers(2, COUNT, seed=3)).double().mean()
    else:
        expected = label_ranking_average_precision_score(integers(2, COUNT, 3, seed=3), outputs.detach())
    assert found.values["score"] == pytest.approx(float(expected), abs=1e-6)


def test_a_product_of_experts_has_logits() -> None:
    def product(left: Tensor, right: Tensor) -> Tensor:
        return left * right / (left * right).sum(1, keepdim=True)

    found = averaged(product)

    assert abs(found.values["interaction"]) < 1e-9
    assert "the model returns probabilities" in found.notes


@pytest.mark.parametrize(
    "head",
    [
        lambda logits: logits.unsqueeze(0).softmax(-1).mean(0),
        lambda logits: logits.softmax(1) / logits.softmax(1).sum(1, keepdim=True),
        lambda logits: logits.softmax(1) * 0.9 + 0.1 / 3,
    ],
)
def test_one_softmax_is_no_average(head: Callable[[Tensor], Tensor]) -> None:
    assert "the model returns probabilities" in report(head).notes


def test_attention_is_no_average_of_probabilities() -> None:
    def attended(logits: Tensor) -> Tensor:
        return logits.softmax(1) @ floats(3, 3, seed=5).clamp(0, 1)

    assert "averages" not in report(attended).notes


def test_probabilities_themselves_would_feign_interaction() -> None:
    # A regression is left as it is, since its values may well lie between 0 and 1.
    found = report(torch.sigmoid, "regression", 1)

    assert found.values["interaction"] > 0.02
    assert "probabilities" not in found.notes


def test_it_is_said_once(caplog: Any) -> None:
    with caplog.at_level(logging.INFO):
        report(lambda logits: logits.softmax(1), explainers=STAGES[:2])

    assert (
        caplog.text.count("the model returns probabilities (each row sums to 1). Probabilities show interactions") == 1
    )


def test_logits_that_happen_to_lie_between_0_and_1_stay_logits() -> None:
    squeezed = report(lambda logits: 0.5 + logits / 1000, "multilabel")
    expected = report(plain, "multilabel")

    assert squeezed.values["total/image"] == pytest.approx(expected.values["total/image"], abs=1e-4)
    assert squeezed.notes == expected.notes


def test_outputs_from_near_0_to_near_1_may_be_probabilities() -> None:
    # Independent scores of classes, which no trace follows.
    by_hand = report(lambda logits: torch.from_numpy(1 / (1 + (-5 * logits.detach()).exp().numpy())))

    assert "are read as logits. If they are probabilities" in by_hand.notes


@pytest.mark.parametrize(
    "head",
    [
        lambda logits: 2 * logits.sigmoid() - 0.5,
        lambda logits: logits.sigmoid().mean(1, keepdim=True) + logits,
        lambda logits: torch.stack([logits[:, 0].sigmoid(), logits[:, 1], logits[:, 2]], 1),
        lambda logits: logits.log_softmax(1),
    ],
)
def test_a_sigmoid_on_the_way_makes_no_probabilities(head: Callable[[Tensor], Tensor]) -> None:
    assert "the model returns probabilities" not in report(head, "multilabel").notes


@pytest.mark.long
@pytest.mark.parametrize(
    ("task", "outputs", "head"),
    [("multiclass", 3, lambda logits: logits.softmax(1)), ("binary", 1, torch.sigmoid)],
)
def test_explanations_are_those_of_the_logits(task: str, outputs: int, head: Callable[[Tensor], Tensor]) -> None:
    def centred(logits: Tensor) -> Tensor:
        return logits - logits.mean(1, keepdim=True) if outputs > 1 else logits

    expected, found = (report(h, task, outputs, explainers=STAGES[:4]) for h in (centred, head))

    for left, right in zip(expected.explanations["dime"], found.explanations["dime"], strict=True):
        assert (left.predicted, left.target) == (right.predicted, right.target)
        assert left.probability == pytest.approx(right.probability, abs=1e-5)
        for one, other in zip(left.outputs, right.outputs, strict=True):
            assert other.value == pytest.approx(one.value, abs=1e-4)
            assert other.interaction == pytest.approx(0, abs=1e-4)
    for name, result in expected.results.items():
        assert found.results[name].values == pytest.approx(result.values, rel=1e-3, abs=1e-3)
    assert found.results["cross_modal"].values["total/image+text"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_logits_come_back_to_the_rounding_of_their_type(dtype: torch.dtype) -> None:
    logits = 2 * floats(50, 4, seed=3).double()
    centred = logits - logits.mean(1, keepdim=True)

    softmax, sigmoid = logits.softmax(1).to(dtype), logits.sigmoid().to(dtype)
    limit = 8 * torch.finfo(dtype).eps
    assert (logits_of(softmax, "softmax").double() - centred).abs().max() < max(limit, 1e-2 * (dtype == torch.float16))
    error = (logits_of(sigmoid, "sigmoid").double() - logits).abs() / (1 + logits.abs() + logits.exp())
    assert error.max() < limit
    assert logits_of(softmax, "softmax").dtype == dtype


def test_what_is_certain_is_cut_off_and_finite() -> None:
    certain = torch.tensor([[0.0, 1.0]])

    assert logits_of(certain, "sigmoid").tolist()[0] == pytest.approx([-87.34, 16.64], abs=0.01)
    assert logits_of(certain, "softmax").tolist()[0] == pytest.approx([-87.34, 0.0], abs=0.01)


def test_saturated_probabilities_are_noted() -> None:
    found = report(lambda logits: (50 * logits).sigmoid(), "binary", 1)

    assert "of the probabilities are exactly 0 or 1, so their logits are cut off" in found.notes


def test_encodings_are_reused_where_the_last_digit_of_a_probability_is_much_of_its_logit() -> None:
    probabilities = torch.linspace(-14, 14, 16).sigmoid().unsqueeze(1)
    plain, query = logits_of(probabilities, "sigmoid"), Query.aligned(torch.arange(16), 2)
    nudged = logits_of(torch.nextafter(probabilities, torch.ones(())), "sigmoid")
    known, unknown = (Evaluator(nn.Identity(), lambda module, batch: batch, head=head) for head in ("sigmoid", None))
    with patched(known, plain), patched(unknown, plain):
        known.check(None, query, nudged)  # type: ignore[arg-type]
        for evaluator, given in ((unknown, nudged), (known, plain + 0.01)):
            with pytest.raises(RuntimeError, match="replayed rows differ"):
                evaluator.check(None, query, given)  # type: ignore[arg-type]


@contextmanager
def patched(evaluator: Evaluator, outputs: Tensor) -> Iterator[None]:
    """Let the rows' outputs be given ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator, "_plain", lambda _, query: outputs[query.sources[:, 0]])
        yield


def test_the_noise_floor_knows_what_a_sigmoid_rounds_off() -> None:
    logits = 2 + floats(500, 1, seed=4).double()
    rounded = logits_of(logits.sigmoid().bfloat16(), "sigmoid")
    error = float((rounded.double() - logits).square().mean() / logits.var())

    assert error < 4 * noise_floor(rounded, 2, "sigmoid")
    assert error > 4 * noise_floor(rounded, 2)


# -- Masked classes ----------------------------------------------------------------------------------------------------

SMALLEST = torch.finfo(torch.float32).min
MASKS = [-float("inf"), SMALLEST, -1e20, -1e9, -1e4, -100.0]


def masking(value: float, *, added: bool = False) -> Callable[[Tensor], Tensor]:
    """Return a head whose second of three classes is masked."""

    def head(logits: Tensor) -> Tensor:
        masked = logits[:, 1:2] + value if added else torch.full_like(logits[:, 1:2], value)
        return torch.cat([logits[:, :1], masked, logits[:, 2:]], 1)

    return head


def without(logits: Tensor) -> Tensor:
    return logits[:, [0, 2]]


@pytest.mark.long
@pytest.mark.parametrize("additive", [True, False], ids=["additive", "interacting"])
@pytest.mark.parametrize(
    "head",
    [
        *(masking(value) for value in MASKS),
        *(masking(value, added=True) for value in (-1e9, -1e20)),
        lambda logits: masking(-float("inf"))(logits).softmax(1),
        lambda logits: masking(SMALLEST)(logits).log_softmax(1),
    ],
)
def test_the_shares_are_those_of_the_model_without_the_class(head: Callable[[Tensor], Tensor], additive: bool) -> None:
    expected, found = (report(one, additive=additive) for one in (without, head))

    shares = [name for name in expected.values if name.startswith(("contribution", "total", "interaction", "flips"))]
    assert {name: found.values[name] for name in shares} == pytest.approx(
        {name: expected.values[name] for name in shares}, abs=1e-6
    )
    assert found.noise_floor == pytest.approx(expected.noise_floor, rel=4)
    assert "masked in all rows and left out of the shares: class 1" in found.notes


def test_the_masked_are_named_by_their_names(caplog: Any) -> None:
    with caplog.at_level(logging.INFO):
        found = report(masking(-1e9), class_names=["cat", "dog", "bird"])

    assert found.notes == "masked in all rows and left out of the shares: dog"
    assert caplog.text.count("left out of the shares: dog") == 1


@pytest.mark.slow
@pytest.mark.parametrize("value", [-float("inf"), SMALLEST, -1e9])
def test_all_stages_work_and_explain_no_masked_class(value: float) -> None:
    found = report(masking(value), explainers=STAGES)
    usual = report(masking(-40.0), explainers=STAGES)  # as improbable, and no mask

    explained = [output for one in found.explanations["dime"] for output in one.outputs]
    assert {output.output for output in explained if output.output != 1} == {0, 2}
    assert all(output.role == "true" for output in explained if output.output == 1)
    assert all(abs(output.interaction) < 1e-4 for output in explained)
    assert set(found.findings) == {"importance", "cross_modal", "errors", "prediction", "representation"}
    assert found.results["errors"].values == usual.results["errors"].values
    assert found.results["importance"].values == pytest.approx(usual.results["importance"].values, rel=1e-4, abs=1e-6)


def test_a_label_is_masked_likewise() -> None:
    def head(logits: Tensor) -> Tensor:
        return functional.pad(logits[:, [0, 2]], (0, 1), value=-float("inf"))

    expected, found = (report(one, "multilabel", target=None) for one in (without, head))
    assert found.values["total/image"] == pytest.approx(expected.values["total/image"], abs=1e-6)


def masking_by_row(value: float, *, added: bool = False, places: Sequence[int] = (1,)) -> Callable[[Tensor], Tensor]:
    """Return a head that masks some of four classes in the rows whose first logit is positive."""

    def head(logits: Tensor) -> Tensor:
        classes = torch.cat([logits, logits[:, :1] - logits[:, 1:2].square()], 1)
        chosen = (logits[:, :1] > 0) & torch.isin(torch.arange(classes.shape[1]), torch.tensor(places))
        return torch.where(chosen, classes + value if added else value, classes)

    return head


def four_classes(logits: Tensor) -> Tensor:
    return masking_by_row(0.0, added=True)(logits)


@pytest.mark.long
@pytest.mark.parametrize("value", MASKS[:-1])
@pytest.mark.parametrize("added", [False, True])
def test_the_shares_leave_out_a_class_that_some_rows_mask(value: float, added: bool) -> None:
    expected = report(lambda logits: four_classes(logits)[:, [0, 2, 3]])
    found = report(masking_by_row(value, added=added))

    shares = [name for name in expected.values if name.startswith(("contribution", "total", "interaction"))]
    assert {name: found.values[name] for name in shares} == pytest.approx(
        {name: expected.values[name] for name in shares}, abs=1e-6
    )
    assert found.notes == "masked in some rows and left out of the shares: class 1"


def test_the_score_reads_the_classes_that_a_row_does_not_mask() -> None:
    found = report(masking_by_row(-torch.inf), num_examples=COUNT)
    with torch.no_grad():
        said = Headed(masking_by_row(-torch.inf))(floats(COUNT, 4, seed=1), floats(COUNT, 3, seed=2)).argmax(1)

    assert 1 in said
    assert found.values["score"] == pytest.approx(float((said == integers(2, COUNT, seed=3)).double().mean()))


@pytest.mark.long
@pytest.mark.parametrize("value", [-torch.inf, -1e9])
def test_all_stages_work_where_some_rows_mask_a_class(value: float) -> None:
    found = report(masking_by_row(value), explainers=STAGES)

    assert set(found.results) == {"dime", "importance", "cross_modal", "errors", "prediction", "representation"}
    for explanation in found.explanations["dime"]:
        for output in explanation.outputs:
            assert abs(output.value) < 100 or output.output == 1


def test_too_few_classes_that_all_rows_have_are_refused() -> None:
    with pytest.raises(
        RuntimeError,
        match=r"3 of 4 classes are masked in some rows \(class 0, class 1, class 3\), and shares need 2 or",
    ):
        report(masking_by_row(-torch.inf, places=(0, 1, 3)))


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
def test_what_is_masked(task: Any) -> None:
    outputs = torch.tensor([[1.0, -1e9, -9.0, -torch.inf], [2.0, -1e9 - 64, -9.0, -torch.inf]])
    expected = [False, True, False, True] if task != "regression" else [False] * 4

    assert masked_classes(outputs, task).tolist() == expected
    assert masked_classes(outputs[:, 1:2], task).tolist() == [False]  # nothing else is left
    assert largest_output(outputs[:, :3], "multiclass") == 9
    assert levelled(outputs, "multiclass").isfinite().all()


def test_what_is_masked_in_each_row() -> None:
    far = torch.finfo(torch.float32).min
    outputs = torch.tensor([[1.0, -1e9, 3.0, far], [-1e9, 2.0, 4.0, -torch.inf], [0.5, 2.0, 9.0, far]])
    expected = [[False, True, False, True], [True, False, False, True], [False, False, False, True]]

    assert masked_entries(outputs, "multiclass").tolist() == expected
    assert masked_classes(outputs, "multiclass").tolist() == [True, True, False, True]
    assert levelled(outputs, "multilabel")[0].tolist() == [1, NEVER, 3, NEVER]
    assert not masked_entries(outputs, "regression").any()
    assert not masked_entries(torch.full((2, 3), -torch.inf), "multiclass").any()  # nothing else is left


@pytest.mark.parametrize(
    "outputs",
    [
        -1e4 + 30 * torch.linspace(-1, 1, 40).view(10, 4),  # log-likelihoods of long texts
        torch.tensor([[10.0, -9e3, 1.0], [-20.0, -1.5e4, 3.0], [5.0, 4.0, 2.0]]),  # not alike
        torch.tensor([[300.0, -1e4, 1.0], [-250.0, -1e4, 3.0], [5.0, 4.0, 2.0]]),  # the others are not so much smaller
        torch.tensor([[1.0, -100.0], [2.0, -100.0], [3.0, -9.0]]),  # a probability of 0 in some rows
    ],
)
def test_genuine_large_negative_logits_are_no_masks(outputs: Tensor) -> None:
    assert not masked_entries(outputs, "multiclass").any()


def test_large_logits_are_no_masks() -> None:
    outputs = torch.tensor([[1e4, -2e4, 0.0], [1.1e4, -2.1e4, 0.0]])

    assert not masked_classes(outputs, "multiclass").any()
    assert decomposable(outputs, "multiclass").mean(1).abs().max() < 1e-9


def test_rows_are_checked_beside_a_mask() -> None:
    # Beside 3e38 the influence of one example on another would look like rounding.
    def head(logits: Tensor) -> Tensor:
        return masking(SMALLEST)(logits + logits.mean(0))

    with pytest.raises(Exception, match="the same examples gave other outputs"):
        report(head)
