"""Masks that know fewer units than there are, texts without some of their words, and rows that all must evaluate."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.batches import LateFusion, OnBatch, call_forward, call_named, floats, pair_batch, probe_of, seeded
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mviz_lightning.batch import Probe, Segments, WordSegments
from mviz_lightning.batch.masking import widen_masks
from mviz_lightning.engine import Evaluator, Query, join
from mviz_lightning.explainers.dime.explainer import masked_rows

TEXTS = ["the small red square", "two  blue", "", "a b c"]
WORDS = [["the", "small red", "square"], ["two", "blue"], [], ["a", "b", "c"]]
UNITS = WordSegments("text", WORDS)
seeds = st.integers(0, 10_000)


def bools(*rows: Sequence[int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def without(text: str, words: Sequence[str], kept: Sequence[bool]) -> str:
    """The slow way: units that the mask does not know stay; a text of which nothing goes is left as it is."""
    stays = [unit >= len(kept) or kept[unit] for unit in range(len(words))]
    return text if all(stays) else " ".join(word for word, stay in zip(words, stays, strict=True) if stay)


# -- Words -------------------------------------------------------------------------------------------------------------


@given(seeds, st.integers(0, 5))
def test_texts_lose_the_words_that_are_not_kept(seed: int, segments: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sources = torch.randint(4, (6,), generator=generator)
    kept = torch.rand(6, segments, generator=generator) < 0.6
    values = [TEXTS[i] for i in sources.tolist()]

    expected = [without(TEXTS[i], WORDS[i], row) for i, row in zip(sources.tolist(), kept.tolist(), strict=True)]
    assert UNITS.mask(values, kept, sources) == expected
    assert values == [TEXTS[i] for i in sources.tolist()]


def test_an_untouched_text_keeps_its_spaces_and_a_masked_one_may_be_empty() -> None:
    kept = bools([1, 1, 0], [0, 0, 1], [0, 0, 0])

    assert UNITS.mask([TEXTS[1]] * 3, kept, torch.tensor([1, 1, 1])) == ["two  blue", "", ""]


@pytest.mark.parametrize("kind", [list, tuple])
def test_texts_come_back_in_what_they_came_in(kind: type) -> None:
    found = UNITS.mask(kind(TEXTS[:2]), bools([0, 1, 1], [1, 0, 0]), torch.tensor([0, 1]))
    assert found == kind(["small red square", "two"])
    assert type(found) is kind


def test_every_example_counts_its_own_words() -> None:
    assert [UNITS.count(example) for example in range(4)] == [3, 2, 0, 3]


# -- Units -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "counts"),
    [
        ([[0, 1, 1, 2]], [3, 3, 3]),
        ([[0, 1, 1, -1], [0, -1, -1, -1], [-1, -1, -1, -1]], [2, 1, 0]),
        ([[-1, -1]], [0, 0, 0]),
    ],
)
def test_units_are_counted_for_every_example(index: list[list[int]], counts: list[int]) -> None:
    assert [Segments("x", torch.tensor(index)).count(example) for example in range(3)] == counts


def test_a_leaf_without_entries_has_no_units() -> None:
    assert Segments("x", torch.zeros(2, 0, dtype=torch.long)).count(1) == 0
    found = Segments("x", torch.zeros(2, 0, dtype=torch.long)).mask(
        torch.zeros(2, 0), bools([], []), torch.tensor([0, 1])
    )
    assert found.shape == (2, 0)


@given(seeds, st.integers(0, 4))
def test_units_that_a_mask_does_not_know_stay(seed: int, known: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    segments = Segments("x", torch.randint(-1, 4, (3, 5), generator=generator), baseline=-9.0)
    sources = torch.randint(3, (6,), generator=generator)
    kept = torch.rand(6, known, generator=generator) < 0.5
    values = torch.randn(6, 5, generator=generator)

    everything = torch.cat([kept, torch.ones(6, 4 - known, dtype=torch.bool)], 1)
    assert torch.equal(segments.mask(values, kept, sources), segments.mask(values, everything, sources))


@given(seeds)
def test_a_baseline_may_belong_to_an_example(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    baseline = torch.randn(4, 3, generator=generator)
    segments = Segments("x", torch.tensor([[0, 0, 1]]), baseline)
    sources = torch.randint(4, (7,), generator=generator)
    kept = torch.rand(7, 2, generator=generator) < 0.5
    values = torch.randn(7, 3, generator=generator)

    expected = [
        [float(values[row, k] if kept[row, unit] else baseline[source, k]) for k, unit in enumerate([0, 0, 1])]
        for row, source in enumerate(sources.tolist())
    ]
    assert segments.mask(values, kept, sources).tolist() == expected


def test_masks_are_widened_with_units_that_stay_and_never_narrowed() -> None:
    kept = bools([0, 1], [1, 0])
    assert widen_masks(kept, 4).tolist() == bools([0, 1, 1, 1], [1, 0, 1, 1]).tolist()
    assert torch.equal(widen_masks(kept, 1), kept)
    assert widen_masks(kept, 4).dtype == torch.bool


# -- Queries -----------------------------------------------------------------------------------------------------------


def spelled(query: Query, segments: int) -> list[tuple[Any, ...]]:
    """Rows with masks of so many units, so that they can be compared."""
    masks = {name: widen_masks(kept, segments) for name, kept in query.masks.items()}
    none = torch.ones(len(query), segments, dtype=torch.bool)
    columns = [query.sources, *(masks.get(name, none).long() for name in ("image", "text"))]
    return [tuple(row) for row in torch.cat(columns, 1).tolist()]


@given(seeds)
def test_queries_of_different_widths_are_joined(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    asked = [
        Query(
            torch.randint(2, (8, 2), generator=generator),
            {name: torch.rand(8, width, generator=generator) < 0.7 for name, width in masks.items()},
        )
        for masks in ({"image": 3}, {"image": 1, "text": 2}, {"text": 4}, {})
    ]
    distinct, responses = join(asked)

    rows = spelled(distinct, 4)
    assert len(set(rows)) == len(rows)
    for query, response in zip(asked, responses, strict=True):
        assert [rows[at] for at in response.tolist()] == spelled(query, 4)


@pytest.mark.parametrize("others", [[], [Query(torch.zeros(2, 2, dtype=torch.long))]], ids=["alone", "beside unmasked"])
def test_masks_of_no_units_are_joined(others: list[Query]) -> None:
    query = Query(torch.tensor([[0, 1], [1, 1], [0, 1]]), {"text": torch.ones(3, 0, dtype=torch.bool)})
    distinct, (response, *_) = join([query, *others])

    assert distinct.sources[response].tolist() == query.sources.tolist()
    assert len(distinct) == 2 + len(others)


def seen(batch: Any) -> Tensor:
    """A model that reads the letters: how many, and the image's sum."""
    letters = torch.tensor([float(len(text.replace(" ", ""))) for text in batch["text"]])
    return torch.stack([letters, batch["image"].sum(1), letters * batch["image"][:, 0]], 1)


def text_probe(texts: Sequence[str] = TEXTS, words: Sequence[Sequence[str]] = WORDS) -> Probe:
    probe = probe_of({"image": floats(len(texts), 4), "text": list(texts)})
    return replace(probe, segments={"text": WordSegments("text", words)})


def test_donors_with_more_words_than_the_masks_keep_theirs() -> None:
    probe = text_probe()
    # Masks for the two words of one, in rows of those that have three.
    query = Query(torch.tensor([[2, 0], [2, 1], [0, 3], [1, 2]]), {"text": bools([0, 1], [0, 1], [1, 0], [0, 0])})

    assert probe.batch(query.sources, query.masks)["text"] == ["small red square", "blue", "a c", ""]
    (response,) = Evaluator(OnBatch(lambda _, batch: seen(batch)), call_forward)(probe, [query])
    assert response[:, 0].tolist() == [14, 4, 2, 0]


def test_examples_with_different_numbers_of_words_are_asked_for_at_once() -> None:
    evaluator, probe = Evaluator(OnBatch(lambda _, batch: seen(batch)), call_forward), text_probe()
    partners = torch.tensor([[3, 3], [0, 0]])
    asked = [
        masked_rows(torch.full((2,), example), partners, 1, "text", masks)
        for example, masks in ((0, bools([1, 1, 1], [0, 1, 0])), (1, bools([1, 1], [1, 0])), (3, bools([0, 0, 1])))
    ]

    for query, response in zip(asked, evaluator(probe, asked), strict=True):
        torch.testing.assert_close(response, evaluator.plain(probe, query))


# -- As many rows as others evaluate -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("at_least", "evaluated"), [(0, 5), (4, 5), (5, 5), (6, 6), (13, 13)])
@pytest.mark.parametrize("chunk_size", [3, 128])
def test_rows_are_repeated_where_others_have_more(at_least: int, evaluated: int, chunk_size: int) -> None:
    sizes: list[int] = []

    def predict(module: LateFusion, batch: Any) -> Tensor:
        sizes.append(len(batch["image"]))
        return call_named(module, batch)

    probe, evaluator = probe_of(pair_batch(8)), Evaluator(seeded(LateFusion), predict, chunk_size, reuse=False)
    query = Query(torch.tensor([[0, 1], [2, 3], [0, 1], [4, 4], [1, 0], [7, 6]]))

    (response,) = evaluator(probe, [query], at_least)
    assert sum(sizes) == evaluated
    assert evaluator.rows == 5
    torch.testing.assert_close(response, Evaluator(seeded(LateFusion), call_named)(probe, [query])[0])


def test_masked_rows_are_repeated_with_their_masks() -> None:
    probe = replace(probe_of(pair_batch(8)), segments={"image": Segments("image", torch.arange(4).unsqueeze(0))})
    query = Query(torch.tensor([[0, 1], [2, 3]]), {"image": bools([0, 1, 0, 1], [1, 1, 0, 0])})

    found, expected = (Evaluator(seeded(LateFusion), call_named)(probe, [query], count)[0] for count in (9, 0))
    torch.testing.assert_close(found, expected)
