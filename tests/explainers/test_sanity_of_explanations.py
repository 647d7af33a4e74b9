"""Explanations follow the model: with its weights drawn anew, they change (Adebayo et al. 2018, "Sanity checks").

An explanation that shows edges, or whatever else the input holds, looks convincing and stays the same.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import TypeAlias

import numpy as np
import pytest
import torch
from helpers.batches import floats, seeded
from helpers.few import spread
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mviz_lightning import Modality, explain
from mviz_lightning.explainers import DIME, CrossModalInteraction, Explanation
from mviz_lightning.explainers.cross_modal_interaction.result import ExampleInteractions
from mviz_lightning.explainers.unimodal_importance.explainer import NUM_TOTALS, UnimodalImportance
from mviz_lightning.explainers.unimodal_importance.result import ExampleImportance

SIDE, COLUMNS, COUNT, EXAMPLES = 12, 32, 512, 8
BATCH = {"image": floats(COUNT, 1, SIDE, SIDE), "table": floats(COUNT, COLUMNS, seed=1)}
MODALITIES = {
    "image": Modality("image", max_segments=36),
    "table": Modality("table", kind="tabular", max_segments=COLUMNS),
}

REDRAWN = (11, 12, 13)
"""Seeds of the weights that a trained model is compared with."""

BOUND = 0.3
"""Of the mean |Spearman|: that of 32 or 36 weights by chance is 0.14, that of half the edges 0.5."""


class Net(nn.Module):
    """``forward(image, table)``: two encoders and a head that mixes them."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 32), nn.Tanh())
        self.table = nn.Sequential(nn.Linear(COLUMNS, 32), nn.Tanh())
        self.head = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        return self.head(torch.cat([self.image(image), self.table(table)], 1))


def labels(image: Tensor, table: Tensor) -> Tensor:
    """Each modality counts by itself, and both together."""
    left, right = image.flatten(1) @ floats(SIDE * SIDE, seed=3) / SIDE, table @ floats(COLUMNS, seed=4) / COLUMNS**0.5
    return (left + right + left * right > 0).long()


def trained() -> Net:
    """Train for two seconds."""
    image, table = floats(4096, 1, SIDE, SIDE, seed=5), floats(4096, COLUMNS, seed=6)
    net, target = seeded(Net), labels(image, table)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for step in range(400):
        rows = torch.arange(128 * step, 128 * (step + 1)) % len(image)
        optimizer.zero_grad()
        cross_entropy(net(image[rows], table[rows]), target[rows]).backward()
        optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def net() -> Net:
    found = trained()
    right = found(**BATCH).argmax(1) == labels(**BATCH)
    assert float(right.float().mean()) > 0.85
    return found


Explain: TypeAlias = Callable[[nn.Module], list[Tensor]]
"""From a model to the weights of units, ``(U,)`` each, of the same examples and the same output in the same order."""


def importance(method: str) -> Explain:
    """Return what one method of unimodal importance says of class 1, of both modalities of every example."""

    def explained(model: nn.Module) -> list[Tensor]:
        explainer = UnimodalImportance(method=method, outputs=[1], num_totals=0, num_examples=0)
        report = explain(model, [BATCH], modalities=MODALITIES, task="multiclass", explainers=[explainer], pin=PINNED)
        found: list[ExampleImportance] = report.results["importance"].examples
        return [part.weights for example in in_order(found) for part in example.outputs[0].parts.values()]

    return explained


PINNED = range(EXAMPLES)


def in_order(found: list[ExampleImportance]) -> list[ExampleImportance]:
    return sorted(found, key=lambda example: example.position)


def dime(side: str) -> Explain:
    """Return what drives UC or MI of class 1."""

    def explained(model: nn.Module) -> list[Tensor]:
        method = DIME(outputs=[1], num_examples=0)
        report = explain(model, [BATCH], modalities=MODALITIES, task="multiclass", explainers=[method], pin=PINNED)
        found: list[Explanation] = sorted(report.explanations["dime"], key=lambda example: example.position)
        return [getattr(part, side) for example in found for part in example.outputs[0].parts.values()]

    return explained


def interaction(model: nn.Module) -> list[Tensor]:
    """Return what parts of both modalities add to class 1 together."""
    explainer = CrossModalInteraction(outputs=[1], num_examples=0)
    report = explain(model, [BATCH], modalities=MODALITIES, task="multiclass", explainers=[explainer], pin=PINNED)
    found: list[ExampleInteractions] = report.results["cross_modal"].examples
    ordered = sorted(found, key=lambda example: example.position)
    return [pair.weights.flatten() for example in ordered for pair in example.outputs[0].pairs]


EXPLANATIONS: dict[str, Explain] = {
    **{method: importance(method) for method in NUM_TOTALS},
    "UC of DIME": dime("unimodal"),
    "MI of DIME": dime("interaction"),
    "cross-modal": interaction,
}


def likeness(first: list[Tensor], second: list[Tensor]) -> np.ndarray:
    """Return |Spearman| of the weights of units, for every example and modality."""
    return np.array([abs(spearmanr(left, right).statistic) for left, right in zip(first, second, strict=True)])


def follows_the_model(explanation: Explain, net: Net) -> bool:
    """Tell whether explanations of a copy are the same, and those of other weights unlike."""
    own = explanation(net)
    same = likeness(own, explanation(deepcopy(net)))
    others = [likeness(own, explanation(seeded(Net, seed).eval())) for seed in REDRAWN]
    return bool(np.allclose(same, 1)) and float(np.mean(others)) < BOUND


@pytest.mark.parametrize("name", spread(EXPLANATIONS, 3))
def test_explanations_change_with_the_weights_of_the_model(name: str, net: Net) -> None:
    assert follows_the_model(EXPLANATIONS[name], net)


# -- The check can fail ------------------------------------------------------------------------------------------------


def edges(_: nn.Module) -> list[Tensor]:
    """Show where neighbours differ, whatever the model."""
    found = []
    for image, table in zip(BATCH["image"][:EXAMPLES, 0], BATCH["table"][:EXAMPLES], strict=True):
        steep = image.diff(dim=0, append=image[-1:]).abs() + image.diff(dim=1, append=image[:, -1:]).abs()
        found += [steep.unfold(0, 2, 2).unfold(1, 2, 2).sum((2, 3)).flatten(), table.diff(append=table[-1:]).abs()]
    return found


def standardised(weights: Tensor) -> Tensor:
    return (weights - weights.mean()) / weights.std()


def half_edges(model: nn.Module) -> list[Tensor]:
    """Show edges and what the model uses, at the same strength."""
    own = importance("integrated_gradients")(model)
    return [standardised(left.float()) + standardised(right) for left, right in zip(own, edges(model), strict=True)]


def chance(model: nn.Module) -> list[Tensor]:
    """Show something else at every look."""
    return [torch.rand(36) for _ in range(2 * EXAMPLES)]


def alike(model: nn.Module) -> list[Tensor]:
    """Show the lengths of the inputs' entries, which many maps follow."""
    return [values[example].flatten().abs() for example in range(EXAMPLES) for values in BATCH.values()]


@pytest.mark.long
@pytest.mark.parametrize("planted", [edges, half_edges, chance, alike])
def test_explanations_that_do_not_follow_the_model_are_found_out(planted: Explain, net: Net) -> None:
    assert not follows_the_model(planted, net)
