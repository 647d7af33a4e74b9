"""Measures of other papers, which the monitor logs on request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.errors.arguments import listed
from mviz_lightning.explainers.base import Explainer
from mviz_lightning.explainers.contribution_shares.mm_shap import MMShap
from mviz_lightning.functional import Task
from mviz_lightning.functional.coalition_designs import (
    LARGEST,
    CoalitionDesign,
    coalition_design,
    full_coalition_design,
)
from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.metrics.coalitions import InterSHAP, ModalityShapley

MEASURES = {
    "shapley": "shares of the modalities' absolute Shapley values",
    "intershap": "share of interactions in the probability of the predicted class",
    "mm_shap": "shares of the segments' absolute Shapley values",
}
"""Name of a measure -> its description."""


def checked_measures(given: Any, modalities: int) -> tuple[str, ...]:
    """Return the names of measures, each once.

    Raises:
        ConfigurationError: They are not a list, a name is unknown, or there are too many modalities for a measure.
    """
    names = tuple(dict.fromkeys(listed("measures", given)))
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        raise ConfigurationError(f"measures={list(names)}: there is no {unknown[0]!r}; choose from {list(MEASURES)}.")
    if "intershap" in names and modalities > LARGEST:
        raise ConfigurationError(
            f"measures={list(names)}: 'intershap' evaluates all 2^M coalitions, for up to {LARGEST} modalities, and "
            f"there are {modalities}; choose 'shapley', which samples them."
        )
    return names


@dataclass(frozen=True)
class Measures:
    """The additional rows of coalition measures, and their metrics.

    Attributes:
        names: Names of measures; those without coalitions are ignored.
        modalities: Names of the modalities.
        size: Number of examples in a group.
        seed: Seed of the design.
    """

    names: Sequence[str]
    modalities: Sequence[str]
    size: int
    seed: int = 0

    @property
    def _asked(self) -> list[str]:
        return [name for name in ("shapley", "intershap") if name in self.names]

    @property
    def design(self) -> CoalitionDesign:
        """One design for all measures."""
        make = full_coalition_design if "intershap" in self.names else coalition_design
        return make(len(self.modalities), self.size, seed=self.seed)

    @property
    def tuples(self) -> Tensor:
        """``(T, M)`` positions in a group, evaluated in addition to the shares' rows: none for two modalities."""
        if not self._asked or len(self.modalities) == 2:
            return torch.zeros(0, len(self.modalities), dtype=torch.long)
        return self.design.tuples

    @property
    def keys(self) -> list[str]:
        """Names of the values, without prefix."""
        values = {"shapley": [f"shapley/{name}" for name in self.modalities], "intershap": ["intershap"]}
        return [
            key
            for name in self._asked
            for value in values[name]
            for key in (value, bound_name(value, "low"), bound_name(value, "high"))
        ]

    def metrics(
        self, outputs: Tensor, task: Task, scale: Tensor | None, left_out: Tensor | None, *, sync: bool
    ) -> list[Metric]:
        """Return the metrics of the requested measures, with their groups added.

        Args:
            outputs: ``(G, T, C)`` outputs of the shares' tuples, followed by those of :attr:`tuples`.
            task: Type of the prediction task.
            scale: Factors that make several regression outputs comparable.
            left_out: ``(C,)`` bool: classes that are left out because they are masked in some row; None if there are
                none.
            sync: Whether ``compute`` gathers from all processes.
        """
        shared: dict[str, Any] = {"task": task, "scale": scale, "group_size": self.size, "seed": self.seed}
        found: list[Metric] = []
        rows = outputs[:, -len(self.design.tuples) :] if self._asked else outputs  # two modalities need no further rows
        if "shapley" in self._asked:
            exact = "intershap" in self.names
            kept = rows if left_out is None else rows[..., ~left_out.to(rows.device)]
            found.append(_updated(ModalityShapley(self.modalities, exact=exact, sync_on_compute=sync, **shared), kept))
        if "intershap" in self._asked:
            found.append(_updated(InterSHAP(self.modalities, sync_on_compute=sync, **shared), rows))
        return found


def _updated(metric: Metric, outputs: Tensor) -> Metric:
    metric.to(outputs.device).update(outputs)
    return metric


def measure_explainers(names: Sequence[str]) -> list[Explainer]:
    """Return the measures that are run as methods: MM-SHAP, which masks segments."""
    return [MMShap()] if "mm_shap" in names else []
