"""The monitor's question without a Trainer: one model, some batches, one answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from torch import nn
from torchmetrics import Metric

from mviz_lightning.batch import Modalities, parse_modalities
from mviz_lightning.engine.calling import Predict, resolve
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers import Explanation, Method, Result
from mviz_lightning.explainers.contribution_shares.tables import share_table
from mviz_lightning.explainers.dime.figure import DrawingContext
from mviz_lightning.explainers.figures import records_of
from mviz_lightning.explainers.sounds import examples_of, sounds
from mviz_lightning.functional import Task
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.session.config import EXAMPLES, SessionConfig
from mviz_lightning.session.remarks import log
from mviz_lightning.session.runner import Explained
from mviz_lightning.session.session import Measurement, Session
from mviz_lightning.sinks import FileSink
from mviz_lightning.sinks.records import Picture, Record


@dataclass(frozen=True)
class ShareReport:
    """How a model uses its modalities; prints as a table.

    Attributes:
        values: By the names that the monitor logs, without prefix.
        modalities: Names, in declared order.
        examples: How many were recombined.
        rows: Forwards that were evaluated.
        seconds: They took.
        noise_floor: Share of variance that rounding of the model's own number type can feign; smaller shares are noise.
        explanations: Name of a method -> its explanations of single examples.
        results: Name of a survey -> what it found.
        notes: What the budget left out, what failed, what else a reader has to know.
    """

    values: dict[str, float]
    modalities: Sequence[str]
    examples: int
    rows: int
    seconds: float
    noise_floor: float
    explanations: Mapping[str, Sequence[Explanation]] = field(default_factory=dict)
    results: Mapping[str, Result] = field(default_factory=dict)
    notes: str = ""
    _gallery: DrawingContext | None = None

    def pictures(self) -> list[Picture]:
        """Draw what was found; ``pixels`` of a picture are ``(H, W, 3)`` uint8."""
        return [record for record in self._records() if isinstance(record, Picture)]

    def save(self, folder: str | Path) -> None:
        """Write pictures, tables, sounds: ``<method>/example_<position>.png``, ``<method>/examples.csv`` and so on."""
        named = [replace(record, key=f"mviz/{record.key}") for record in self._records()]
        latest = [replace(record, keep=False) if isinstance(record, Picture) else record for record in named]
        FileSink(Path(folder)).write(latest, 0)

    def _records(self) -> list[Record]:
        drawing = self._gallery
        if drawing is None:
            return []
        drawn: list[Record] = [
            record for name, found in self.explanations.items() for record in drawing.records(found, name)
        ]
        drawn += [record for name, found in self.results.items() for record in records_of(found, name, drawing, "")]
        heard = [*self.explanations.values(), *map(examples_of, self.results.values())]
        return [*drawn, *sounds(chain(*heard), drawing).values()]

    def __str__(self) -> str:
        table = share_table(self.values, self.modalities)
        notes = f"\n{self.notes}" if self.notes else ""
        return f"{table}\n{self.examples} examples, {self.rows:,} rows, {self.seconds:.2f} s{notes}"


def explain(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    modalities: Modalities,
    target: str | None = None,
    task: Task | None = None,
    predict: Predict | str | None = None,
    score: Metric | None = None,
    num_examples: int | None = None,
    group_size: int | None = None,
    pairs: bool | None = None,
    budget: int | None = None,
    chunk_size: int = 128,
    reuse: bool = True,
    explainers: Sequence[Method] = (),
    class_names: Sequence[str] | None = None,
    pin: Sequence[int] = (),
    seed: int = 0,
) -> ShareReport:
    """Tell how much of a model's outputs each modality explains alone, and how much their interactions.

    The model is evaluated where it is, in evaluation mode, and left as it was found. In a distributed program, every
    process works for itself.

    Args:
        model: Any module.
        batches: A loader, or some batches, all of which are read; a uniform sample of their examples is used.
        modalities: Name -> a leaf of the batch, several leaves that travel together, or a ``Modality``.
        target: Path of the labels; -100 where there is none.
        task: What the outputs stand for; guessed from target and outputs, and said in the log.
        predict: ``(model, batch) -> outputs``, where forward cannot be called as it is.
        score: A torchmetric of predictions and targets; accuracy or R2 by default.
        num_examples: Examples that are recombined; by default 128, or 256 where encodings are reused and the fusion is
            cheap.
        group_size: Examples recombined with one another; by default 16 or 32 likewise.
        pairs: Whether shares of single pairs are wanted; by default for three and four modalities.
        budget: Rows at the most: shares first, then explanations, of as many examples as it allows.
        chunk_size: Rows a forward.
        reuse: Whether encodings of single modalities may be reused.
        explainers: Methods that explain single examples or survey all, ``DIME()`` for one.
        class_names: Of the outputs, for pictures and tables.
        pin: Indices of examples that are explained in any case.
        seed: Of everything that is drawn.

    Raises:
        ConfigurationError: The model or the batches cannot be studied as asked.

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
        predict=resolve(predict),
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
        pin=pin,
        seed=seed,
    )
    session = Session(config)
    try:
        _collect(session, model, batches)
        session.complete()
        return _report(session)
    finally:
        log(session.remarks.pop_lines())


def _report(session: Session) -> ShareReport:
    """Measure, explain and say what was found."""
    config, found = session.config, session.run()
    costs: list[Measurement | Explained] = [found]
    explained = {}
    for method in config.explainers:
        explained[method.name] = session.explain(method, sum(cost.rows for cost in costs))
        costs.append(explained[method.name])
    return ShareReport(
        found.values,
        list(config.modalities),
        session.probe.groups.numel() if session.probe else 0,
        sum(cost.rows for cost in costs),
        sum(cost.seconds for cost in costs),
        found.noise_floor,
        {name: result.explanations for name, result in explained.items() if result.result is None},
        {name: result.result for name, result in explained.items() if result.result is not None},
        session.pop_notes(),
        DrawingContext(session.kinds, Labels(session.task, config.class_names)),
    )


def _collect(session: Session, model: nn.Module, batches: Iterable[Any]) -> None:
    if isinstance(batches, Mapping):
        raise ConfigurationError("batches is a single one; pass a loader or a list, [batch] for one.")
    seen = 0
    for batch in batches:
        first = seen
        seen += session.collect(batch, lambda count, first=first: range(first, first + count))  # type: ignore[misc]
        session.dry_run(model)
        session.check()
    if not session.dry_run_done:
        raise ConfigurationError("batches holds no batch; pass a loader or a list of batches.")
