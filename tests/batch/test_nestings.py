"""Batches of any nesting are given back bit for bit, and recombined rows equal rows that are built by hand."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.batches import learn
from helpers.nestings import Bag, Made, batches
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tensordict import TensorDict
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence
from torch_geometric.data import Data

from mviz_lightning import Modality
from mviz_lightning.batch.probe import first_examples


def difference(left: Any, right: Any, where: str = "batch") -> str:  # noqa: C901, PLR0911 - a return for each kind
    """Return where two batches first differ, in type, structure, element type or a bit; ``""`` where they do not."""
    if type(left) is not type(right):
        return f"{where}: {type(left).__name__}, {type(right).__name__}"
    if isinstance(left, PackedSequence):
        return difference(pad_packed_sequence(left), pad_packed_sequence(right), where)
    if isinstance(left, Tensor):
        alike = left.dtype == right.dtype and torch.equal(left, right)
        return "" if alike else f"{where}: {left.dtype} {left.tolist()}, {right.dtype} {right.tolist()}"
    if isinstance(left, np.ndarray):
        return "" if left.dtype == right.dtype and np.array_equal(left, right) else f"{where}: {left}, {right}"
    if isinstance(left, pd.DataFrame):
        return difference((left.to_dict("list"), list(left.dtypes)), (right.to_dict("list"), list(right.dtypes)), where)
    if isinstance(left, TensorDict | Data):
        sizes = [getattr(one, "batch_size", None) for one in (left, right)]
        return difference([left.to_dict(), sizes[0]], [right.to_dict(), sizes[1]], where)
    if isinstance(left, Image.Image):
        return difference((left.mode, np.asarray(left)), (right.mode, np.asarray(right)), where)
    if isinstance(left, Mapping):
        return difference(list(left.items()), list(right.items()), where)
    if isinstance(left, SimpleNamespace | Bag):
        return difference(vars(left), vars(right), where)
    if is_dataclass(left):
        return difference(*[[getattr(one, each.name) for each in fields(one)] for one in (left, right)], where)
    if isinstance(left, list | tuple):
        if len(left) != len(right):
            return f"{where}: {len(left)} entries, {len(right)}"
        found = (difference(a, b, f"{where}.{k}") for k, (a, b) in enumerate(zip(left, right, strict=True)))
        return next(filter(None, found), "")
    return "" if left == right else f"{where}: {left!r}, {right!r}"


def itself(made: Made) -> Tensor:
    """Return the sources of the batch's own rows."""
    return torch.arange(made.count).unsqueeze(1).expand(-1, len(made.modalities))


def learned(made: Made) -> Any:
    named = {
        name: path if lengths is None else Modality(path, lengths=lengths)
        for name, (path, lengths) in made.modalities.items()
    }
    return learn(made.build(itself(made)), named)


@pytest.mark.slow
@given(made=batches())
@settings(max_examples=200)
def test_a_batch_of_any_nesting_is_given_back_bit_for_bit(made: Made) -> None:
    schema, batch = learned(made), made.build(itself(made))
    assert difference(schema.build(schema.leaves(batch)), batch) == ""


@given(made=batches(), data=st.data())
@settings(max_examples=200)
def test_every_recombined_row_equals_the_row_built_by_hand(made: Made, data: Any) -> None:
    row = st.lists(st.integers(0, made.count - 1), min_size=len(made.modalities), max_size=len(made.modalities))
    sources = torch.tensor(data.draw(st.lists(row, min_size=1, max_size=5)))
    probe = first_examples(learned(made), made.build(itself(made)), made.count)
    assert difference(probe.batch(sources, {}), made.build(sources)) == ""


@pytest.mark.slow
@given(made=batches(), data=st.data())
@settings(max_examples=100)
def test_another_batch_of_the_same_kind_is_given_back_too(made: Made, data: Any) -> None:
    schema = learned(made)
    rows = torch.tensor(data.draw(st.lists(st.integers(0, made.count - 1), min_size=1, max_size=7)))
    other = made.build(rows.unsqueeze(1).expand(-1, len(made.modalities)))
    assert difference(schema.build(schema.leaves(other)), other) == ""
