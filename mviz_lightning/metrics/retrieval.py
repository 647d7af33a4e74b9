"""Retrieval within groups, as a metric."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.functional.retrieval import Retrieval, retrieval_of, retrieval_statistics
from mviz_lightning.metrics.plottable import Plottable


class GroupRetrieval(Plottable, Metric):
    """How well scores retrieve the matching pairs within groups, in both directions.

    The formulas are in :func:`mviz_lightning.functional.group_retrieval`.

    Args:
        modalities: Names of the two modalities; the modality of the rows is first.
        kwargs: Arguments of every torchmetrics metric.
    """

    full_state_update = False
    is_differentiable = False
    statistics: list[Tensor]

    def __init__(self, modalities: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.modalities = tuple(modalities)
        self.add_state("statistics", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, right: Tensor) -> None:
        """Add groups.

        Args:
            scores: ``(G, g, g)`` score of row modality i and column modality j in every group; larger is nearer.
            right: ``(G, g, g)`` bool: which pairs match.
        """
        self.statistics.append(retrieval_statistics(scores, right))

    @property
    def retrieval(self) -> Retrieval:
        """The values of the groups so far."""
        kept = self.statistics if isinstance(self.statistics, Tensor) else torch.cat(self.statistics)
        return retrieval_of(kept)

    def compute(self) -> dict[str, Tensor]:
        """Return ``score``, ``emap_score``, ``emap_gap``, its interval, ``perceptual/<m>`` and ``flips/<m>``."""
        found = self.retrieval
        values = {"score": found.score, "emap_score": found.emap_score, "emap_gap": found.emap_gap}
        bounds = {"emap_gap_low": found.low, "emap_gap_high": found.high}
        values |= {name: bound for name, bound in bounds.items() if bool(bound.isfinite())}
        for place, name in enumerate(self.modalities):
            values |= {f"perceptual/{name}": found.perceptual[place], f"flips/{name}": found.flips[place]}
        return values
