"""Sparse linear models from features to targets: elastic-net paths."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from mviz_lightning.functional.proximal import MIXING, Family, Fit, Problem, minimise
from mviz_lightning.functional.rounding import beyond_rounding, standardisation

PATH_LENGTH = 40
"""Number of penalties of a path, equally spaced in the logarithm: each is 11 % smaller than the last."""

SMALLEST = 0.01
"""Last penalty of a path, as a fraction of the first (at which all weights are 0); glmnet's default for F > n."""

PATIENCE = 5
"""Number of penalties in a row without a smaller held-out loss, after which a path ends."""

COARSE, FINE = 1e-2, 1e-5
"""Tolerances of the optimality conditions, as fractions of the penalty: along a path, and for the chosen model."""


@dataclass(frozen=True)
class SparseLinear:
    """A linear model of standardised features in which most weights are 0.

    Attributes:
        weights: ``(F, K)`` weights of the standardised features.
        intercept: ``(K,)``; minus infinity for classes without training examples.
        penalty: Penalty chosen on held-out examples; 0 if all weights are 0.
        mean: ``(F,)`` means of the features.
        spread: ``(F,)`` standard deviations of the features; infinite for constant ones, so that they have no effect.
    """

    weights: Tensor
    intercept: Tensor
    penalty: float
    mean: Tensor
    spread: Tensor

    def standardised(self, features: Tensor) -> Tensor:
        """Return ``(n, F)`` float64."""
        return (features.double() - self.mean) / self.spread

    def scores(self, features: Tensor) -> Tensor:
        """Return ``(n, K)`` logits or values."""
        return self.intercept + self.standardised(features) @ self.weights


def sparse_linear(features: Tensor, targets: Tensor, held_out: Tensor, family: Family) -> SparseLinear:
    """Fit a path of :func:`elastic_net` models, and choose the penalty on held-out examples.

    This is the sparse linear model of MultiViz's prediction stage (Liang et al. 2023; Wong et al. 2021).

    Args:
        features: ``(N, F)``, finite.
        targets: ``(N, K)``: one-hot classes, labels of 0 and 1, or values. Values share one penalty, so pass them on
            one scale.
        held_out: ``(N,)`` bool, True for the examples on which the penalty is chosen.
        family: Kind of targets.

    Returns:
        The sparsest model whose held-out loss is within a standard error of the smallest (Breiman et al. 1984). Targets
        that do not vary in the training part are not fitted: a class without training examples is never predicted, and
        a constant label stays constant.
    """
    inside, varies = ~held_out, beyond_rounding(targets[~held_out])
    targets = targets.double()
    mean, spread = standardisation(features[inside])
    values = (features.double() - mean) / spread
    intercept = _constant(targets[inside], family)
    weights, penalty = torch.zeros(len(mean), targets.shape[1], dtype=torch.float64), 0.0
    if bool(varies.any()):
        seen = targets[:, varies]
        judges = held_out & seen.any(1) if family == "multinomial" else held_out  # without unseen classes
        found = _best(Problem(values[inside], seen[inside], family), values[judges], seen[judges])
        weights[:, varies], intercept[varies], penalty = found.weights, found.intercept, found.penalty
    return SparseLinear(weights, intercept, penalty, mean, spread)


def elastic_net(
    values: Tensor, targets: Tensor, penalty: float, family: Family, *, mixing: float = MIXING
) -> tuple[Tensor, Tensor]:
    """Fit an elastic net (Zou & Hastie 2005), with the objective of glmnet (Friedman et al. 2010).

    ``mean loss + penalty * (mixing * |W|_1 + (1 - mixing) / 2 * |W|_2^2)``, with an unpenalised intercept. The loss is
    the cross-entropy, the binary cross-entropy summed over labels, or half the squared error summed over values.

    Args:
        values: ``(n, F)`` float64 standardised features.
        targets: ``(n, K)`` float64, none of them constant.
        penalty: Penalty on the weights, above 0.
        family: Kind of targets.
        mixing: Fraction of the penalty on absolute weights.

    Returns:
        ``(F, K)`` weights and the ``(K,)`` intercept.

    Raises:
        RuntimeError: The optimum was not reached.
    """
    problem = Problem(values, targets, family, mixing)
    found = _refined(problem, problem.start, penalty, FINE)
    if not found.settled:
        raise RuntimeError(f"the elastic net reached no optimum in {found.steps} steps at penalty={penalty:.3g}.")
    return found.weights, found.intercept


def losses(scores: Tensor, targets: Tensor, family: Family) -> Tensor:
    """Return ``(n,)`` losses of ``(n, K)`` scores, summed over labels or values."""
    if family == "multinomial":
        return scores.logsumexp(1) - (scores * targets).sum(1)
    if family == "bernoulli":
        return functional.binary_cross_entropy_with_logits(scores, targets, reduction="none").sum(1)
    return (scores - targets).square().sum(1) / 2


def _constant(targets: Tensor, family: Family) -> Tensor:
    """Return ``(K,)`` scores of targets that do not vary."""
    mean = targets.mean(0)
    return mean if family == "gaussian" else torch.where(mean > 0.5, torch.inf, -torch.inf).double()


def _best(problem: Problem, values: Tensor, targets: Tensor) -> Fit:
    """Fit smaller penalties until the held-out loss stops falling; return the sparsest fit within a standard error."""
    if len(values) < 2:
        return problem.start
    fits: list[Fit] = []
    means, errors = torch.empty(0), torch.empty(0)
    for fit in _path(problem):
        found = losses(fit.intercept + values @ fit.weights, targets, problem.family)
        fits, means = [*fits, fit], torch.cat([means, found.mean().unsqueeze(0)])
        errors = torch.cat([errors, found.std().unsqueeze(0) / len(found) ** 0.5])
        if len(fits) - int(means.argmin()) > PATIENCE:
            break
    if not fits:
        return problem.start
    best = int(means.argmin())
    coarse = fits[int((means <= means[best] + errors[best]).double().argmax())]
    fine = _refined(problem, replace(coarse, steps=0), coarse.penalty, FINE)
    return fine if fine.settled else coarse


def _path(problem: Problem) -> Iterator[Fit]:
    """Yield the fit for every penalty, from the largest to the smallest; each fit starts from the previous one."""
    fit = start = problem.start
    for part in torch.logspace(0, math.log10(SMALLEST), PATH_LENGTH if start.penalty > 0 else 0, dtype=torch.float64):
        fit = _refined(problem, fit, start.penalty * float(part), COARSE)
        if not fit.settled:
            return
        yield fit


def _refined(problem: Problem, fit: Fit, penalty: float, tolerance: float) -> Fit:
    """Fit the features that may have a weight, and add features until the optimality conditions hold."""
    # The strong rule (Tibshirani et al. 2012): a gradient changes no faster than the penalty.
    likely = problem.mixing * (2 * penalty - max(fit.penalty, penalty))
    active = fit.weights.ne(0).any(1) | (problem.asking(fit) >= likely)
    while True:
        reduced = replace(problem, values=problem.values[:, active])
        solved = minimise(reduced, replace(fit, weights=fit.weights[active]), penalty, tolerance)
        fit = replace(solved, weights=torch.zeros_like(fit.weights).index_put((active,), solved.weights))
        missing = (problem.asking(fit) > (problem.mixing + tolerance) * penalty) & ~active
        if not fit.settled or not bool(missing.any()):
            return fit
        active |= missing
