"""For tests, documentation and examples: models with known answers, and a sink in memory. Knows: sinks."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mviz_lightning.errors.deprecations import renamed_attributes
from mviz_lightning.sinks.base import KINDS
from mviz_lightning.sinks.records import Dashboard, Picture, Record, RunRecord


class Additive(nn.Module):
    """A model that is a sum of one function per modality: its interaction is 0.

    Args:
        sizes: Number of features of each modality.
        outputs: Number of outputs.
    """

    def __init__(self, sizes: Sequence[int], outputs: int = 1) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(nn.Sequential(nn.Linear(size, 8), nn.Tanh()) for size in sizes)
        self.head = nn.Linear(8, outputs)

    def forward(self, *modalities: Tensor) -> Tensor:
        """Return ``(B, outputs)`` from a ``(B, size)`` tensor of each modality."""
        encoded = [encoder(values) for encoder, values in zip(self.encoders, modalities, strict=True)]
        return self.head(torch.stack(encoded).sum(0))  # type: ignore[no-any-return]


class Product(nn.Module):
    """The product of the modalities' means: its interaction is 1 if the means average to 0."""

    def forward(self, *modalities: Tensor) -> Tensor:
        """Return ``(B, 1)`` from a ``(B, size)`` tensor of each modality."""
        means = torch.stack([values.flatten(1).mean(1) for values in modalities])
        return means.prod(0).unsqueeze(1)


@renamed_attributes(layouts="dashboards")
@dataclass
class MemorySink:
    """A sink that keeps everything in memory.

    Attributes:
        dashboards: The dashboard of each call of :meth:`open`.
        records: Every record with its step, and whether it joins the trainer's row.
        rows: Every run, in order.
    """

    dashboards: list[Dashboard] = field(default_factory=list)
    records: list[tuple[Record, int, bool]] = field(default_factory=list)
    rows: list[RunRecord] = field(default_factory=list)

    @property
    def takes(self) -> tuple[type, ...]:
        """All kinds of records."""
        return tuple(KINDS)

    @property
    def images(self) -> list[tuple[Picture, int]]:
        """All pictures with their steps."""
        return [(record, step) for record, step, _ in self.records if isinstance(record, Picture)]

    def open(self, dashboard: Dashboard) -> None:
        """Keep a dashboard."""
        self.dashboards.append(dashboard)

    def write(self, records: Sequence[Record], step: int, *, with_trainer_row: bool = False) -> None:
        """Keep records."""
        self.records += [(record, step, with_trainer_row) for record in records]

    def row(self, row: RunRecord) -> None:
        """Keep a run."""
        self.rows.append(row)

    def close(self) -> None:
        """Do nothing."""
