"""The files of a measurement outside a training: like those of a run with one row, whose stage is ``explain``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mviz_lightning.session.explanation_history import TimedResult
from mviz_lightning.session.run_archive import RunArchive
from mviz_lightning.session.share_report import ShareReport
from mviz_lightning.sinks import FileSink
from mviz_lightning.sinks.records import RunRecord, of_head, of_heads

STAGE = "explain"
"""Stage of the row, of examples and of explanations.

If a report is saved again in a folder, only the last one counts.
"""

COSTS = ("seconds", "rows")
"""Values that are summed over all heads."""


def archive_report(report: ShareReport, folder: Path) -> None:
    """Write the numbers of a report, so that a page can show them and :func:`mviz_lightning.report.load` finds them.

    A description of a training in the folder is kept.

    Args:
        report: The report with those of its further heads.
        folder: Created when something is written.

    Raises:
        OSError: A file could not be written.
    """
    reports = {"": report, **report.heads}
    FileSink(folder).row(_row(report, reports))
    archive = RunArchive.at(folder)
    if report._description and not archive.describes_training:
        archive.describe({"name": "mviz", "run": folder.resolve().name, **report._description}, finished=True)
    for head, one in reports.items():
        drawing = one._drawing
        for run in one._runs:
            if run.result is not None and drawing is not None:
                archive.keep(TimedResult(run.explainer, run.result, STAGE, 0, 0, head), drawing)


def _row(report: ShareReport, reports: Mapping[str, ShareReport]) -> RunRecord:
    values: dict[str, float] = of_heads({head: one.values for head, one in reports.items()})
    for head, one in reports.items():
        for name, result in one.results.items():
            values |= {of_head(head, f"{name}/{key}"): value for key, value in result.values.items()}
    cost: dict[str, Any] = {name: float(sum(getattr(one, name) for one in reports.values())) for name in COSTS}
    return RunRecord(STAGE, 0, 0, values | cost, report.notes, {}, list(report.heads))
