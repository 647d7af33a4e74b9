"""Total effects within classes and subgroups as text."""

from collections.abc import Mapping, Sequence

from mviz_lightning.explainers.contribution_shares.subset_keys import (
    KINDS,
    SIDES,
    SubsetKind,
    subsets_named,
    total_name,
)
from mviz_lightning.explainers.text_tables import align, format_number


def with_subset_tables(table: str, values: Mapping[str, float], modalities: Sequence[str]) -> str:
    """Return a table, followed by the tables of classes and subgroups if there are any."""
    return "\n\n".join([table, *(_subset_table(values, modalities, kind) for kind in KINDS if _has(values, kind))])


def _has(values: Mapping[str, float], kind: SubsetKind) -> bool:
    return bool(subsets_named(values, kind))


def _subset_table(values: Mapping[str, float], modalities: Sequence[str], kind: SubsetKind) -> str:
    header = [f"swapped alone / everything, by {kind}", *(f"{name} total [95 %]" for name in modalities)]
    cells = [
        [subset, *(_cell(values, kind, subset, name) for name in modalities)] for subset in subsets_named(values, kind)
    ]
    return align([header, *cells])


def _cell(values: Mapping[str, float], kind: SubsetKind, subset: str, modality: str) -> str:
    value, low, high = (format_number(values.get(total_name(kind, subset, modality, side))) for side in SIDES)
    return f"{value} [{low}, {high}]"
