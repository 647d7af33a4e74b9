"""The report of one measurement outside a training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers import Explanation, Result
from mviz_lightning.explainers.contribution_shares.patterns import PatternScore, pattern_table, pattern_text
from mviz_lightning.explainers.contribution_shares.subset_figure import subset_pictures
from mviz_lightning.explainers.contribution_shares.subset_tables import with_subset_tables
from mviz_lightning.explainers.contribution_shares.tables import share_table
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.notebook.displayed import Displayed
from mviz_lightning.plotting.system_fonts import font_advice
from mviz_lightning.plotting.vector_files import FORMATS, drawn_as
from mviz_lightning.session.comparison import ShareComparison
from mviz_lightning.session.remarks import PREFIX, write_log
from mviz_lightning.session.runner import MethodRun
from mviz_lightning.sinks import FileSink
from mviz_lightning.sinks.records import Picture, Record, of_head

if TYPE_CHECKING:
    from mviz_lightning.notebook.card import Card


@dataclass(frozen=True)
class ShareReport(Displayed):
    """How a model uses its modalities; prints as a table.

    Attributes:
        values: By the names that the monitor logs, without prefix.
        modalities: Names, in declared order.
        examples: Number of recombined examples.
        rows: Number of evaluated rows.
        seconds: Wall time.
        noise_floor: Share of variance that rounding of the model's number type can cause; smaller shares are noise.
        results: Name of an explainer -> what it found.
        notes: Texts about examples that the budget left out, about failures, and other remarks.
        advice: Advice on the number of examples for narrower intervals; ``""`` if they are narrow.
        patterns: Scores by pattern of presence, with ``absence=True``.
        heads: Name of each further head -> its report, on the same examples; empty for a model with one head.
    """

    values: dict[str, float]
    modalities: Sequence[str]
    examples: int
    rows: int
    seconds: float
    noise_floor: float
    results: Mapping[str, Result] = field(default_factory=dict)
    notes: str = ""
    advice: str = ""
    patterns: Sequence[PatternScore] = ()
    heads: Mapping[str, "ShareReport"] = field(default_factory=dict)
    _runs: Sequence[MethodRun] = ()
    _drawing: DrawingContext | None = None
    _description: Mapping[str, Any] = field(default_factory=dict)

    @property
    def explanations(self) -> dict[str, Sequence[Explanation]]:
        """Name of an explainer like DIME -> its explanations of single examples."""
        return {
            run.explainer.name: cast("Sequence[Explanation]", self.results[run.explainer.name].examples)
            for run in self._runs
            if run.result is not None and run.explainer.over_epochs
        }

    @property
    def findings(self) -> dict[str, Result]:
        """Name of an explainer that explains all examples at once -> its result."""
        return {name: result for name, result in self.results.items() if name not in self.explanations}

    def compared_with(
        self, other: "ShareReport", names: tuple[str, str] = ("validation", "training")
    ) -> ShareComparison:
        """Return this report beside that of other examples, with the differences; prints as a table.

        Measure one model on training and validation examples: what it relies on in both reports generalises.

        Args:
            other: Report of the same model or another one with the same modalities.
            names: Names of the examples that this report and the other were measured on.

        Raises:
            ConfigurationError: The reports have other modalities, or an argument is of another kind.
        """
        if not isinstance(other, ShareReport):
            raise ConfigurationError(f"other={other!r}: give a report, for example explain(model, train_loader, ...).")
        if isinstance(names, str) or len(names) != 2:
            raise ConfigurationError(f"names={names!r}: give two names, for example ('validation', 'training').")
        if list(self.modalities) != list(other.modalities):
            raise ConfigurationError(
                f"other: its modalities are {', '.join(other.modalities)}, and this report has "
                f"{', '.join(self.modalities)}; compare reports of the same modalities."
            )
        return ShareComparison(names, self.values, other.values)

    def pictures(self) -> list[Picture]:
        """Return all pictures; ``pixels`` of a picture are ``(H, W, 3)`` uint8."""
        return [record for record in self._records() if isinstance(record, Picture)]

    def save(self, folder: str | Path, *, format: str = "png") -> None:  # noqa: A002 - as matplotlib's savefig calls it
        """Write pictures, tables, sounds, numbers and a page: the files that a run of the monitor writes too.

        These are ``<method>/example_<position>.png``, ``<method>/examples.csv`` and so on. For
        :func:`mviz_lightning.report.load` there are ``history.jsonl`` with one row of the stage ``explain``,
        ``run.json``, ``examples.jsonl`` and ``explanations.jsonl``. ``report.html`` shows them in a browser.

        Args:
            folder: Created if it is missing. Files of the same names, of a report that was saved there before, are
                replaced.
            format: ``"png"`` for pixels; ``"svg"`` or ``"pdf"`` for papers: letters are text and lines are shapes,
                images and colour bars stay pixels. Pictures that a method of yours makes from pixels alone stay PNG.

        Raises:
            ConfigurationError: ``format`` is another one.
        """
        from mviz_lightning.report.page import write_page
        from mviz_lightning.session.report_archive import archive_report

        if format not in ("png", *FORMATS):
            raise ConfigurationError(f"format={format!r}: allowed are 'png', 'svg' and 'pdf'. Give format='svg'.")
        with drawn_as(format):
            named = [replace(record, key=f"mviz/{record.key}") for record in self._records()]
        write_log([PREFIX + line for line in [font_advice()] if line])
        latest = [replace(record, keep=False) if isinstance(record, Picture) else record for record in named]
        FileSink(Path(folder)).write(latest, 0)
        archive_report(self, Path(folder))
        write_page(folder)

    def _records(self) -> list[Record]:
        drawing = self._drawing
        if drawing is None:
            return []
        found = [(run.explainer, run.result) for run in self._runs if run.result is not None]
        when, drawn = drawing.labels.moment(""), list[Record]()
        for explainer, result in found:
            drawn += explainer.draw(result, drawing, when)
        for failure in drawing.pop_failures():
            raise failure
        drawn += subset_pictures(self.values, self.modalities, "")
        drawn += [pattern_table(self.patterns, "")] if self.patterns else []
        sounds = drawing.sounds([one for _, result in found for one in result.examples]).values()
        return [*drawn, *sounds, *self._records_of_heads()]

    def _records_of_heads(self) -> list[Record]:
        return [
            replace(record, key=of_head(head, record.key))
            for head, report in self.heads.items()
            for record in report._records()
        ]

    @property
    def _table(self) -> str:
        table = with_subset_tables(share_table(self.values, self.modalities), self.values, self.modalities)
        return "\n".join(filter(None, (table, pattern_text(self.patterns))))

    @property
    def main_head(self) -> str:
        """Name of the head that the report describes; ``""`` for a model with one head."""
        return "" if self._drawing is None else self._drawing.labels.head

    def _card(self) -> "Card":
        from mviz_lightning.session.card import report_card

        return report_card(self)

    def __str__(self) -> str:
        main = f"head {self.main_head}" if self.heads and self._drawing is not None else ""
        further = [f"\nhead {head}\n{report._table}" for head, report in self.heads.items()]
        rows, seconds = (
            sum(getattr(one, name) for one in (self, *self.heads.values())) for name in ("rows", "seconds")
        )
        cost = f"{self.examples} examples, {rows:,} rows, {seconds:.2f} s"
        return "\n".join(filter(None, (main, self._table, *further, cost, self.advice, self.notes)))
