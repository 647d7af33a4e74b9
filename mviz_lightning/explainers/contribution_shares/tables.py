"""Shares as text: a table of one run, and a table with a row for every run of a training."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mviz_lightning.collapse.towers import CHANCE, reads_retrieval
from mviz_lightning.explainers.text_tables import align, format_number
from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.functional.numerals import fixed
from mviz_lightning.sinks.records import RunRecord, State

MEASURE_TITLES = {"shapley": "Shapley", "intershap": "InterSHAP", "mm_shap": "MM-SHAP"}
"""First part of a measure's keys -> its name in tables (measures of other papers)."""


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
    return "\n".join([align([header, *rows]), *further_lines(values)])


def further_lines(values: Mapping[str, float]) -> list[str]:
    """Return a line for each further measurement: scores, embeddings, answers, measures."""
    scores = [_score_line(values)] if "score" in values else []
    return [*scores, *_embedding_lines(values), *_answer_lines(values), *_measure_lines(values)]


def _answer_lines(values: Mapping[str, float]) -> list[str]:
    """Return a line for each modality with losses of own answers; none for other outputs."""
    names = [key.partition("/")[2] for key in values if key.startswith("nats/")]
    return [
        f"own answers lose {interval(values, f'nats/{name}')} nats a token when {name} is swapped; "
        f"{values[f'retrieval/{name}']:.0%} of them find their own {name} in the group"
        for name in names
    ]


def _embedding_lines(values: Mapping[str, float]) -> list[str]:
    """Return a line about the embeddings, for scores of pairs; none for other outputs."""
    if "modality_gap" not in values:
        return []
    parts = [f"modality gap {format_number(values['modality_gap'])}", f"alignment {format_number(values['alignment'])}"]
    for measure, words, decimals in (("uniformity", "uniformity", 3), ("effective_rank", "effective rank", 1)):
        sides = [key for key in values if key.partition("/")[0] == measure]
        told = [f"{key.partition('/')[2]} {format_number(values[key], decimals)}" for key in sides]
        parts.append(f"{words} {', '.join(told)}")
    return [f"embeddings: {'; '.join(parts)}"]


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
    """Return a row for each run as text, and the notes of the runs below."""
    if not rows:
        return "no run of the monitor yet"
    table = align(history_cells(rows, modalities))
    return "\n".join([table, *(f"{row.phase}, epoch {row.epoch}: {row.note}" for row in rows if row.note)])


def history_cells(rows: Sequence[RunRecord], modalities: Sequence[str]) -> list[list[str]]:
    """Return the titles, and a row for each run: contributions, interaction, total effects with intervals, scores.

    For scores of pairs, retrieval and embeddings replace contributions, which have no meaning there.
    """
    columns = [_Column("epoch", _where), _Column("step", lambda row: str(row.step))]
    columns += (_pair_columns if any(map(reads_retrieval, rows)) else _share_columns)(rows, modalities)
    columns += _further_columns(rows)
    if any(f"collapse/{name}" in row.values for row in rows for name in modalities):
        columns.append(_Column("not used", lambda row: _not_used(row, modalities)))
    return [[title for title, _ in columns], *([cell(row) for _, cell in columns] for row in rows)]


class _Column(NamedTuple):
    """A column of the history: its title, and a function from a run to its cell."""

    title: str
    cell: Callable[[RunRecord], str]

    @classmethod
    def of(cls, title: str, key: str, decimals: int = 3) -> "_Column":
        """Return a column of one value."""
        return cls(title, lambda row: format_number(row.values.get(key), decimals))

    @classmethod
    def of_total(cls, name: str) -> "_Column":
        """Return a column of a modality's total effect, with its interval."""
        return cls(f"{name} total [95 %]", _interval_of(f"total/{name}"))


def _interval_of(key: str) -> Callable[[RunRecord], str]:
    return lambda row: interval(row.values, key)


def _share_columns(rows: Sequence[RunRecord], modalities: Sequence[str]) -> list[_Column]:
    columns = [_Column.of(f"{name} alone", f"contribution/{name}") for name in modalities]
    columns += [_Column.of("interaction", "interaction"), *map(_Column.of_total, modalities)]
    scored = any("score" in row.values for row in rows)
    swapped = [name for name in modalities if any(f"nats/{name}" in row.values for row in rows)]
    answers = [_Column(f"nats lost without {name} [95 %]", _interval_of(f"nats/{name}")) for name in swapped]
    columns = [*answers, *(_Column.of(f"{name} retrieval", f"retrieval/{name}") for name in swapped), *columns]
    return columns + ([_Column.of("score", "score"), _Column.of("EMAP score", "emap_score")] if scored else [])


def _pair_columns(rows: Sequence[RunRecord], modalities: Sequence[str]) -> list[_Column]:
    """Return retrieval, its chance level, and the embeddings of the modalities whose pairs are scored."""
    names = [name for name in modalities if any(f"total/{name}" in row.values for row in rows)]
    chance = [row.evidence[CHANCE] for row in rows if CHANCE in row.evidence]
    title = f"retrieval (chance {fixed(chance[-1], 2)})" if chance else "retrieval"
    columns = [_Column.of(title, "score"), _Column.of("gap", "modality_gap"), _Column.of("alignment", "alignment")]
    columns += [_Column.of(f"{name} uniformity", f"uniformity/{name}") for name in names]
    columns += [_Column.of(f"{name} rank", f"effective_rank/{name}", 1) for name in names]
    return [*columns, *map(_Column.of_total, names)]


def _further_columns(rows: Sequence[RunRecord]) -> list[_Column]:
    """Return columns of scores without a modality and of measures of other papers, if a run has them."""
    keys = dict.fromkeys(key for row in rows for key in row.values)
    without = [key for key in keys if key.partition("/")[0] == "score_without"]
    columns = [_Column.of(f"score without {key.partition('/')[2]}", key) for key in without]
    titles = {key: MEASURE_TITLES[key.partition("/")[0]] for key in measured_keys(rows)}
    return columns + [_Column.of(f"{key.partition('/')[2]} {title}".strip(), key) for key, title in titles.items()]


def measured_keys(rows: Sequence[RunRecord]) -> list[str]:
    """Return the keys of measures of other papers in any run, measure by measure."""
    keys = dict.fromkeys(key for row in rows for key in row.values)
    return [key for measure in MEASURE_TITLES for key in keys if key.partition("/")[0] == measure]


def _where(row: RunRecord) -> str:
    return str(row.epoch) if row.phase == "fit" else row.phase


def _not_used(row: RunRecord, modalities: Sequence[str]) -> str:
    """Return the modalities that are not used, with their states."""
    found = {name: State(int(row.values.get(f"collapse/{name}", State.USED))) for name in modalities}
    return ", ".join(f"{name} {state.name.lower()}" for name, state in found.items() if state)
