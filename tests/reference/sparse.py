"""Elastic nets as glmnet states them, minimised by plain steps: no momentum, no screening, no warm starts."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def example_losses(scores: Array, targets: Array, family: str) -> Array:
    """One loss an example: negative log likelihood, or half the squared error."""
    found = []
    for score, target in zip(scores, targets, strict=True):
        if family == "multinomial":
            found.append(np.log(np.exp(score).sum()) - score[target == 1].sum())
        elif family == "bernoulli":
            chance = 1 / (1 + np.exp(-score))
            found.append(-np.log(np.where(target == 1, chance, 1 - chance)).sum())
        else:
            found.append(((score - target) ** 2).sum() / 2)
    return np.array(found)


def objective(
    weights: Array, intercept: Array, values: Array, targets: Array, penalty: float, family: str, mixing: float = 0.99
) -> float:
    cost = mixing * np.abs(weights).sum() + (1 - mixing) / 2 * (weights**2).sum()
    return float(example_losses(values @ weights + intercept, targets, family).mean() + penalty * cost)


def expected(scores: Array, family: str) -> Array:
    if family == "multinomial":
        return np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    return 1 / (1 + np.exp(-scores)) if family == "bernoulli" else scores


def elastic_net(
    values: Array, targets: Array, penalty: float, family: str, *, mixing: float = 0.99, steps: int = 20_000
) -> tuple[Array, Array]:
    """Proximal gradient: a step down the slope of the smooth part, then towards 0 by what the absolute weights cost."""
    weights, intercept = np.zeros((values.shape[1], targets.shape[1])), np.zeros(targets.shape[1])
    length = len(values) / (np.square(values).sum() + len(values))  # never too long: the trace bounds the eigenvalue
    for _ in range(steps):
        residual = (expected(values @ weights + intercept, family) - targets) / len(values)
        moved = weights - length * (values.T @ residual + penalty * (1 - mixing) * weights)
        weights = np.sign(moved) * np.maximum(np.abs(moved) - length * penalty * mixing, 0)
        intercept -= length * residual.sum(0)
    return weights, intercept


def first_penalty(values: Array, targets: Array, mixing: float = 0.99) -> float:
    """The smallest penalty that leaves no weight: features are centred, so that only the mean of targets counts."""
    slopes = [
        abs((values[:, j] * (targets[:, k] - targets[:, k].mean())).mean())
        for j in range(values.shape[1])
        for k in range(targets.shape[1])
    ]
    return max(slopes) / mixing
