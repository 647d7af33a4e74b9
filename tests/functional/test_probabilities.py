"""Probabilities keep what tiny and huge logits tell apart."""

import pytest
import torch
from helpers.batches import floats
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, multiclass_accuracy, multiclass_auroc, multilabel_auroc

from mviz_lightning.functional.outputs import NEVER
from mviz_lightning.functional.probabilities import class_probabilities, label_probabilities
from mviz_lightning.functional.scores import predictions

SCALES = [1e-300, 1e-37, 1e-30, 1e-12, 1.0, 1e3, 1e30, 1e300]
LOGITS = floats(400, 4, seed=1).double()
LABELS = (LOGITS + floats(400, 4, seed=2).double()).argmax(1)
ONE_LABEL = (LOGITS[:, 0] + floats(400, seed=3).double() > 0).long()


@pytest.mark.parametrize("scale", SCALES)
def test_accuracy_does_not_depend_on_the_size_of_the_logits(scale: float) -> None:
    expected = (LOGITS.argmax(1) == LABELS).double().mean()

    found = multiclass_accuracy(predictions(LOGITS * scale, "multiclass"), LABELS, 4, average="micro")
    assert float(found) == pytest.approx(float(expected), abs=1e-6)
    assert torch.equal(predictions(LOGITS[:, :1] * scale, "binary") > 0.5, LOGITS[:, 0] > 0)


@pytest.mark.parametrize("scale", SCALES)
def test_areas_below_the_curve_do_not_depend_on_the_size_of_one_logit(scale: float) -> None:
    def ranked(values: Tensor) -> float:
        """The share of pairs of a positive and a negative example in the right order."""
        positive, negative = values[ONE_LABEL == 1], values[ONE_LABEL == 0]
        return float((positive[:, None] > negative).double().mean())

    binary = binary_auroc(predictions(LOGITS[:, :1] * scale, "binary"), ONE_LABEL)
    labels = multilabel_auroc(predictions(LOGITS * scale, "multilabel"), (LOGITS > 0.3).long(), 4)
    assert float(binary) == pytest.approx(ranked(LOGITS[:, 0]), abs=2e-4)
    assert float(labels) == pytest.approx(1.0, abs=2e-4)


@pytest.mark.parametrize("scale", [1e-300, 1e-30])
def test_areas_of_classes_are_those_of_small_logits(scale: float) -> None:
    expected = multiclass_auroc((1e-4 * LOGITS).softmax(1), LABELS, 4)

    found = multiclass_auroc(predictions(LOGITS * scale, "multiclass"), LABELS, 4)
    assert float(found) == pytest.approx(float(expected), abs=1e-4)


def test_areas_of_huge_classes_are_those_of_their_margins() -> None:
    scale = 1e30
    others = torch.stack([LOGITS[:, [d for d in range(4) if d != c]].amax(1) for c in range(4)], 1)
    expected = multiclass_auroc((LOGITS - others).sigmoid(), LABELS, 4)

    found = multiclass_auroc(predictions(LOGITS * scale, "multiclass"), LABELS, 4)
    assert float(found) == pytest.approx(float(expected), abs=2e-4)


@pytest.mark.parametrize("scale", [1e-9, 0.1, 1.0, 5.0, 20.0, 100.0])
def test_no_probability_changes_by_more_than_3e_7(scale: float) -> None:
    logits = LOGITS * scale

    assert float((label_probabilities(logits) - logits.sigmoid()).abs().max()) < 4e-7
    assert float((class_probabilities(logits) - logits.softmax(1)).abs().max()) < 1e-6


@pytest.mark.parametrize("scale", [1e-5, 0.1, 1.0, 3.0])
def test_usual_probabilities_stay_to_the_last_bit(scale: float) -> None:
    logits = LOGITS * scale

    assert torch.equal(label_probabilities(logits), logits.sigmoid())
    assert torch.equal(class_probabilities(logits), logits.softmax(1))


def test_masked_classes_stay_impossible() -> None:
    for scale in (1e-30, 1.0, 1e30):
        masked = (LOGITS * scale).index_fill(1, torch.tensor([2]), NEVER)
        found = class_probabilities(masked)

        assert float(found[:, 2].max()) == 0.0
        assert torch.equal(found.argmax(1), (LOGITS.index_fill(1, torch.tensor([2]), -torch.inf)).argmax(1))


def test_logits_that_are_all_the_same_give_equal_probabilities() -> None:
    assert torch.equal(class_probabilities(torch.full((3, 4), 7.0).double()), torch.full((3, 4), 0.25).double())
    assert torch.equal(label_probabilities(torch.zeros(3, 1).double()), torch.full((3, 1), 0.5).double())


@pytest.mark.parametrize("masked", [-torch.inf, NEVER])
def test_a_masked_class_has_no_probability_and_is_never_the_largest(masked: float) -> None:
    for others in ([1.0, 2.0], [40.0, -35.0], [1e-30, 3e-30], [1e30, -1e30]):
        logits = torch.tensor([[others[0], masked, others[1]]], dtype=torch.float64)
        found = class_probabilities(logits)

        assert float(found[0, 1]) == 0
        assert int(found.argmax()) == int(logits.argmax())
        assert bool(found.isfinite().all())


def test_a_row_with_a_single_class_is_sure_of_it() -> None:
    logits = torch.tensor([[-torch.inf, 50.0, -torch.inf], [1.0, 90.0, 2.0]], dtype=torch.float64)

    assert class_probabilities(logits)[0].tolist() == [0, 1, 0]
