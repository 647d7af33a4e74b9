"""Does a modality add information to the others? Regressions of the labels with and without its raw inputs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log, sqrt

import torch
from torch import Tensor

from mviz_lightning.collapse.raw_inputs import RawInputs
from mviz_lightning.functional import gaussian_kernel
from mviz_lightning.functional.ridge import KernelChoice, chosen_predictions, kernel_ridge_predictions

NAMED_OUTPUTS = 8
"""Largest number of single outputs in a proof: those with the largest gain."""

ROUNDED = 1e-9
"""Largest eigenvalue of a kernel, as a fraction of its largest one, that counts as rounding."""

SURE = 3.0
"""Number of standard errors by which a share of variance must exceed 0 to count as proven (p = 0.0013)."""


@dataclass(frozen=True)
class OutputGain:
    """The gain of a modality in the prediction of one output's label.

    Attributes:
        output: Index of the output, from 0.
        gain: Share of this label's variance.
        error: Standard error of ``gain``.
    """

    output: int
    gain: float
    error: float


@dataclass(frozen=True)
class BeyondOthersProof:
    """Share of the labels' variance that a modality's raw inputs explain beyond the others', on held-out examples.

    Attributes:
        gain: Share of the labels' variance, with one-hot classes; 0 or negative if the modality adds nothing.
        error: Standard error of ``gain``.
        examples: Number of held-out examples.
        outputs: The outputs with a proven gain, largest gains first. More outputs need more standard errors.
        foretold: Share of the variance of its raw inputs that a regression on the others' raw inputs predicts, on
            held-out examples: 1 for a copy or a part of another modality, 0 for independent modalities. None in proofs
            of older versions.
    """

    gain: float
    error: float
    examples: int
    outputs: Sequence[OutputGain] = field(default_factory=list)
    foretold: float | None = None


def prove_beyond_others(inputs: RawInputs, name: str) -> BeyondOthersProof | None:
    """Return the gain of a modality's raw inputs over the others'; None if no other modality is numeric.

    Kernel ridge regression of the labels on (others and m) against (others). With ``K`` the kernel of m and ``o`` the
    mean kernel of the others, each with a mean diagonal of 1, and ``G`` the Gaussian kernel of a kernel: the regression
    on the others chooses among the mean, ``o``, ``G(o)``, ``(1 + o)^2`` and ``G(o)^2 + 2 G(o)``. The regression on both
    chooses among these and ``o + K``, ``G(o + K)``, ``G(o) + G(K)``, ``(1 + o)(1 + K)`` and ``G(o) G(K) + G(o) +
    G(K)``. Both choose by the leave-one-out error inside the training part. A copy of the others adds no new kernel, so
    its gain is 0; the two modalities of an XOR have a gain.

    Args:
        inputs: The labelled examples.
        name: The modality, m.
    """
    others = [other for other in inputs.kernels if other != name]
    if not others:
        return None
    kernels, folds = nested_kernels(inputs, name, others), inputs.folds(name)
    choices = [KernelChoice(OTHERS), KernelChoice(len(kernels))]
    choices += [KernelChoice(choice.count, each=True) for choice in choices if inputs.wanted.shape[1] > 1]
    squares = [(inputs.wanted - found).square() for found in chosen_predictions(kernels, choices, inputs.wanted, folds)]
    gained = squares[0] - squares[1]
    variance = (inputs.wanted - inputs.usual(folds)).square().mean(0)
    mean, error = inputs.mean_and_error(gained.sum(1), name)
    single = _of_outputs(inputs, name, squares[2] - squares[3], variance) if len(squares) > 2 else []
    share, doubt = float(mean / variance.sum()), float(error / variance.sum())
    return BeyondOthersProof(share, doubt, inputs.count, single[:NAMED_OUTPUTS], foretold(inputs, name, others))


def foretold(inputs: RawInputs, name: str, others: Sequence[str]) -> float:
    """Return the share of a modality's held-out variance that ridge regressions on the others' raw inputs predict.

    If it is small, the modality has information of its own, so a gain may exist even if none was found. If it is nearly
    1, the modality is a function of the others, and a gain only comes from a better suited kernel.
    """
    rest = torch.stack([_unit(inputs.kernels[other]) for other in others]).mean(0)
    values, vectors = torch.linalg.eigh(_unit(inputs.kernels[name]))
    along = vectors * values.clamp(min=0).sqrt()  # points with the distances of the inputs
    along = along[:, values > ROUNDED * values.max()]
    predicted = kernel_ridge_predictions([rest, gaussian_kernel(rest)], along, inputs.folds(name))
    return 1 - float((along - predicted).square().sum() / (along - along.mean(0)).square().sum())


OTHERS = 5
"""Number of kernels of the others alone, the first of :func:`nested_kernels`."""


def nested_kernels(inputs: RawInputs, name: str, others: Sequence[str]) -> list[Tensor]:
    """Return the kernels ``(n, n)`` of the others alone, then the kernels of the others with a modality."""
    unit = {other: _unit(kernel) for other, kernel in inputs.kernels.items()}
    rest, own = torch.stack([unit[other] for other in others]).mean(0), unit[name]
    bent, own_bent = gaussian_kernel(rest), gaussian_kernel(own)
    alone = [torch.zeros_like(rest), rest, bent, (1 + rest).square(), bent * bent + 2 * bent]
    summed = bent + own_bent
    both = [rest + own, gaussian_kernel(rest + own), summed, (1 + rest) * (1 + own), bent * own_bent + summed]
    return [*alone, *both]


def _unit(kernel: Tensor) -> Tensor:
    """Return a kernel with a mean diagonal of 1; zeros if the inputs do not vary."""
    size = kernel.diagonal().mean()
    return kernel / size if size > 0 else kernel


def _of_outputs(inputs: RawInputs, name: str, gained: Tensor, variance: Tensor) -> list[OutputGain]:
    """Return the outputs with a proven gain, largest gains first."""
    mean, error = (found / variance for found in inputs.mean_and_error(gained, name))
    proven = (mean > sure_of(len(variance)) * error).nonzero()[:, 0]
    order = proven[mean[proven].argsort(descending=True)].tolist()
    return [OutputGain(int(inputs.columns[place]), float(mean[place]), float(error[place])) for place in order]


def sure_of(count: int) -> float:
    """Return the number of standard errors that proves one of C values; C normal numbers rarely exceed it.

    ``sqrt(9 + 2 ln C)``: a normal number exceeds it with a probability below ``exp(-4.5) / C``.
    """
    return sqrt(SURE**2 + 2 * log(count))
