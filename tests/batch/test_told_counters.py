"""Counters that the user names count the rows of their own modality, and nothing else."""

import torch
from helpers.batches import learn
from torch import Tensor

from mviz_lightning import Modality
from mviz_lightning.batch.few_examples import first_examples


def recombined(batch: dict[str, object], modalities: dict[str, object], sources: list[list[int]]) -> dict[str, Tensor]:
    return first_examples(learn(batch, modalities), batch, 9).batch(torch.tensor(sources), {})


def test_the_counter_of_each_modality_travels_with_it():
    batch = {
        "a": torch.arange(6.0).unsqueeze(1), "na": torch.tensor([1, 5]),
        "b": torch.arange(6.0).unsqueeze(1) + 10, "nb": torch.tensor([2, 4]), "y": torch.zeros(2),
    }  # fmt: skip
    told = {"a": Modality("a", lengths="na"), "b": Modality("b", lengths="nb")}
    found = recombined(batch, told, [[0, 1], [1, 0]])
    assert found["na"].tolist() == [1, 5]
    assert found["nb"].tolist() == [4, 2]
    assert found["b"].flatten().tolist() == [12, 13, 14, 15, 10, 11]


def test_boundaries_that_are_told_are_not_offsets_of_one_example_more():
    batch = {
        "a": torch.arange(6.0).unsqueeze(1), "ca": torch.tensor([0, 2, 6]),
        "b": torch.arange(6.0).unsqueeze(1) + 10, "cb": torch.tensor([0, 3, 6]), "y": torch.zeros(2),
    }  # fmt: skip
    found = recombined(batch, {"a": Modality("a", lengths="ca"), "b": Modality("b", lengths="cb")}, [[0, 1]])
    assert found["ca"].tolist() == [0, 2]
    assert found["cb"].tolist() == [0, 3]


def test_a_vector_of_example_numbers_is_no_vector_of_lengths():
    batch = {
        "x": torch.arange(45.0).view(5, 9), "pos": torch.arange(15.0).view(5, 3),
        "batch": torch.tensor([0, 0, 1, 1, 1]), "table": torch.zeros(2, 3), "y": torch.zeros(2),
    }  # fmt: skip
    schema = learn(batch, {"graph": Modality("x", companions=("pos",), lengths="batch"), "table": "table"})
    assert schema.size(schema.leaves(batch)) == 2


def listed(count: int) -> dict[str, object]:
    """Return arrays of one example each, which have as many rows as there are examples or rows."""
    return {
        "listed": [torch.zeros(3, 2), torch.zeros(2, 2)][:count],
        "rows": torch.arange(3.0)[: 1 + count].unsqueeze(1),
        "numbers": torch.tensor([0, 0, 1])[: 1 + count],
        "words": ["a", "b"][:count],
        "y": torch.zeros(count),
    }


def test_arrays_in_a_list_are_neither_packed_rows_nor_tell_the_number_of_examples():
    modalities = {"listed": "listed", "rows": Modality("rows", lengths="numbers"), "words": "words"}
    schema = learn(listed(2), modalities)
    assert [len(row) for row in schema.leaves(listed(1))["rows"]] == [2]
    assert [len(row) for row in schema.leaves(listed(1))["listed"]] == [3]
