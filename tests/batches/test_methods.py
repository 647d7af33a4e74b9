"""Every method finds in batches of other kinds what it finds in plain ones: gradients, masks, features, ranks."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache

import pytest
import torch
from batches.kinds import KINDS
from batches.measuring import SMALL, Model, expected_warning, named
from batches.twins import TWINS
from torch import Tensor

from mviz_lightning import explain
from mviz_lightning.explainers import (
    CrossModalInteraction,
    ErrorAnalysis,
    ExampleRanking,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)

METHODS = {
    "gradients": lambda: UnimodalImportance(num_examples=2, num_totals=2, method="integrated_gradients"),
    "masks": lambda: UnimodalImportance(num_examples=2, num_totals=2, method="lime"),
    "second derivatives": lambda: CrossModalInteraction(num_examples=2, method="second_order"),
    "representation": lambda: MultimodalRepresentation(layer="net.head"),
    "prediction": lambda: MultimodalPrediction(num_examples=2, layer="net.head"),
    "errors": lambda: ErrorAnalysis(num_examples=2),
    "ranking": lambda: ExampleRanking(),
}

CHOSEN = (
    "TensorDict", "list of PIL images", "list of arrays of unequal sizes", "list of example dicts",
    "slices of channels", "lists of channels", "packed rows with a grid", "a batch of graphs beside a tensor",
    "a graph in a plain dict", "None in a list", "PackedSequence",
)  # fmt: skip


def numbers(found, where=""):
    """Yield (where, number or tensor) of everything that a result holds."""
    if isinstance(found, Tensor | int | float):
        yield where, torch.as_tensor(found).double()
    elif is_dataclass(found):
        yield from numbers({one.name: getattr(found, one.name) for one in fields(found) if one.name != "position"}, where)
    elif isinstance(found, Mapping):
        for key, value in found.items():
            yield from numbers(value, f"{where}.{key}")
    elif isinstance(found, list | tuple):
        for place, value in enumerate(found):
            yield from numbers(value, f"{where}.{place}")


def explained(kind, method):
    with expected_warning(kind):
        report = explain(
            Model(kind), list(kind.batches()), modalities=named(kind), step="validation_step",
            explainers=[METHODS[method]()], **SMALL,
        )  # fmt: skip
    (result,) = report.results.values()
    return dict(numbers(result))


@cache
def twins(name, method):
    return explained(TWINS[name], method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CHOSEN)
def test_a_method_finds_what_it_finds_in_plain_batches(name, method):
    expected, found = twins(KINDS[name].twin, method), explained(KINDS[name], method)
    assert found.keys() == expected.keys()
    assert len(expected) > 3
    for where, values in expected.items():
        torch.testing.assert_close(found[where], values, rtol=1e-5, atol=1e-6, equal_nan=True, msg=where)
