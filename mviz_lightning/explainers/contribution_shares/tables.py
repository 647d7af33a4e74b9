"""Shares as text: one run, and a row for every run of a training."""

from collections.abc import Mapping, Sequence

from mviz_lightning.explainers.text_tables import align, format_number
from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.sinks.records import RunRecord, State

MEASURE_TITLES = {"shapley": "Shapley", "intershap": "InterSHAP", "mm_shap": "MM-SHAP"}
"""First part of the keys of a measure of another paper -> its name in tables."""


def interval(values: Mapping[str, float], name: str) -> str:
    """Return a value with its 95 % interval, ``0.345 [0.301, 0.389]``."""
    if name not in values:
        return ""
    low, high = (format_number(values.get(bound)) for bound in (bound_name(name, "low"), bound_name(name, "high")))
    return f"{format_number(values[name])} [{low}, {high}]"


def share_table(values: Mapping[str, float], modalities: Sequence[str]) -> str:
    """Return the shares of one run, a row for each modality and for their interactions."""
    scored = "score" in values
    header = ["share of the outputs' variance", "alone [95 %]", "with interactions [95 %]"]
    rows = [[name, interval(values, f"contribution/{name}"), interval(values, f"total/{name}")] for name in modalities]
    rows += [[name, interval(values, name), ""] for name in values if name.startswith("interaction/")]
    rows.append(["all interactions", interval(values, "interaction"), ""])
    if scored:
        header.append("score lost when swapped")
        rows = [[*row, format_number(values.get(f"perceptual/{row[0]}"))] for row in rows]
    lines = [align([header, *rows]), *([_score_line(values)] if scored else []), *_measure_lines(values)]
    return "\n".join(lines)


def _measure_lines(values: Mapping[str, float]) -> list[str]:
    """Return a line for each measure of another paper."""
    lines = []
    for measure, title in MEASURE_TITLES.items():
        keys = [key for key in values if key.partition("/")[0] == measure]
        parts = [f"{key.partition('/')[2]} {_with_interval(values, key)}".strip() for key in keys]
        lines += [f"{title}: {', '.join(parts)}"] if parts else []
    return lines


def _with_interval(values: Mapping[str, float], name: str) -> str:
    return interval(values, name) if bound_name(name, "low") in values else format_number(values[name])


def _score_line(values: Mapping[str, float]) -> str:
    score, additive = (format_number(values[name]) for name in ("score", "emap_score"))
    return f"score {score}; of the unimodal contributions alone (EMAP) {additive}; gap {interval(values, 'emap_gap')}"


def history_table(rows: Sequence[RunRecord], modalities: Sequence[str]) -> str:
    """Return a row for each run: contributions, interaction, total effects with intervals, scores."""
    if not rows:
        return "no run of the monitor yet"
    scored = any("score" in row.values for row in rows)
    header = ["epoch", "step", *(f"{name} alone" for name in modalities), "interaction"]
    header += [f"{name} total [95 %]" for name in modalities] + (["score", "EMAP score"] if scored else [])
    cells = [_history_cells(row, modalities, scored=scored) for row in rows]
    for key in dict.fromkeys(key for row in rows for key in row.values if key.partition("/")[0] == "score_without"):
        header.append(f"score without {key.partition('/')[2]}")
        cells = [[*line, format_number(row.values.get(key))] for line, row in zip(cells, rows, strict=True)]
    for key in measured_keys(rows):
        header.append(f"{key.partition('/')[2]} {MEASURE_TITLES[key.partition('/')[0]]}".strip())
        cells = [[*line, format_number(row.values.get(key))] for line, row in zip(cells, rows, strict=True)]
    if any(f"collapse/{name}" in row.values for row in rows for name in modalities):
        header.append("not used")
        cells = [[*line, _not_used(row, modalities)] for line, row in zip(cells, rows, strict=True)]
    table = align([header, *cells])
    return "\n".join([table, *(f"{row.phase}, epoch {row.epoch}: {row.note}" for row in rows if row.note)])


def measured_keys(rows: Sequence[RunRecord]) -> list[str]:
    """Return the keys of measures of other papers that some run has, measure by measure."""
    keys = dict.fromkeys(key for row in rows for key in row.values)
    return [key for measure in MEASURE_TITLES for key in keys if key.partition("/")[0] == measure]


def _history_cells(row: RunRecord, modalities: Sequence[str], *, scored: bool) -> list[str]:
    values = row.values
    where = str(row.epoch) if row.phase == "fit" else row.phase
    cells = [where, str(row.step), *(format_number(values.get(f"contribution/{name}")) for name in modalities)]
    cells += [format_number(values.get("interaction")), *(interval(values, f"total/{name}") for name in modalities)]
    return cells + ([format_number(values.get("score")), format_number(values.get("emap_score"))] if scored else [])


def _not_used(row: RunRecord, modalities: Sequence[str]) -> str:
    """Name the modalities that are not used, and how."""
    found = {name: State(int(row.values.get(f"collapse/{name}", State.USED))) for name in modalities}
    return ", ".join(f"{name} {state.name.lower()}" for name, state in found.items() if state)
