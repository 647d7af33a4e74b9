"""The monitor's question without a Trainer: one model, some batches, one answer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torchmetrics import Metric

from mviz_lightning.batch import Modalities, parse_modalities
from mviz_lightning.config import StudyConfig
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.evaluation.prediction import Predict, resolve
from mviz_lightning.functional import NOTEWORTHY, Task
from mviz_lightning.rendering import share_table
from mviz_lightning.study import Study


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
    """

    values: dict[str, float]
    modalities: Sequence[str]
    examples: int
    rows: int
    seconds: float
    noise_floor: float

    def __str__(self) -> str:
        table = share_table(self.values, self.modalities)
        noise = f"\nshares below {self.noise_floor:.1g} may be rounding" if self.noise_floor > NOTEWORTHY else ""
        return f"{table}\n{self.examples} examples, {self.rows:,} rows, {self.seconds:.2f} s{noise}"


def explain(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    modalities: Modalities,
    target: str | None = None,
    task: Task | None = None,
    predict: Predict | str | None = None,
    score: Metric | None = None,
    num_examples: int = 128,
    group_size: int = 16,
    pairs: bool | None = None,
    budget: int | None = None,
    chunk_size: int = 128,
    seed: int = 0,
) -> ShareReport:
    """Tell how much of a model's outputs each modality explains alone, and how much their interactions.

    The model is evaluated where it is, in evaluation mode, and left as it was found. In a distributed program, every
    process works for itself.

    Args:
        model: Any module.
        batches: A loader, or some batches, all of which are read; a uniform sample of their examples is used.
        modalities: Name -> a leaf of the batch, several leaves that travel together, or a ``Modality``.
        target: Path of the labels.
        task: What the outputs stand for; guessed from target and outputs.
        predict: ``(model, batch) -> outputs``, where forward cannot be called as it is.
        score: A torchmetric of predictions and targets; accuracy or R2 by default.
        num_examples: Examples that are recombined.
        group_size: Examples recombined with one another.
        pairs: Whether shares of single pairs are wanted; by default for three and four modalities.
        budget: Forwards at the most.
        chunk_size: Rows a forward.
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
    config = StudyConfig(
        modalities=parse_modalities(modalities),
        target=target,
        task=task,
        predict=resolve(predict),
        score=score,
        num_examples=num_examples,
        group_size=group_size,
        reference=num_examples,
        pairs=pairs,
        budget=budget,
        chunk_size=chunk_size,
        seed=seed,
    )
    study = Study(config)
    _collect(study, model, batches)
    study.complete()
    found = study.run()
    examples = study.probe.groups.numel() if study.probe else 0
    return ShareReport(found.values, list(config.modalities), examples, found.rows, found.seconds, found.noise_floor)


def _collect(study: Study, model: nn.Module, batches: Iterable[Any]) -> None:
    seen = 0
    for batch in batches:
        first = seen
        seen += study.collect(batch, lambda count, first=first: range(first, first + count))  # type: ignore[misc]
        study.rehearse(model)
        study.check()
    if not study.rehearsed:
        raise ConfigurationError("batches holds no batch; pass a loader or a list of batches.")
