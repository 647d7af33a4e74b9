"""Geometry of the embeddings of two modalities on the unit sphere, as metrics."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.functional import embeddings as formulas
from mviz_lightning.metrics.plottable import Plottable


class _Embeddings(Plottable, Metric):
    """Collects embeddings; ``compute`` applies a formula to all of them.

    Args:
        kwargs: Arguments of every torchmetrics metric.
    """

    full_state_update = False
    is_differentiable = True
    embeddings: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("embeddings", default=[], dist_reduce_fx="cat")

    def update(self, embeddings: Tensor) -> None:
        """Add ``(N, D)`` embeddings."""
        self.embeddings.append(embeddings)

    @property
    def _kept(self) -> Tensor:
        return self.embeddings if isinstance(self.embeddings, Tensor) else torch.cat(self.embeddings)


class _MatchingEmbeddings(_Embeddings):
    """Collects matching embeddings of two modalities."""

    def update(self, first: Tensor, second: Tensor) -> None:  # type: ignore[override]
        """Add ``(N, D)`` embeddings of each modality; row i of both belongs to the same example."""
        super().update(torch.stack([first, second], 1))


class ModalityGap(_MatchingEmbeddings):
    """Distance between the mean embeddings of two modalities: :func:`mviz_lightning.functional.modality_gap`.

    ``update`` takes ``(N, D)`` embeddings of each.
    """

    def compute(self) -> Tensor:
        """Return the distance, ``()``."""
        return formulas.modality_gap(*self._kept.unbind(1))


class Alignment(_MatchingEmbeddings):
    """Mean squared distance of matching embeddings: :func:`mviz_lightning.functional.alignment`.

    ``update`` takes ``(N, D)`` embeddings of each modality; row i of both belongs to the same example.
    """

    def compute(self) -> Tensor:
        """Return the mean squared distance, ``()``."""
        return formulas.alignment(*self._kept.unbind(1))


class Uniformity(_Embeddings):
    """Logarithm of the mean Gaussian potential of all pairs: :func:`mviz_lightning.functional.uniformity`.

    ``update`` takes ``(N, D)`` embeddings of one modality.
    """

    def compute(self) -> Tensor:
        """Return the uniformity, ``()``."""
        return formulas.uniformity(self._kept)


class EmbeddingRank(_Embeddings):
    """Effective number of directions of embeddings: :func:`mviz_lightning.functional.embedding_rank`.

    ``update`` takes ``(N, D)`` embeddings of one modality.
    """

    def compute(self) -> Tensor:
        """Return the effective rank, ``()``."""
        return formulas.embedding_rank(self._kept)
