"""From components to shares."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import slow
from torch import Tensor

from mviz_lightning.functional import contribution_shares, design, share_ratios
from mviz_lightning.functional.contribution import share_names

seeds = st.integers(0, 10_000)
modality_counts = st.integers(2, 5)
NAMES = ["image", "text", "audio", "table", "video"]


def random_components(seed: int, modalities: int, pairs: int = 0, groups: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.2 + torch.rand(groups, 2 + 2 * modalities + pairs, generator=generator, dtype=torch.float64)


def test_names_come_in_the_order_of_the_ratios() -> None:
    assert share_names(["image", "text", "audio"], [(0, 2)]) == [
        "contribution/image",
        "contribution/text",
        "contribution/audio",
        "total/image",
        "total/text",
        "total/audio",
        "interaction/image+audio",
        "interaction",
    ]


@given(seeds, modality_counts, st.integers(0, 3))
def test_ratios_equal_those_written_out(seed: int, modalities: int, pairs: int) -> None:
    components = random_components(seed, modalities, pairs)[0]

    np.testing.assert_allclose(
        share_ratios(components, modalities), slow.share_ratios(components.numpy(), modalities), atol=1e-12
    )


@given(seeds, modality_counts, st.integers(0, 3))
def test_contributions_and_interaction_add_up_to_one(seed: int, modalities: int, pairs: int) -> None:
    ratios = share_ratios(random_components(seed, modalities, pairs)[0], modalities)

    assert float(ratios[:modalities].sum() + ratios[-1]) == pytest.approx(1, abs=1e-12)


def test_ratios_of_exact_components_are_the_exact_shares() -> None:
    # (x - y)^2 of unit normal modalities: V_1, V_2, V_12 = 2, 2, 4.
    found = share_ratios(torch.tensor([8.0, 2, 2, 6, 6, 4]), 2)

    assert found.tolist() == [0.25, 0.25, 0.75, 0.75, 0.5]


@pytest.mark.parametrize("groups", [1, 3])
def test_outputs_that_do_not_vary_have_shares_of_zero(groups: int) -> None:
    components = torch.zeros(groups, 6)

    assert torch.equal(share_ratios(components, 2), torch.zeros(groups, 5))


def test_a_variance_that_came_out_negative_gives_zeros_and_no_numbers_out_of_range() -> None:
    assert not share_ratios(torch.tensor([-1e-9, 0.1, 0.1, 0.1, 0.1, 0.1]), 2).any()
    assert not share_ratios(torch.tensor([1.0, -0.3, -0.3, 0.1, 0.1, 0.1]), 2).any()


def test_slightly_negative_shares_are_not_clipped() -> None:
    found = share_ratios(torch.tensor([1.0, -0.1, 0.1, 0.9, 1.1, 1.0]), 2)

    assert found[0] == pytest.approx(-0.1)


@given(seeds, st.floats(1e-6, 1e6))
def test_the_unit_of_the_outputs_does_not_matter(seed: int, factor: float) -> None:
    components = random_components(seed, 3)

    torch.testing.assert_close(share_ratios(components * factor, 3), share_ratios(components, 3))


@pytest.mark.parametrize("modalities", [2, 3, 4, 5])
def test_every_share_comes_with_its_bounds(modalities: int) -> None:
    names, pairs = NAMES[:modalities], design(modalities, 20).pairs
    expected = {"weakest_total"}
    for kind, ofs in {
        "contribution": [f"/{name}" for name in names],
        "total": [f"/{name}" for name in names],
        "interaction": ["", *(f"/{names[a]}+{names[b]}" for a, b in pairs)],
    }.items():
        expected |= {f"{kind}{bound}{of}" for bound in ("", "_low", "_high") for of in ofs}

    assert set(contribution_shares(random_components(0, modalities, len(pairs), groups=8), names, pairs)) == expected


@given(seeds, modality_counts)
def test_shares_and_bounds_equal_the_jackknife_in_loops(seed: int, modalities: int) -> None:
    groups = random_components(seed, modalities, groups=6)
    found = contribution_shares(groups, NAMES[:modalities])
    expected = slow.jackknife(groups.numpy(), lambda mean: slow.share_ratios(mean, modalities))

    for index, name in enumerate(share_names(NAMES[:modalities], [])):
        kind, _, of = name.partition("/")
        bounds = [f"{kind}{bound}" + (f"/{of}" if of else "") for bound in ("", "_low", "_high")]
        assert [float(found[key]) for key in bounds] == pytest.approx([part[index] for part in expected])


@given(seeds, modality_counts)
def test_the_weakest_total_is_the_smallest(seed: int, modalities: int) -> None:
    names = NAMES[:modalities]
    found = contribution_shares(random_components(seed, modalities, groups=4), names)

    assert found["weakest_total"] == min(found[f"total/{name}"] for name in names)


@given(seeds)
def test_the_order_of_the_groups_does_not_matter(seed: int) -> None:
    groups = random_components(seed, 2, groups=6)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    found, expected = contribution_shares(groups[order], NAMES[:2]), contribution_shares(groups, NAMES[:2])

    assert all(torch.isclose(found[name], expected[name]) for name in expected)


def test_one_group_gives_shares_without_an_interval() -> None:
    found = contribution_shares(random_components(0, 2), NAMES[:2])

    assert math.isfinite(found["interaction"])
    assert math.isnan(found["interaction_low"])
    assert math.isnan(found["total_high/text"])


def test_a_collapsed_model_has_a_weakest_total_of_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 16, generator=generator, dtype=torch.float64)
    plan = design(2, 16)
    components = plan.components(x[:, plan.tuples[:, 0]].unsqueeze(-1))

    found = contribution_shares(components, NAMES[:2])
    assert float(found["weakest_total"]) == pytest.approx(0, abs=1e-12)
    assert float(found["contribution/image"]) == pytest.approx(1, abs=1e-12)


def test_a_pure_interaction_has_full_totals_and_no_contribution() -> None:
    # Why the alarm reads totals: a converged XOR is in perfect health.
    signs = torch.randint(2, (32, 16, 2), generator=torch.Generator().manual_seed(1)) * 2.0 - 1
    plan = design(2, 16)
    outputs = signs[:, plan.tuples, torch.arange(2)].prod(-1, keepdim=True).double()

    found = contribution_shares(plan.components(outputs), NAMES[:2])
    assert abs(float(found["contribution/image"])) < 0.05
    assert float(found["weakest_total"]) > 0.95
