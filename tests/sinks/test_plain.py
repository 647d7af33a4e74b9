"""Results as plain data, and in a line."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mviz_lightning.sinks.plain import LONGEST, Brief, brief, plain_data
from mviz_lightning.sinks.records import State


@dataclass(frozen=True)
class Found(Brief):
    weights: Tensor
    state: State = State.COLLAPSED
    values: dict[str, float] = field(default_factory=dict)
    words: str = ""
    hidden: object = field(default=None, repr=False)


@dataclass(frozen=True)
class Later(Found):
    more: float = 0.123456


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (math.nan, None),
        (-math.inf, None),
        (0.1234567891, 0.1234567891),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (torch.tensor(0.25), 0.25),
        (torch.tensor([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (torch.tensor([1.0, math.nan]), [1.0, None]),
        (np.array([True, False]), [True, False]),
        (State.REDUNDANT, 3),
        ({1: (2, {3})}, {"1": [2, [3]]}),
        (Path("a/b"), "a/b"),
        (b"\0", "b'\\x00'"),
    ],
)
def test_a_value_becomes_plain_data(value, expected):
    found = plain_data(value)
    assert found == expected
    assert type(found) is type(expected)
    assert json.loads(json.dumps(found, allow_nan=False)) == expected


def test_numbers_are_rounded_to_significant_digits_if_asked():
    assert plain_data([123456789.0, 1 / 3, 1e-9 / 3, 12345678], digits=6) == [
        123457000.0,
        0.333333,
        3.33333e-10,
        12345678,
    ]


def test_a_dataclass_becomes_a_dict_of_its_public_fields():
    found = plain_data(Found(torch.zeros(2), values={"a": math.inf}, hidden=object()))
    assert found == {"weights": [0.0, 0.0], "state": 2, "values": {"a": None}, "words": ""}


def test_a_repr_is_short_whatever_a_result_holds():
    found = Found(torch.zeros(40, 40), values={f"value {place}": 1 / 3 for place in range(50)}, words="x" * 5000)
    assert repr(found).startswith("Found(weights=<Tensor (40, 40)>, state=collapsed, values={50 entries}, words='xxx")
    assert len(repr(found)) <= LONGEST


def test_a_class_derived_from_a_brief_one_is_brief_too():
    assert repr(Later(torch.zeros(3))) == (
        "Later(weights=<Tensor (3,)>, state=collapsed, values={}, words='', more=0.1235)"
    )


def test_a_class_with_a_repr_of_its_own_keeps_it():
    class Own(Found):
        def __repr__(self):
            return "own"

    assert repr(Own(torch.zeros(1))) == "own"


def test_a_result_within_a_result_is_named_by_its_type():
    assert brief([Found(torch.zeros(1)), {"a": [1, 2]}, math.nan]) == "[<Found>, <1 entries>, nan]"
