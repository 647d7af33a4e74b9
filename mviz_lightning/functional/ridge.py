"""How well inputs predict labels without any model of the user's: ridge regression, judged on held-out examples."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mviz_lightning.functional.variation import ROUNDED, rounding_of

PENALTIES = tuple(10.0**exponent for exponent in range(-4, 3))
"""Of the kernel's mean eigenvalue; the best is chosen on the training part alone."""

COLUMNS = 8192
"""Features that are standardised at once: float64 copies of all would take twice the memory of the inputs."""

COPY = 0.02
"""Squared distance of near copies, augmented ones or neighbouring frames, in those of examples (median)."""

EXACT_COPY = 1e-9
"""The same of exact copies."""

NARROW = 16
"""Features up to which copies must be exact."""


def standardised_kernel(features: Tensor) -> Tensor:
    """Return ``(N, N)`` float64: inner products of the examples' standardised features.

    Args:
        features: ``(N, D)``; what is not finite counts as the column's mean, constant columns for nothing.
    """
    kernel = torch.zeros(len(features), len(features), dtype=torch.float64)
    for columns in torch.split(features, COLUMNS, dim=1):
        values = columns.double().nan_to_num(torch.nan, torch.nan, torch.nan)
        centred = (values - values.nanmean(0)).nan_to_num()
        spread = centred.square().mean(0).sqrt()
        # Rounding of a constant column is no feature; the scale of a tiny one is no reason to drop it.
        real = spread > rounding_of(columns.nan_to_num(0.0, 0.0, 0.0))
        scaled = centred[:, real] / spread[real]
        kernel += scaled @ scaled.T
    return kernel


def near_duplicates(kernel: Tensor, columns: int) -> Tensor:
    """Return ``(N,)`` the first example of every chain of examples that are the same, or nearly so.

    Args:
        kernel: ``(N, N)`` of standardised features.
        columns: How many features there are; in a few, near ones are no copies but neighbours.
    """
    limit = COPY if columns > NARROW else EXACT_COPY
    distances = _distances(kernel)
    near = distances <= limit * distances[distances > 0].median() if bool((distances > 0).any()) else distances <= 0
    first, before = near.double().argmax(1), torch.full((len(kernel),), -1)
    while not torch.equal(first, before):
        first, before = first[first], first
    return first


def _distances(kernel: Tensor) -> Tensor:
    """Return ``(N, N)`` squared distances; 0 where rounding may have made them.

    The mean square is the number of standardised features: so many products are added up.
    """
    squares = kernel.diagonal()
    distances = squares[:, None] + squares[None] - 2 * kernel
    rounding = ROUNDED * torch.finfo(kernel.dtype).eps * squares.mean() * squares.amax()
    return distances.where(distances > rounding, 0.0)


def gaussian_kernel(kernel: Tensor) -> Tensor:
    """Return the Gaussian kernel of the same features, as wide as examples are far apart (median)."""
    distances = _distances(kernel)
    width = distances[~torch.eye(len(kernel), dtype=torch.bool)].median()
    return torch.exp(-distances / width) if width > 0 else torch.zeros_like(kernel)


def kernel_ridge_predictions(kernels: Sequence[Tensor], targets: Tensor, folds: Tensor) -> Tensor:
    """Predict every fold from the others by kernel ridge regression.

    Kernel and penalty are chosen inside the training part by its leave-one-out error, which ridge regression has in
    closed form; so what is returned is unbiased, and worse than the mean where there is nothing to learn.

    Args:
        kernels: ``(N, N)`` each.
        targets: ``(N, K)`` float64.
        folds: ``(N,)`` which fold an example belongs to.

    Returns:
        ``(N, K)`` predictions.
    """
    predicted = torch.empty_like(targets)
    for fold in torch.unique(folds):
        inside, outside = (folds != fold).nonzero()[:, 0], (folds == fold).nonzero()[:, 0]
        mean = targets[inside].mean(0)
        fits = [_fitted(_centred(kernel, inside, outside), targets[inside] - mean) for kernel in kernels]
        predicted[outside] = mean + min(fits, key=lambda fit: fit[0])[1]
    return predicted


def _centred(kernel: Tensor, inside: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
    """Return the kernel within the training part, and of the held-out part with it, about the training part's mean.

    What does not vary in the training part tells nothing about the rest: rounding is all that is left of it.
    """
    within, across = kernel[inside][:, inside], kernel[outside][:, inside]
    means = within.mean(0)
    centred = within - means - means[:, None] + means.mean()
    rounding = ROUNDED * torch.finfo(kernel.dtype).eps * len(within) * within.abs().amax()
    return centred.where(centred.abs() > rounding, 0.0), across - means  # what is multiplied by it adds up to 0


def _fitted(parts: tuple[Tensor, Tensor], targets: Tensor) -> tuple[float, Tensor]:
    """Return the smallest leave-one-out error and the held-out predictions that go with it."""
    within, across = parts
    values, vectors = torch.linalg.eigh(within)
    values = values.clamp(min=0)
    along, scale = vectors.T @ targets, float(values.mean()) or 1.0
    best = (float("inf"), torch.zeros(len(across), targets.shape[1], dtype=targets.dtype))
    for penalty in PENALTIES:
        shrunk = values / (values + penalty * scale)
        leverage = 1 / len(targets) + (vectors.square() @ shrunk)
        residual = (targets - vectors @ (shrunk[:, None] * along)) / (1 - leverage).clamp(min=1e-6)[:, None]
        error = float(residual.square().sum())
        if error < best[0]:
            best = (error, across @ (vectors @ (along / (values + penalty * scale)[:, None])))
    return best
