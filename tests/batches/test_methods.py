"""Every method finds in batches of other kinds what it finds in plain ones: gradients, masks, features, ranks."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache

import pytest
import torch
from batches.kinds import KINDS
from batches.measuring import SMALL, Model, expected_warning
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

pytestmark = pytest.mark.slow  # minutes for all together

METHODS = (
    UnimodalImportance(num_examples=1, num_totals=2, method="integrated_gradients", name="gradients"),
    UnimodalImportance(num_examples=1, num_totals=2, method="lime", name="masks"),
    CrossModalInteraction(num_examples=1, method="second_order", name="second derivatives"),
    MultimodalRepresentation(layer="net.head"),
    MultimodalPrediction(num_examples=1, layer="net.head"),
    ErrorAnalysis(num_examples=1),
    ExampleRanking(),
)

CHOSEN = (
    "TensorDict", "list of PIL images", "list of tensors of unequal sizes", "list of example dicts",
    "slices of channels", "lists of channels", "packed rows with a grid", "a batch of graphs beside a tensor",
    "a graph in a plain dict", "None in a list", "PackedSequence",
)  # fmt: skip


OWN = {"position", "memory"}
"""What tells examples by their places in the data, in which those that lack a modality count too."""


def numbers(found, where=""):
    """Yield (where, number or tensor) of everything that a result holds."""
    if isinstance(found, Tensor | int | float):
        yield where, torch.as_tensor(found).double()
    elif is_dataclass(found):
        yield from numbers({one.name: getattr(found, one.name) for one in fields(found) if one.name not in OWN}, where)
    elif isinstance(found, Mapping):
        for key, value in found.items():
            yield from numbers(value, f"{where}.{key}")
    elif isinstance(found, list | tuple):
        for place, value in enumerate(found):
            yield from numbers(value, f"{where}.{place}")


def explained(kind):
    with expected_warning(kind):
        report = explain(
            Model(kind),
            list(kind.batches()),
            modalities=kind.modalities,
            step="validation_step",
            explainers=METHODS,
            **SMALL,
        )
    return {name: dict(numbers(result)) for name, result in report.results.items()}


@cache
def twins(name):
    return explained(TWINS[name])


@pytest.mark.parametrize("name", CHOSEN)
def test_every_method_finds_what_it_finds_in_plain_batches(name):
    expected, found = twins(KINDS[name].twin), explained(KINDS[name])
    assert {method: values.keys() for method, values in found.items()} == {
        method: values.keys() for method, values in expected.items()
    }
    assert len(expected) == len(METHODS)
    for method, values in expected.items():
        for where, value in values.items():
            torch.testing.assert_close(
                found[method][where], value, rtol=1e-5, atol=1e-6, equal_nan=True, msg=f"{method}{where}"
            )
