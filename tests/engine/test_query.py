"""The one question that all methods ask, and how several become one."""

from collections.abc import Callable, Sequence

import pytest
import torch
from helpers.batches import integers
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mviz_lightning.engine import Query, join
from mviz_lightning.engine.query import pack_masks, row_numbers

Join = Callable[[Sequence[Query]], tuple[Query, list[Tensor]]]
seeds = st.integers(0, 10_000)
UNITS = {"image": 2, "text": 3}


def random_query(seed: int, rows: int = 12) -> Query:
    """Rows over three examples of two modalities, most of them repeated; either, both or no modality masked."""
    generator = torch.Generator().manual_seed(seed)
    sources = torch.randint(3, (rows, 2), generator=generator)
    masks = {
        name: torch.rand(rows, segments, generator=generator) < 0.7
        for name, segments in UNITS.items()
        if torch.rand((), generator=generator) < 0.6
    }
    return Query(sources, masks)


def queries(seed: int) -> list[Query]:
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.randint(1, 5, (), generator=generator))
    return [random_query(seed + k, int(torch.randint(1, 13, (), generator=generator))) for k in range(count)]


def spelled(query: Query) -> list[tuple[int, ...]]:
    """Every row with all that a model could see of it; unmasked modalities have all their units."""
    columns = [query.sources]
    for name, segments in UNITS.items():
        columns.append(query.masks.get(name, torch.ones(len(query), segments, dtype=torch.bool)).long())
    return [tuple(row) for row in torch.cat(columns, 1).tolist()]


def answers_are_right(join: Join, queries: Sequence[Query]) -> bool:
    """Whether each query finds its own rows among the distinct ones."""
    distinct, responses = join(queries)
    rows = spelled(distinct)
    return all(
        [rows[index] for index in response.tolist()] == spelled(query)
        for query, response in zip(queries, responses, strict=True)
    )


@given(seeds)
def test_each_query_finds_its_own_rows_among_the_joined(seed: int) -> None:
    assert answers_are_right(join, queries(seed))


@pytest.mark.parametrize("forgotten", ["masks", "sources"])
def test_a_join_that_forgets_half_of_a_row_fails_that_test(forgotten: str) -> None:
    def forgetful(queries: Sequence[Query]) -> tuple[Query, list[Tensor]]:
        if forgotten == "masks":
            return join([Query(query.sources) for query in queries])
        distinct, responses = join(queries)
        return distinct, [torch.zeros_like(response) for response in responses]

    assert not all(answers_are_right(forgetful, queries(seed)) for seed in range(10))


@given(seeds)
def test_joined_rows_are_distinct(seed: int) -> None:
    rows = spelled(join(queries(seed))[0])

    assert len(set(rows)) == len(rows)


@given(seeds)
def test_joined_rows_are_those_that_were_asked(seed: int) -> None:
    asked = queries(seed)

    assert set(spelled(join(asked)[0])) == {row for query in asked for row in spelled(query)}


@given(seeds)
def test_joining_again_changes_nothing(seed: int) -> None:
    once = join(queries(seed))[0]
    twice, (response,) = join([once])

    assert spelled(twice) == spelled(once)
    assert torch.equal(response, torch.arange(len(once)))


def test_a_row_whose_units_all_stay_is_an_unmasked_row() -> None:
    sources = torch.tensor([[0, 1]])
    unmasked, all_stay = Query(sources), Query(sources, {"text": torch.ones(1, 3, dtype=torch.bool)})
    one_gone = Query(sources, {"text": torch.tensor([[True, False, True]])})

    distinct, (first, second, third) = join([unmasked, all_stay, one_gone])
    assert len(distinct) == 2
    assert first.item() == second.item() != third.item()


def test_masks_of_two_modalities_make_four_rows() -> None:
    kept = torch.tensor([[True, True], [False, True]])
    image, text = kept[[0, 0, 1, 1]], kept[[0, 1, 0, 1]]

    distinct, (response,) = join([Query(torch.zeros(4, 2, dtype=torch.long), {"image": image, "text": text})])
    assert len(distinct) == 4
    assert len(response.unique()) == 4


def test_the_same_rows_of_two_methods_are_evaluated_once() -> None:
    query = Query.aligned(torch.arange(5), 2)

    distinct, (first, second) = join([query, query])
    assert len(distinct) == 5
    assert torch.equal(first, second)


def test_a_query_without_rows_gets_no_answers() -> None:
    empty = Query(torch.zeros(0, 2, dtype=torch.long))

    distinct, (none, some) = join([empty, Query.aligned(torch.arange(3), 2)])
    assert len(distinct) == 3
    assert none.shape == (0,)
    assert some.shape == (3,)


def outputs(query: Query) -> Tensor:
    """A model that sees everything in a row, ``(R, 2)``."""
    rows = torch.tensor(spelled(query), dtype=torch.float64)
    weights = torch.arange(1.0, rows.shape[1] + 1, dtype=torch.float64)
    return torch.stack([rows @ weights.sqrt(), rows @ weights.log()], 1)


@given(seeds)
def test_answers_to_the_joined_rows_are_answers_to_each_query(seed: int) -> None:
    asked = queries(seed)
    distinct, responses = join(asked)

    for query, response in zip(asked, responses, strict=True):
        torch.testing.assert_close(outputs(distinct)[response], outputs(query), rtol=1e-12, atol=0)


@given(seeds, st.integers(1, 13))
def test_chunks_of_a_query_are_answered_like_the_whole(seed: int, chunk: int) -> None:
    query = random_query(seed)
    chunks = [query[start : start + chunk] for start in range(0, len(query), chunk)]

    assert sum(map(len, chunks)) == len(query)
    torch.testing.assert_close(torch.cat([outputs(part) for part in chunks]), outputs(query), rtol=1e-12, atol=0)


@given(seeds)
def test_rows_are_picked_with_their_masks(seed: int) -> None:
    query = random_query(seed)
    index = torch.randperm(len(query), generator=torch.Generator().manual_seed(seed))[:5]

    assert spelled(query[index]) == [spelled(query)[row] for row in index.tolist()]


def test_an_aligned_query_takes_all_modalities_from_one_example() -> None:
    query = Query.aligned(torch.tensor([4, 2]), 3)

    assert query.sources.tolist() == [[4, 4, 4], [2, 2, 2]]
    assert not query.masks
    assert len(query) == 2


@pytest.mark.parametrize("high", [3, 2**40])
def test_numbers_are_equal_where_all_columns_are(high: int) -> None:
    few = integers(3, 200, 4) * (high // 3)
    found = row_numbers(few.unbind(1))
    expected = torch.unique(few, dim=0, return_inverse=True)[1]
    assert len(torch.unique(found)) == len(torch.unique(expected))
    assert torch.equal(found[:, None] == found[None], expected[:, None] == expected[None])


@pytest.mark.parametrize("segments", [0, 1, 31, 32, 70])
def test_packed_masks_are_equal_where_masks_are(segments: int) -> None:
    masks = integers(2, 40, segments).bool().repeat(2, 1)
    if segments:
        masks[0, -1] = ~masks[40, -1]
    columns = pack_masks(masks)
    same = (masks[:, None] == masks[None]).all(-1)
    assert torch.equal(
        row_numbers([torch.zeros(80, dtype=torch.long), *columns])[:, None]
        == row_numbers([torch.zeros(80, dtype=torch.long), *columns])[None],
        same,
    )
