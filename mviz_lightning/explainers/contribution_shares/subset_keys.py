"""The names of the values within a class or a subgroup: ``class/<c>/total/<m>`` and its bounds."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, get_args

from mviz_lightning.errors.arguments import MAX_NAME
from mviz_lightning.functional.contribution import bound_of
from mviz_lightning.sinks.records import Chart

SubsetKind: TypeAlias = Literal["class", "subgroup"]
"""The common property of a subset's examples: their label, or their value of a leaf."""

KINDS: Sequence[SubsetKind] = get_args(SubsetKind)

Side: TypeAlias = Literal["low", "high"]
"""A bound of an interval."""

SIDES: tuple[Side | None, ...] = (None, "low", "high")
"""A value, and its bounds."""


def total_name(kind: SubsetKind, subset: str, modality: str, side: Side | None = None) -> str:
    """Return the name of a total effect within a subset, or of one of its bounds.

    Args:
        kind: Kind of the subset.
        subset: Name of the subset, of :func:`key_parts`.
        modality: Name of the modality.
        side: The bound; None for the value.
    """
    total = f"{kind}/{subset}/total/{modality}"
    return total if side is None else bound_of(total, side)


def key_parts(names: Iterable[str]) -> list[str]:
    """Return unique names that can be part of a key: letters, digits, ``.``, ``_``, ``-``.

    Args:
        names: Names of classes or subgroups, possibly with spaces and slashes.
    """
    parts: dict[str, None] = {}
    for name in names:
        part = re.sub(r"[^\w.-]+", "_", name).strip("_")
        part = part[:MAX_NAME] if part.strip(".") else "_"  # not "..", which loggers cannot write as a file
        while part in parts:
            part += "_"
        parts[part] = None
    return list(parts)


def subsets_named(keys: Iterable[str], kind: SubsetKind) -> list[str]:
    """Return the subsets of a kind that have values, in the order of their keys.

    Args:
        keys: Names of values without prefix.
        kind: Kind of the subsets.
    """
    parts = (key.split("/") for key in keys)
    return list(dict.fromkeys(part[1] for part in parts if len(part) == 4 and (part[0], part[2]) == (kind, "total")))


def subset_charts(modalities: Sequence[str], keys: Sequence[str]) -> list[Chart]:
    """Return for each modality a diagram of all classes and one of all subgroups; keys have no prefix."""
    found = {kind: subsets_named(keys, kind) for kind in KINDS}
    return [
        Chart(f"total effect of {modality} by {kind}", [total_name(kind, subset, modality) for subset in subsets])
        for kind, subsets in found.items()
        if subsets
        for modality in modalities
    ]
