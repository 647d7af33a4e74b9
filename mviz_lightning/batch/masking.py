"""Mask units of a modality: patches, tokens, blocks, columns, regions."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Units:
    """The parts of a modality that are masked one by one, and what stands in their place.

    Attributes:
        leaf: Path of the leaf that is masked.
        index: ``(N or 1, ...)`` long, broadcastable to the leaf: the unit of every entry; -1 is never masked.
        baseline: What a masked entry turns into, broadcastable to the leaf.
    """

    leaf: str
    index: Tensor
    baseline: Tensor | float = 0.0

    def mask(self, values: Tensor, kept: Tensor, sources: Tensor) -> Tensor:
        """Return the values with the units that are not kept at the baseline.

        Args:
            values: ``(R, ...)`` rows of the leaf.
            kept: ``(R, U)`` boolean, True where a unit stays.
            sources: ``(R,)`` the example each row was taken from.

        Returns:
            ``(R, ...)``.
        """
        index = self.index[sources] if len(self.index) > 1 else self.index.expand(len(values), *self.index.shape[1:])
        stays = kept.gather(1, index.clamp(min=0).flatten(1)).view(index.shape) | (index < 0)
        baseline = torch.as_tensor(self.baseline, dtype=values.dtype, device=values.device)
        return torch.where(stays.to(values.device), values, baseline)
