"""Models with known answers, and a sink that remembers: for tests, documentation and examples. Knows: sinks."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mviz_lightning.sinks.records import Dashboard, Picture, Record, RunRecord


class Additive(nn.Module):
    """A sum of one function of each modality: no interaction at all.

    Args:
        sizes: Features of each modality.
        outputs: How many there are.
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
    """The product of the modalities' means: all interaction, where the means average to zero."""

    def forward(self, *modalities: Tensor) -> Tensor:
        """Return ``(B, 1)`` from a ``(B, size)`` tensor of each modality."""
        means = torch.stack([values.flatten(1).mean(1) for values in modalities])
        return means.prod(0).unsqueeze(1)


@dataclass
class MemorySink:
    """Remembers what it was given.

    Attributes:
        layouts: One for each time it was opened.
        records: With their steps, and whether they join the trainer's row.
        rows: In order.
    """

    layouts: list[Dashboard] = field(default_factory=list)
    records: list[tuple[Record, int, bool]] = field(default_factory=list)
    rows: list[RunRecord] = field(default_factory=list)

    @property
    def images(self) -> list[tuple[Picture, int]]:
        """The pictures, with their steps."""
        return [(record, step) for record, step, _ in self.records if isinstance(record, Picture)]

    def open(self, layout: Dashboard) -> None:
        """Remember the arrangement."""
        self.layouts.append(layout)

    def write(self, records: Sequence[Record], step: int, *, with_trainer_row: bool = False) -> None:
        """Remember records."""
        self.records += [(record, step, with_trainer_row) for record in records]

    def row(self, row: RunRecord) -> None:
        """Remember a run."""
        self.rows.append(row)
