"""What the own answer of each example loses when a modality is swapped, as a metric."""

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
    """Nats a token that own answers lose when a modality is swapped, and how often they recognise their own.

    The metric of :func:`mviz_lightning.functional.own_answers.answer_statistics`, which has the formulas.

    Args:
        modalities: Place in the design -> name, of the modalities that answers do not travel with.
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
            likelihoods: ``(G, T, 1)`` mean log-likelihoods of a token of the answers of the design's T tuples.
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
    """Return the names of the values of these modalities."""
    return [
        key
        for name in modalities
        for key in (f"nats/{name}", f"nats_low/{name}", f"nats_high/{name}", f"retrieval/{name}")
    ]
