"""Which submodules serve one modality alone, on models whose answer is known."""

from typing import Any

import pytest
import torch
from helpers.batches import probe_of
from torch import Tensor, nn

from mviz_lightning.engine.encoders import find_encoders
from mviz_lightning.engine.evaluator import Evaluator

BATCH = {"image": torch.randn(8, 4), "text": torch.randint(0, 9, (8, 3))}


class TwoTowers(nn.Module):
    """An image tower, a text tower with attention, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.towers = nn.ModuleDict({"image": nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6))})
        self.words, self.attention = nn.Embedding(9, 6), nn.MultiheadAttention(6, 2, batch_first=True)
        self.head = nn.Linear(6, 2)

    def encoded(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        words = self.words(text)
        return self.towers["image"](image), self.attention(words, words, words)[0].mean(1)

    def forward(self, image: Tensor, text: Tensor) -> Any:
        left, right = self.encoded(image, text)
        return self.head(left * right)


class Tied(TwoTowers):
    """The words are read out through their own embedding."""

    def forward(self, image: Tensor, text: Tensor) -> Any:
        left, right = self.encoded(image, text)
        return self.output(left + right)

    def output(self, fused: Tensor) -> Tensor:
        if not hasattr(self, "out"):
            self.out = nn.Linear(6, 9, bias=False)
            self.out.weight = self.words.weight
        return self.out(fused)


class Shared(TwoTowers):
    """One projection serves both."""

    def forward(self, image: Tensor, text: Tensor) -> Any:
        left, right = self.encoded(image, text)
        return self.head(left) + self.head(right)


class Early(nn.Module):
    """Everything is joined at once."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 2))

    def forward(self, image: Tensor, text: Tensor) -> Any:
        return self.net(torch.cat([image, text.float()], 1))


class ThroughNumpy(TwoTowers):
    """The words leave torch on their way to the head, which the trace cannot follow."""

    def forward(self, image: Tensor, text: Tensor) -> Any:
        left, right = self.encoded(image, text)
        return self.head(left + torch.from_numpy(right.detach().numpy().copy()))


def found(module: nn.Module) -> dict[str, list[str]]:
    def predict(module: Any, batch: Any) -> Tensor:
        return module(batch["image"], batch["text"])

    return find_encoders(Evaluator(module, predict), probe_of(BATCH, {"image": "image", "text": "text"}))


TOWERS = {"image": ["towers"], "text": ["words", "attention"]}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (TwoTowers, TOWERS),
        (Shared, TOWERS),
        (Early, {}),
        (ThroughNumpy, TOWERS),
    ],
)
def test_the_largest_submodules_of_one_modality_are_found(kind: Any, expected: Any) -> None:
    assert found(kind()) == expected


def test_weights_that_the_head_shares_are_no_encoders() -> None:
    module = Tied()
    module.output(torch.ones(1, 6))
    assert found(module) == {"image": ["towers"], "text": ["attention"]}


def test_the_model_is_as_it_was() -> None:
    module = TwoTowers().train()
    state, names = torch.get_rng_state(), set(vars(module))
    found(module)
    assert module.training
    assert set(vars(module)) == names
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in module.parameters())
