"""A stored run as pandas data frames; pandas is imported only here."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mviz_lightning.report.stored_run import StoredExplanation, StoredRun

FrameRow = dict[str, Any]

FIRST: dict[str, list[str]] = {
    "history": ["stage", "epoch", "step", "note"],
    "alerts": ["stage", "epoch", "step", "head", "modality", "state", "title", "text", "urgent"],
    "examples": ["id", "position", "stage", "target", "target_name", "modality", "kind", "baseline", "segments"],
    "explanations": ["method", "result", "stage", "epoch", "step", "head", "example"],
    "weights": ["method", "stage", "epoch", "step", "head", "example", "output", "output_name", "modality", "segment"],
}
"""Frame -> its first columns, which exist also without rows."""


def frames_of(run: "StoredRun") -> dict[str, Any]:
    """Return a run as frames; see :meth:`StoredRun.to_pandas`.

    Raises:
        ModuleNotFoundError: pandas is not installed.
    """
    try:
        from pandas import DataFrame
    except ModuleNotFoundError as error:
        told = "to_pandas() needs pandas, which is not installed: pip install pandas"
        raise ModuleNotFoundError(told, name="pandas") from error
    rows = {
        "history": [
            {"stage": row.stage, "epoch": row.epoch, "step": row.step, "note": row.note} | row.values  # noqa: PD011
            for row in run.history
        ],
        "alerts": [vars(alert) for alert in run.alerts],
        "examples": list(_examples(run)),
        "explanations": [_common(one) | dict(one.fields) for one in run.explanations],
        "weights": [row for one in run.explanations for row in _weights(run, one)],
    }
    return {name: DataFrame(found, columns=_columns(FIRST[name], found)) for name, found in rows.items()}


def _columns(first: list[str], rows: list[FrameRow]) -> list[str]:
    return list(dict.fromkeys([*first, *(name for row in rows for name in row)]))


def _examples(run: "StoredRun") -> Iterator[FrameRow]:
    for example in run.examples.values():
        own = {name: value for name, value in vars(example).items() if name != "modalities"}
        for name, one in example.modalities.items():
            yield own | {"modality": name, "kind": one.kind, "baseline": one.baseline, "segments": list(one.segments)}


def _common(one: "StoredExplanation") -> FrameRow:
    return {name: value for name, value in vars(one).items() if name != "fields"}


def _weights(run: "StoredRun", one: "StoredExplanation") -> Iterator[FrameRow]:
    """Yield a row for each segment of each modality of a line with weights."""
    kept = one.fields.get("weights")
    example = run.examples.get(one.example or "")
    common = {name: value for name, value in _common(one).items() if name != "result"}
    common |= {name: one.fields.get(name) for name in ("output", "output_name")}
    for modality, found in kept.items() if isinstance(kept, Mapping) else ():
        lists = {name: value for name, value in found.items() if isinstance(value, list)}
        names = example.modalities[modality].segments if example and modality in example.modalities else ()
        for place in range(max(map(len, lists.values()), default=0)):
            segment = names[place] if place < len(names) else f"segment {place + 1}"
            numbers = {name: value[place] if place < len(value) else None for name, value in lists.items()}
            yield common | {"modality": modality, "segment": segment} | numbers
