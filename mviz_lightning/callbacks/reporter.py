"""Keep what was found, write it and draw it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import TypeVar

from mviz_lightning.callbacks.time_budget import SHARES, TimeBudget
from mviz_lightning.explainers.contribution_shares.figure import share_curves
from mviz_lightning.explainers.dime.figure import DrawingContext
from mviz_lightning.explainers.dime.over_epochs import Moment, film
from mviz_lightning.explainers.figures import records_of
from mviz_lightning.explainers.sounds import examples_of, sounds
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.session.explanation_history import Entry, ExplanationHistory
from mviz_lightning.session.history import History
from mviz_lightning.session.session import Session
from mviz_lightning.sinks import Sink
from mviz_lightning.sinks.records import Alert, Dashboard, MarkdownText, Picture, Record, RunRecord, Sound

A = TypeVar("A")
B = TypeVar("B")


@dataclass
class Reporter:
    """Writes runs, pictures and tables to the sinks; on processes without sinks it only keeps what was found.

    Attributes:
        history: All runs so far.
        explanation_history: All explanations so far.
        layout: How the scalars are arranged.
        sinks: Where records go.
        time_budget: Counts the time that pictures take.
        drawing: Draws explanations; None until there are some.
        conclude: Gives the last lines of the history as a text.
    """

    history: History
    explanation_history: ExplanationHistory
    layout: Dashboard
    sinks: Sequence[Sink]
    time_budget: TimeBudget = field(default_factory=TimeBudget)
    drawing: DrawingContext | None = None
    conclude: Callable[[], str] = str
    _drawn: int = 0
    _untold: bool = False
    _opened: set[int] = field(default_factory=set)
    _heard: set[str] = field(default_factory=set)

    def write(self, row: RunRecord) -> None:
        """Add a run that gave values, or a reason why not."""
        if not row.values and not row.note:
            return
        self.history.add(row)
        self._untold |= row.phase == "fit"
        _raise_first(self._for_each_sink(lambda sink: sink.row(row)))

    def illustrate(self, session: Session, *, show_inputs: bool) -> None:
        """Draw with what a study knows of its examples by now; where that is nothing new, on the same panels."""
        drawing = DrawingContext(session.kinds, Labels(session.task, session.config.class_names), show_inputs)
        self.drawing = self.drawing if drawing == self.drawing else drawing

    def show(self, entry: Entry, *, with_trainer_row: bool) -> None:
        """Add explanations, a picture each and a table of all, or what a survey found; sounds once a training.

        Args:
            entry: What was found.
            with_trainer_row: Whether the trainer logs a row right after this.
        """
        self.explanation_history.add(entry)
        self._untold |= entry.stage == "fit"
        drawing = self.drawing
        if not self.sinks or drawing is None:
            return
        with self.time_budget.timed(entry.explainer, more=True):
            if entry.result is None:
                records, failures = _pictures(entry, drawing)
            else:
                found, failures = _each(lambda f: records_of(f, entry.explainer, drawing, entry.when), [entry.result])
                records = [record for some in found for record in some]
            heard, unheard = _each(self._new_sounds, [(entry, drawing)])
            unwritten = self._put([*records, *chain(*heard)], entry.step, with_trainer_row=with_trainer_row)
        _raise_first([*failures, *unheard, *unwritten])

    def _new_sounds(self, found: tuple[Entry, DrawingContext]) -> list[Sound]:
        """Return what can be heard of an entry's examples, less what was heard before."""
        entry, drawing = found
        explained = entry.explanations if entry.result is None else examples_of(entry.result)
        new = [sound for key, sound in sounds(explained, drawing).items() if key not in self._heard]
        self._heard |= {sound.key for sound in new}
        return new

    def draw(self, *, with_trainer_row: bool) -> None:
        """Draw the curves of all runs of the training, if there are new ones."""
        rows = self.history.fitted
        if not self.sinks or len(rows) == self._drawn:
            return
        self._drawn = len(rows)
        with self.time_budget.timed(SHARES, more=True):
            _raise_first(
                self._put(
                    [share_curves(rows, self.history.modalities)], rows[-1].step, with_trainer_row=with_trainer_row
                )
            )

    def tell(self, alerts: Sequence[Alert], step: int) -> None:
        """Show alerts, in the row that the trainer logs right after this."""
        if self.sinks and alerts:
            _raise_first(self._put(alerts, step, with_trainer_row=True))

    def finish(self) -> None:
        """Write what is known at the end: the last curves, every example over the training, the history as a text.

        Only where the training brought something since: whatever fails after or outside it leaves no files behind.
        """
        if not self._untold:
            return
        self._untold = False
        _, undrawn = _each(lambda with_trainer_row: self.draw(with_trainer_row=with_trainer_row), [False])
        rows, drawing = self.history.fitted, self.drawing
        if not self.sinks or not rows:
            return
        drawn, failures = (
            ([], []) if drawing is None else _each(partial(_film, drawing), self.explanation_history.films().items())
        )
        last = max([rows[-1].step, *(entry.step for entry in self.explanation_history.entries)])
        words = "\n".join(filter(None, (str(self.history), self.conclude())))
        unwritten = self._put([MarkdownText("summary", f"```\n{words}\n```"), *drawn], last, with_trainer_row=False)
        _raise_first([*undrawn, *failures, *unwritten])

    def _put(self, records: Sequence[Record], step: int, *, with_trainer_row: bool) -> list[Exception]:
        """Write records under the monitor's prefix; return what went wrong."""
        named = [replace(record, key=f"{self.layout.name}/{record.key}") for record in records]
        return self._for_each_sink(lambda sink: sink.write(named, step, with_trainer_row=with_trainer_row))

    def _for_each_sink(self, write: Callable[[Sink], None]) -> list[Exception]:
        """Write to all sinks, which are opened before; return what went wrong."""
        _, unopened = _each(self._open, [sink for sink in self.sinks if id(sink) not in self._opened])
        _, failures = _each(write, self.sinks)
        return [*failures, *unopened]

    def _open(self, sink: Sink) -> None:
        sink.open(self.layout)
        self._opened.add(id(sink))


def _pictures(entry: Entry, drawing: DrawingContext) -> tuple[list[Record], list[Exception]]:
    """Draw explanations and list them; return what went wrong too."""
    name, when = entry.explainer, entry.when
    drawn, failures = _each(lambda found: (found, drawing.picture(found, name, when)), entry.explanations)
    tables, untold = _each(lambda key: drawing.table(drawn, key, when), [f"{name}/examples"] if drawn else [])
    return [*(picture for _, picture in drawn), *tables], [*failures, *untold]


def _film(drawing: DrawingContext, found: tuple[tuple[str, int], Sequence[Moment]]) -> Picture:
    (explainer, position), moments = found
    return film(moments, drawing, f"{explainer}/example_{position}_over_epochs")


def _each(action: Callable[[A], B], over: Iterable[A]) -> tuple[list[B], list[Exception]]:
    """Do the same with all; what fails with one costs no other."""
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
