"""Which classes and subgroups there are among the fixed examples, and the shares within them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.batch.categories import categories_of
from mviz_lightning.batch.rows import describe_leaf, example_count
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers.subset_shares.keys import SIDES, SubsetKind, key_parts, total_name
from mviz_lightning.functional import Task
from mviz_lightning.functional.subsets import LEAST, subset_totals
from mviz_lightning.functional.targets import decided, labelled, rows_of
from mviz_lightning.session.config import SessionConfig

LISTED = 6
"""Largest number of subsets that a line names."""


@dataclass(frozen=True)
class Subset:
    """Some of the fixed examples.

    Attributes:
        kind: Whether they share a label or the value of a leaf.
        name: Its part of the logged keys.
        members: ``(N,)`` bool.
    """

    kind: SubsetKind
    name: str
    members: Tensor


def check_subsets(config: SessionConfig, trial: Probe, task: Task) -> None:
    """Check on a few examples, with their labels, that the classes and subgroups exist that the user asked for.

    Raises:
        ConfigurationError: There are no classes, or no such leaf, or its values name no groups.
    """
    if config.by_class and task == "regression":
        raise ConfigurationError(
            "by_class=True: the task is 'regression', and its targets are no classes. Leave by_class out, or give "
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


def subsets_of(config: SessionConfig, probe: Probe, task: Task, outputs: int) -> list[Subset]:
    """Return all classes and subgroups that the user asked for; several labels of an example put it into several.

    Args:
        config: What is measured.
        probe: The fixed examples, with labels in standard form.
        task: What the outputs stand for.
        outputs: Number of outputs of one example, C.
    """
    return [*_classes(config, probe, task, outputs), *_subgroups(config, probe)]


def _classes(config: SessionConfig, probe: Probe, task: Task, outputs: int) -> Iterator[Subset]:
    target = probe.target
    if not config.by_class or target is None or task == "regression":
        return
    names = class_parts(config, task, outputs, probe.label_names)
    truth, known = rows_of(decided(target, task)), labelled(target, task)
    for place, name in enumerate(names):
        having = truth[:, place] == 1 if task == "multilabel" else truth[:, 0] == place
        yield Subset("class", name, having & known)


def class_parts(config: SessionConfig, task: Task, outputs: int, label_names: Sequence[str] = ()) -> list[str]:
    """Return the parts of keys that name the classes: the given names, else the strings of the labels, else indices."""
    count = 2 if task == "binary" else outputs
    given = list(config.class_names or _strings(label_names))
    if task == "binary" and len(given) == 1:
        given = [f"not {given[0]}", *given]
    return key_parts(given if len(given) == count else map(str, range(count)))


def _strings(names: Sequence[str]) -> Sequence[str]:
    """Return the strings of labels; none where they are read as the numbers that they hold."""
    return () if all(name.lstrip("+-").replace(".", "", 1).isdecimal() for name in names) else names


def _subgroups(config: SessionConfig, probe: Probe) -> Iterator[Subset]:
    if config.subgroups is None:
        return
    found = _categories(config.subgroups, probe)
    values = sorted({value for value in found if value is not None}, key=_natural)
    for value, name in zip(values, key_parts(values), strict=True):
        yield Subset("subgroup", name, torch.tensor([one == value for one in found]))


def _natural(value: str) -> tuple[bool, int, str]:
    """Order numbers by size, before texts."""
    number = value.removeprefix("-").isdecimal()
    return not number, int(value) if number else 0, value


def measured(subsets: Sequence[Subset], groups: Tensor) -> list[Subset]:
    """Return the subsets with enough recombined examples, in two groups or more.

    Args:
        subsets: All subsets.
        groups: ``(G, g)`` the recombined examples.
    """
    enough = (subset.members[groups] for subset in subsets)
    return [
        subset
        for subset, members in zip(subsets, enough, strict=True)
        if int(members.sum()) >= LEAST and int(members.any(1).sum()) > 1
    ]


def left_out_line(subsets: Sequence[Subset], groups: Tensor, kind: SubsetKind) -> str:
    """Say which subsets of a kind have too few recombined examples; ``""`` where all have enough."""
    mine = [subset for subset in subsets if subset.kind == kind]
    kept = {subset.name for subset in measured(mine, groups)}
    counts = {one.name: int(one.members[groups].sum()) for one in mine if one.name not in kept}
    if not counts:
        return ""
    listed = ", ".join(f"{name} ({count})" for name, count in list(counts.items())[:LISTED])
    more = f" and {len(counts) - LISTED} more" if len(counts) > LISTED else ""
    plural = "classes" if kind == "class" else "subgroups"
    return (
        f"{len(counts)} of {len(mine)} {plural} have fewer than {LEAST} recombined examples and get no shares of their "
        f"own: {listed}{more}{_advice(kind, counts, groups.numel())}"
    )


def _advice(kind: SubsetKind, counts: Mapping[str, int], examples: int) -> str:
    """Return the next step for subsets with too few of the recombined examples."""
    some = [count for count in counts.values() if count]
    if kind == "subgroup" and some and max(some) == 1:  # a number of each example, or a real number that was rounded
        return "; give a leaf with fewer different values"
    return f"; num_examples={math.ceil(examples * LEAST / min(some))} would do" if some else ""


def subset_keys(subsets: Sequence[tuple[SubsetKind, str]], names: Sequence[str]) -> list[str]:
    """Return the names of the values within subsets.

    Args:
        subsets: Kind and name of each.
        names: Names of the modalities.
    """
    return [total_name(*subset, name, side) for subset in subsets for side in SIDES for name in names]


def subset_values(subsets: Sequence[Subset], groups: Tensor, effects: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Return the total effects within subsets and their bounds, by the names under which they are logged.

    Args:
        subsets: Those with enough examples.
        groups: ``(G, g)`` the recombined examples.
        effects: ``(G, g, 1 + M)`` of :func:`swap_effects`.
        names: Names of the modalities.
    """
    return {
        total_name(subset.kind, subset.name, name, side): number
        for subset in subsets
        for side, bounds in zip(SIDES, subset_totals(effects, subset.members[groups]), strict=True)
        for name, number in zip(names, bounds.tolist(), strict=True)
    }
