"""Activations of the fused features in recombined and real examples, their shares and their effective ranks."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mviz_lightning.explainers.base import ProbeContext
from mviz_lightning.explainers.recombinations import of_members
from mviz_lightning.functional import (
    Design,
    Estimate,
    effective_rank,
    feature_components,
    jackknife,
    main_effects,
    share_ratios,
)
from mviz_lightning.functional.features import rounding_floor, varies
from mviz_lightning.functional.outputs import fold_positions


@dataclass(frozen=True)
class Activations:
    """The features of the recombined rows of all groups.

    If outputs have positions, features are means over a region, and each row is read in the regions of all K = g
    members of its group. Otherwise K = 1.

    Attributes:
        design: The tuples of a group.
        recombined: ``(G, T, K * F)`` features of the recombined rows.
        read: Number of regions, K.
    """

    design: Design
    recombined: Tensor
    read: int

    @classmethod
    def of(cls, probe_context: ProbeContext, features: Tensor) -> "Activations":
        """Return the activations from the features ``(G * T, K * F)`` of the recombinations of all groups."""
        by_group = features.reshape(-1, len(probe_context.design.tuples), features.shape[1])
        return cls(probe_context.design, by_group, probe_context.regions_read)

    @property
    def rows(self) -> Tensor:
        """``(G * T * K, F)``: all activations."""
        return self.recombined.reshape(-1, self.recombined.shape[-1] // self.read)

    @property
    def live(self) -> Tensor:
        """``(F,)`` bool: whether each feature varies."""
        return varies(self.rows)

    @property
    def deviation(self) -> Tensor:
        """``(F,)`` standard deviations."""
        return self.rows.double().std(0, correction=0)

    def shares(self) -> Estimate:
        """Return the M first-order shares of every feature and the share of all interactions, each ``(F, M + 1)``.

        With regions, components are means over the regions of a group, so that intervals leave out whole groups.
        """
        modalities = self.design.modalities
        columns = [*range(modalities), -1]
        components = feature_components(fold_positions(self.recombined, self.read), self.design)
        by_group = components.view(-1, self.read, *components.shape[1:]).mean(1)
        return jackknife(by_group, lambda mean: share_ratios(mean, modalities)[..., columns])

    def ranks(self, aligned: Tensor, modalities: Sequence[str]) -> dict[str, float]:
        """Return the effective rank of the real examples' features, and of each modality's main effects.

        Args:
            aligned: ``(N, F)`` features of the real examples.
            modalities: Names.
        """
        floor = rounding_floor(torch.cat([aligned, self.rows]))
        centred = aligned.double() - aligned.double().mean(0)
        effects = main_effects(self.recombined, self.design.tuples)
        by_member = effects.view(len(effects), -1, self.design.size, effects.shape[-1])
        effects = of_members(by_member, self.read).flatten(1, 2)
        ranks = {
            f"rank_{name}": effective_rank(effect, floor) for name, effect in zip(modalities, effects, strict=True)
        }
        return {"rank": effective_rank(centred, floor)} | ranks
