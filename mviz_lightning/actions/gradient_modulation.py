"""Reduce the gradients of dominant modalities' encoders."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import Optimizer

from mviz_lightning.actions.base import Action, Alarms, generator_of, require_number
from mviz_lightning.actions.encoders import Encoders, encoder_parameters, parse_encoders, require_encoders

LEAST = 0.01
"""Smallest total effect; smaller effects count as 0.01.

It keeps rho at 10 or less. This is about the paper's range, where a ratio of confidences is at most the number of
classes.
"""


class GradientModulation(Action):
    r"""Reduces the gradients of dominant modalities' encoders, and adds noise to those of all encoders (OGM-GE).

    After Peng, Wei, Deng, Wang and Hu, "Balanced multimodal learning via on-the-fly gradient modulation" (CVPR 2022).
    The gradient g of the encoder of modality u becomes k g + h:

    * k = 1 - tanh(alpha * rho) if rho, the discrepancy ratio of u to the other modalities, exceeds 1; otherwise k = 1;
    * h is Gaussian noise with the standard deviation of the entries of g, for weights (two axes or more).

    In the paper, rho compares the softmax confidences in the true class, in the mini-batch, of each modality's part of
    a linear fusion. A general model has no such parts. Here rho is the ratio of the outputs' standard deviations that
    the modalities explain at the latest check, ``sqrt(total/u / mean of the others' total)``. It works for every task
    and fusion, and is constant from one check to the next. Totals below 0.01 count as 0.01, which keeps rho at 10 or
    less.

    The paper trains with SGD. Adam divides a gradient by its size, so k alone has little effect. With noise, the
    encoder still learns more slowly: the smaller k is, the more its updates follow the noise.

    Args:
        alpha: Strength of the reduction for a dominant modality's encoder; the paper uses 0.1 to 1.
        noise: Whether to add noise (OGM-GE) or not (OGM).
        encoders: Modality -> name of its encoder in the model, ``{"image": "vision_tower"}``, or a list of names. By
            default the submodules whose parameters are used for one modality alone, found by tracing a forward pass.
        seed: Seed of the noise, which is equal on all processes; PyTorch's global generators are not used.

    Raises:
        ConfigurationError: An argument has a value that is not allowed.

    Example:
        >>> from mviz_lightning import UnimodalCollapse
        >>> from mviz_lightning.actions import GradientModulation
        >>> alarm = UnimodalCollapse(action=GradientModulation(alpha=0.3))
    """

    uses_encoders = True

    def __init__(
        self, alpha: float = 0.1, *, noise: bool = True, encoders: Encoders | None = None, seed: int = 0
    ) -> None:
        self.alpha = require_number(f"GradientModulation(alpha={alpha!r})", alpha, math.inf, 0.1)
        self.noise, self.seed = noise, seed
        self.encoders = parse_encoders("GradientModulation", encoders)

    def announce(self, alarms: Alarms) -> str:
        """Return the factors of the gradients in words; if all are 1, whether noise is added."""
        factors = [f"{name} by {k:.2g}" for name, k in self.coefficients(alarms).items() if k != 1]
        if factors:
            return f"Until the alarm ends, the gradients of these encoders are multiplied: {', '.join(factors)}."
        return "Until the alarm ends, noise is added to the gradients of the encoders." * self.noise

    def require(self, alarms: Alarms) -> None:
        """Check the names of ``encoders``."""
        require_encoders("GradientModulation", self.encoders, alarms)

    def coefficients(self, alarms: Alarms) -> dict[str, float]:
        """Return modality -> k."""
        totals = {name: max(alarms.values[f"total/{name}"], LEAST) for name in alarms.modalities}
        found = {}
        for name, total in totals.items():
            rest = [value for other, value in totals.items() if other != name]
            ratio = math.sqrt(total / (sum(rest) / len(rest)))
            found[name] = 1 - math.tanh(self.alpha * ratio) if ratio > 1 and name not in alarms.silent else 1.0
        return found

    @contextmanager
    def during_step(self, optimizer: Optimizer, alarms: Alarms, number: int) -> Iterator[None]:
        """Multiply the gradients, and add noise.

        Raises:
            ConfigurationError: An encoder is unknown or frozen.
        """
        stepped = {parameter for group in optimizer.param_groups for parameter in group["params"]}
        factors = {
            parameter: factor
            for name, factor in self.coefficients(alarms).items()
            for parameter in encoder_parameters("GradientModulation", name, self.encoders, alarms)
        }
        for place, (parameter, factor) in enumerate(factors.items()):
            if parameter in stepped and parameter.grad is not None:
                noise = self._noise(parameter.grad, number, place)
                parameter.grad.mul_(factor).add_(noise)
        yield

    def _noise(self, gradient: Tensor, number: int, place: int) -> Tensor | float:
        """Return noise with the gradient's standard deviation; 0 for biases, and for sparse gradients."""
        if not self.noise or gradient.dim() < 2 or gradient.layout != torch.strided:
            return 0.0
        generator = generator_of(self.seed, number, place, device=gradient.device)
        drawn = torch.randn(gradient.shape, generator=generator, device=gradient.device, dtype=gradient.dtype)
        return drawn * gradient.std()
