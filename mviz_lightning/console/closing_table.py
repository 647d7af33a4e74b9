"""The results of a training in one table: each modality at the last check, and its change since the first check."""

import textwrap
from collections.abc import Callable, Mapping, Sequence

from mviz_lightning.collapse.towers import CHANCE, reads_retrieval
from mviz_lightning.collapse.verdict import Verdict
from mviz_lightning.console.columns import Column, table_lines
from mviz_lightning.console.terminal import Line, Span
from mviz_lightning.explainers.contribution_shares.tables import interval
from mviz_lightning.explainers.text_tables import format_number
from mviz_lightning.functional.numerals import fixed, percent
from mviz_lightning.sinks.records import RunRecord, State

STATE_STYLES = {State.USED: "good", State.UNUSED: "notice", State.COLLAPSED: "alarm", State.REDUNDANT: "notice"}
"""State of a modality -> style of its name in the table."""

INTERACTION = "interaction"
"""Name of the row of all interactions."""


def closing_heading(name: str, checks: Sequence[RunRecord], further_seconds: float) -> Line:
    """Return the line above the tables: the number of checks, when they ran, and their time in seconds.

    Args:
        name: Name of the monitor.
        checks: The runs of the training that gave values.
        further_seconds: Seconds outside all checks, for the last pictures and the report page.
    """
    first, last = checks[0], checks[-1]
    at = "epoch {0.epoch} (step {0.step})".format
    where = f"check at {at(first)}" if len(checks) == 1 else f"checks, from {at(first)} to {at(last)}"
    spent = sum(row.values.get("seconds", 0.0) for row in checks)
    shares = [(row.values.get("seconds", 0.0), row.values.get("overhead", 0.0)) for row in checks]
    elapsed = sum(seconds / share for seconds, share in shares if share > 0)
    of_all = f", {percent(spent / elapsed)} of the time" if elapsed else ""
    ended = f"; {fixed(further_seconds, 1)} s at the end" if further_seconds >= 0.05 else ""
    return [Span(f"{name}: {len(checks)} {where}", "heading"), Span(f"; {fixed(spent, 1)} s{of_all}{ended}")]


def closing_table(
    checks: Sequence[RunRecord], states: Mapping[str, Span], modalities: Sequence[str], width: int, head: str = ""
) -> list[Line]:
    """Return the table of one head, and its scores below it.

    Args:
        checks: The runs of the training that gave values, as this head sees them.
        states: Modality -> its state in words; empty without an alarm.
        modalities: Names, in declared order.
        width: Number of columns of the terminal.
        head: Name of the head; ``""`` where the model has a single head.
    """
    first, last = checks[0], checks[-1]
    measured = [name for name in modalities if f"total/{name}" in last.values]
    pairs = reads_retrieval(last)
    rows = [*measured, *([] if pairs else [INTERACTION])]
    found = [Column(f"head {head}" if head else "modality", [Span(name) for name in rows], left=True)]
    found += _value_columns(checks, rows, pairs=pairs)
    if states:
        found.append(Column("state", [states.get(name, Span("")) for name in rows], left=True))
    score = _score_line(first, last)
    return [*table_lines(found, width), *([[Span(line)] for line in folded(score, width)] if score else [])]


def _value_columns(checks: Sequence[RunRecord], rows: Sequence[str], *, pairs: bool) -> list[Column]:
    """Return the columns of numbers; without contributions for scores of pairs, where they have no meaning."""
    first, last = checks[0].values, checks[-1].values

    def column(title: str, cell: Callable[[str], str]) -> Column:
        return Column(title, [Span(cell(name)) for name in rows])

    alone = column("alone", lambda name: format_number(last.get(_alone(name))))
    change = column("change", lambda name: _change(first, last, f"total/{name}"))
    found = [*([] if pairs else [alone]), column("total [95 %]", lambda name: interval(last, f"total/{name}"))]
    found += [change] if len(checks) > 1 else []
    if any(f"nats/{name}" in last for name in rows):
        found.append(column("nats lost if swapped [95 %]", lambda name: interval(last, f"nats/{name}")))
    if any(f"perceptual/{name}" in last for name in rows):
        found.append(column("score lost if swapped", lambda name: format_number(last.get(f"perceptual/{name}"))))
    return found


def _alone(name: str) -> str:
    return INTERACTION if name == INTERACTION else f"contribution/{name}"


def _change(first: Mapping[str, float], last: Mapping[str, float], key: str) -> str:
    return fixed(last[key] - first[key], 3, "+") if key in first and key in last else ""


def state_words(verdict: Verdict) -> Span:
    """Return the state of a modality in one to three words."""
    if verdict.row is None:
        return Span("not judged")
    if verdict.rose_from is not None:
        return Span("not yet learned", "notice")
    return Span(verdict.state.name.lower(), STATE_STYLES[verdict.state])


def _score_line(first: RunRecord, last: RunRecord) -> str:
    """Return the score, its change, and the score without interactions (EMAP); ``""`` without a score."""
    values = last.values
    if "score" not in values:
        return ""
    chance = last.evidence.get(CHANCE)
    title = f"retrieval (chance {fixed(chance, 2)})" if reads_retrieval(last) and chance is not None else "score"
    change = _change(first.values, values, "score") if first is not last else ""
    line = f"{title} {format_number(values['score'])}{f' (change {change})' if change else ''}"
    if "emap_score" in values and "emap_gap" in values:
        line += (
            f"; without interactions (EMAP) {format_number(values['emap_score'])}, gap {interval(values, 'emap_gap')}"
        )
    return line


def folded(text: str, width: int) -> list[str]:
    """Return a sentence as lines that fit into the terminal; words are not split."""
    return textwrap.wrap(text, max(width, 20), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
