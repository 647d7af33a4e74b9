"""Masking units of a modality."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mviz_lightning.batch import Segments

seeds = st.integers(0, 10_000)


def in_loops(segments: Segments, values: Tensor, kept: Tensor, sources: Tensor) -> Tensor:
    """Every entry by itself."""
    index = segments.index.expand(max(len(segments.index), 1), *values.shape[1:])
    baseline = torch.as_tensor(segments.baseline, dtype=values.dtype).expand_as(values)
    masked = values.clone()
    for row, source in enumerate(sources.tolist()):
        for at in torch.cartesian_prod(*(torch.arange(size) for size in values.shape[1:])).view(-1, values.dim() - 1):
            entry = tuple(at.tolist())
            unit = int(index[(source if len(index) > 1 else 0, *entry)])
            if unit >= 0 and not kept[row, unit]:
                masked[(row, *entry)] = baseline[(row, *entry)]
    return masked


def random_case(seed: int, *, examples: int, entries: tuple[int, ...]) -> tuple[Segments, Tensor, Tensor, Tensor]:
    """Units of ``examples`` index rows (1: the same for all), and five rows to mask."""
    generator = torch.Generator().manual_seed(seed)
    segments = Segments("x", torch.randint(-1, 3, (examples, *entries), generator=generator), baseline=-7.0)
    sources = torch.randint(4, (5,), generator=generator)
    values = torch.randn(4, 3, 2, generator=generator)[sources]
    return segments, values, torch.rand(5, 3, generator=generator) < 0.5, sources


@given(seeds, st.sampled_from([1, 4]), st.sampled_from([(3, 2), (3, 1), (1, 2)]))
def test_masking_equals_the_loop_over_entries(seed: int, examples: int, entries: tuple[int, ...]) -> None:
    segments, values, kept, sources = random_case(seed, examples=examples, entries=entries)

    assert torch.equal(segments.mask(values, kept, sources), in_loops(segments, values, kept, sources))


@given(seeds)
def test_rows_that_keep_all_units_are_left_as_they_were(seed: int) -> None:
    segments, values, kept, sources = random_case(seed, examples=4, entries=(3, 2))

    assert torch.equal(segments.mask(values, torch.ones_like(kept), sources), values)


@given(seeds)
def test_masking_leaves_its_input_alone(seed: int) -> None:
    segments, values, kept, sources = random_case(seed, examples=4, entries=(3, 2))
    before = values.clone()

    segments.mask(values, kept, sources)
    assert torch.equal(values, before)


@given(seeds)
def test_rows_are_masked_each_by_itself(seed: int) -> None:
    segments, values, kept, sources = random_case(seed, examples=4, entries=(3, 2))

    alone = [segments.mask(values[[row]], kept[[row]], sources[[row]]) for row in range(5)]
    assert torch.equal(segments.mask(values, kept, sources), torch.cat(alone))


def test_entries_of_no_unit_are_never_masked() -> None:
    segments = Segments("tokens", torch.tensor([[-1, 0, 1, -1]]), baseline=103)
    tokens = torch.tensor([[101, 7, 8, 102]])

    masked = segments.mask(tokens, torch.zeros(1, 2, dtype=torch.bool), torch.tensor([0]))
    assert masked.tolist() == [[101, 103, 103, 102]]


def test_each_row_takes_the_units_of_the_example_it_comes_from() -> None:
    segments = Segments("x", torch.tensor([[0, 1], [1, 0]]))
    kept = torch.tensor([[True, False]]).expand(3, -1)

    masked = segments.mask(torch.ones(3, 2), kept, torch.tensor([1, 0, 1]))
    assert masked.tolist() == [[0, 1], [1, 0], [0, 1]]


def test_units_in_space_hold_for_all_channels() -> None:
    quadrants = torch.tensor([[0, 1], [2, 3]]).view(1, 1, 2, 2)
    kept = torch.tensor([[False, True, True, True]])

    masked = Segments("image", quadrants).mask(torch.ones(1, 3, 2, 2), kept, torch.tensor([0]))
    assert masked.tolist() == [[[[0, 1], [1, 1]]] * 3]


def test_a_baseline_may_differ_between_entries() -> None:
    segments = Segments("table", torch.tensor([[0, 1, 2]]), baseline=torch.tensor([[10.0, 20.0, 30.0]]))
    kept = torch.tensor([[False, True, False], [True, False, True]])

    assert segments.mask(torch.zeros(2, 3), kept, torch.tensor([0, 1])).tolist() == [[10, 0, 30], [0, 20, 0]]


@pytest.mark.parametrize("dtype", [torch.long, torch.uint8, torch.float16, torch.float64])
def test_values_keep_their_type(dtype: torch.dtype) -> None:
    segments = Segments("x", torch.tensor([[0, 1]]), baseline=1.0)
    kept = torch.tensor([[True, False]])

    masked = segments.mask(torch.zeros(1, 2, dtype=dtype), kept, torch.tensor([0]))
    assert masked.dtype == dtype
    assert masked.tolist() == [[0, 1]]
