"""The end of a trainer's run: write the report page, print one table, then the path of the page."""

import logging
from functools import partial
from pathlib import Path

from mviz_lightning.callbacks.lightning_packages import rank_zero_module
from mviz_lightning.callbacks.time_budget import PAGE
from mviz_lightning.callbacks.trainer_run import TrainerRun
from mviz_lightning.collapse.messages import standing
from mviz_lightning.console.closing_table import closing_heading, closing_table, folded, state_words
from mviz_lightning.console.terminal import Line, Span, columns, show
from mviz_lightning.report.folders import holds_run
from mviz_lightning.report.page import write_page
from mviz_lightning.sinks import FileSink
from mviz_lightning.sinks.records import RunRecord

UNWRITTEN_PAGE = "the report page could not be written"
"""Beginning of a warning."""


class Closing:
    """The end of one run of a trainer. It does nothing without a check, or on a process that writes no files.

    Args:
        run: The run.
        report: Whether the page is written.
    """

    def __init__(self, run: TrainerRun, *, report: bool) -> None:
        self._run, self._report, self._untold = run, report, False

    def add(self, row: RunRecord) -> None:
        """Note that a check was written, so that the end of the run is reported."""
        self._untold |= bool(row.values)

    def tell(self, *, table: bool, always_warn: bool = False) -> None:
        """Write the page, and print the table and the path, once for all checks so far.

        Args:
            table: Whether the table of the fit is printed.
            always_warn: Whether an error becomes a warning even with ``on_error="raise"``.
        """
        folder, untold = self._folder, self._untold
        self._untold = False
        if folder is None or not untold:
            return
        guard = partial(self._run.error_policy.guard, always_warn=always_warn)
        shows = self._report and holds_run(folder)  # if no check could be written, a warning was given
        page = guard(partial(self._write_page, folder), failed=UNWRITTEN_PAGE) if shows else None
        if page is not None:
            guard(partial(self._run.reporter.hand_over, page))
        # If Lightning's own lines are switched off, the table and the path are not printed either.
        if rank_zero_module.log.isEnabledFor(logging.INFO):
            found = guard(self._table) if table and self._run.history.fitted else None
            where = [] if page is None else [[Span(f"{self._run.name}: report page "), Span(str(page), "heading")]]
            guard(partial(show, [*(found or []), *where]))

    @property
    def _folder(self) -> Path | None:
        """The folder of the run's files; None on a process that writes no files."""
        return next((sink.folder for sink in self._run.reporter.sinks if isinstance(sink, FileSink)), None)

    def _write_page(self, folder: Path) -> Path:
        with self._run.measurement_run.time_budget.timed(PAGE):
            return write_page(folder)

    def _table(self) -> list[Line]:
        """Return the table of every head, and a line of the alarm for each modality that is or was not used."""
        run, width = self._run, columns()
        lines: list[Line] = [
            [],
            closing_heading(run.name, run.history.fitted, run.measurement_run.time_budget.lap()[0]),
        ]
        verdicts = [] if run.alarm is None else [*run.alarm.verdicts.values()]
        for head in ("", *run.history.heads):
            checks, called = run.history.fitted_of(head), head or run.history.main_head
            states = {verdict.modality: state_words(verdict) for verdict in verdicts if verdict.head == head}
            lines += closing_table(checks, states, run.history.modalities, width, called) if checks else []
        return [*lines, *([Span(line)] for one in standing(verdicts) for line in folded(one, width))]
