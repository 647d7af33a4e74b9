"""Prediction of labels from raw inputs without the user's model: kernel ridge regression on held-out examples."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mviz_lightning.functional.rounding import ROUNDED, rounding_of

PENALTIES = tuple(10.0**exponent for exponent in range(-4, 3))
"""Ridge penalties that are tried, as fractions of the kernel's mean eigenvalue."""

COLUMNS = 8192
"""Number of columns that are standardised at once; float64 copies of all take twice the memory of the inputs."""

COPY = 0.02
"""Largest squared distance of near duplicates (augmented copies, adjacent frames), as a fraction of the median."""

EXACT_COPY = 1e-9
"""Largest squared distance of exact duplicates, as a fraction of the median; the distance is rounding."""

NARROW = 16
"""Largest number of columns for which only exact duplicates count: in few dimensions, distinct examples are close."""


def standardised_kernel(features: Tensor) -> Tensor:
    """Return the linear kernel of standardised features: ``K_ij = sum_d z_id z_jd``.

    Args:
        features: ``(N, D)``. Values that are not finite count as the column's mean; constant columns are left out.

    Returns:
        ``(N, N)`` float64.
    """
    kernel = torch.zeros(len(features), len(features), dtype=torch.float64)
    for columns in torch.split(features, COLUMNS, dim=1):
        values = columns.double().nan_to_num(torch.nan, torch.nan, torch.nan)
        centred = (values - values.nanmean(0)).nan_to_num()
        spread = centred.square().mean(0).sqrt()
        # Drop columns that vary only by rounding; keep columns of small numbers that vary by more.
        real = spread > rounding_of(columns.nan_to_num(0.0, 0.0, 0.0))
        scaled = centred[:, real] / spread[real]
        kernel += scaled @ scaled.T
    return kernel


def near_duplicates(kernel: Tensor, columns: int) -> Tensor:
    """Return ``(N,)``: for every example, the first example of its chain of exact or near duplicates.

    Args:
        kernel: ``(N, N)`` from :func:`standardised_kernel`.
        columns: Number of columns; up to :data:`NARROW`, only exact duplicates count.
    """
    limit = COPY if columns > NARROW else EXACT_COPY
    distances = _distances(kernel)
    near = distances <= limit * distances[distances > 0].median() if bool((distances > 0).any()) else distances <= 0
    first, before = near.double().argmax(1), torch.full((len(kernel),), -1)
    while not torch.equal(first, before):
        first, before = first[first], first
    return first


def _distances(kernel: Tensor) -> Tensor:
    """Return ``(N, N)`` squared distances; 0 where they may be rounding.

    The mean of the squares equals the number of standardised features, which is the number of terms in each sum.
    """
    squares = kernel.diagonal()
    distances = squares[:, None] + squares[None] - 2 * kernel
    rounding = ROUNDED * torch.finfo(kernel.dtype).eps * squares.mean() * squares.amax()
    return distances.where(distances > rounding, 0.0)


def gaussian_kernel(kernel: Tensor) -> Tensor:
    """Return the Gaussian kernel of the same features: ``exp(-|z_i - z_j|^2 / median squared distance)``.

    Args:
        kernel: ``(N, N)`` from :func:`standardised_kernel`.

    Returns:
        ``(N, N)``; zeros if the median distance is 0.
    """
    distances = _distances(kernel)
    width = distances[~torch.eye(len(kernel), dtype=torch.bool)].median()
    return torch.exp(-distances / width) if width > 0 else torch.zeros_like(kernel)


@dataclass(frozen=True)
class KernelChoice:
    """The kernels among which a regression may choose, and whether each target chooses alone.

    Attributes:
        count: Number of kernels: the first ``count`` of the list.
        each: Whether every target has its own kernel and penalty; otherwise all targets share them.
    """

    count: int
    each: bool = False

    def best(self, errors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the kernel and the penalty of every target, ``(K,)`` each, by the smallest leave-one-out error.

        Args:
            errors: ``(kernels, penalties, K)`` squared errors.
        """
        found = errors[: self.count].nan_to_num(torch.inf)
        found = found if self.each else found.sum(-1, keepdim=True)
        # NumPy's argmin returns the first minimum, so a further kernel is chosen only if it reduces the error.
        first = torch.from_numpy(found.flatten(0, 1).numpy().argmin(0)).expand(errors.shape[-1])
        return first // errors.shape[1], first % errors.shape[1]


def kernel_ridge_predictions(kernels: Sequence[Tensor], targets: Tensor, folds: Tensor) -> Tensor:
    """Predict every fold from the other folds by kernel ridge regression (Saunders et al. 1998).

    ``prediction = mean + k (K + penalty I)^-1 (targets - mean)``, centred in feature space. Kernel and penalty are
    chosen in the training folds by the leave-one-out error, which has a closed form (PRESS, Allen 1974). So held-out
    errors are unbiased; without any signal, they are larger than the errors of the mean.

    Args:
        kernels: Kernels to choose from, each ``(N, N)``.
        targets: ``(N, K)`` float64.
        folds: ``(N,)`` fold of every example.

    Returns:
        ``(N, K)`` predictions.
    """
    return chosen_predictions(kernels, [KernelChoice(len(kernels))], targets, folds)[0]


def chosen_predictions(
    kernels: Sequence[Tensor], choices: Sequence[KernelChoice], targets: Tensor, folds: Tensor
) -> list[Tensor]:
    """Return :func:`kernel_ridge_predictions` for several choices among the same kernels; each kernel is fitted once.

    Args:
        kernels: Kernels, each ``(N, N)``; zeros predict the mean.
        choices: The kernels among which each regression may choose.
        targets: ``(N, K)`` float64.
        folds: ``(N,)`` fold of every example.

    Returns:
        ``(N, K)`` predictions for each choice.
    """
    predicted = [torch.empty_like(targets) for _ in choices]
    for fold in torch.unique(folds):
        inside, outside = (folds != fold).nonzero()[:, 0], (folds == fold).nonzero()[:, 0]
        mean = targets[inside].mean(0)
        fits = [_Fit.of(*_centred(kernel, inside, outside), targets[inside] - mean) for kernel in kernels]
        errors = torch.stack([fit.errors for fit in fits])
        for choice, found in zip(choices, predicted, strict=True):
            found[outside] = mean + _predicted(fits, *choice.best(errors))
    return predicted


def _predicted(fits: Sequence["_Fit"], kernels: Tensor, penalties: Tensor) -> Tensor:
    """Return ``(n, K)`` held-out predictions of every target with its own kernel and penalty."""
    found = torch.empty(len(fits[0].across), len(kernels), dtype=torch.float64)
    for kernel in torch.unique(kernels).tolist():
        some = (kernels == kernel).nonzero()[:, 0]
        found[:, some] = fits[kernel].held_out(some, penalties[some])
    return found


def _centred(kernel: Tensor, inside: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
    """Return the training kernel, and the kernel between held-out and training part, both centred at the training mean.

    Entries that may be rounding become 0, so that features that are constant in the training part predict nothing.
    """
    within, across = kernel[inside][:, inside], kernel[outside][:, inside]
    means = within.mean(0)
    centred = within - means - means[:, None] + means.mean()
    rounding = ROUNDED * torch.finfo(kernel.dtype).eps * len(within) * within.abs().amax()
    return centred.where(centred.abs() > rounding, 0.0), across - means  # rows need no centring: their factor sums to 0


@dataclass(frozen=True)
class _Fit:
    """The regressions on one kernel in one training part, at every penalty.

    Attributes:
        values: ``(n,)`` eigenvalues of the training part's kernel.
        vectors: ``(n, n)`` its eigenvectors.
        along: ``(n, K)`` the targets in the coordinates of the eigenvectors.
        across: ``(m, n)`` the held-out part's kernel with the training part.
        errors: ``(penalties, K)`` squared leave-one-out errors in the training part.
    """

    values: Tensor
    vectors: Tensor
    along: Tensor
    across: Tensor
    errors: Tensor

    @classmethod
    def of(cls, within: Tensor, across: Tensor, targets: Tensor) -> "_Fit":
        values, vectors = torch.linalg.eigh(within)
        values = values.clamp(min=0)
        along, squares = vectors.T @ targets, vectors.square()
        errors = []
        for penalty in _penalties(values):
            shrunk = values / (values + penalty)
            leverage = 1 / len(targets) + squares @ shrunk
            residual = (targets - vectors @ (shrunk[:, None] * along)) / (1 - leverage).clamp(min=1e-6)[:, None]
            errors.append(residual.square().sum(0))
        return cls(values, vectors, along, across, torch.stack(errors))

    def held_out(self, targets: Tensor, penalties: Tensor) -> Tensor:
        """Return ``(m, k)`` held-out predictions of k targets, each at its own penalty."""
        shrunk = self.along[:, targets] / (self.values[:, None] + _penalties(self.values)[penalties])
        return self.across @ (self.vectors @ shrunk)


def _penalties(values: Tensor) -> Tensor:
    """Return the penalties that are tried, for a kernel with these eigenvalues."""
    return torch.tensor(PENALTIES, dtype=values.dtype) * (float(values.mean()) or 1.0)
