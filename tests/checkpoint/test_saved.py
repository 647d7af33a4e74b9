"""Plain data is written so that every way of loading takes it, and read back part by part."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from helpers.unprintable import UNPRINTABLE, NumericError, UnprintableError, UnprintableRuntimeError, WordyError
from torch import nn

from mviz_lightning.checkpoint.saved import DamagedError, Saved, plain
from mviz_lightning.engine.memory import ran_out
from mviz_lightning.errors import describe_error, message_of


@dataclass
class Part:
    """Some of everything."""

    number: float
    names: list[str] = field(default_factory=list)
    table: Mapping[str, int] | None = None


MANY = [{"number": 2.0}, {}, {"number": "x"}]


def test_parts_are_read_and_damaged_ones_named() -> None:
    saved = Saved(
        {"good": {"number": 1, "table": {"a": 1}, "later": 0}, "many": [{"number": 2.0}, {}, {"number": "x"}]}
    )
    assert saved["good"].read(Part) == Part(1, [], {"a": 1})
    assert saved["many"].every(Part) == [Part(2.0)]
    assert saved["none"].read(Part, "instead") == "instead"
    assert saved["many"]["deeper"].read(int) is None
    with pytest.raises(
        DamagedError, match=r"many\[1\].number \(missing\); many\[2\].number \(of type str, not float\)"
    ):
        saved.raise_damages()
    assert saved.damages[2:] == ["none (missing)", "many (of type list, not dict)"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"number": True}, "p.number (of type bool, not float)"),
        ({"number": 1, "names": "ab"}, "p.names (of type str, not list)"),
        ({"number": 1, "names": ["a", None]}, "p.names[1] (of type NoneType, not str)"),
        ({"number": 1, "table": {"a": 1.5}}, "p.table.a (of type float, not int)"),
        ({"number": 1, "table": "ab"}, "p.table (of type str, not dict)"),
        (None, "p (of type NoneType, not dict)"),
    ],
)
def test_what_is_of_another_type_is_damaged(value: Any, message: str) -> None:
    saved = Saved(value, "p")
    assert saved.read(Part) is None
    with pytest.raises(DamagedError, match=re.escape(message)):
        saved.raise_damages()


def test_a_state_that_is_no_dict_is_said_once() -> None:
    saved = Saved(["rubbish"])
    assert [saved["many"].every(Part), saved.read(Part), saved["good"].read(Part)] == [[], None, None]
    assert saved.damages == ["the state (of type list, not dict)"]


def test_what_checkpoints_do_not_take_is_made_plain_or_left_out() -> None:
    lost: list[str] = []
    value = {
        "score": np.float64(0.5),
        "top": (np.int64(3), [nn.Parameter(torch.ones(2))]),
        "f": print,
        "in": {"s": {1}},
    }
    found = plain(value, "", lost)
    file = io.BytesIO()
    torch.save(found, file)
    file.seek(0)
    assert str(torch.load(file, weights_only=True)) == "{'score': 0.5, 'top': (3, [tensor([1., 1.])]), 'in': {}}"
    assert lost == ["f is a builtin_function_or_method", "in.s is a set"]


def test_every_error_can_be_described() -> None:
    assert describe_error(UnprintableError()) == UNPRINTABLE
    assert describe_error(NumericError()) == "NumericError: (its message cannot be printed: __str__ raises TypeError)"
    assert describe_error(KeyError("a")) == "KeyError: 'a'"
    assert type(message_of(WordyError())) is str
    assert message_of(ValueError("\udcff")) == "\\udcff"


def test_memory_that_ran_out_is_told_by_any_error() -> None:
    assert ran_out(RuntimeError("MPS backend out of memory"))
    assert ran_out(torch.OutOfMemoryError("CUDA out of memory."))
    assert not any(ran_out(error) for error in (UnprintableRuntimeError(), RuntimeError(5), KeyError("out of memory")))


def test_an_integer_in_the_place_of_a_number_is_read_as_one_of_64_bits() -> None:
    saved = Saved({"many": [{"number": 2**70}, {"number": 10**400}]})
    (found,) = saved["many"].every(Part)
    assert type(found.number) is float
    assert found.number == 2.0**70
    assert saved.damages == ["many[1] (int too large to convert to float)"]
