"""The sample of one validation pass."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers.batches import floats, learn, packed, pair_batch, same
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from mviz_lightning.batch import BatchSchema, Reservoir
from mviz_lightning.batch.reservoir import lowest, priority
from mviz_lightning.batch.rows import take_examples, to_device

COUNT = 40
DATA = {"image": torch.arange(COUNT), "text": [str(k) for k in range(COUNT)], "labels": torch.arange(COUNT) % 3}
SCHEMA = learn(DATA)


def batch_of(positions: Sequence[int]) -> dict[str, object]:
    index = torch.tensor(positions, dtype=torch.long)
    return {path: take_examples(leaf, index) for path, leaf in DATA.items()}


def filled(order: Sequence[int], cuts: Sequence[int] = (), capacity: int = 10, seed: int = 0) -> Reservoir:
    """Pass the data set by in an order, in batches that end at the cuts."""
    reservoir = Reservoir(capacity, seed)
    bounds = sorted({0, len(order), *(cut for cut in cuts if cut < len(order))})
    for start, end in pairwise(bounds):
        reservoir.add(SCHEMA, batch_of(order[start:end]), order[start:end])
    return reservoir


orders = st.permutations(range(COUNT))
cuts = st.lists(st.integers(1, COUNT - 1), max_size=8)


@settings(max_examples=30, deadline=None)
@given(order=orders, cuts=cuts, capacity=st.integers(1, 50), seed=st.integers(0, 2**31))
def test_the_sample_depends_neither_on_the_order_nor_on_the_batch_sizes(order, cuts, capacity, seed) -> None:
    sample = filled(order, cuts, capacity, seed).positions()
    assert sample == filled(range(COUNT), (), capacity, seed).positions()
    assert len(sample) == min(capacity, COUNT)


@settings(max_examples=30, deadline=None)
@given(order=orders, split=st.integers(0, COUNT), cuts=cuts, capacity=st.integers(1, 50), seed=st.integers(0, 2**31))
def test_two_ranks_keep_what_one_keeps(order, split, cuts, capacity, seed) -> None:
    ranks = [filled(order[:split], cuts, capacity, seed), filled(order[split:], cuts, capacity, seed)]
    chosen = lowest(seed, [position for rank in ranks for position in rank.positions()], capacity)
    rows = {position: row for rank in ranks for position, row in rank.rows(chosen).items()}
    single = filled(range(COUNT), (), capacity, seed)
    assert chosen == single.positions()
    assert {position: int(row["image"]) for position, row in rows.items()} == {k: k for k in chosen}


@settings(max_examples=20, deadline=None)
@given(order=orders, cuts=cuts)
def test_rows_are_those_of_their_positions(order, cuts) -> None:
    reservoir = filled(order, cuts)
    for position, row in reservoir.rows(reservoir.positions()).items():
        assert same(dict(row), batch_of([position]))


def test_a_position_that_two_ranks_saw_counts_once() -> None:
    assert lowest(0, [3, 5, 3, 5, 1], 10) == [1, 3, 5]


def test_lowest_keeps_the_lowest_priorities() -> None:
    ranked = sorted(range(COUNT), key=lambda position: priority(7, position))
    assert lowest(7, range(COUNT), 5) == sorted(ranked[:5])


def test_another_seed_draws_another_sample() -> None:
    assert filled(range(COUNT), seed=0).positions() != filled(range(COUNT), seed=1).positions()


def deviation(counts: np.ndarray, draws: int, chance: float) -> float:
    """Return the chi-square statistic of inclusion counts; COUNT - 1 degrees of freedom, since sizes are fixed."""
    expected = draws * chance
    return float(((counts - expected) ** 2).sum() / (expected * (1 - chance)) * (COUNT - 1) / COUNT)


def inclusions(samples: Sequence[Sequence[int]]) -> np.ndarray:
    return np.bincount([position for sample in samples for position in sample], minlength=COUNT)


@pytest.mark.slow
def test_every_example_has_the_same_chance() -> None:
    samples = [filled(range(COUNT), (10, 20, 30), seed=seed).positions() for seed in range(400)]
    assert deviation(inclusions(samples), 400, 10 / COUNT) < chi2.ppf(0.999, COUNT - 1)


def test_the_bound_on_chances_would_notice_a_biased_sample() -> None:
    generator = np.random.default_rng(0)
    weights = np.linspace(0.8, 1.2, COUNT)
    samples = [generator.choice(COUNT, 10, replace=False, p=weights / weights.sum()) for _ in range(400)]
    assert deviation(inclusions(samples), 400, 10 / COUNT) > chi2.ppf(0.999, COUNT - 1)


@pytest.mark.slow
def test_pairs_of_examples_are_drawn_independently() -> None:
    samples = [set(filled(range(COUNT), seed=seed).positions()) for seed in range(400)]
    neighbours = sum((k in sample) and (k + 1 in sample) for sample in samples for k in range(COUNT - 1))
    chance = 10 / COUNT * 9 / (COUNT - 1)
    expected = 400 * (COUNT - 1) * chance
    # The pairs of a sample are weakly dependent; 5 standard deviations of independent ones leave room for it.
    assert abs(neighbours - expected) < 5 * (expected * (1 - chance)) ** 0.5


def test_an_empty_reservoir_has_no_rows() -> None:
    assert Reservoir(4).positions() == []
    assert Reservoir(4).rows([1]) == {}


def test_an_example_that_stands_twice_is_left_out() -> None:
    reservoir = Reservoir(10)
    reservoir.add(SCHEMA, batch_of([4, 5, 4, 5]), [4, None, None, 5])
    reservoir.add(SCHEMA, batch_of([7, 7]), [None, None])
    assert reservoir.positions() == [4, 5]
    assert same(dict(reservoir.rows([5])[5]), batch_of([5]))


def kept_rows(schema: BatchSchema, batch: dict[str, object], change) -> tuple[list[object], list[object]]:
    """Return a leaf's kept rows before and after a change of the batch."""
    reservoir = Reservoir(8)
    leaves = schema.leaves(batch)
    reservoir.add(schema, leaves, range(3))
    before = [repr(row["image"]) for row in reservoir.rows(range(3)).values()]
    change(batch["image"])
    return before, [repr(row["image"]) for row in reservoir.rows(range(3)).values()]


@pytest.mark.parametrize(
    ("image", "change"),
    [
        (floats(3, 4), lambda leaf: leaf.zero_()),
        (floats(3, 4).numpy(), lambda leaf: leaf.fill(0)),
        (packed([2, 3, 1]), lambda leaf: leaf.data.zero_()),
        (["a", "b", "c"], lambda leaf: leaf.clear()),
        ([floats(4, 2), floats(4, 5), floats(4, 1)], lambda leaf: [entry.zero_() for entry in leaf]),
    ],
    ids=["tensor", "array", "packed sequence", "strings", "list of tensors"],
)
def test_rows_are_copies(image, change) -> None:
    batch = {"image": image, "text": torch.arange(3)}
    before, after = kept_rows(learn(batch, {"text": "text", "image": "image"}), batch, change)
    assert before == after


def test_a_row_does_not_hold_on_to_its_batch() -> None:
    reservoir = Reservoir(2)
    batch = pair_batch(64)
    reservoir.add(learn(batch), batch, range(64))
    for row in reservoir.rows(range(64)).values():
        assert row["image"].untyped_storage().nbytes() == row["image"].nbytes


@pytest.mark.parametrize(
    "image",
    [floats(3, 4), [floats(4, 2), floats(4, 5), floats(4, 1)], packed([2, 3, 1])],
    ids=["tensor", "list", "packed"],
)
def test_rows_of_an_inference_pass_can_be_differentiated(image) -> None:
    schema = learn({"image": image, "text": torch.arange(3)}, {"text": "text", "image": "image"})
    reservoir = Reservoir(8)
    with torch.inference_mode():
        born_inside = to_device(image, "cpu") if not isinstance(image, list) else [entry.clone() for entry in image]
        born_inside = born_inside.clone() if isinstance(image, torch.Tensor) else born_inside
        reservoir.add(schema, {"image": born_inside, "text": torch.arange(3)}, range(3))
    for row in reservoir.rows(range(3)).values():
        tensors = [row["image"]] if isinstance(image, torch.Tensor) else list(row["image"])[:1]
        assert not any(tensor.is_inference() for tensor in tensors)


def test_priorities_depend_on_seed_and_position_alone() -> None:
    assert priority(0, 1) == priority(0, 1)
    assert len({priority(seed, position) for seed in range(20) for position in range(20)}) == 400
