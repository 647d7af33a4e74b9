"""Models that draw random numbers while they are evaluated, and what is known of them without their noise."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from outputs.heads import MODALITIES, NUMBER, data
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, dropout, gumbel_softmax, mse_loss

from mviz_lightning.functional import Task

SMALL = {"num_examples": NUMBER, "group_size": 12, "reference": NUMBER}
__all__ = ["FAST", "KINDS", "MODALITIES", "REFUSED", "SMALL", "Noisy", "NoisyKind", "data"]


class Noisy(nn.Module):
    """Two encoders whose outputs are added, so that there is no interaction. In float64."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(6, 8), nn.Linear(5, 8)
        self.kind, self.size, self.spread = nn.Linear(8, 4), nn.Linear(8, 1), nn.Linear(8, 8)
        self.seen = nn.Parameter(torch.tensor(0.3))
        self.double()
        self.own = torch.Generator().manual_seed(5)

    def __deepcopy__(self, memo: Any) -> "Noisy":
        """A generator cannot be copied."""
        copied = type(self)()
        copied.load_state_dict(self.state_dict())
        return copied

    def added(self, image: Tensor, text: Tensor) -> Tensor:
        return torch.tanh(self.image(image)) + torch.tanh(self.text(text))

    def classes(self, image: Tensor, text: Tensor) -> Tensor:
        found: Tensor = self.kind(self.added(image, text))
        return found

    def sized(self, image: Tensor, text: Tensor) -> Tensor:
        found: Tensor = self.size(self.added(image, text))
        return found


@dataclass(frozen=True)
class NoisyKind:
    """A step that draws random numbers.

    Attributes:
        step: (module, batch) -> loss.
        forward: (network, image, text) -> what the module returns.
        still: (network, image, text) -> scores whose shares are those of the noisy ones; None where only their
            interaction is known, which is 0.
        near: How far shares may be from these.
        task: What the scores stand for.
        labels: Entry of the batch.
        options: Arguments of the monitor.
        expects: How a warning begins that is right.
    """

    step: Callable[[Any, Any], Tensor]
    forward: Callable[..., Any]
    still: Callable[..., Tensor] | None = None
    near: float = 1e-6
    task: Task = "multiclass"
    labels: str = "kind"
    options: Mapping[str, Any] = field(default_factory=dict)
    expects: str = ""


def classified(module: Any, batch: Any) -> Tensor:
    return cross_entropy(module(batch["image"], batch["text"]), batch["kind"])


def sized(module: Any, batch: Any) -> Tensor:
    return mse_loss(module(batch["image"], batch["text"]).squeeze(1), batch["size"])


def added_noise(net: Noisy, image: Tensor, text: Tensor) -> Tensor:
    found = net.classes(image, text)
    return found + 0.5 * torch.randn_like(found)


def scaled_by_noise(net: Noisy, image: Tensor, text: Tensor) -> Tensor:
    found = net.sized(image, text)
    return found * (0.3 * torch.randn(len(found), 1, dtype=found.dtype)).exp()


def drawn_in_place(net: Noisy, image: Tensor, text: Tensor) -> Tensor:
    found = net.classes(image, text)
    return found + torch.empty_like(found).normal_(0, 0.5) + torch.zeros_like(found).uniform_()


def variational(net: Noisy, image: Tensor, text: Tensor) -> dict[str, Tensor]:
    """A latent whose spread depends on both modalities; its mean does not multiply them."""
    mean = net.added(image, text)
    spread = net.spread(mean).clamp(-2, 0)
    latent = mean + 0.3 * (0.5 * spread).exp() * torch.randn_like(mean)
    return {"scores": net.kind(latent), "mean": mean, "spread": spread}


def variational_loss(module: Any, batch: Any) -> Tensor:
    found = module(batch["image"], batch["text"])
    divergence = 0.5 * (found["mean"] ** 2 + found["spread"].exp() - found["spread"] - 1).sum(1).mean()
    return cross_entropy(found["scores"], batch["kind"]) + 0.01 * divergence


def reparametrised(net: Noisy, image: Tensor, text: Tensor) -> Tensor:
    """A latent of ``torch.distributions``, whose spread is one parameter."""
    mean = net.added(image, text)
    found: Tensor = net.kind(torch.distributions.Normal(mean, net.seen.exp().expand_as(mean)).rsample())
    return found


def dropped(net: Noisy, image: Tensor, text: Tensor) -> Tensor:
    """MC dropout: it stays on in validation."""
    found: Tensor = net.kind(dropout(net.added(image, text), 0.3, training=True))
    return found


def dropped_by_a_module(net: Noisy, image: Tensor, text: Tensor) -> Tensor:
    layer = nn.Dropout(0.3)
    found: Tensor = net.kind(layer.train()(net.added(image, text)))
    return found


def by_gumbel(net: Noisy, image: Tensor, text: Tensor) -> Tensor:
    """One modality chooses among codes, the other adds to what it chose."""
    codes = gumbel_softmax(torch.tanh(net.image(image)), tau=1.0)
    found: Tensor = net.kind(codes + torch.tanh(net.text(text)))
    return found


def by_bernoulli(net: Noisy, image: Tensor, text: Tensor) -> Tensor:
    kept = torch.bernoulli(torch.full((len(image), 8), 0.7, dtype=image.dtype))
    found: Tensor = net.kind(net.added(image, text) * kept)
    return found


def in_the_step(module: Any, batch: Any) -> Tensor:
    """The step adds noise to an input before it calls the model."""
    image = batch["image"] + 0.2 * torch.randn_like(batch["image"])
    return cross_entropy(module(image, batch["text"]), batch["kind"])


def one_number_of_numpy(module: Any, batch: Any) -> Tensor:
    """All examples of a batch get the same temperature."""
    return cross_entropy(module(batch["image"], batch["text"]) * float(1 + np.random.rand()), batch["kind"])


def one_number_of_python(module: Any, batch: Any) -> Tensor:
    """All examples of a batch get the same mask of the hidden entries."""
    kept = torch.tensor([float(random.random() < 0.8) for _ in range(8)], dtype=torch.float64)
    return cross_entropy(module.net.kind(module.net.added(batch["image"], batch["text"]) * kept), batch["kind"])


def averaged_dropout(module: Any, batch: Any) -> Tensor:
    """The step averages its own passes."""
    passes = torch.stack([module(batch["image"], batch["text"]) for _ in range(4)])
    return cross_entropy(passes.mean(0), batch["kind"])


def ranked(module: Any, batch: Any) -> Tensor:
    """Labels that are independent of one another, and a latent with noise."""
    return binary_cross_entropy_with_logits(module(batch["image"], batch["text"]), batch["tags"])


def own_generator(net: Noisy, image: Tensor, text: Tensor) -> Tensor:
    """Numbers of a generator that goes on from call to call."""
    found = net.classes(image, text)
    return found + torch.randn(*found.shape, generator=net.own, dtype=found.dtype)


CLASSES, SIZED = Noisy.classes, Noisy.sized
KINDS: dict[str, NoisyKind] = {
    "added noise": NoisyKind(classified, added_noise, CLASSES),
    "noise drawn in place": NoisyKind(classified, drawn_in_place, CLASSES),
    "noise that scales": NoisyKind(sized, scaled_by_noise, SIZED, task="regression", labels="size"),
    "added noise, several draws": NoisyKind(classified, added_noise, CLASSES, options={"draws": 4}),
    "several labels with noise": NoisyKind(ranked, added_noise, CLASSES, task="multilabel", labels="tags"),
    "a latent with one spread": NoisyKind(classified, reparametrised, CLASSES),
    "VAE": NoisyKind(variational_loss, variational, CLASSES, near=0.1, options={"draws": 8}),
    "a generator of its own": NoisyKind(classified, own_generator, CLASSES),
    "MC dropout": NoisyKind(classified, dropped, options={"draws": 4}),
    "MC dropout, many draws": NoisyKind(classified, dropped, CLASSES, near=0.05, options={"draws": 64}),
    "a module of dropout in training mode": NoisyKind(classified, dropped_by_a_module),
    "Gumbel softmax": NoisyKind(classified, by_gumbel),
    "Bernoulli masks": NoisyKind(classified, by_bernoulli),
    "noise in the step": NoisyKind(in_the_step, CLASSES),
    "one number of numpy a batch": NoisyKind(one_number_of_numpy, CLASSES, CLASSES),
    "numbers of Python a batch": NoisyKind(one_number_of_python, CLASSES),
    "four passes in the step": NoisyKind(averaged_dropout, dropped),
}
"""Models without interaction, in each of which noise must not show one."""


def numpy_rows(module: Any, batch: Any) -> Tensor:
    """Every example gets numbers of numpy of its own."""
    noise = torch.from_numpy(np.random.randn(*batch["image"].shape))
    return cross_entropy(module(batch["image"] + 3 * noise, batch["text"]), batch["kind"])


def python_rows(module: Any, batch: Any) -> Tensor:
    noise = torch.tensor([[random.gauss(0, 3)] for _ in batch["image"]], dtype=torch.float64)
    return cross_entropy(module(batch["image"] + noise, batch["text"]), batch["kind"])


REFUSED: dict[str, NoisyKind] = {
    "numbers of numpy a row": NoisyKind(numpy_rows, CLASSES),
    "numbers of Python a row": NoisyKind(python_rows, CLASSES),
}
"""Models whose rows still vary, or depend on one another."""

FAST = {
    "added noise", "noise that scales", "MC dropout", "Gumbel softmax", "noise in the step",
    "one number of numpy a batch", "numbers of numpy a row",
}  # fmt: skip
"""One of each family."""
