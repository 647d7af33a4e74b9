"""What own answers lose when a modality is swapped, against loops over single examples."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mviz_lightning.functional import design
from mviz_lightning.functional.own_answers import answer_losses, answer_statistics
from mviz_lightning.metrics.own_answers import OwnAnswerLoss, loss_names


def likelihoods(groups: int, size: int) -> Tensor:
    """Return ``(G, g, g)`` values, of (example of the picture, example of the text)."""
    return -torch.rand(groups, size, size, generator=torch.Generator().manual_seed(0)).double()


def slow(grids: Tensor) -> tuple[list[float], list[float]]:
    """Return the nats lost and the retrieval of each group, one example after another."""
    nats, found = [], []
    for grid in grids.tolist():
        size = range(len(grid))
        nats.append(np.mean([grid[j][j] - np.mean([grid[i][j] for i in size if i != j]) for j in size]))
        best = [[i for i in size if grid[i][j] == max(grid[k][j] for k in size)] for j in size]
        found.append(np.mean([(j in best[j]) / len(best[j]) for j in size]))
    return nats, found


@pytest.mark.parametrize("modality", [0, 1])
def test_losses_are_those_of_loops(modality: int) -> None:
    grids, plan = likelihoods(3, 6), design(2, 6)
    grids[0, 1, 2] = grids[0, 2, 2] = grids[0].amax()  # two pictures are equally likely
    whole = grids if modality == 0 else grids.mT
    statistics = answer_statistics(whole[:, plan.tuples[:, 0], plan.tuples[:, 1]].unsqueeze(-1), plan, modality)
    nats, found = slow(grids)
    assert statistics[:, 0].tolist() == pytest.approx(nats)
    assert statistics[:, 1].tolist() == pytest.approx(found)
    losses = answer_losses(statistics.unsqueeze(1))
    assert float(losses.nats) == pytest.approx(np.mean(nats))
    error = np.std(nats, ddof=1) / np.sqrt(3)
    assert float(losses.high - losses.nats) == pytest.approx(4.302653 * error, rel=1e-5)  # t of 2 degrees of freedom


def test_equal_likelihoods_find_their_own_by_chance() -> None:
    plan = design(2, 8)
    statistics = answer_statistics(-torch.ones(2, 64, 1), plan, 0)
    assert statistics.tolist() == [[0, 1 / 8]] * 2


def test_of_three_modalities_each_is_swapped_alone() -> None:
    plan, parts = design(3, 12), torch.rand(3, 2, 12, generator=torch.Generator().manual_seed(0)).double()
    # The picture must fit the text, and the sound changes nothing.
    image, text = plan.tuples[:, 0], plan.tuples[:, 1]
    outputs = -(parts[0][:, image] - parts[0][:, text]).abs().unsqueeze(-1)
    metric = OwnAnswerLoss({0: "image", 2: "sound"}, plan)
    metric.update(outputs[:1])
    metric.update(outputs[1:])
    found = {name: float(value) for name, value in metric.compute().items()}
    assert found["nats/image"] > 0.1
    assert found["retrieval/image"] == 1
    assert found["nats/sound"] == 0
    assert set(found) == set(loss_names(["image", "sound"]))
