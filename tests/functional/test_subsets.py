"""Total effects within a subset: against loops, against known answers, and their intervals in a simulation."""

import numpy as np
import pytest
import torch
from benchmarks.subset_coverage import MODELS, PROBABILITIES, simulate, true_totals
from helpers.few import spread
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mviz_lightning.functional import contribution_shares, decomposable, design
from mviz_lightning.functional.subsets import subset_totals, swap_effects

DESIGNS = [(2, 6), (2, 9), (3, 12), (4, 16)]


def drawn(modalities: int, size: int, groups: int = 2, outputs: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = len(design(modalities, size).tuples)
    return torch.randn(groups, rows, outputs, generator=generator, dtype=torch.float64)


def slow_effects(outputs: np.ndarray, tuples: list[tuple[int, ...]], size: int) -> np.ndarray:
    """Half the mean squared distances of one group, row by row, with the rows chosen by what they hold."""
    modalities = len(tuples[0])
    found = np.zeros((size, 1 + modalities))
    for i in range(size):
        own = outputs[tuples.index((i,) * modalities)]
        far = [row for row, held in zip(outputs, tuples, strict=True) if i not in held and len(set(held)) == modalities]
        found[i, 0] = np.mean([((own - row) ** 2).sum() for row in far]) / 2
        for m in range(modalities):
            others = (i,) * (modalities - 1)
            swapped = [
                row
                for row, held in zip(outputs, tuples, strict=True)
                if held[:m] + held[m + 1 :] == others and held[m] != i
            ]
            found[i, 1 + m] = np.mean([((own - row) ** 2).sum() for row in swapped]) / 2
    return found


@pytest.mark.parametrize(("modalities", "size"), DESIGNS)
def test_effects_equal_those_found_row_by_row(modalities: int, size: int) -> None:
    plan, outputs = design(modalities, size), drawn(modalities, size)
    tuples = [tuple(row) for row in plan.tuples.tolist()]
    expected = [slow_effects(group, tuples, size) for group in outputs.numpy()]
    np.testing.assert_allclose(swap_effects(outputs, plan), expected, atol=1e-12)


@given(st.integers(0, 1000), st.sampled_from(DESIGNS), st.floats(-1e6, 1e6))
def test_an_offset_of_the_outputs_changes_nothing(seed: int, shape: tuple[int, int], offset: float) -> None:
    outputs, plan = drawn(*shape, seed=seed), design(*shape)
    torch.testing.assert_close(swap_effects(outputs + offset, plan), swap_effects(outputs, plan), atol=1e-6, rtol=1e-6)


def evaluated(function, inputs: list[Tensor], size: int) -> Tensor:
    """Return ``(G, T, 1)`` outputs of inputs ``(G * g,)``."""
    plan = design(len(inputs), size)
    by_group = [values.view(-1, size) for values in inputs]
    rows = [values[:, plan.tuples[:, m]] for m, values in enumerate(by_group)]
    return function(*rows).unsqueeze(-1)


def totals(outputs: Tensor, members: Tensor, modalities: int, size: int) -> list[float]:
    effects = swap_effects(decomposable(outputs, "regression"), design(modalities, size))
    return subset_totals(effects, members.view(-1, size)).value.tolist()


def test_a_model_that_looks_at_the_image_of_some_and_at_the_text_of_others_reads_so() -> None:
    """The image's sign says which modality counts: the rest of the image, or the text."""
    generator = torch.Generator().manual_seed(0)
    image, text = torch.randn(2, 128 * 32, generator=generator, dtype=torch.float64)
    image = image.where(torch.rand(len(image), generator=generator) > 0.9, -image.abs())  # one in twenty has the sign
    outputs = evaluated(lambda x, y: torch.where(x > 0, 3 * x, y), [image, text], 32)
    by_image, by_text = (totals(outputs, members, 2, 32) for members in (image > 0, image <= 0))
    assert by_image == [pytest.approx(1, abs=0.05), 0]  # a text moves nothing, whatever it says
    assert by_text[1] > 0.75  # a text from elsewhere decides; an image does only where it has the sign
    assert by_text[0] < 0.3


def test_evidence_that_all_examples_of_a_class_share_counts() -> None:
    """Five classes are told by a mark in the image, five by a word: within the class, neither varies.

    An image from elsewhere takes the mark away (9 of 10), and may bring another one (4 of 10). A text brings a word (5
    of 10). Everything from elsewhere does all of it.
    """
    label = torch.arange(8 * 20) % 10  # two of each class in every group
    given = [label.double(), label.double()]
    marks = [evaluated(lambda image, text, k=k: 4.0 * ((image if k < 5 else text) == k), given, 20) for k in range(10)]
    for k in range(10):
        found = totals(torch.cat(marks, -1), label == k, 2, 20)
        own, other = (0, 1) if k < 5 else (1, 0)
        assert (found[own], found[other]) == pytest.approx((13 / 18, 5 / 18))


@pytest.mark.parametrize("modalities", [2, 3])
def test_within_all_examples_of_independent_modalities_it_is_the_total_effect(modalities: int) -> None:
    size, repeats = 16, 40
    differences = []
    for seed in range(repeats):
        generator = torch.Generator().manual_seed(seed)
        inputs = list(torch.randn(modalities, 8 * size, generator=generator, dtype=torch.float64))
        outputs = evaluated(lambda x, y, *rest: x + 2 * y + x * y + sum(rest), inputs, size)
        plan = design(modalities, size)
        names = [f"m{k}" for k in range(modalities)]
        shares = contribution_shares(plan.components(outputs), names, plan.pairs)
        found = totals(outputs, torch.ones(8 * size, dtype=torch.bool), modalities, size)
        differences.append([value - float(shares[f"total/{n}"]) for value, n in zip(found, names, strict=True)])
    difference = torch.tensor(differences)
    error = difference.std(0) / repeats**0.5
    assert (difference.mean(0).abs() < 0.005 + 3 * error).all()


def test_outputs_that_do_not_vary_have_totals_of_zero() -> None:
    found = subset_totals(torch.zeros(4, 8, 3), torch.ones(4, 8, dtype=torch.bool))
    assert [bound.tolist() for bound in found] == [[0, 0]] * 3


def test_groups_without_members_do_not_count() -> None:
    effects = 1 + torch.rand(6, 8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    members = torch.zeros(6, 8, dtype=torch.bool)
    members[:4, :3] = True
    some, alone = subset_totals(effects, members), subset_totals(effects[:4], members[:4])
    assert all(torch.equal(left, right) for left, right in zip(some, alone, strict=True))
    (single,) = [subset_totals(effects[:1], members[:1])]
    assert single.low.isnan().all()


@pytest.mark.parametrize("model", spread(MODELS, 3))
@pytest.mark.parametrize("modalities", [2, 3])
def test_values_are_unbiased_and_intervals_cover_the_truth(model: str, modalities: int) -> None:
    truth = true_totals(model, modalities, 0.9)
    found = simulate(model, modalities, 0.9, truth, repeats=60)
    for k, probability in enumerate(PROBABILITIES):
        if 128 * probability >= 12:
            assert (found.bias[k].abs() <= 0.02 + 3 * found.bias_error[k]).all(), k
            assert (found.coverage[k] >= 0.86 - 3 * found.coverage_error[k]).all(), k


def test_intervals_over_examples_would_be_too_narrow() -> None:
    """Examples of a group share their donors; a simulation that could not tell would be worth nothing."""
    truth = true_totals("mixed", 2, 0.0)
    found = simulate("mixed", 2, 0.0, truth, repeats=80, over_examples=True)
    assert (found.coverage[-1] < 0.86 - 2 * found.coverage_error[-1]).all()
