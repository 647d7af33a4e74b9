"""Rows of all examples one behind another, and what counts them."""

from typing import Any

import pytest
import torch
from helpers.batches import floats, learn, same
from torch import Tensor

from mviz_lightning import ConfigurationError, Modality
from mviz_lightning.batch.counts import Boundaries, CountLeaf, Numbers
from mviz_lightning.batch.few_examples import first_examples

LENGTHS = [1, 3, 2, 4]
SOURCES = torch.tensor([[0, 2], [1, 0], [3, 3], [1, 1]])
ROWS = list(floats(10, 2).split(LENGTHS))


def batch_with(**counters: Any) -> dict[str, Any]:
    return {"patches": torch.cat(ROWS), "table": floats(4, 3, seed=1), "y": torch.arange(4), **counters}


def grid(lengths: list[int]) -> Tensor:
    return torch.tensor([[1, 1, n] for n in lengths])


CASES = {
    "counts": ({"num_patches": torch.tensor(LENGTHS)}, lambda n: {"num_patches": torch.tensor(n)}),
    "a grid": ({"image_grid_thw": grid(LENGTHS)}, lambda n: {"image_grid_thw": grid(n)}),
    "boundaries": (
        {"cu_seqlens": torch.tensor([0, 1, 4, 6, 10], dtype=torch.int32), "max_seqlen": 4},
        lambda n: {"cu_seqlens": torch.tensor([0, *n]).cumsum(0).int(), "max_seqlen": max(n)},
    ),
    "offsets": (
        {"offsets": torch.tensor([0, 1, 4, 6])},
        lambda n: {"offsets": torch.tensor([0, *n]).cumsum(0)[:-1]},
    ),
    "numbers": (
        {"batch": torch.arange(4).repeat_interleave(torch.tensor(LENGTHS))},
        lambda n: {"batch": torch.arange(len(n)).repeat_interleave(torch.tensor(n))},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_recombined_rows_take_each_example_with_its_counts(name: str) -> None:
    counters, of = CASES[name]
    batch = batch_with(**counters)
    probe = first_examples(learn(batch, {"image": "patches", "table": "table"}, "y"), batch, 4)
    assert same(probe.batch(torch.arange(4).unsqueeze(1).expand(-1, 2), {}), batch)
    made = probe.batch(SOURCES, {})
    taken = [ROWS[k] for k in SOURCES[:, 0].tolist()]
    expected = {"patches": torch.cat(taken), "table": batch["table"][SOURCES[:, 1]], "y": SOURCES[:, 0]}
    assert same(made, expected | of([len(rows) for rows in taken]))


@pytest.mark.parametrize("name", CASES)
def test_batches_of_other_sizes_are_read_and_built(name: str) -> None:
    counters, of = CASES[name]
    schema = learn(batch_with(**counters), {"image": "patches", "table": "table"}, "y")
    other = {"patches": floats(7, 2), "table": floats(2, 3), "y": torch.arange(2), **of([5, 2])}
    leaves = schema.leaves(other)
    assert [len(rows) for rows in leaves["patches"]] == [5, 2]
    assert same(schema.build(leaves), other)


def test_padded_rows_know_their_own_entries() -> None:
    batch = batch_with(n=torch.tensor(LENGTHS))
    probe = first_examples(learn(batch, {"image": "patches", "table": "table"}, "y"), batch, 4)
    assert probe.leaves["patches"].shape == (4, 4, 2)
    assert probe.own_entries("patches").any(2).sum(1).tolist() == LENGTHS
    assert not probe.padded  # the model never sees the padding


def test_several_pictures_of_an_example() -> None:
    sizes = torch.tensor([[1, 1, 2], [1, 2, 1], [1, 3, 1], [1, 1, 1]])
    pixels = floats(8, 2)
    batch = {
        "pixel_values": pixels,
        "image_grid_thw": sizes,
        "num_images": torch.tensor([2, 0, 2]),
        "text": ["a", "b", "c"],
    }
    schema = learn(batch, {"image": "pixel_values", "text": "text"})
    assert schema.values["image"] == ["pixel_values", "image_grid_thw", "num_images"]
    made = schema.build(schema.take(schema.leaves(batch), torch.tensor([[2, 0], [1, 1], [0, 2]])))
    expected = {
        "pixel_values": torch.cat([pixels[4:], pixels[:4]]),
        "image_grid_thw": sizes[[2, 3, 0, 1]],
        "num_images": torch.tensor([2, 0, 2]),
        "text": ["a", "b", "c"],
    }
    assert same(made, expected)


def graph_batch() -> dict[str, Any]:
    return batch_with(
        batch=torch.arange(4).repeat_interleave(torch.tensor(LENGTHS)),
        edge_index=torch.tensor([[1, 2, 4, 6, 6], [2, 3, 5, 7, 9]]),
        edge_attr=floats(5, 1),
        degrees=torch.arange(10),
    )


def test_a_graph_in_plain_tensors_keeps_its_edges() -> None:
    batch = graph_batch()
    schema = learn(batch, {"graph": ["patches", "edge_index"], "table": "table"}, "y")
    assert set(schema.values["graph"]) == {"patches", "edge_index", "edge_attr", "degrees"}
    made = schema.build(schema.take(schema.leaves(batch), torch.tensor([[3, 0], [1, 1]])))
    assert made["edge_index"].tolist() == [[0, 0, 4, 5], [1, 3, 5, 6]]
    assert torch.equal(made["edge_attr"], batch["edge_attr"][[3, 4, 0, 1]])
    assert made["batch"].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert made["degrees"].tolist() == [6, 7, 8, 9, 1, 2, 3]


def test_edges_between_examples_are_no_edges_of_examples() -> None:
    batch = graph_batch() | {"edge_index": torch.tensor([[0, 2, 4, 6, 6], [2, 3, 5, 7, 9]])}
    with pytest.raises(ConfigurationError, match="'edge_index'.*has 2 entries, but the batch holds 4"):
        learn(batch, {"graph": ["patches", "edge_index"], "table": "table"}, "y")


def test_rows_counted_in_two_ways_are_asked_for() -> None:
    batch = batch_with(a=torch.tensor(LENGTHS), b=torch.tensor([4, 3, 2, 1]))
    with pytest.raises(ConfigurationError, match=r"'a' and 'b' count them differently.*lengths='a'\)"):
        learn(batch, {"image": "patches", "table": "table"}, "y")
    given = {"image": Modality("patches", lengths="b"), "table": "table"}
    assert [len(rows) for rows in learn(batch, given, "y").leaves(batch)["patches"]] == [4, 3, 2, 1]


def test_lengths_that_do_not_count_are_refused_by_name() -> None:
    batch = batch_with(a=torch.tensor([1, 1, 1, 1]))
    with pytest.raises(ConfigurationError, match=r"lengths='a'\): 'a' \(4,\) does not count the 10 rows of 'patches'"):
        learn(batch, {"image": Modality("patches", lengths="a"), "table": "table"}, "y")
    with pytest.raises(ConfigurationError, match=r"lengths of modalities\['image'\]: no leaf 'b'"):
        learn(batch, {"image": Modality("patches", lengths="b"), "table": "table"}, "y")


def test_rows_that_nothing_counts_are_refused_with_the_argument_to_add() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'patches' \(\(10, 2\)\).*10 entries.*holds 4 examples.*lengths=\.\.\.\)"
    ):
        learn(batch_with(), {"image": "patches", "table": "table"}, "y")


def test_counts_that_were_right_by_chance_are_noticed_in_the_next_batch() -> None:
    schema = learn(batch_with(age=torch.tensor([4, 3, 2, 1])), {"image": "patches", "table": "table"}, "y")
    with pytest.raises(ConfigurationError, match=r"'age' counts 9 rows, but the packed leaf has 10"):
        schema.leaves(batch_with(age=torch.tensor([4, 3, 1, 1])))


def test_labels_count_nothing() -> None:
    batch = {"patches": floats(6, 2), "table": floats(4, 3), "y": torch.tensor([0, 1, 2, 3])}
    with pytest.raises(ConfigurationError, match="'patches'"):
        learn(batch, {"image": "patches", "table": "table"}, "y")


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (CountLeaf(("c",)), [1, 3]),
        (Boundaries(("b",), closed=True), [1, 3]),
        (Boundaries(("o",), closed=False), [1, 3]),
        (Numbers(("n",), ("c",)), [1, 3]),
        (Numbers(("n",), None), [1, 3]),
    ],
)
def test_every_counter_tells_the_same(counts: Any, expected: list[int]) -> None:
    batch = {
        "c": torch.tensor([1, 3]),
        "b": torch.tensor([0, 1, 4]),
        "o": torch.tensor([0, 1]),
        "n": torch.tensor([0, 1, 1, 1]),
    }
    assert counts.lengths(batch, 4) == expected


def test_two_modalities_cannot_share_what_counts_their_rows() -> None:
    batch = batch_with(batch=torch.arange(4).repeat_interleave(torch.tensor(LENGTHS)), pos=floats(10, 3, seed=2))
    with pytest.raises(
        ConfigurationError, match=r"'batch' counts the rows of 'patches' of 'a' and of 'pos' of 'b'.*into one"
    ):
        learn(batch, {"a": "patches", "b": "pos", "table": "table"}, "y")
    assert learn(batch, {"a": ["patches", "pos"], "table": "table"}, "y").values["a"] == ["patches", "pos"]
