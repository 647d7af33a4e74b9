"""Models that end in probabilities in whatever way: read as what they are, or said."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from engine.test_probability_outputs import COUNT, Headed, plain, report
from helpers.batches import floats, integers
from torch import Tensor
from torch.nn import functional

from mviz_lightning import explain
from mviz_lightning.functional.outputs import has_bare_bounds, sums_to_percent

RETURNED = "the model returns probabilities ("
SPARSE = "exactly 0 or 1 but never close to it"


def alike(found: Any, expected: Any, tolerance: float = 2e-6) -> bool:
    shares = [name for name in expected.values if name.startswith(("contribution", "total", "interaction", "flips"))]
    return all(abs(found.values[name] - expected.values[name]) < tolerance for name in [*shares, "score"])


BINARY: dict[str, Callable[[Tensor], Tensor]] = {
    "1 / (1 + exp(-z))": lambda z: 1 / (1 + (-z).exp()),
    "half of 1 + tanh": lambda z: (1 + torch.tanh(z / 2)) / 2,
    "1 - exp(-softplus)": lambda z: 1 - (-functional.softplus(z)).exp(),
    "the second of two classes": lambda z: functional.pad(z, (1, 0)).softmax(1)[:, 1],
    "the second of two classes, by hand": lambda z: z[:, 0].exp() / (1 + z[:, 0].exp()),
    "both classes": lambda z: torch.cat([1 - z.sigmoid(), z.sigmoid()], 1)[:, 1:],
}


@pytest.mark.long
@pytest.mark.parametrize("head", BINARY.values(), ids=BINARY.keys())
def test_a_probability_of_one_output_is_decided_at_one_half(head: Callable[[Tensor], Tensor]) -> None:
    found, expected = report(head, "binary", 1), report(plain, "binary", 1)

    assert alike(found, expected)
    assert RETURNED in found.notes


CLASSES: dict[str, Callable[[Tensor], Tensor]] = {
    "percent": lambda z: 100 * z.softmax(1),
    "a temperature": lambda z: (z / 0.5).softmax(1),
    "clamped and normalised": lambda z: functional.normalize(z.softmax(1).clamp(1e-7), p=1, dim=1),
}


@pytest.mark.long
@pytest.mark.parametrize("head", CLASSES.values(), ids=CLASSES.keys())
def test_probabilities_of_classes_are_those_of_their_logits(head: Callable[[Tensor], Tensor]) -> None:
    found, expected = report(head), report(plain)

    assert alike(found, expected, 1e-3)
    assert RETURNED in found.notes


def test_labels_by_a_sigmoid_by_hand_are_those_of_their_logits() -> None:
    found = report(lambda z: 1 / (1 + (-z).exp()), "multilabel")

    assert alike(found, report(plain, "multilabel"))


def sparsemax(z: Tensor) -> Tensor:
    ordered = z.sort(1, descending=True).values
    sums, count = ordered.cumsum(1) - 1, torch.arange(1, z.shape[1] + 1)
    last = (ordered > sums / count).sum(1, keepdim=True)
    return (z - sums.gather(1, last - 1) / last).clamp(min=0)


@pytest.mark.parametrize("head", [sparsemax, lambda z: functional.one_hot(z.argmax(1), 3).float()])
def test_zeros_that_no_softmax_makes_have_no_logits(head: Callable[[Tensor], Tensor]) -> None:
    found, expected = report(lambda z: head(3 * z)), report(lambda z: head(3 * z) - 0.7)  # read as plain numbers

    assert SPARSE in found.notes
    assert alike(found, expected)


def test_a_hard_sigmoid_is_linear_between_its_ends() -> None:
    found = report(lambda z: functional.hardsigmoid(8 * z), "binary", 1)
    logits = report(lambda z: functional.hardsigmoid(8 * z) - 0.5, "binary", 1)

    assert SPARSE in found.notes
    assert alike(found, logits)
    assert found.values["score"] == report(plain, "binary", 1).values["score"]


def test_classes_masked_in_some_rows_before_a_softmax_are_no_sparse_probabilities() -> None:
    found = report(lambda z: z.masked_fill((z[:, :1] > 0) & (torch.arange(3) == 2), -torch.inf).softmax(1))

    assert RETURNED in found.notes
    assert SPARSE not in found.notes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_a_softmax_or_sigmoid_rounds_off_is_not_bare(dtype: torch.dtype) -> None:
    logits = 40 * floats(500, 3, seed=2).double()

    assert not has_bare_bounds(logits.softmax(1).to(dtype), exclusive=True)
    assert not has_bare_bounds(logits.sigmoid().to(dtype), exclusive=False)
    assert has_bare_bounds(sparsemax(logits / 40).to(dtype), exclusive=True)
    assert has_bare_bounds(functional.hardsigmoid(logits).to(dtype), exclusive=False)


def test_numbers_up_to_100_are_no_percent() -> None:
    assert sums_to_percent(100 * floats(20, 3, seed=2).softmax(1))
    assert not sums_to_percent(100 * floats(20, 3, seed=2).sigmoid())
    assert not sums_to_percent(torch.full((20, 4), 25.0))


def outside_torch(z: Tensor) -> Tensor:
    return torch.from_numpy(1 / (1 + (-z).exp().numpy()))


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_what_no_trace_follows_is_told_by_its_range_where_no_loss_takes_logits(task: str) -> None:
    # The logits of thousands of rows would not all lie between 0 and 1 and come close to both.
    outputs = 1 if task == "binary" else 3
    found = report(lambda z: outside_torch(2 * z.detach()), task, outputs)

    assert RETURNED in found.notes
    assert alike(found, report(plain, task, outputs), 1e-3)


def test_a_loss_that_takes_logits_tells_that_they_are_logits() -> None:
    # A ReLU whose outputs, divided by the largest, all lie between 0 and 1.
    module = Headed(lambda z: z.relu() / 20, 1)
    labels = integers(2, COUNT, seed=3).float()
    batch = {"image": floats(COUNT, 4, seed=1), "text": floats(COUNT, 3, seed=2), "labels": labels}

    def step(model: Headed, batch: dict[str, Tensor]) -> Tensor:
        logits = model(batch["image"], batch["text"])[:, 0]
        return functional.binary_cross_entropy_with_logits(logits, batch["labels"])

    told = explain(module, [batch], modalities=["image", "text"], step=step)
    assert RETURNED not in told.notes
    assert SPARSE not in told.notes


def test_a_regression_between_0_and_1_is_told_by_its_task_and_stays(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        found, shifted = report(torch.sigmoid, "regression", 1), report(lambda z: z.sigmoid() - 5, "regression", 1)

    shares = [name for name in shifted.values if name.startswith(("contribution", "total", "interaction"))]
    assert {name: found.values[name] for name in shares} == pytest.approx(
        {name: shifted.values[name] for name in shares}, abs=1e-5
    )
    assert found.notes == shifted.notes == ""
    assert caplog.text.count("the outputs lie between 0 and 1 and are decomposed as values") == 1


@pytest.mark.long
@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize(("task", "outputs"), [("multiclass", 3), ("binary", 1), ("multilabel", 3)])
def test_scores_and_shares_do_not_depend_on_the_size_of_the_logits(task: str, outputs: int, scale: float) -> None:
    found, expected = report(lambda z: scale * z, task, outputs), report(plain, task, outputs)

    for name in expected.values:
        if name.startswith(("contribution", "total", "interaction", "flips", "score", "emap", "perceptual")):
            assert found.values[name] == pytest.approx(expected.values[name], abs=1e-5), name
