"""The range of a forward's outputs, proved from its operations."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mviz_lightning.engine.output_range import RangeMode


def range_of(function: Callable[[Tensor], Tensor]) -> tuple[float, float]:
    mode, given = RangeMode(), torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    with mode:
        found = function(given)
    return mode.range_of(found)


@pytest.mark.parametrize(
    "function",
    [
        torch.sigmoid,
        lambda z: z.softmax(1),
        lambda z: 1 / (1 + (-z).exp()),
        lambda z: (1 + torch.exp(-z)).reciprocal(),
        lambda z: (1 + torch.tanh(z / 2)) / 2,
        lambda z: 0.5 * z.tanh() + 0.5,
        lambda z: 1 - (-functional.softplus(z)).exp(),
        lambda z: torch.special.ndtr(z),
        lambda z: 0.5 * (1 + torch.erf(z / math.sqrt(2))),
        functional.hardsigmoid,
        lambda z: z.clamp(0, 1),
        lambda z: functional.hardtanh(z, 0.0, 1.0),
        lambda z: z.sigmoid() * z.sin().abs().clamp(max=1),
        lambda z: torch.stack([z.sigmoid(), 1 - z.sigmoid()], 1).mean(1),
        lambda z: (1 / (1 + (-z).exp()))[:, :1].squeeze(1),
        lambda z: z.sigmoid().clamp(1e-7, 1 - 1e-7),
    ],
)
def test_a_sigmoid_of_any_spelling_ends_between_0_and_1(function: Callable[[Tensor], Tensor]) -> None:
    low, high = range_of(function)

    assert low >= 0
    assert high <= 1


@pytest.mark.parametrize(
    "function",
    [
        lambda z: z,
        lambda z: 0.5 + z / 1000,
        lambda z: 2 * z.sigmoid() - 0.5,
        lambda z: z.sigmoid() + z.sigmoid(),
        lambda z: z.relu(),
        lambda z: 1 + z.exp(),
        lambda z: 1 / z,
        lambda z: torch.tanh(z),
        lambda z: z.clamp(min=0),
        lambda z: torch.cat([z.sigmoid(), z], 1),
        lambda z: z.sigmoid() @ torch.rand(3, 3),
        lambda z: torch.add(z.sigmoid(), z.sigmoid(), alpha=-0.5),
        lambda z: z.sigmoid().mul_(3.0),
    ],
)
def test_what_may_leave_the_unit_interval_is_not_said_to_stay_in_it(function: Callable[[Tensor], Tensor]) -> None:
    low, high = range_of(function)

    assert low < 0 or high > 1


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda z: 3 * z.sigmoid() - 1, (-1, 2)),
        (lambda z: -z.sigmoid(), (-1, 0)),
        (lambda z: 1 / (2 + z.sigmoid()), (1 / 3, 1 / 2)),
        (lambda z: (-z.relu()).exp(), (0, 1)),
        (lambda z: 2 - z.tanh(), (1, 3)),
        (lambda z: z.tanh() / 4, (-0.25, 0.25)),
    ],
)
def test_ranges_follow_interval_arithmetic(function: Callable[[Tensor], Tensor], expected: tuple[float, float]) -> None:
    assert range_of(function) == pytest.approx(expected)
