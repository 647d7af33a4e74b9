"""Loss in likelihood of each example's own answer when a modality is swapped, as a metric."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.functional.designs import Design
from mviz_lightning.functional.own_answers import answer_losses, answer_statistics
from mviz_lightning.metrics.plottable import Plottable


class OwnAnswerLoss(Plottable, Metric):
    """Loss of own answers in nats per token when a modality is swapped, and retrieval of the own modality.

    The formulas are in :func:`mviz_lightning.functional.own_answers.answer_statistics`.

    Args:
        modalities: Position in the design -> name, for the modalities that do not contain the answers.
        design: The recombinations.
        kwargs: Arguments of every torchmetrics metric.
    """

    full_state_update = False
    is_differentiable = False
    statistics: list[Tensor]

    def __init__(self, modalities: dict[int, str], design: Design, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.modalities, self.design = modalities, design
        self.add_state("statistics", default=[], dist_reduce_fx="cat")

    def update(self, likelihoods: Tensor) -> None:
        """Add groups.

        Args:
            likelihoods: ``(G, T, 1)`` mean log-likelihoods per token of the answers, for the design's T tuples.
        """
        found = [answer_statistics(likelihoods, self.design, place) for place in self.modalities]
        self.statistics.append(torch.stack(found, 1))

    def compute(self) -> dict[str, Tensor]:
        """Return ``nats/<m>`` with its interval, and ``retrieval/<m>``."""
        kept = self.statistics if isinstance(self.statistics, Tensor) else torch.cat(self.statistics)
        found, values = answer_losses(kept), dict[str, Tensor]()
        for place, name in enumerate(self.modalities.values()):
            values[f"nats/{name}"] = found.nats[place]
            bounds = {bound_name(f"nats/{name}", "low"): found.low, bound_name(f"nats/{name}", "high"): found.high}
            values |= {key: bound[place] for key, bound in bounds.items() if bool(bound[place].isfinite())}
            values[f"retrieval/{name}"] = found.retrieval[place]
        return values


def loss_names(modalities: Sequence[str]) -> list[str]:
    """Return the names of the values that :meth:`OwnAnswerLoss.compute` may return for these modalities."""
    return [
        key
        for name in modalities
        for key in (f"nats/{name}", f"nats_low/{name}", f"nats_high/{name}", f"retrieval/{name}")
    ]
