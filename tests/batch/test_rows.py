"""Leaves of every kind: count, take, join."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from helpers.batches import MetaTensor, floats, integers, packed, same
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence

from mviz_lightning import ConfigurationError
from mviz_lightning.batch import rows as leaves
from mviz_lightning.engine.dependency_tags import tensors_in


class Case(NamedTuple):
    leaf: object
    expected: object
    """Rows 2, 0, 2 of it."""


FLOATS, NUMBERS = floats(3, 4), integers(9, 3, 2)
IMAGES = [floats(3, 2, 5), floats(3, 4, 4, seed=1), floats(3, 1, 1, seed=2)]
ROWS = [floats(length, 2, seed=length) for length in (2, 4, 1)]

CASES = {
    "floats": Case(FLOATS, torch.stack([FLOATS[2], FLOATS[0], FLOATS[2]])),
    "integers": Case(NUMBERS, torch.stack([NUMBERS[2], NUMBERS[0], NUMBERS[2]])),
    "vector": Case(torch.tensor([True, False, False]), torch.tensor([False, True, False])),
    "array": Case(FLOATS.numpy(), np.stack([FLOATS[2], FLOATS[0], FLOATS[2]])),
    "strings": Case(["a", "b", "c"], ["c", "a", "c"]),
    "tuple of strings": Case(("a", "b", "c"), ("c", "a", "c")),
    "tensors of several sizes": Case(IMAGES, [IMAGES[2], IMAGES[0], IMAGES[2]]),
    "anything": Case([{"id": 1}, None, "x"], ["x", {"id": 1}, "x"]),
    "packed sequence": Case(
        pack_sequence(ROWS, enforce_sorted=False), pack_sequence([ROWS[2], ROWS[0], ROWS[2]], enforce_sorted=False)
    ),
}

every_kind = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@every_kind
def test_count_is_the_number_of_examples(case: Case) -> None:
    assert leaves.example_count(case.leaf) == 3


@every_kind
def test_take_gives_the_examples_in_the_order_of_the_index(case: Case) -> None:
    assert same(leaves.take_examples(case.leaf, torch.tensor([2, 0, 2])), case.expected)


@every_kind
def test_joined_single_examples_are_the_leaf_again(case: Case) -> None:
    parts = [leaves.take_examples(case.leaf, torch.tensor([k])) for k in range(3)]
    assert same(leaves.join_leaves(parts), case.leaf)


@every_kind
def test_moving_to_the_same_device_changes_nothing(case: Case) -> None:
    assert same(leaves.to_device(case.leaf, "cpu"), case.leaf)


@every_kind
@settings(max_examples=20, deadline=None)
@given(cut=st.integers(1, 2), index=st.lists(st.integers(0, 2), min_size=1, max_size=6))
def test_join_and_take_agree(case: Case, cut: int, index: list[int]) -> None:
    parts = [leaves.take_examples(case.leaf, torch.arange(cut)), leaves.take_examples(case.leaf, torch.arange(cut, 3))]
    assert same(
        leaves.take_examples(leaves.join_leaves(parts), torch.tensor(index)),
        leaves.take_examples(case.leaf, torch.tensor(index)),
    )


@pytest.mark.parametrize("nothing", [None, 3, "text", torch.tensor(1.0), np.float32(1), {"a": 1}])
def test_what_is_not_one_entry_an_example_has_no_count(nothing) -> None:
    assert leaves.example_count(nothing) is None


def test_a_packed_sequence_counts_its_rows_not_its_steps() -> None:
    assert leaves.example_count(packed([5, 2, 7, 1])) == 4


def test_a_packed_sequence_taken_twice_keeps_lengths_and_steps() -> None:
    sequence = packed([2, 5, 3])
    once = leaves.take_examples(sequence, torch.tensor([1, 2, 0]))
    padded, lengths = pad_packed_sequence(leaves.take_examples(once, torch.tensor([2, 0, 1])), batch_first=True)
    expected, expected_lengths = pad_packed_sequence(sequence, batch_first=True)
    assert lengths.tolist() == expected_lengths.tolist() == [2, 5, 3]
    assert torch.equal(padded, expected)


@pytest.mark.parametrize(
    ("leaf", "change"),
    [
        (floats(3, 2), lambda leaf: leaf.zero_()),
        (floats(3, 2).numpy(), lambda leaf: leaf.fill(0)),
        (packed([2, 1, 3]), lambda leaf: leaf.data.zero_()),
        (["a", "b", "c"], lambda leaf: leaf.clear()),
        ([floats(2), floats(3), floats(4)], lambda leaf: [row.zero_() for row in leaf]),
    ],
    ids=["tensor", "array", "packed sequence", "list", "list of tensors"],
)
def test_taken_examples_are_copies(leaf, change) -> None:
    taken = leaves.take_examples(leaf, torch.tensor([1, 2]))
    before = repr(taken)
    change(leaf)
    assert repr(taken) == before


def test_ragged_tensors_are_padded_at_their_ends() -> None:
    joined = leaves.join_leaves([torch.ones(1, 2, 1), torch.ones(2, 1, 3)], pad_value=-7)
    assert joined.shape == (3, 2, 3)
    assert joined[0].tolist() == [[1, -7, -7], [1, -7, -7]]
    assert joined[1].tolist() == [[1, 1, 1], [-7, -7, -7]]


def test_padding_keeps_the_element_type() -> None:
    joined = leaves.join_leaves([torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)])
    assert joined.tolist() == [[True, True, False], [True, True, True]]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([floats(1, 2), floats(3, 2)], False),
        ([floats(1, 2), floats(3, 4)], True),
        ([["a"], ["b", "c"]], False),
        ([packed([2]), packed([5])], False),
    ],
)
def test_ragged_tells_whether_joining_pads(parts, expected: bool) -> None:
    assert leaves.is_ragged(parts) is expected


def test_examples_of_different_rank_cannot_be_joined() -> None:
    with pytest.raises(ConfigurationError, match=r"differ in their number of dimensions: \(1, 2\), \(1, 2, 1\)\."):
        leaves.join_leaves([floats(1, 2), floats(1, 2, 1)])


def test_examples_of_an_unknown_kind_cannot_be_taken() -> None:
    with pytest.raises(ConfigurationError, match="of a dict; allowed are tensors, arrays and lists"):
        leaves.take_examples({"a": 1}, torch.tensor([0]))


def test_move_reaches_tensors_in_lists() -> None:
    moved = leaves.to_device([floats(2), "a", (floats(1),)], "meta")
    assert moved[0].device.type == moved[2][0].device.type == "meta"
    assert moved[1] == "a"


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        (floats(2, 3), "(2, 3)"),
        (np.zeros((4, 1)), "(4, 1)"),
        (["a", "b"], "list of 2"),
        (("a",), "tuple of 1"),
        (packed([3, 1]), "PackedSequence of 2"),
        (None, "NoneType"),
        (1.5, "float"),
    ],
)
def test_describe_says_kind_and_extent(leaf, words: str) -> None:
    assert leaves.describe_leaf(leaf) == words


PACKED = pack_sequence(ROWS, enforce_sorted=False)

SPECIAL = {
    "tensor": (MetaTensor.of(FLOATS), FLOATS),
    "parameter": (nn.Parameter(FLOATS), FLOATS),
    "list of tensors": ([MetaTensor.of(image) for image in IMAGES], IMAGES),
    "list of dicts": ([{"id": MetaTensor.of(row)} for row in FLOATS], [{"id": row} for row in FLOATS]),
    "packed sequence": (PackedSequence(MetaTensor.of(PACKED.data), *PACKED[1:]), PACKED),
}


@pytest.mark.parametrize(("leaf", "plain"), SPECIAL.values(), ids=SPECIAL.keys())
def test_what_is_kept_of_a_subclass_is_exactly_a_tensor(leaf, plain):
    index = torch.tensor([2, 0])
    with torch.inference_mode():
        kept = leaves.kept_copy(leaf, index)
    assert same(kept, leaves.take_examples(plain, index))
    found = list(tensors_in(kept))
    assert {type(tensor) for tensor in found} == {Tensor}
    assert not any(tensor.is_inference() or tensor.requires_grad for tensor in found)


def test_plain_values_are_passed_on_as_they_are():
    for leaf in (FLOATS, IMAGES, PACKED, ["a", "b"], None):
        assert leaves.plain_tensors(leaf) is leaf


def test_wrappers_without_data_of_their_own_are_left_alone():
    jagged = torch.nested.nested_tensor([floats(2, 3), floats(4, 3)], layout=torch.jagged)
    assert leaves.plain_tensors(jagged) is jagged


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        (floats(3, 4), 16),
        ([floats(2), floats(5)], 20),
        ([np.zeros(3, np.int16)], 6),
        (["a", "b"], 0),
        (torch.ones(()), 0),
    ],
)
def test_the_bytes_of_the_largest_example(leaf: object, expected: int) -> None:
    assert leaves.largest_bytes(leaf) == expected
