"""What the alarm rests on a second time, in loops: flips, ridge regression, the rule, and a training with known ends.

Nothing here is shared with the package; everything takes and gives NumPy arrays in float64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from reference.slow import Array, Indices
from sklearn.kernel_ridge import KernelRidge

# -- Flips -------------------------------------------------------------------------------------------------------------


def decided(logits: Array, task: str) -> list[int]:
    """The predicted class, or 0/1 for each label."""
    return [int(np.argmax(logits))] if task == "multiclass" else [int(value > 0) for value in logits]


def flips(groups: Sequence[Mapping[tuple[int, ...], Array]], donors: Indices, modality: int, task: str) -> float:
    """How often a swap changes a prediction, over how often another example's prediction is another one.

    Args:
        groups: Outputs ``(C,)`` by the example that each modality is taken from.
        donors: ``(g, D)`` whom an example's modality is taken from.
        modality: Which is swapped.
        task: What the outputs stand for.
    """
    real, changed = [], []
    for outputs in groups:
        modalities = len(next(iter(outputs)))
        for i, others in enumerate(donors):
            own = decided(outputs[(i,) * modalities], task)
            real.append(own)
            for donor in others:
                mixed = tuple(int(donor) if m == modality else i for m in range(modalities))
                changed += [one != other for one, other in zip(decided(outputs[mixed], task), own, strict=True)]
    different = [
        one != other
        for first, i in enumerate(real)
        for second, j in enumerate(real)
        if first != second
        for one, other in zip(i, j, strict=True)
    ]
    return float(np.mean(changed) / np.mean(different)) if any(different) else 0.0


# -- Ridge regression --------------------------------------------------------------------------------------------------


def standardised(features: Array) -> Array:
    """Columns with mean 0 and variance 1, without the constant ones; what is not finite is the mean."""
    columns = []
    for column in features.astype(np.float64).T:
        finite = column[np.isfinite(column)]
        if len(finite) and np.ptp(finite) > 0:
            filled = np.where(np.isfinite(column), column, finite.mean())
            columns.append((filled - filled.mean()) / filled.std())
    return np.array(columns).T if columns else np.zeros((len(features), 0))


def gaussian(features: Array) -> Array:
    """``exp(-d^2 / w)`` of all pairs, w the median of the squared distances between different examples."""
    n = len(features)
    squares = np.array([[((features[i] - features[j]) ** 2).sum() for j in range(n)] for i in range(n)])
    between = sorted(squares[i, j] for i in range(n) for j in range(n) if i != j)
    return np.exp(-squares / between[(len(between) - 1) // 2])


def centred(kernel: Array, inside: Indices, outside: Indices) -> Array:
    """Inner products of the outside examples with the inside ones, about the inside examples' mean."""
    of_inside = [kernel[inside, j].mean() for j in inside]
    grand, found = np.mean(of_inside), []
    for i in outside:
        to_inside = kernel[i, inside].mean()
        found.append([kernel[i, j] - to_inside - mean + grand for j, mean in zip(inside, of_inside, strict=True)])
    return np.array(found)


def ridge(kernel: Array, targets: Array, inside: Indices, outside: Indices, alpha: float) -> Array:
    """scikit-learn's kernel ridge regression with an unpunished intercept, of one training part."""
    mean = targets[inside].mean(0)
    model = KernelRidge(alpha=alpha, kernel="precomputed").fit(centred(kernel, inside, inside), targets[inside] - mean)
    return mean + model.predict(centred(kernel, inside, outside))


def leave_one_out(kernel: Array, targets: Array, inside: Indices, alpha: float) -> float:
    """The squared error of every training example, foretold by a regression on the others."""
    error = 0.0
    for place, example in enumerate(inside):
        others = np.delete(inside, place)
        error += float(((targets[example] - ridge(kernel, targets, others, inside[[place]], alpha)) ** 2).sum())
    return error


def held_out(kernels: Sequence[Array], targets: Array, folds: Indices, penalties: Sequence[float]) -> Array:
    """Predict every fold from the others with the kernel and the penalty that leave-one-out chooses inside them."""
    predicted = np.zeros_like(targets)
    for fold in sorted(set(folds.tolist())):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        tried = []
        for kernel in kernels:
            scale = np.trace(centred(kernel, inside, inside)) / len(inside) or 1.0  # zeros predict the mean
            for penalty in penalties:
                error = leave_one_out(kernel, targets, inside, penalty * scale)
                tried.append((error, ridge(kernel, targets, inside, outside, penalty * scale)))
        predicted[outside] = min(tried, key=lambda pair: pair[0])[1]
    return predicted


def solved(kernel: Array, targets: Array, inside: Indices, outside: Indices, alpha: float) -> Array:
    """Kernel ridge regression with an unpunished intercept, by one system of equations about the inside mean."""
    n = len(inside)
    centre = np.eye(n) - 1 / n
    within, mean = centre @ kernel[np.ix_(inside, inside)] @ centre, targets[inside].mean(0)
    weights = np.linalg.solve(within + alpha * np.eye(n), targets[inside] - mean)
    across = kernel[np.ix_(outside, inside)]
    return mean + (across - kernel[np.ix_(inside, inside)].mean(0)) @ centre @ weights


def by_solving(kernels: Sequence[Array], targets: Array, folds: Indices, penalties: Sequence[float]) -> Array:
    """The same as :func:`held_out`, leaving every training example out in turn, for many kernels."""
    predicted = np.zeros_like(targets)
    for fold in sorted(set(folds.tolist())):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        centre = np.eye(len(inside)) - 1 / len(inside)
        tried = []
        for kernel in kernels:
            scale = np.trace(centre @ kernel[np.ix_(inside, inside)] @ centre) / len(inside) or 1.0
            for penalty in penalties:
                error = 0.0
                for place, example in enumerate(inside):
                    others, alpha = np.delete(inside, place), penalty * scale
                    left_out = solved(kernel, targets, others, inside[[place]], alpha)[0]
                    error += float(((targets[example] - left_out) ** 2).sum())
                tried.append((error, solved(kernel, targets, inside, outside, penalty * scale)))
        predicted[outside] = min(tried, key=lambda pair: pair[0])[1]
    return predicted


def kernel_gaussian(kernel: Array) -> Array:
    """The Gaussian kernel of the features whose inner products a kernel holds."""
    n = len(kernel)
    squares = np.array([[kernel[i, i] + kernel[j, j] - 2 * kernel[i, j] for j in range(n)] for i in range(n)])
    between = sorted(squares[i, j] for i in range(n) for j in range(n) if i != j)
    return np.exp(-squares / between[(len(between) - 1) // 2])


def beyond(
    own: Array, others: Sequence[Array], targets: Array, folds: Indices, penalties: Sequence[float]
) -> tuple[float, float]:
    """What one modality's numbers add to those of the others, as a share of the targets' variance, and its error."""
    kernels = []
    for features in (own, *others):
        scaled = standardised(features)
        kernels.append(scaled @ scaled.T / scaled.shape[1])  # the mean square of a standardised number is 1
    k, o = kernels[0], np.mean(kernels[1:], axis=0)
    gk, go = kernel_gaussian(k), kernel_gaussian(o)
    alone = [np.zeros_like(o), o, go, (1 + o) ** 2, go**2 + 2 * go]
    both = [*alone, o + k, kernel_gaussian(o + k), go + gk, (1 + o) * (1 + k), go * gk + go + gk]
    usual = np.array([targets[folds != fold].mean(0) for fold in folds])
    without, with_it = (
        ((targets - by_solving(kernels, targets, folds, penalties)) ** 2).sum(1) for kernels in (alone, both)
    )
    gained = (without - with_it) / ((targets - usual) ** 2).sum(1).mean()
    return float(gained.mean()), float(gained.std(ddof=1) / len(gained) ** 0.5)


# -- The rule ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """What one check found of one modality; the scores are given as skill."""

    total: float
    flips: float | None
    skill: float | None
    drop: float | None


@dataclass(frozen=True)
class Limits:
    """Thresholds."""

    patience: int
    total: float
    flips: float
    drop: float
    skill: float
    warm_up: int


def silent(check: Check, limits: Limits) -> bool:
    """Whether swapping left everything as it was."""
    if check.drop is not None and not check.drop < limits.drop:
        return False
    if check.flips is None:
        return check.total < limits.total
    if check.drop is None:
        return check.flips < limits.flips and check.total < 2 * limits.total
    return (check.flips < limits.flips and check.total < 2 * limits.total) or check.total < limits.total


def judged(checks: Sequence[Check], limits: Limits) -> list[int]:
    """Which checks were made of a model that has learned something."""
    return [
        number
        for number, check in enumerate(checks)
        if (number >= limits.warm_up if check.skill is None else check.skill > limits.skill)
    ]


def unused_after_each(checks: Sequence[Check], limits: Limits) -> list[bool]:
    """Whether the modality is unused after every check, by counting silent ones that were judged."""
    found, in_a_row, counts = [], 0, judged(checks, limits)
    for number, check in enumerate(checks):
        if number in counts:
            in_a_row = in_a_row + 1 if silent(check, limits) else 0
        found.append(in_a_row >= limits.patience)
    return found


def since(checks: Sequence[Check], limits: Limits) -> int | None:
    """The first check of the present state; None where it was never another than used."""
    after_each = unused_after_each(checks, limits)
    if True not in after_each:
        return None
    if not after_each[-1]:
        last = max(number for number, unused in enumerate(after_each) if unused)
        return last + 1
    audible = [number for number in judged(checks, limits) if not silent(checks[number], limits)]
    return next(number for number in judged(checks, limits) if number > max(audible, default=-1))


# -- Two-layer linear late fusion (Zhang, Latham & Saxe, ICML 2024) ----------------------------------------------------


@dataclass(frozen=True)
class Fusion:
    """``y = x_A + x_B`` with two correlated numbers, and a two-layer linear branch for each of them.

    Attributes:
        sd: Standard deviations of x_A, the stronger, and of x_B.
        rho: Their correlation.
        hidden: Units of a branch.
        start: Size of the initial weights.
    """

    sd: tuple[float, float]
    rho: float = 0.0
    hidden: int = 3
    start: float = 1e-6

    @property
    def covariance(self) -> Array:
        """``(2, 2)`` of the inputs."""
        a, b = self.sd
        return np.array([[a * a, self.rho * a * b], [self.rho * a * b, b * b]])

    @property
    def ratio(self) -> float:
        """When B is learned, in units of when A is, for small initial weights: t_B / t_A."""
        a, b = self.sd
        return 1 + (a * a - b * b) / ((1 - self.rho**2) * b * b)

    def flow(self, seed: int = 0) -> tuple[Array, Array]:
        """Follow the gradient of the mean squared error, until B is learned: times ``(S,)``, weights ``(S, 2)``.

        The weights are those of the whole branches, ``v_A . u_A`` and ``v_B . u_B``.
        """
        # Branch, layer, unit; both branches begin alike, as the theory has it.
        layers = self.start * np.random.default_rng(seed).standard_normal((1, 2, self.hidden)).repeat(2, 0)
        covariance, with_target = self.covariance, self.covariance.sum(1)

        def slope(layers: Array) -> Array:
            weights = (layers[:, 0] * layers[:, 1]).sum(1)
            force = with_target - covariance @ weights
            return force[:, None, None] * layers[:, ::-1]

        step = 0.05 / float(np.linalg.eigvalsh(covariance)[-1])
        times, weights = [0.0], [(layers[:, 0] * layers[:, 1]).sum(1)]
        while np.abs(weights[-1] - 1).max() > 1e-2:
            middle = layers + step / 2 * slope(layers)  # the midpoint rule: the error is of second order
            layers = layers + step * slope(middle)
            times.append(times[-1] + step)
            weights.append((layers[:, 0] * layers[:, 1]).sum(1))
        return np.array(times), np.array(weights)

    def measured(self, weights: npt.NDArray[np.float64]) -> dict[str, float]:
        """What a monitor would find of ``w_A x_A + w_B x_B`` with ever more examples: totals, R2, what R2 loses."""
        covariance = self.covariance
        parts = weights**2 * covariance.diagonal()  # swapped inputs are independent
        target, with_target = float(covariance.sum()), covariance.sum(1)

        def r2(variance: float) -> float:
            return 1 - (target + variance - 2 * float(weights @ with_target)) / target

        score = r2(float(weights @ covariance @ weights))
        values = {"score": score}
        for name, own, other in (("a", 0, 1), ("b", 1, 0)):
            # The swapped input knows nothing of the target: that part of the fit is lost.
            swapped = 1 - (target + parts.sum() - 2 * float(weights[other] * with_target[other])) / target
            values[f"total/{name}"] = float(parts[own] / parts.sum())
            values[f"perceptual/{name}"] = score - float(swapped)
        return values


def half_rise(times: Array, weight: Array) -> float:
    """When a curve first comes half-way to its end."""
    return float(times[np.argmax(weight >= weight[-1] / 2)])
