"""Elastic nets by accelerated proximal gradients.

The objective is that of glmnet (Friedman et al. 2010), for n examples, weights W and an unpenalised intercept:
``mean loss + penalty * (mixing * |W|_1 + (1 - mixing) / 2 * |W|_2^2)``.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Family: TypeAlias = Literal["multinomial", "bernoulli", "gaussian"]
"""Kind of targets: classes of which each example has one, labels of 0 and 1, or values."""

CURVATURE: dict[Family, float] = {"multinomial": 0.5, "bernoulli": 0.25, "gaussian": 1.0}
"""Largest second derivative of the loss with respect to the scores."""

MIXING = 0.99
"""Fraction of the penalty on absolute weights, against squared weights; MultiViz's value (its alpha)."""

LONGER = 1.1
"""Factor by which the step length grows after each step; a step that the curvature does not allow is halved."""

STEPS = 10_000
"""Largest number of steps for a whole path of penalties."""


@dataclass(frozen=True)
class Fit:
    """Weights ``(F, K)`` and intercept ``(K,)`` at a penalty, the steps so far, and whether they have converged."""

    weights: Tensor
    intercept: Tensor
    penalty: float
    steps: int = 0
    settled: bool = True


@dataclass(frozen=True)
class Problem:
    """Standardised features ``(n, F)`` of the training part, their targets ``(n, K)``, and the objective."""

    values: Tensor
    targets: Tensor
    family: Family
    mixing: float = MIXING

    @property
    def start(self) -> Fit:
        """The optimum in which all weights are 0, and the smallest penalty that gives it."""
        mean = self.targets.mean(0)
        weights = torch.zeros(self.values.shape[1], len(mean), dtype=torch.float64)
        intercept = {"multinomial": mean.log(), "bernoulli": mean.logit(), "gaussian": mean}[self.family]
        steepest = float(self.asking(Fit(weights, intercept, 0.0)).max()) if len(weights) else 0.0
        return Fit(weights, intercept, steepest / self.mixing if steepest > self.rounding else 0.0)

    @property
    def rounding(self) -> float:
        """The largest slope that may be rounding.

        A slope is the mean of n products of a feature, whose mean square is 1, and a residual. The error of a sum, in
        any order, is up to n eps times the mean size of its terms (Higham 2002). The error of a residual is eps times
        the size of the targets.
        """
        deviation, size = self.targets.std(0, correction=0).max(), self.targets.abs().max()
        return torch.finfo(torch.float64).eps * float(len(self.targets) * deviation + size)

    def residual(self, scores: Tensor) -> Tensor:
        """Return ``(n, K)``: the derivative of every example's loss with respect to its scores."""
        if self.family == "multinomial":
            return scores.softmax(1) - self.targets
        return (scores.sigmoid() if self.family == "bernoulli" else scores) - self.targets

    def asking(self, fit: Fit) -> Tensor:
        """Return ``(F,)``: the largest absolute derivative of the mean loss by the weights of each feature."""
        residual = self.residual(fit.intercept + self.values @ fit.weights)
        return (self.values.T @ residual).abs().amax(1) / len(self.values)


def minimise(problem: Problem, fit: Fit, penalty: float, tolerance: float) -> Fit:
    """Continue from a fit by FISTA with restarts (Beck & Teboulle 2009; O'Donoghue & Candes 2015).

    Step lengths follow the local curvature (Becker et al. 2011), because the loss of many classes is much flatter than
    its global bound.
    """
    descent = _Descent.of(problem, penalty)
    safe = length = descent.safe
    old = ahead = descent.at(torch.cat([fit.weights, fit.intercept.unsqueeze(0)]))
    momentum, settled, steps = 1.0, False, fit.steps
    while not settled and steps < STEPS:
        new, allowed = descent.step(ahead, length)
        steps += 1
        if length > max(safe, allowed):
            length = max(safe, length / 2)
            continue
        moved = ahead.weights - new.weights
        settled = float(moved.abs().max()) <= length * tolerance * penalty
        restart = float((moved * (new.weights - old.weights)).sum()) > 0
        following = 1.0 if restart else (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new if restart else new.beyond(old, (momentum - 1) / following)
        old, momentum, length = new, following, LONGER * length
    return Fit(old.weights[:-1], old.weights[-1], penalty, steps, settled)


@dataclass(frozen=True)
class Point:
    """Weights with the intercept as the last row ``(F + 1, K)``, and their scores ``(n, K)``."""

    weights: Tensor
    scores: Tensor

    def beyond(self, other: "Point", part: float) -> "Point":
        """Extrapolate the line from another point through this one, by a fraction of their distance."""
        weights, scores = self.weights - other.weights, self.scores - other.scores
        return Point(self.weights + part * weights, self.scores + part * scores)


@dataclass(frozen=True)
class _Descent:
    """Proximal steps at one penalty: features and a last column of ones ``(n, F + 1)``, and the penalty of each weight.

    Slopes are shrunk towards 0 by their rounding error. So at the smallest penalty with all weights 0, they stay 0.
    """

    problem: Problem
    values: Tensor
    ridge: Tensor
    threshold: Tensor
    rounding: Tensor

    @classmethod
    def of(cls, problem: Problem, penalty: float) -> "_Descent":
        """Return the steps for a problem at one penalty."""
        values = torch.cat([problem.values, torch.ones(len(problem.values), 1, dtype=torch.float64)], 1)
        costs = torch.full((values.shape[1], 1), penalty, dtype=torch.float64)
        costs[-1] = 0  # of the intercept
        rounding = torch.tensor(problem.rounding, dtype=torch.float64)
        return cls(problem, values, costs * (1 - problem.mixing), costs * problem.mixing, rounding)

    @property
    def safe(self) -> float:
        """The step length that converges everywhere (from the global bound of the curvature)."""
        steepest = CURVATURE[self.problem.family] * _largest_eigenvalue(self.values) / len(self.values)
        return 1 / (steepest + float(self.ridge.max()))

    def at(self, weights: Tensor) -> Point:
        """Return the point of these weights."""
        return Point(weights, self.values @ weights)

    def step(self, start: Point, length: float) -> tuple[Point, float]:
        """Return the end of a step, and the largest step length that the curvature along the step allows."""
        residual = self.problem.residual(start.scores)
        slope = _shrunk(self.values.T @ residual / len(self.values), self.rounding) + self.ridge * start.weights
        end = self.at(_shrunk(start.weights - length * slope, length * self.threshold))
        moved = (start.weights - end.weights).square()
        bent = (start.scores - end.scores) * (residual - self.problem.residual(end.scores))
        curvature = float(bent.sum() / len(self.values) + (self.ridge * moved).sum())
        return end, float(moved.sum()) / curvature if curvature > 0 else math.inf


def _shrunk(weights: Tensor, threshold: Tensor) -> Tensor:
    """Shrink weights towards 0 by a threshold (soft thresholding)."""
    return weights.sign() * (weights.abs() - threshold).clamp(min=0)


def _largest_eigenvalue(values: Tensor) -> float:
    wide = values.shape[1] > values.shape[0]
    return float(torch.linalg.eigvalsh(values @ values.T if wide else values.T @ values)[-1])
