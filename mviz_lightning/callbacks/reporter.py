"""Turn results into records: store them, draw them, write them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

from mviz_lightning.callbacks.lightning_packages import rank_zero_info
from mviz_lightning.callbacks.time_budget import SHARES, TimeBudget
from mviz_lightning.collapse.towers import reads_retrieval
from mviz_lightning.explainers import Explainer
from mviz_lightning.explainers.contribution_shares.figure import share_curves
from mviz_lightning.explainers.contribution_shares.pair_figure import pair_curves
from mviz_lightning.explainers.contribution_shares.subset_figure import subset_pictures
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.plotting.system_fonts import font_advice
from mviz_lightning.session.explanation_history import ExplanationHistory, TimedResult
from mviz_lightning.session.history import History
from mviz_lightning.session.remarks import PREFIX
from mviz_lightning.session.run_archive import RunArchive
from mviz_lightning.session.session import Session
from mviz_lightning.sinks import Sink
from mviz_lightning.sinks.base import KINDS, fenced
from mviz_lightning.sinks.picture_notes import PictureNotes
from mviz_lightning.sinks.portable_names import portable_key
from mviz_lightning.sinks.records import (
    Alert,
    Dashboard,
    FileRecord,
    MarkdownText,
    Picture,
    Record,
    RunRecord,
    Sound,
    of_head,
)

A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R", bound=Record)


@dataclass
class Reporter:
    """Writes runs, pictures and tables to the sinks; on a process without sinks it only stores results.

    Attributes:
        history: Runs so far.
        explanation_history: Explanations so far.
        dashboard: Arrangement of the scalars.
        sinks: Destinations of the records.
        time_budget: Measures the time that pictures take.
        drawings: Head -> context for drawing its results, after the first result; ``""`` is the main head.
        explainers: The methods whose examples may be drawn over the epochs.
        conclude: Returns the last lines of the summary.
        archive: Keeps results as numbers; None on a process without sinks.
        told: Lines of the log that were written already, such as those about records that a logger does not take.
    """

    history: History
    explanation_history: ExplanationHistory
    dashboard: Dashboard
    sinks: Sequence[Sink]
    time_budget: TimeBudget = field(default_factory=TimeBudget)
    drawings: dict[str, DrawingContext] = field(default_factory=dict)
    explainers: Sequence[Explainer] = ()
    conclude: Callable[[], str] = str
    archive: RunArchive | None = None
    told: set[str] = field(default_factory=set)
    _drawn: int = 0
    _untold: bool = False
    _opened: set[int] = field(default_factory=set)
    _heard: set[str] = field(default_factory=set)
    _notes: PictureNotes = field(default_factory=PictureNotes)

    def write(self, row: RunRecord) -> None:
        """Store and write a run with values, or with a note why it has none."""
        if not row.values and not row.note:
            return
        self.history.add(row)
        self._untold |= row.phase == "fit"
        _raise_first(self._for_each_sink(lambda sink: sink.row(row)))

    def illustrate(self, session: Session, *, show_inputs: bool) -> None:
        """Take modality types and labels from a session; if nothing changed, its pictures use the same panels."""
        for head, one in {"": session, **session.heads}.items():
            if one.explainable:
                drawing = one.drawing(show_inputs=show_inputs)
                self.drawings |= {} if drawing == self.drawings.get(head) else {head: drawing}

    def show(self, found: TimedResult, *, with_trainer_row: bool) -> None:
        """Store a result, draw it and write it; the sounds of its examples are written once in a training.

        Args:
            found: The result, and the moment at which it was found.
            with_trainer_row: Whether the trainer logs a row right after this.
        """
        self.explanation_history.add(found)
        self._untold |= found.phase == "fit"
        drawing = self.drawings.get(found.head)
        if not self.sinks or drawing is None:
            return
        with self.time_budget.timed(found.explainer.name, more=True):
            drawn, failures = _each(
                lambda one: one.explainer.draw(one.result, drawing, drawing.labels.moment(one.when)), [found]
            )
            failures += drawing.pop_failures()
            heard, unheard = _each(lambda one: self._new_sounds(one, drawing), [found])
            records = [*named_by_head(found.head, chain(*drawn)), *chain(*heard)]
            unwritten = self._put(records, found.step, with_trainer_row=with_trainer_row)
            _, unkept = _each(lambda archive: archive.keep(found, drawing), filter(None, [self.archive]))
        _raise_first([*failures, *unheard, *unwritten, *unkept])

    def _new_sounds(self, found: TimedResult, drawing: DrawingContext) -> list[Sound]:
        """Return the sounds of a result's examples that were not written before."""
        new = [sound for key, sound in drawing.sounds(found.result.examples).items() if key not in self._heard]
        self._heard |= {sound.key for sound in new}
        return new

    def draw(self, *, with_trainer_row: bool) -> None:
        """Draw the curves of all runs of the training, if a run is new."""
        rows = self.history.fitted
        if not self.sinks or len(rows) == self._drawn:
            return
        self._drawn = len(rows)
        with self.time_budget.timed(SHARES, more=True):
            _raise_first(self._put(self._curves(rows), rows[-1].step, with_trainer_row=with_trainer_row))

    def _curves(self, rows: Sequence[RunRecord]) -> list[Picture]:
        """Return the curves of all runs, and the classes and subgroups of the last one."""
        names, pictures = self.history.modalities, list[Picture]()
        for head in ("", *self.history.heads):
            own = self.history.fitted_of(head)
            moment = f"epoch {rows[-1].epoch} (step {rows[-1].step})"
            called = head or self.history.main_head
            when = f"head {called}, {moment}" if called else moment
            curves = pair_curves if reads_retrieval(own[-1]) else share_curves
            found = [curves(own, names, called), *subset_pictures(own[-1].values, names, when)]
            pictures += named_by_head(head, found)
        return pictures

    def tell(self, records: Sequence[Record], row: RunRecord) -> None:
        """Write alerts and tables of a run, in the row that the trainer logs right after this."""
        if self.sinks and records:
            alerts = [record for record in records if isinstance(record, Alert)]
            _, unkept = _each(lambda archive: archive.alert(row, alerts), filter(None, [self.archive]))
            _raise_first([*self._put(records, row.step, with_trainer_row=True), *unkept])

    def finish(self) -> None:
        """Write the last curves, every example over the training, and the history as a text.

        Nothing is written if no result was added since the last call: a failure outside a training leaves no files.
        """
        if not self._untold:
            return
        self._untold = False
        _, undrawn = _each(lambda with_trainer_row: self.draw(with_trainer_row=with_trainer_row), [False])
        rows = self.history.fitted
        if not self.sinks or not rows:
            return
        drawn, failures = self._over_epochs()
        last = max([rows[-1].step, *(entry.step for entry in self.explanation_history.entries)])
        words = "\n".join(filter(None, (str(self.history), self.conclude())))
        unwritten = self._put([MarkdownText("summary", fenced(words)), *drawn], last, with_trainer_row=False)
        _raise_first([*undrawn, *failures, *unwritten])

    def hand_over(self, page: Path) -> None:
        """Write the report page to the loggers that take files."""
        entries = self.explanation_history.entries
        last = max([row.step for row in self.history] + [entry.step for entry in entries], default=0)
        _raise_first(self._put([FileRecord("report", page)], last, with_trainer_row=False))

    def close(self) -> None:
        """Close all sinks."""
        _, failures = _each(lambda sink: sink.close(), self.sinks)
        _raise_first(failures)

    def _over_epochs(self) -> tuple[list[Record], list[Exception]]:
        """Draw every example over the training; return the errors too."""
        explainers = {explainer.name: explainer for explainer in self.explainers}
        drawn: list[Record] = []
        failures: list[Exception] = []
        for head, drawing in self.drawings.items():
            own = {of_head(head, name): explainer for name, explainer in explainers.items()}
            examples = self.explanation_history.moments_by_example().items()
            pictures, undrawn = _each(
                lambda one, drawing=drawing: one[0].draw_over_epochs(one[1], drawing),  # type: ignore[misc]
                [(own[name], moments) for (name, _), moments in examples if name in own],
            )
            drawn += named_by_head(head, chain(*pictures))
            failures += [*undrawn, *drawing.pop_failures()]
        return drawn, failures

    def _put(self, records: Sequence[Record], step: int, *, with_trainer_row: bool) -> list[Exception]:
        """Write records under the monitor's prefix, and notes on new kinds of pictures; return the errors."""
        if line := font_advice():
            self._tell(PREFIX + line)
        records = [*records, *self._notes.of(records)]
        named = [replace(record, key=portable_key(f"{self.dashboard.name}/{record.key}")) for record in records]
        return self._for_each_sink(lambda sink: self._write(sink, named, step, with_trainer_row=with_trainer_row))

    def _write(self, sink: Sink, records: Sequence[Record], step: int, *, with_trainer_row: bool) -> None:
        """Write the records that a sink takes; log once which kinds it does not take."""
        self._tell_untaken(sink, {KINDS[type(record)] for record in records if not isinstance(record, sink.takes)})
        if taken := [record for record in records if isinstance(record, sink.takes)]:
            sink.write(taken, step, with_trainer_row=with_trainer_row)

    def _tell_untaken(self, sink: Sink, kinds: Iterable[str]) -> None:
        for kind in sorted(kinds):
            logger = type(sink).__name__.removesuffix("Sink")
            line = f"{PREFIX}{logger} does not accept {kind}s; they are in the folder of the run."
            self._tell(line)

    def _tell(self, line: str) -> None:
        """Write a line to the log, once in a training."""
        if line not in self.told:
            self.told.add(line)
            rank_zero_info(line)

    def _for_each_sink(self, write: Callable[[Sink], None]) -> list[Exception]:
        """Open all sinks and write to them; return the errors."""
        _, unopened = _each(self._open, [sink for sink in self.sinks if id(sink) not in self._opened])
        _, failures = _each(write, self.sinks)
        return [*failures, *unopened]

    def _open(self, sink: Sink) -> None:
        sink.open(self.dashboard)
        self._opened.add(id(sink))


def named_by_head(head: str, records: Iterable[R]) -> list[R]:
    """Return records under keys that begin with the name of a further head; ``""`` is the main one."""
    return [replace(record, key=of_head(head, record.key)) for record in records]


def _each(action: Callable[[A], B], over: Iterable[A]) -> tuple[list[B], list[Exception]]:
    """Apply an action to all items, also after a failure. Return results and errors."""
    done, failures = [], []
    for one in over:
        try:
            done.append(action(one))
        except Exception as error:
            failures.append(error)
    return done, failures


def _raise_first(failures: Sequence[Exception]) -> None:
    if failures:
        raise failures[0]
