"""Geometry of the embeddings of two modalities on the unit sphere: gap, alignment, uniformity, effective rank."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mviz_lightning.functional.features import effective_rank, rounding_floor

SHARPNESS = 2.0
"""Factor t of the Gaussian potential, the value of Wang & Isola."""


def modality_gap(first: Tensor, second: Tensor) -> Tensor:
    """Return the distance between the mean embeddings of two modalities (Liang et al. 2022).

    ``|mean_i x_i - mean_i y_i|``, of embeddings of length 1.

    Args:
        first: ``(N, D)`` embeddings of one modality; they are normalised here.
        second: ``(N, D)`` embeddings of the other modality.

    Returns:
        ``()`` float64, from 0 to 2. Mirrored by :class:`~mviz_lightning.metrics.ModalityGap`.

    Example:
        >>> import torch
        >>> modality_gap(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]]))
        tensor(1.4142, dtype=torch.float64)
    """
    distance: Tensor = torch.linalg.vector_norm(unit(first).mean(0) - unit(second).mean(0))
    return distance


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean squared distance of matching embeddings (Wang & Isola 2020, alpha = 2).

    ``mean_i |x_i - y_i|^2``, of embeddings of length 1.

    Args:
        first: ``(N, D)`` embeddings of one modality; they are normalised here.
        second: ``(N, D)`` embeddings of the other modality; row i belongs to row i of ``first``.

    Returns:
        ``()`` float64, from 0 (equal) to 4 (opposite); 2 where they are unrelated. Mirrored by
        :class:`~mviz_lightning.metrics.Alignment`.
    """
    return (unit(first) - unit(second)).square().sum(1).mean()


def uniformity(embeddings: Tensor) -> Tensor:
    """Return the logarithm of the mean Gaussian potential of all pairs (Wang & Isola 2020, t = 2).

    ``log mean_{i < j} exp(-2 |x_i - x_j|^2)``, of embeddings of length 1.

    Args:
        embeddings: ``(N, D)``, N of 2 or more; they are normalised here.

    Returns:
        ``()`` float64: 0 where all embeddings are one point, near -4 where they are spread over a sphere of many
        dimensions; down to -8 for two opposite points. Mirrored by :class:`~mviz_lightning.metrics.Uniformity`.
    """
    return (-SHARPNESS * torch.pdist(unit(embeddings)).square()).exp().mean().log()


def embedding_rank(embeddings: Tensor) -> Tensor:
    """Return the effective number of directions in which embeddings vary (Roy & Vetterli 2007).

    ``exp(-sum_k p_k log p_k)``, with ``p_k`` singular value k of the centred embeddings of length 1, as a fraction of
    their sum. Singular values that may be rounding of the embeddings' own number type count as 0.

    Args:
        embeddings: ``(N, D)``; they are normalised here.

    Returns:
        ``()`` float64, from 1 (one point, or all on one line) to ``min(N - 1, D)``. Mirrored by
        :class:`~mviz_lightning.metrics.EmbeddingRank`.
    """
    points = unit(embeddings)
    floor = rounding_floor(points.to(embeddings.dtype))
    return torch.tensor(max(1.0, effective_rank(points - points.mean(0), floor)), dtype=torch.float64)


def unit(embeddings: Tensor) -> Tensor:
    """Return ``(N, D)`` embeddings in float64 with length 1; one of length 0 stays 0."""
    return normalize(embeddings.double(), dim=1)
