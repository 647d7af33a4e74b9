"""The monitor's measurement without a Trainer: one model, some batches, one report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from torch import nn
from torchmetrics import Metric

from mviz_lightning.batch import Modalities, parse_modalities
from mviz_lightning.engine.model_call import Predict, resolve_function
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers import Explainer, Explanation, Result
from mviz_lightning.explainers.contribution_shares.patterns import PatternScore, pattern_table, pattern_text
from mviz_lightning.explainers.contribution_shares.subset_figure import subset_pictures
from mviz_lightning.explainers.contribution_shares.subset_tables import with_subset_tables
from mviz_lightning.explainers.contribution_shares.tables import share_table
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.functional import Task
from mviz_lightning.observation.ways import StepFunction
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.session.comparison import ShareComparison
from mviz_lightning.session.config import EXAMPLES, SessionConfig
from mviz_lightning.session.remarks import write_log
from mviz_lightning.session.runner import MethodRun
from mviz_lightning.session.session import Measurement, Session
from mviz_lightning.sinks import FileSink
from mviz_lightning.sinks.records import Picture, Record


@dataclass(frozen=True)
class ShareReport:
    """How a model uses its modalities; prints as a table.

    Attributes:
        values: By the names that the monitor logs, without prefix.
        modalities: Names, in declared order.
        examples: Number of recombined examples.
        rows: Number of evaluated rows.
        seconds: Wall time.
        noise_floor: Share of variance that rounding of the model's number type can cause; smaller shares are noise.
        results: Name of an explainer -> what it found.
        notes: What the budget left out, what failed, and other remarks.
        advice: How many examples narrower intervals need; ``""`` where they are narrow.
        patterns: Scores by pattern of presence, with ``absence=True``.
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
    _runs: Sequence[MethodRun] = ()
    _drawing: DrawingContext | None = None

    @property
    def explanations(self) -> dict[str, Sequence[Explanation]]:
        """Name of an explainer like DIME -> its explanations of single examples."""
        return {
            run.explainer.name: cast("Sequence[Explanation]", run.result.examples)
            for run in self._runs
            if run.result is not None and run.explainer.over_epochs
        }

    @property
    def findings(self) -> dict[str, Result]:
        """Name of an explainer that looks at all examples at once -> what it found."""
        return {name: result for name, result in self.results.items() if name not in self.explanations}

    def compared_with(
        self, other: "ShareReport", names: tuple[str, str] = ("validation", "training")
    ) -> ShareComparison:
        """Return this report beside that of other examples, with the differences; prints as a table.

        Measure the same model on training and validation examples: what it relies on in both, generalises.

        Args:
            other: Report of the same model or another one with the same modalities.
            names: What this report and the other were measured on.

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

    def save(self, folder: str | Path) -> None:
        """Write pictures, tables, sounds: ``<method>/example_<position>.png``, ``<method>/examples.csv`` and so on."""
        named = [replace(record, key=f"mviz/{record.key}") for record in self._records()]
        latest = [replace(record, keep=False) if isinstance(record, Picture) else record for record in named]
        FileSink(Path(folder)).write(latest, 0)

    def _records(self) -> list[Record]:
        drawing = self._drawing
        if drawing is None:
            return []
        found = [(run.explainer, run.result) for run in self._runs if run.result is not None]
        drawn: list[Record] = [record for explainer, result in found for record in explainer.draw(result, drawing, "")]
        for failure in drawing.pop_failures():
            raise failure
        drawn += subset_pictures(self.values, self.modalities, "")
        drawn += [pattern_table(self.patterns, "")] if self.patterns else []
        return [*drawn, *drawing.sounds([one for _, result in found for one in result.examples]).values()]

    def __str__(self) -> str:
        table = with_subset_tables(share_table(self.values, self.modalities), self.values, self.modalities)
        cost = f"{self.examples} examples, {self.rows:,} rows, {self.seconds:.2f} s"
        return "\n".join(filter(None, (table, pattern_text(self.patterns), cost, self.advice, self.notes)))


def explain(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    modalities: Modalities,
    target: str | None = None,
    task: Task | None = None,
    predict: Predict | str | None = None,
    step: StepFunction | None = None,
    score: Metric | None = None,
    num_examples: int | None = None,
    group_size: int | None = None,
    pairs: bool | None = None,
    budget: int | None = None,
    chunk_size: int = 128,
    reuse: bool = True,
    explainers: Sequence[Explainer] = (),
    class_names: Sequence[str] | None = None,
    by_class: bool = False,
    subgroups: str | None = None,
    pin: Sequence[int] = (),
    seed: int = 0,
    measures: Sequence[str] = (),
    absence: bool = False,
    draws: int = 1,
) -> ShareReport:
    """Measure how much of a model's outputs each modality explains alone, and how much their interactions explain.

    The model is evaluated where it is, in evaluation mode, and left as it was found. In a distributed program, every
    process works for itself.

    Args:
        model: Any module.
        batches: A loader, or some batches, all of which are read; a uniform sample of their examples is used.
        modalities: Name -> a leaf of the batch, several leaves that travel together, or a ``Modality``.
        target: Path of the labels: numbers, or strings that name classes; -100 marks an example without a label.
        task: Meaning of the outputs; by default guessed from target and outputs, and written to the log.
        predict: ``(model, batch) -> outputs``, if ``forward`` cannot be called with the batch.
        step: ``(model, batch) -> anything``, a function of your own that computes a loss or a metric, or the name of a
            method of the model such as ``"validation_step"``. One call of it tells how the model is called, which
            outputs are the scores, where the labels are and what the task is.
        score: A torchmetric of predictions and targets; by default the one that ``step`` updates, else accuracy of
            classes, label-ranking average precision of labels, the target's value at the highest output for soft
            labels, R2 for a regression.
        num_examples: Number of examples that are recombined; by default 128, or 256 if encodings are reused and the
            fusion is cheap.
        group_size: Number of examples recombined with one another; by default 16, or 32 under the same condition.
        pairs: Whether to measure the share of each pair; by default with three and four modalities.
        budget: Largest number of rows: shares first, then explainers in order, with as many examples as it allows.
        chunk_size: Number of rows in a forward.
        reuse: Whether to run what depends on one modality once for each distinct input.
        explainers: Methods that explain predictions, for example ``[DIME()]``.
        class_names: Names of the outputs, for pictures and tables.
        by_class: Whether total effects are also measured within each class of the labels.
        subgroups: Path of a leaf whose values name groups of examples, for example ``"metadata.site"``; total effects
            are also measured within each group.
        pin: Indices of examples that are always explained.
        seed: Seed of all random draws.
        measures: Measures of other papers beside the shares: ``"shapley"``, ``"intershap"``, ``"mm_shap"``.
        absence: Whether the scores without each modality are measured too, where the model accepts its absence.
        draws: Number of draws over which the outputs are averaged of a model that samples in evaluation mode (dropout
            that stays on, a variational latent). Each draw counts as rows of its own. By default 1.

    Raises:
        ConfigurationError: The model or the batches cannot be measured as asked.

    Example:
        >>> import torch
        >>> from mviz_lightning import explain
        >>> from mviz_lightning.testing import Additive
        >>> _ = torch.manual_seed(0)
        >>> batch = (torch.randn(128, 3), torch.randn(128, 5))
        >>> result = explain(Additive([3, 5]), [batch], modalities={"image": "0", "text": "1"}, task="regression")
        >>> round(result.values["interaction"], 6)
        0.0
    """
    config = SessionConfig(
        modalities=parse_modalities(modalities),
        target=target,
        task=task,
        predict=resolve_function(predict),
        score=score,
        num_examples=num_examples,
        group_size=group_size,
        reference=num_examples or 2 * EXAMPLES,
        pairs=pairs,
        budget=budget,
        chunk_size=chunk_size,
        reuse=reuse,
        explainers=explainers,
        class_names=class_names,
        by_class=by_class,
        subgroups=subgroups,
        pin=pin,
        seed=seed,
        measures=measures,
        absence=absence,
        draws=draws,
    )
    session = Session(config)
    try:
        _collect(session, model, batches, step)
        session.complete()
        return _report(session)
    finally:
        write_log(session.remarks.pop_lines())


def _report(session: Session) -> ShareReport:
    """Measure, explain and report."""
    config, found = session.config, session.run()
    runs: list[MethodRun] = []
    for explainer in config.explainers:
        runs.append(session.explain(explainer, found.rows + sum(run.rows for run in runs)))
    costs: list[Measurement | MethodRun] = [found, *runs]
    return ShareReport(
        found.values | _measured(config, runs),
        list(config.modalities),
        session.probe.groups.numel() if session.probe else 0,
        sum(cost.rows for cost in costs),
        sum(cost.seconds for cost in costs),
        found.noise_floor,
        {run.explainer.name: run.result for run in runs if run.result is not None},
        session.pop_notes(),
        found.advice,
        found.patterns,
        runs,
        DrawingContext(session.modality_types, Labels(session.task, config.class_names), unmasked=session.unmasked),
    )


def _measured(config: SessionConfig, runs: Sequence[MethodRun]) -> dict[str, float]:
    """Return the values of the measures that run as methods, by the names that the monitor logs."""
    named = [(run.explainer.name, run.result) for run in runs if run.result is not None]
    return {
        f"{name}/{key}": value
        for name, result in named
        if name in config.measures
        for key, value in result.values.items()
    }


def _collect(session: Session, model: nn.Module, batches: Iterable[Any], step: StepFunction | None) -> None:
    if isinstance(batches, Mapping):
        raise ConfigurationError("batches is a single batch; pass a loader or a list of batches: [batch].")
    seen = 0
    for batch in batches:
        first = seen
        seen += session.collect(batch, lambda count, first=first: range(first, first + count))  # type: ignore[misc]
        session.dry_run(model, step=step)
        session.raise_failure()
    if not seen and not session.dry_run_done:
        raise ConfigurationError("batches holds no batch; pass a loader or a list of batches.")
    session.check()
