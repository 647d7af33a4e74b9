"""Reports, their comparison and the history of a training as cards."""

import math
from typing import TYPE_CHECKING

from mviz_lightning.explainers.card import MOST_EXAMPLES
from mviz_lightning.explainers.contribution_shares.card import difference_words, history_card, share_card
from mviz_lightning.explainers.contribution_shares.figure import coloured
from mviz_lightning.notebook.card import Card, TidyRows, stacked_rows
from mviz_lightning.plotting.diagrams import Bar, Bars, Diagram
from mviz_lightning.plotting.panels import INTERACTION

if TYPE_CHECKING:
    from mviz_lightning.functional.differences import ShareDifference
    from mviz_lightning.session.comparison import ShareComparison
    from mviz_lightning.session.history import History
    from mviz_lightning.session.share_report import ShareReport

DIFFERENCE_COLUMNS = ("name", "first", "second", "difference", "low", "high", "is_clear")


def report_card(report: "ShareReport", head: str = "") -> Card:
    """Return the card of a report: shares, and a part for each further head and each method."""
    own = share_card(report.values, report.modalities, head)
    cost = f"{report.examples} examples, {report.rows:,} rows, {report.seconds:.2f} s"
    notes = [cost, *filter(None, [report.advice, *report.notes.split("\n")])]
    heads = [report_card(found, name).titled(f"head {name}") for name, found in report.heads.items()]
    methods = [result._card().titled(name) for name, result in report.results.items()]
    frame = stacked_rows([own.frame, *(card.frame for card in heads)])
    main = report.main_head if heads else ""
    title = f"head {main}" if main else ""
    return Card(own.verdict, own.diagrams, frame, own.lines, notes, title, [*heads, *methods], table=own.frame)


def training_card(history: "History") -> Card:
    """Return the card of a training: the curves, and a part for each further head."""
    own = history_card(history, history.modalities)
    heads = []
    for head in history.heads:
        rows = [row for row in (one.of_head(head) for one in history) if row.values]
        heads.append(history_card(rows, history.modalities, head).titled(f"head {head}"))
    frame = stacked_rows([own.frame, *(card.frame for card in heads)])
    title = f"head {history.main_head}" if heads and history.main_head else ""
    notes = [*own.notes[-MOST_EXAMPLES:], *filter(None, [history.advice])]
    urgent = own.urgent
    return Card(own.verdict, own.diagrams, frame, own.lines, notes, title, heads, urgent=urgent, table=own.table)


def comparison_card(comparison: "ShareComparison") -> Card:
    """Return the card of two reports: the clear differences first."""
    found = comparison.differences
    first, second = comparison.names
    rows = [
        [name, comparison.first[name], comparison.second[name], one.value, one.low, one.high, one.is_clear]
        for name, one in found.items()
    ]
    clear = [name for name, one in found.items() if one.is_clear]
    verdict = f"{first} and {second} do not clearly differ: each interval of a difference holds 0"
    if clear:
        name = max(clear, key=lambda key: abs(found[key].value))
        words = difference_words(found[name].value, found[name].low, found[name].high)
        verdict = (
            f"{len(clear)} of {len(found)} values clearly differ, most of all {name}: {words} ({first} less {second})"
        )
    return Card(verdict, _bars(found, f"{first} less {second}"), TidyRows(DIFFERENCE_COLUMNS, rows))


def _bars(found: "dict[str, ShareDifference]", title: str) -> list[Diagram]:
    """Return the differences that have intervals."""
    names = [name for name, one in found.items() if not math.isnan(one.low)]
    modalities = [name.partition("/")[2] for name in names if name.startswith("total/")]
    colours = dict(coloured(modalities))
    bars = [
        Bar(
            name, found[name].value, found[name].low, found[name].high, colours.get(name.partition("/")[2], INTERACTION)
        )
        for name in names
    ]
    return [Bars(f"{title} (95 %)", bars)] if bars else []
