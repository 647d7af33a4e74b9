"""The scale on which outputs are decomposed, predictions, and the floor that rounding sets."""

import pytest
import torch
from helpers.draws import normal as logits
from hypothesis import given
from hypothesis import strategies as st
from reference.worlds import recombined
from torch import Tensor

from mviz_lightning.functional import Task, decomposable, design, share_ratios
from mviz_lightning.functional.outputs import noise_floor
from mviz_lightning.functional.scores import predictions

seeds = st.integers(0, 10_000)
TASKS: tuple[Task, ...] = ("multiclass", "binary", "multilabel", "regression")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_outputs_are_decomposed_in_float64(task: Task, dtype: torch.dtype) -> None:
    assert decomposable(torch.ones(3, 2, dtype=dtype), task).dtype == torch.float64


@given(seeds)
def test_an_offset_common_to_all_classes_changes_nothing(seed: int) -> None:
    outputs, offset = logits(seed, 4, 5, 3), 100 * logits(seed + 1, 4, 5, 1)

    torch.testing.assert_close(decomposable(outputs + offset, "multiclass"), decomposable(outputs, "multiclass"))


@given(seeds)
def test_centred_logits_give_the_same_probabilities(seed: int) -> None:
    outputs = logits(seed, 6, 3)

    torch.testing.assert_close(decomposable(outputs, "multiclass").softmax(-1), outputs.softmax(-1))


@pytest.mark.parametrize("task", ["binary", "multilabel", "regression"])
def test_other_outputs_are_left_alone(task: Task) -> None:
    outputs = logits(0, 6, 3)

    assert torch.equal(decomposable(outputs, task), outputs)


def test_regression_outputs_are_divided_by_the_spread_of_their_targets() -> None:
    outputs, scale = logits(0, 6, 2), torch.tensor([2.0, 0.5])

    torch.testing.assert_close(decomposable(outputs, "regression", scale), outputs / scale)


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_a_scale_is_of_no_account_for_classification(task: Task) -> None:
    outputs = logits(0, 6, 2)

    assert torch.equal(decomposable(outputs, task, torch.tensor([2.0, 0.5])), decomposable(outputs, task))


def test_the_unit_of_one_target_does_not_move_the_shares() -> None:
    plan, (x, y) = design(2, 8), logits(0, 2, 8)
    row, column = plan.tuples.T
    outputs = torch.stack([x[row] * y[column], y[column]], -1)
    unit = torch.tensor([1.0, 1000.0], dtype=torch.float64)

    def measured(outputs: Tensor, scale: Tensor) -> Tensor:
        return share_ratios(plan.components(decomposable(outputs, "regression", scale)), 2)

    in_thousands = measured(outputs * unit, unit)
    torch.testing.assert_close(in_thousands, measured(outputs, torch.ones(2)))
    assert (measured(outputs * unit, torch.ones(2)) - in_thousands).abs().max() > 0.1


def test_saturation_reads_as_interaction_where_logits_have_none() -> None:
    # Why probabilities must not be decomposed: late fusion has no interaction.
    plan, (x, y) = design(2, 16), 5 * logits(0, 2, 16)
    outputs = (x[plan.tuples[:, 0]] + y[plan.tuples[:, 1]]).unsqueeze(-1)

    assert abs(share_ratios(plan.components(outputs), 2)[-1]) < 1e-12
    assert share_ratios(plan.components(outputs.sigmoid()), 2)[-1] > 0.1


# -- Predictions -------------------------------------------------------------------------------------------------------


def test_classes_share_a_probability_of_one() -> None:
    outputs = logits(0, 5, 3)

    torch.testing.assert_close(predictions(outputs, "multiclass"), outputs.softmax(-1))


@pytest.mark.parametrize(("task", "outputs", "shape"), [("binary", 1, (5,)), ("multilabel", 3, (5, 3))])
def test_labels_have_a_probability_each(task: Task, outputs: int, shape: tuple[int, ...]) -> None:
    values = logits(0, 5, outputs)

    torch.testing.assert_close(predictions(values, task), values.sigmoid().view(shape))


@pytest.mark.parametrize(("outputs", "shape"), [(1, (5,)), (2, (5, 2))])
def test_regression_predicts_its_outputs(outputs: int, shape: tuple[int, ...]) -> None:
    values = logits(0, 5, outputs)

    assert torch.equal(predictions(values, "regression"), values.view(shape))


def test_one_label_of_a_multilabel_task_keeps_its_column() -> None:
    assert predictions(logits(0, 5, 1), "multilabel").shape == (5, 1)


# -- Noise -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_the_floor_bounds_the_rounding_error_closely(dtype: torch.dtype, offset: float) -> None:
    exact = logits(0, 20_000, 2) + offset
    rounded = exact.to(dtype)
    error = (rounded.double() - exact).square().mean(0).sum() / exact.var(0).sum()

    # The spacing of floats is between eps / 2 and eps times their value.
    assert error < 1.02 * noise_floor(rounded) < 4.1 * error


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_rounding_feigns_no_more_interaction_than_the_floor(offset: float) -> None:
    plan, (x, y) = design(2, 16), logits(0, 2, 40, 16)
    exact = x[:, plan.tuples[:, 0]] + y[:, plan.tuples[:, 1]] + offset
    rounded = exact.unsqueeze(-1).bfloat16()
    components = plan.components(rounded.double()).mean(0)

    feigned = float(share_ratios(components, 2)[-1])
    assert 0.1 * noise_floor(rounded.flatten(0, 1)) < feigned < 1.1 * noise_floor(rounded.flatten(0, 1))


@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize(("modalities", "size"), [(3, 12), (4, 16), (6, 24)])
def test_rounding_feigns_no_more_interaction_of_many_modalities_than_the_floor(
    modalities: int, size: int, offset: float
) -> None:
    plan, values = design(modalities, size), logits(0, 40, size, modalities)
    rounded = (recombined(plan, values).sum(-1, keepdim=True) + offset).bfloat16()
    feigned = [
        float(share_ratios(plan.components(probe.double()).mean(0), modalities)[-1]) for probe in rounded.split(4)
    ]

    assert 0 < max(map(abs, feigned)) < noise_floor(rounded.flatten(0, 1), modalities)


@pytest.mark.parametrize("value", [0.0, 1.0, -7.5])
def test_outputs_that_do_not_vary_are_all_noise(value: float) -> None:
    assert noise_floor(torch.full((8, 2), value)) == 1


def test_outputs_that_are_not_finite_are_all_noise() -> None:
    assert noise_floor(torch.tensor([[1.0], [float("inf")], [2.0]])) == 1
    assert noise_floor(torch.tensor([[1.0], [float("nan")], [2.0]])) == 1


def test_a_far_offset_raises_the_floor() -> None:
    outputs = logits(0, 100, 2).float()

    assert noise_floor(outputs + 1e4) > 1e6 * noise_floor(outputs)
