"""Inputs of regressions without the model: raw inputs of every modality, labels, and related examples (kin)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mviz_lightning.batch.probe import Probe
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.functional import Task, standardised_kernel
from mviz_lightning.functional.ridge import near_duplicates
from mviz_lightning.functional.rounding import beyond_rounding
from mviz_lightning.functional.targets import labelled
from mviz_lightning.modalities.base import type_in

FOLDS = 5
"""Number of folds of the examples; each fold is held out once."""

MOST = 1024
"""Largest number of examples in the regression; its time is cubic in this number."""

CATEGORIES = 4
"""Largest number of columns of a modality whose few distinct values count as categories."""

FEWEST = 8 * FOLDS
"""Smallest number of labelled examples for a regression: eight in every fold."""

FEWEST_KIN = 2 * FOLDS
"""Smallest number of families of kin examples (patients, videos) for a regression: two in every fold."""


def encoded(target: Tensor, task: Task, outputs: int) -> Tensor:
    """Return ``(n, C)`` float64: one-hot classes; soft labels, labels and values are unchanged."""
    if task == "multiclass" and target[:1].numel() == 1:
        return functional.one_hot(target.flatten(), outputs).double()
    return target.double().reshape(len(target), -1)


@dataclass(frozen=True)
class ExampleInputs:
    """The raw inputs of examples, modality by modality.

    Attributes:
        kernels: Modality -> ``(n, n)`` linear kernel of its standardised numbers. Modalities without numbers are not
            included.
        things: Modality -> ``(n,)`` long: examples with equal numbers have nearly equal inputs or are kin. Modalities
            with too few distinct numbers are not included.
    """

    kernels: Mapping[str, Tensor]
    things: Mapping[str, Tensor]

    @classmethod
    def of(cls, probe: Probe, examples: Tensor, kin: Tensor | None) -> "ExampleInputs":
        """Read some examples.

        Args:
            probe: All examples.
            examples: ``(n,)`` long: the examples to read.
            kin: ``(N,)`` long: examples with equal numbers are related (kin: one patient, one video). None if no two
                are.
        """
        numbers = {name: _numbers(probe, name) for name in probe.schema.names}
        features = {name: found[examples] for name, found in numbers.items() if found is not None}
        kernels = {name: standardised_kernel(found) for name, found in features.items()}
        families = None if kin is None else kin[examples]
        told = {name: _things(kernels[name], found.shape[1], families) for name, found in features.items()}
        return cls(kernels, {name: found for name, found in told.items() if found is not None})


@dataclass(frozen=True)
class RawInputs:
    """The labelled examples of a probe, or their positions, as inputs of regressions without the model.

    Attributes:
        wanted: ``(n, K)`` float64: the labels, without columns that do not vary; in a regression, each with standard
            deviation 1.
        columns: ``(K,)`` long: the model output of each column of ``wanted``.
        kernels: Modality -> ``(n, n)`` linear kernel of its standardised numbers. Modalities without numbers are not
            included.
        things: Modality -> ``(n,)`` long: rows with equal numbers are of one example, or of examples that have nearly
            equal inputs or are kin. Modalities with too few distinct numbers are not included.
        seed: Seed of the folds.
        examples: ``(n,)`` long: the example of each row if rows are positions; None if rows are examples.
    """

    wanted: Tensor
    columns: Tensor
    kernels: Mapping[str, Tensor]
    things: Mapping[str, Tensor]
    seed: int = 0
    examples: Tensor | None = None

    @classmethod
    def of(
        cls, probe: Probe, target: Tensor, task: Task, outputs: int, seed: int = 0, kin: Tensor | None = None
    ) -> "RawInputs | None":
        """Read up to 1,024 labelled examples; None if there are too few, or if their labels do not vary.

        Args:
            probe: The examples.
            target: ``(N, ...)`` their labels; examples without one are left out.
            task: Type of the prediction task.
            outputs: Number of outputs of one example, C.
            seed: Seed of the folds.
            kin: ``(N,)`` long: examples with equal numbers are related (kin: one patient, one video). None if no two
                are.
        """
        examples = labelled(target, task).nonzero().flatten()[:MOST]
        wanted, columns = standardised(encoded(target[examples], task, outputs), task)
        if len(wanted) < FEWEST or not len(columns):
            return None
        found = ExampleInputs.of(probe, examples, kin)
        return cls(wanted, columns, found.kernels, found.things, seed)

    @property
    def count(self) -> int:
        """Number of examples."""
        return len(self.wanted) if self.examples is None else len(torch.unique(self.examples))

    def folds(self, name: str) -> Tensor:
        """Return ``(n,)`` folds; examples that are nearly equal in a modality, or kin, are in one fold.

        Otherwise the regression could memorise single things instead of learning.
        """
        distinct, thing = torch.unique(self.things[name], return_inverse=True)
        return (torch.randperm(len(distinct), generator=torch.Generator().manual_seed(self.seed)) % FOLDS)[thing]

    def usual(self, folds: Tensor) -> Tensor:
        """Return ``(n, K)``: the mean label of the other folds."""
        return torch.stack([self.wanted[folds != fold].mean(0) for fold in range(FOLDS)])[folds]

    def mean_and_error(self, gained: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Return the mean of ``(n, ...)`` values and its standard error, ``(...)`` each, with things as sampling units.

        ``error^2 = C / (C - 1) * sum over the C things of (sum of their deviations)^2 / n^2``.
        """
        thing = torch.unique(self.things[name], return_inverse=True)[1]
        mean, count = gained.mean(0), int(thing.max()) + 1
        sums = gained.new_zeros(count, *gained.shape[1:]).index_add(0, thing, gained - mean)
        return mean, (sums.square().sum(0) * count / max(1, count - 1)).sqrt() / len(gained)


def standardised(encodings: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Return the columns that vary beyond rounding, and their indices; in a regression, with standard deviation 1."""
    spread = encodings.std(0)
    kept = (spread > 0).nonzero()[:, 0]
    found = encodings[:, kept] / (spread[kept] if task == "regression" else 1.0)
    if len(kept):
        real = beyond_rounding(found)
        found, kept = found[:, real], kept[real]
    return (found / found.std(0) if task == "regression" else found), kept


def _numbers(probe: Probe, name: str) -> Tensor | None:
    """Return a modality's raw numbers; None if it has none."""
    path = probe.schema.values[name][0]
    try:
        modality_type = type_in(probe.schema, probe.leaves, name, probe.own_entries(path))
        return modality_type.features(probe.leaves[path], probe.real_entries(name))
    except ConfigurationError:
        return None


def _things(kernel: Tensor, columns: int, kin: Tensor | None) -> Tensor | None:
    """Return ``(n,)``: the thing to which each example belongs; None if too few are distinct.

    A few distinct values of up to four columns are categories, which occur in every fold.
    """
    things = near_duplicates(kernel, columns)
    if len(torch.unique(things)) < FEWEST:
        if columns > CATEGORIES:
            return None
        things = torch.arange(len(things))
    if kin is None:
        return things
    joined = connected([things, kin])
    return joined if len(torch.unique(joined)) >= FEWEST_KIN else None


def connected(memberships: Sequence[Tensor]) -> Tensor:
    """Return ``(n,)``: the first example to which each is connected, by any chain of common memberships.

    Args:
        memberships: ``(n,)`` each: examples with equal numbers belong together.
    """
    first = torch.arange(len(memberships[0]))
    inverse = [torch.unique(numbers, return_inverse=True)[1] for numbers in memberships]
    before = torch.full_like(first, -1)
    while not torch.equal(first, before):
        before = first
        for of in inverse:
            lowest = torch.full((int(of.max()) + 1,), len(first)).scatter_reduce(0, of, first, "amin")
            first = lowest[of]
    return first


def kin_numbers(leaf: object) -> Tensor:
    """Return ``(N,)`` long: equal numbers for equal entries; unknown entries (NaN, None) have no kin.

    Args:
        leaf: ``(N,)`` or ``(N, 1)`` tensor or array, or a list of strings or numbers.
    """
    entries = leaf.tolist() if hasattr(leaf, "tolist") else list(leaf)  # type: ignore[call-overload]
    keys = [_key(entry, place) for place, entry in enumerate(entries)]
    order = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return torch.tensor([order[key] for key in keys])


def require_single(path: str, leaf: object) -> None:
    """Raise if a leaf of kin has several entries per example; then hardly any two examples would be kin.

    Raises:
        ConfigurationError: The leaf has more than one column.
    """
    shape = tuple(getattr(leaf, "shape", ()))
    if math.prod(shape[1:]) != 1:
        raise ConfigurationError(
            f"kin={path!r}: the leaf has the shape {shape}, several entries for each example; give the path of a leaf "
            "with one string or number for each, such as a patient, or leave kin out."
        )


def _key(entry: object, place: int) -> tuple[object, ...]:
    """Return a key that is the same for equal entries."""
    value = entry.tolist() if hasattr(entry, "tolist") else entry
    while isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    unknown = value is None or (isinstance(value, float) and math.isnan(value))
    return ("unknown", place) if unknown else ("known", repr(value))
