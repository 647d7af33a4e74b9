"""Load a run: its files as objects."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mviz_lightning.report.folders import monitor_folder
from mviz_lightning.report.stored_lines import StoredLine, stored_lines
from mviz_lightning.report.stored_run import (
    StoredAlert,
    StoredExample,
    StoredExplanation,
    StoredModality,
    StoredRun,
    text_or_short,
)
from mviz_lightning.sinks.records import RunRecord

COMMON = ("method", "result", "stage", "epoch", "step", "head", "example")
"""Fields that every line of ``explanations.jsonl`` has."""


def load(folder: str | Path) -> StoredRun:
    """Load a run from the files in its folder; neither the model nor the data is needed.

    Runs of older versions have only a history. Damaged lines, such as the last one of a killed training, are left out,
    and ``remarks`` has their number.

    Args:
        folder: The logger's folder of the run, or the monitor's folder inside it.

    Raises:
        ConfigurationError: The folder contains no run, or several; or a newer version wrote it.

    Example:
        >>> from mviz_lightning.report import load
        >>> run = load("lightning_logs/version_0")  # doctest: +SKIP
        >>> [row.values["total/image"] for row in run.history]  # doctest: +SKIP
        [0.31, 0.28, 0.02]
    """
    found = monitor_folder(folder)
    lines = stored_lines(found)
    return StoredRun(
        found,
        lines.description,
        list(_rows(lines.history, lines.remarks)),
        [_alert(line) for line in lines.alerts],
        {name: _example(line) for name, line in lines.examples.items()},
        [_explanation(line) for line in lines.explanations],
        lines.remarks,
    )


def _rows(lines: list[StoredLine], remarks: list[str]) -> Iterator[RunRecord]:
    """Yield the runs of the monitor; a run with impossible values is left out."""
    for line in lines:
        try:
            yield _row(line)
        except ValueError as error:
            remarks.append(f"history.jsonl: a run is damaged, and left out: {error}")


def _row(line: StoredLine) -> RunRecord:
    values = {name: math.nan if value is None else float(value) for name, value in line["values"].items()}
    evidence, heads, note = (line.get(name) for name in ("evidence", "heads", "note"))
    return RunRecord(
        line["stage"],
        line["epoch"],
        line["step"],
        values,
        note if isinstance(note, str) else "",
        _numbers(evidence),
        [str(head) for head in heads] if isinstance(heads, list) else [],
    )


def _numbers(found: Any) -> dict[str, float]:
    entries = found.items() if isinstance(found, dict) else ()
    return {name: float(value) for name, value in entries if isinstance(value, int | float)}


def _alert(line: StoredLine) -> StoredAlert:
    state = line.get("state")
    return StoredAlert(
        line["stage"],
        line["epoch"],
        line["step"],
        text_or_short(line.get("head")) or "",
        text_or_short(line.get("modality")) or "",
        state if isinstance(state, int) else None,
        line["title"],
        line["text"],
        bool(line.get("urgent")),
    )


def _example(line: StoredLine) -> StoredExample:
    return StoredExample(
        line["id"],
        line["position"],
        text_or_short(line.get("stage")) or "",
        line.get("target"),
        text_or_short(line.get("target_name")),
        {name: _modality(found) for name, found in line["modalities"].items()},
    )


def _modality(found: StoredLine) -> StoredModality:
    kind, baseline = (text_or_short(found.get(name)) or "" for name in ("kind", "baseline"))
    return StoredModality(kind, baseline, [text_or_short(name) or "" for name in found["segments"]], found["view"])


def _explanation(line: StoredLine) -> StoredExplanation:
    return StoredExplanation(
        line["method"],
        line["result"],
        line["stage"],
        line["epoch"],
        line["step"],
        text_or_short(line.get("head")) or "",
        text_or_short(line.get("example")),
        {name: value for name, value in line.items() if name not in COMMON},
    )
