"""Keep what was found, write it and draw it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import TypeVar

from mviz_lightning.album import Album, Entry
from mviz_lightning.callbacks.pace import SHARES, Pace
from mviz_lightning.history import History
from mviz_lightning.records import Alert, Image, Layout, Record, Row, Sound, Text
from mviz_lightning.rendering import records_of, share_curves
from mviz_lightning.rendering.film import Moment, film
from mviz_lightning.rendering.gallery import Gallery
from mviz_lightning.rendering.labels import Labels
from mviz_lightning.rendering.sounds import examples_of, sounds
from mviz_lightning.sinks import Sink
from mviz_lightning.study import Study

A = TypeVar("A")
B = TypeVar("B")


@dataclass
class Journal:
    """Writes runs, pictures and tables to the sinks; on processes without sinks it only keeps what was found.

    Attributes:
        history: All runs so far.
        album: All explanations so far.
        layout: How the scalars are arranged.
        sinks: Where records go.
        pace: Counts the time that pictures take.
        gallery: Draws explanations; None until there are some.
        conclude: Gives the last lines of the history as a text.
    """

    history: History
    album: Album
    layout: Layout
    sinks: Sequence[Sink]
    pace: Pace = field(default_factory=Pace)
    gallery: Gallery | None = None
    conclude: Callable[[], str] = str
    _drawn: int = 0
    _untold: bool = False
    _opened: set[int] = field(default_factory=set)
    _heard: set[str] = field(default_factory=set)

    def write(self, row: Row) -> None:
        """Add a run that gave values, or a reason why not."""
        if not row.values and not row.note:
            return
        self.history.add(row)
        self._untold |= row.stage == "fit"
        _raise_first(self._for_each_sink(lambda sink: sink.row(row)))

    def illustrate(self, study: Study, *, show_inputs: bool) -> None:
        """Draw with what a study knows of its examples by now; where that is nothing new, on the same panels."""
        gallery = Gallery(study.kinds, Labels(study.task, study.config.class_names), show_inputs)
        self.gallery = self.gallery if gallery == self.gallery else gallery

    def show(self, entry: Entry, *, joins: bool) -> None:
        """Add explanations, a picture each and a table of all, or what a survey found; sounds once a training.

        Args:
            entry: What was found.
            joins: Whether the trainer logs a row right after this.
        """
        self.album.add(entry)
        self._untold |= entry.stage == "fit"
        gallery = self.gallery
        if not self.sinks or gallery is None:
            return
        with self.pace.timed(entry.explainer, more=True):
            if entry.finding is None:
                records, failures = _pictures(entry, gallery)
            else:
                found, failures = _each(lambda f: records_of(f, entry.explainer, gallery, entry.when), [entry.finding])
                records = [record for some in found for record in some]
            heard, unheard = _each(self._new_sounds, [(entry, gallery)])
            unwritten = self._put([*records, *chain(*heard)], entry.step, joins=joins)
        _raise_first([*failures, *unheard, *unwritten])

    def _new_sounds(self, found: tuple[Entry, Gallery]) -> list[Sound]:
        """Return what can be heard of an entry's examples, less what was heard before."""
        entry, gallery = found
        explained = entry.explanations if entry.finding is None else examples_of(entry.finding)
        new = [sound for key, sound in sounds(explained, gallery).items() if key not in self._heard]
        self._heard |= {sound.key for sound in new}
        return new

    def draw(self, *, joins: bool) -> None:
        """Draw the curves of all runs of the training, if there are new ones."""
        rows = self.history.fitted
        if not self.sinks or len(rows) == self._drawn:
            return
        self._drawn = len(rows)
        with self.pace.timed(SHARES, more=True):
            _raise_first(self._put([share_curves(rows, self.history.modalities)], rows[-1].step, joins=joins))

    def tell(self, alerts: Sequence[Alert], step: int) -> None:
        """Show alerts, in the row that the trainer logs right after this."""
        if self.sinks and alerts:
            _raise_first(self._put(alerts, step, joins=True))

    def finish(self) -> None:
        """Write what is known at the end: the last curves, every example over the training, the history as a text.

        Only where the training brought something since: whatever fails after or outside it leaves no files behind.
        """
        if not self._untold:
            return
        self._untold = False
        _, undrawn = _each(lambda joins: self.draw(joins=joins), [False])
        rows, gallery = self.history.fitted, self.gallery
        if not self.sinks or not rows:
            return
        drawn, failures = ([], []) if gallery is None else _each(partial(_film, gallery), self.album.films().items())
        last = max([rows[-1].step, *(entry.step for entry in self.album.entries)])
        words = "\n".join(filter(None, (str(self.history), self.conclude())))
        unwritten = self._put([Text("summary", f"```\n{words}\n```"), *drawn], last, joins=False)
        _raise_first([*undrawn, *failures, *unwritten])

    def _put(self, records: Sequence[Record], step: int, *, joins: bool) -> list[Exception]:
        """Write records under the monitor's prefix; return what went wrong."""
        named = [replace(record, key=f"{self.layout.name}/{record.key}") for record in records]
        return self._for_each_sink(lambda sink: sink.write(named, step, joins=joins))

    def _for_each_sink(self, write: Callable[[Sink], None]) -> list[Exception]:
        """Write to all sinks, which are opened before; return what went wrong."""
        _, unopened = _each(self._open, [sink for sink in self.sinks if id(sink) not in self._opened])
        _, failures = _each(write, self.sinks)
        return [*failures, *unopened]

    def _open(self, sink: Sink) -> None:
        sink.open(self.layout)
        self._opened.add(id(sink))


def _pictures(entry: Entry, gallery: Gallery) -> tuple[list[Record], list[Exception]]:
    """Draw explanations and list them; return what went wrong too."""
    name, when = entry.explainer, entry.when
    drawn, failures = _each(lambda found: (found, gallery.picture(found, name, when)), entry.explanations)
    tables, untold = _each(lambda key: gallery.table(drawn, key, when), [f"{name}/examples"] if drawn else [])
    return [*(picture for _, picture in drawn), *tables], [*failures, *untold]


def _film(gallery: Gallery, found: tuple[tuple[str, int], Sequence[Moment]]) -> Image:
    (explainer, position), moments = found
    return film(moments, gallery, f"{explainer}/example_{position}_over_epochs")


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
