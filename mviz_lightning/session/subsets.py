"""The classes and subgroups among the fixed examples, and the shares within them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.batch.categories import categories_of
from mviz_lightning.batch.rows import describe_leaf, example_count
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers.contribution_shares.subset_keys import KINDS, SIDES, SubsetKind, key_parts, total_name
from mviz_lightning.functional import Task
from mviz_lightning.functional.subsets import LEAST, subset_totals
from mviz_lightning.functional.targets import decided, labelled, rows_of
from mviz_lightning.session.config import SessionConfig

LISTED = 6
"""Largest number of subsets that a line names."""


@dataclass(frozen=True)
class Subset:
    """Some of the recombined examples.

    Attributes:
        kind: Whether they share a label or the value of a leaf.
        name: Its part of the logged keys.
        members: ``(G, g * P)`` bool, by the groups of the probe, example by example.
        positions: Number of positions of an example, P.
    """

    kind: SubsetKind
    name: str
    members: Tensor
    positions: int = 1

    @cached_property
    def examples(self) -> Tensor:
        """``(G, g)`` bool: the examples with a position in it; the positions of one example are not independent."""
        groups, size = self.members.shape  # both are 0 before there are examples
        return self.members.view(groups, size // self.positions, self.positions).any(2)

    @cached_property
    def count(self) -> int:
        """Number of its recombined examples."""
        return int(self.examples.sum())

    @cached_property
    def is_measured(self) -> bool:
        """Whether there are enough of these examples, in two groups or more."""
        return self.count >= LEAST and int(self.examples.any(1).sum()) > 1

    def keys(self, names: Sequence[str]) -> list[str]:
        """Return the names of its values: of the total effects of modalities, and of their bounds."""
        return [total_name(self.kind, self.name, name, side) for side in SIDES for name in names]

    def values(self, effects: Tensor, names: Sequence[str]) -> dict[str, float]:
        """Return the total effects of the modalities within it, and their bounds, by name.

        Args:
            effects: ``(G, g, 1 + M)`` of :func:`swap_effects`.
            names: Names of the modalities.
        """
        return dict(zip(self.keys(names), torch.cat(subset_totals(effects, self.members)).tolist(), strict=True))


@dataclass(frozen=True)
class Subsets:
    """The classes and subgroups that the user requested; an example with several labels is in several.

    Attributes:
        everything: All of them.
        names: Names of the modalities.
    """

    everything: Sequence[Subset]
    names: Sequence[str]

    @classmethod
    def of(cls, config: SessionConfig, probe: Probe, task: Task, outputs: int, positions: int = 1) -> "Subsets":
        """Return the subsets of the fixed examples.

        Args:
            config: The configuration of the measurement.
            probe: The fixed examples, with labels in standard form.
            task: Type of the prediction task.
            outputs: Number of outputs of one example, C.
            positions: Number of positions of an example; groups and labels count each position as an example.
        """
        found = [*_classes(config, probe, task, outputs), *_subgroups(config, probe, positions)]
        return cls([replace(one, positions=positions) for one in found], list(config.modalities))

    @classmethod
    def expected(cls, config: SessionConfig, task: Task, outputs: int) -> "Subsets":
        """Return the subsets that are known before there are examples: the classes, without members."""
        classes = class_parts(config, task, outputs) if config.by_class and task != "regression" else []
        nobody = torch.zeros(0, 0, dtype=torch.bool)
        return cls([Subset("class", name, nobody) for name in classes], list(config.modalities))

    @property
    def keys(self) -> list[str]:
        """Names of the values of subsets with enough examples."""
        return [key for subset in self.everything if subset.is_measured for key in subset.keys(self.names)]

    @property
    def unmeasured_keys(self) -> list[str]:
        """Names of the values that the other subsets would have."""
        return [key for subset in self.everything if not subset.is_measured for key in subset.keys(self.names)]

    def values(self, effects: Tensor) -> dict[str, float]:
        """Return the values of subsets with enough examples, by name; arguments as for :meth:`Subset.values`."""
        measured = (subset for subset in self.everything if subset.is_measured)
        return {name: value for subset in measured for name, value in subset.values(effects, self.names).items()}

    @property
    def lines(self) -> list[str]:
        """Lines about subsets with too few examples, one for each kind."""
        return [line for kind in KINDS if (line := _left_out([one for one in self.everything if one.kind == kind]))]


def check_subsets(config: SessionConfig, trial: Probe, task: Task) -> None:
    """Check on a few examples, with their labels, that the classes and subgroups exist that the user requested.

    Raises:
        ConfigurationError: There are no classes, or no such leaf, or its values name no groups.
    """
    if config.by_class and task == "regression":
        raise ConfigurationError(
            "by_class=True: the task is 'regression', and its targets are not classes. Remove by_class=, or give "
            "subgroups= with the path of a leaf that names groups."
        )
    if config.by_class and trial.target is None:
        raise ConfigurationError(
            "by_class=True: there are no labels. Give target= with their path, or leave by_class out."
        )
    if config.subgroups is not None:
        _categories(config.subgroups, trial)


def _categories(path: str, probe: Probe) -> list[str | None]:
    """Return the subgroup of every example, None for those in none."""
    if path not in probe.leaves:
        raise ConfigurationError(f"subgroups={path!r}: no such leaf with one entry per example; {_candidates(probe)}.")
    try:
        return categories_of(probe.leaves[path])
    except ValueError as error:
        raise ConfigurationError(f"subgroups={path!r}: the leaf {error}; {_candidates(probe)}.") from None


def _candidates(probe: Probe) -> str:
    """List the leaves whose values name groups."""
    found = [f"{path} {describe_leaf(leaf)}" for path, leaf in probe.leaves.items() if _names_groups(leaf)]
    return f"leaves that name groups: {', '.join(found)}" if found else "no leaf of the batch names groups"


def _names_groups(leaf: object) -> bool:
    try:
        return any(categories_of(leaf)) and example_count(leaf) is not None
    except ValueError:
        return False


def _classes(config: SessionConfig, probe: Probe, task: Task, outputs: int) -> Iterator[Subset]:
    target = probe.target
    if not config.by_class or target is None or task == "regression":
        return
    names = class_parts(config, task, outputs, probe.label_names)
    truth, known = rows_of(decided(target, task)), labelled(target, task)
    for place, name in enumerate(names):
        having = truth[:, place] == 1 if task == "multilabel" else truth[:, 0] == place
        yield Subset("class", name, (having & known)[probe.groups])


def class_parts(config: SessionConfig, task: Task, outputs: int, label_names: Sequence[str] = ()) -> list[str]:
    """Return the parts of keys that name the classes: the given names, else the strings of the labels, else indices."""
    count = 2 if task == "binary" else outputs
    given = list(config.class_names or _strings(label_names))
    if task == "binary" and len(given) == 1:
        given = [f"not {given[0]}", *given]
    return key_parts(given if len(given) == count else map(str, range(count)))


def _strings(names: Sequence[str]) -> Sequence[str]:
    """Return the strings of labels; none if labels are read as the numbers in the strings."""
    return () if all(name.lstrip("+-").replace(".", "", 1).isdecimal() for name in names) else names


def _subgroups(config: SessionConfig, probe: Probe, positions: int) -> Iterator[Subset]:
    if config.subgroups is None:
        return
    found = [one for one in _categories(config.subgroups, probe) for _ in range(positions)]
    recombined = {found[example] for example in probe.groups.flatten().tolist()}
    values = sorted((value for value in recombined if value is not None), key=_natural)
    for value, name in zip(values, key_parts(values), strict=True):
        yield Subset("subgroup", name, torch.tensor([one == value for one in found])[probe.groups])


def _natural(value: str) -> tuple[bool, int, str]:
    """Order numbers by size, before texts."""
    number = value.removeprefix("-").isdecimal()
    return not number, int(value) if number else 0, value


def _left_out(subsets: Sequence[Subset]) -> str:
    """Return a line about subsets of a kind with too few recombined examples; ``""`` if all have enough."""
    few = [subset for subset in subsets if not subset.is_measured]
    if not few:
        return ""
    listed = ", ".join(f"{subset.name} ({subset.count})" for subset in few[:LISTED])
    more = f" and {len(few) - LISTED} more" if len(few) > LISTED else ""
    plural = "classes" if few[0].kind == "class" else "subgroups"
    return (
        f"{len(few)} of {len(subsets)} {plural} have fewer than {LEAST} recombined examples and get no shares of their "
        f"own: {listed}{more}{_advice(few)}"
    )


def _advice(few: Sequence[Subset]) -> str:
    """Return the next step for subsets with too few of the recombined examples."""
    counts = [subset.count for subset in few if subset.count]
    if few[0].kind == "subgroup" and counts and max(counts) == 1:  # every example has another value
        return "; give a leaf with fewer different values"
    groups, size = few[0].examples.shape
    wanted = size * math.ceil(groups * LEAST / min(counts or [1]))
    return f"; pass num_examples={wanted} if the validation set has that many" if counts else ""
