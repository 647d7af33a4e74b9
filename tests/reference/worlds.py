"""Small worlds in which the truth is known: correlated examples, random models, every expectation enumerable."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from reference import slow
from torch import Tensor

from mviz_lightning.functional import Design


@dataclass(frozen=True)
class World:
    """Examples whose modalities show one of a few levels, and a model given by its table.

    Attributes:
        table: ``(L, ..., L, C)`` outputs by the level of each modality.
        alone: ``(M, L)`` what each modality shows when it goes its own way.
        follow: How often a modality shows the example's common level instead; 0 makes modalities independent.
    """

    table: Tensor
    alone: Tensor
    follow: float

    @classmethod
    def random(cls, modalities: int, seed: int, *, levels: int = 3, outputs: int = 2, follow: float = 0.8) -> "World":
        """A model without any structure."""
        generator = torch.Generator().manual_seed(seed)
        table = torch.randn(*[levels] * modalities, outputs, generator=generator, dtype=torch.float64)
        alone = torch.rand(modalities, levels, generator=generator, dtype=torch.float64) + 0.2
        return cls(table, alone / alone.sum(1, keepdim=True), follow)

    @property
    def marginals(self) -> npt.NDArray[np.float64]:
        """``(M, L)`` probabilities of the levels."""
        return (self.follow / self.alone.shape[1] + (1 - self.follow) * self.alone).numpy()

    def truth(self, pairs: tuple[tuple[int, int], ...] = ()) -> Tensor:
        """The exact components, in a design's order."""
        variances = slow.sobol(self.table.numpy(), self.marginals)
        return torch.from_numpy(slow.design_components(variances, len(self.alone), pairs))

    def unimodal_truth(self) -> Tensor:
        """``(L, ..., L, C)``: the exact UC of every kind of example."""
        cells = np.ndindex(*self.table.shape[:-1])
        values = [slow.unimodal_truth(self.table.numpy(), self.marginals, cell) for cell in cells]
        return torch.from_numpy(np.array(values)).view(self.table.shape)

    def examples(self, groups: int, size: int, seed: int) -> Tensor:
        """Draw ``(G, g, M)`` levels; those of one example go together."""
        generator = torch.Generator().manual_seed(seed)
        modalities, levels = self.alone.shape
        common = torch.randint(levels, (groups * size, 1), generator=generator).expand(-1, modalities)
        alone = torch.multinomial(self.alone, groups * size, replacement=True, generator=generator).T
        follows = torch.rand(groups * size, modalities, generator=generator) < self.follow
        return torch.where(follows, common, alone).view(groups, size, modalities)

    def outputs(self, levels: Tensor) -> Tensor:
        """Run the model on ``(..., M)`` levels."""
        return self.table[tuple(levels.unbind(-1))]


def recombined(design: Design, examples: Tensor) -> Tensor:
    """Take every tuple of a design from ``(..., g, M)`` examples: ``(..., T, M)``."""
    return examples[..., design.tuples, torch.arange(design.modalities)]


def responses(design: Design, outputs: Tensor) -> slow.Responses:
    """Look outputs ``(T, C)`` up by tuple."""
    return {tuple(key): value for key, value in zip(design.tuples.tolist(), outputs.numpy(), strict=True)}


def deviation(samples: Tensor, truth: Tensor | float) -> Tensor:
    """How many standard errors the mean over the first dimension lies from the truth."""
    error = samples.std(0) / len(samples) ** 0.5
    return (samples.mean(0) - truth).abs() / error.clamp(min=1e-12)
