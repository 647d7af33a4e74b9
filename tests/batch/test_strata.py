"""Proportional draws, dealt out over groups."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mviz_lightning.batch.strata import distribute, stratum_order, systematic_sample

seeds = st.integers(0, 10_000)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def labels(seed: int, count: int, classes: int = 3) -> Tensor:
    return torch.randint(classes, (count,), generator=generator(seed))


@given(seeds, st.integers(1, 50))
def test_an_order_names_every_example_once(seed: int, count: int) -> None:
    for target in (None, labels(seed, count), torch.rand(count, 2, generator=generator(seed))):
        order = stratum_order(target, count, generator(seed))
        assert torch.equal(order.sort().values, torch.arange(count))


@given(seeds, st.integers(1, 50))
def test_examples_of_one_class_stand_together(seed: int, count: int) -> None:
    target = labels(seed, count)

    assert (target[stratum_order(target, count, generator(seed))].diff() >= 0).all()


def test_real_targets_are_sorted_by_size() -> None:
    target = torch.rand(40, generator=generator(0))

    assert (target[stratum_order(target, 40, generator(1))].diff() >= 0).all()


def test_several_targets_count_alike_whatever_their_units() -> None:
    target = torch.rand(40, 2, generator=generator(0))
    unit = torch.tensor([1.0, 1e6])

    order = stratum_order(target, 40, generator(1))
    assert torch.equal(stratum_order(target * unit, 40, generator(1)), order)
    assert (((target - target.mean(0)) / target.std(0)).mean(1)[order].diff() >= -1e-6).all()


def test_a_constant_beside_a_real_target_sorts_nothing() -> None:
    target = torch.rand(49, 1, generator=generator(0), dtype=torch.float64)
    constants = torch.linspace(-1, 1, 50, dtype=torch.float64).expand(49, -1)  # whose means are rounded

    order = stratum_order(torch.cat([target, constants], 1), 49, generator(1))
    assert torch.equal(order, stratum_order(target, 49, generator(1)))


def test_equals_stand_in_random_order() -> None:
    target = torch.zeros(30)

    one, other = (stratum_order(target, 30, generator(seed)) for seed in (0, 1))
    assert not torch.equal(one, other)
    assert not torch.equal(one, torch.arange(30))


@pytest.mark.parametrize("target", [torch.full((6,), 3), torch.zeros(6, 2), torch.full((6,), float("nan"))])
def test_targets_that_tell_nothing_are_no_obstacle(target: Tensor) -> None:
    assert torch.equal(stratum_order(target, 6, generator(0)).sort().values, torch.arange(6))


def test_boolean_labels_are_strata_too() -> None:
    target = torch.tensor([True, False, True, False])

    assert target[stratum_order(target, 4, generator(0))].tolist() == [False, False, True, True]


@given(seeds, st.integers(1, 60), st.data())
def test_a_sample_repeats_no_example(seed: int, count: int, data: st.DataObject) -> None:
    drawn = data.draw(st.integers(1, count))
    order = torch.randperm(count, generator=generator(seed))

    sample = systematic_sample(order, drawn, generator(seed))
    assert len(sample) == drawn
    assert len(sample.unique()) == drawn


@given(seeds, st.integers(1, 60))
def test_a_sample_of_all_is_all(seed: int, count: int) -> None:
    order = torch.randperm(count, generator=generator(seed))

    assert torch.equal(systematic_sample(order, count, generator(seed)), order)


def test_a_start_next_to_the_end_still_draws_examples_that_exist() -> None:
    # 127 and this start add up to 128 in float32, one past the last example.
    seed = 148377
    assert 1 - 3e-6 < torch.rand((), generator=generator(seed)) < 1

    assert torch.equal(systematic_sample(torch.arange(128), 128, generator(seed)), torch.arange(128))


def drawn_shares(draw: Callable[[Tensor, int, torch.Generator], Tensor], seed: int) -> Tensor:
    """How many of 32 drawn examples are of each of three unequal classes, less their due."""
    target = torch.arange(300).remainder(10).clamp(max=2)  # 30, 30 and 240 examples
    order = stratum_order(target, 300, generator(seed))
    return target[draw(order, 32, generator(seed))].bincount(minlength=3) - 32 * torch.tensor([0.1, 0.1, 0.8])


@given(seeds)
def test_every_class_gives_its_share_to_within_one_example(seed: int) -> None:
    assert drawn_shares(systematic_sample, seed).abs().max() < 1


def test_a_plain_random_draw_fails_that_test() -> None:
    def plain(order: Tensor, count: int, source: torch.Generator) -> Tensor:
        return order[torch.randperm(len(order), generator=source)[:count]]

    assert max(float(drawn_shares(plain, seed).abs().max()) for seed in range(20)) > 2


def test_every_example_is_drawn_equally_often() -> None:
    counts = torch.zeros(10)
    for seed in range(3000):
        counts[systematic_sample(torch.arange(10), 4, generator(seed))] += 1

    # Four standard errors of 3000 draws with probability .4.
    assert (counts / 3000 - 0.4).abs().max() < 4 * (0.4 * 0.6 / 3000) ** 0.5


@given(seeds, st.integers(1, 6), st.integers(1, 6))
def test_a_deal_gives_every_example_to_one_group(seed: int, groups: int, size: int) -> None:
    order = torch.randperm(groups * size, generator=generator(seed))

    dealt = distribute(order, groups, generator(seed))
    assert dealt.shape == (groups, size)
    assert torch.equal(dealt.flatten().sort().values, torch.arange(groups * size))


def uneven(grouping: Callable[[Tensor, int, torch.Generator], Tensor], seed: int) -> int:
    """By how many examples of a class the groups differ at most, with three classes dealt to eight groups of six."""
    target = labels(seed, 48)
    groups = target[grouping(stratum_order(target, 48, generator(seed)), 8, generator(seed))]
    counts = torch.stack([group.bincount(minlength=3) for group in groups])
    return int((counts.max(0).values - counts.min(0).values).max())


@given(seeds)
def test_every_group_is_dealt_its_share_of_each_class(seed: int) -> None:
    # A class may begin and end inside a round of eight neighbours.
    assert uneven(distribute, seed) <= 2


def test_groups_formed_at_random_fail_that_test() -> None:
    def shuffled(order: Tensor, groups: int, source: torch.Generator) -> Tensor:
        return order[torch.randperm(len(order), generator=source)].view(groups, -1)

    assert max(uneven(shuffled, seed) for seed in range(20)) > 2


def test_classes_are_spread_over_the_positions_of_a_group() -> None:
    # Designs shift along a group, so that sorted groups would pair classes always in the same way.
    target = torch.arange(64) // 32
    first = [int(target[distribute(torch.arange(64), 8, generator(seed))][0, 0]) for seed in range(200)]

    assert 60 < sum(first) < 140


def test_no_group_is_dealt_the_lowest_of_its_neighbours_more_often() -> None:
    lowest = [int((distribute(torch.arange(8), 4, generator(seed)) == 0).any(1).nonzero()) for seed in range(400)]

    # Four standard errors of 400 draws with probability 1/4.
    assert (torch.tensor(lowest).bincount(minlength=4) / 400 - 0.25).abs().max() < 4 * (0.25 * 0.75 / 400) ** 0.5


def test_draws_repeat_with_their_seed() -> None:
    order = torch.arange(24)

    assert torch.equal(distribute(order, 4, generator(0)), distribute(order, 4, generator(0)))
    assert not torch.equal(distribute(order, 4, generator(0)), distribute(order, 4, generator(1)))
