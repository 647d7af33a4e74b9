"""Retrieval within groups, against a slow double loop and known answers."""

import numpy as np
import pytest
import torch
from helpers.draws import normal
from torch import Tensor

from mviz_lightning.functional import group_retrieval
from mviz_lightning.functional.retrieval import right_pairs
from mviz_lightning.metrics import GroupRetrieval


def answer(row: list[float]) -> list[float]:
    best = [float(value == max(row)) for value in row]
    return [value / sum(best) for value in best]


def slow(grids: list[np.ndarray], rights: list[np.ndarray]) -> dict[str, float]:
    """Return the values by looking up each example, one after another."""
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for grid, right in zip(grids, rights, strict=True):
        additive = np.array(
            [[grid[i].mean() + grid[:, j].mean() - grid.mean() for j in range(len(grid))] for i in range(len(grid))]
        )
        for name, scores, wanted in (("image", grid, right), ("text", grid.T, right.T)):
            parts = additive if name == "image" else additive.T
            for i in range(len(scores)):
                hit = sum(a for a, ok in zip(answer(list(scores[i])), wanted[i], strict=True) if ok)
                note("score", hit)
                note(
                    "emap_score",
                    sum(a for a, ok in zip(answer(list(parts[i].round(12))), wanted[i], strict=True) if ok),
                )
                for k in range(len(scores)):
                    if k != i:
                        other = answer(list(scores[k]))
                        note(f"lost/{name}", hit - sum(a for a, ok in zip(other, wanted[i], strict=True) if ok))
                        own = answer(list(scores[i]))
                        note(f"changed/{name}", sum((a - b) ** 2 for a, b in zip(own, other, strict=True)))
                        owed = [wanted[n] / wanted[n].sum() for n in (i, k)]
                        note(f"owed/{name}", float(((owed[0] - owed[1]) ** 2).sum()))
    mean = {name: sum(values) / len(values) for name, values in found.items()}
    flips = {f"flips/{name}": mean[f"changed/{name}"] / mean[f"owed/{name}"] for name in ("image", "text")}
    lost = {f"perceptual/{name}": mean[f"lost/{name}"] for name in ("image", "text")}
    return {"score": mean["score"], "emap_score": mean["emap_score"], **lost, **flips}


def measured(scores: Tensor, right: Tensor) -> dict[str, float]:
    metric = GroupRetrieval(["image", "text"])
    for group in range(len(scores)):
        metric.update(scores[group : group + 1], right[group : group + 1])
    return {name: float(value) for name, value in metric.compute().items()}


def own(groups: int, size: int) -> Tensor:
    return torch.eye(size, dtype=torch.bool).expand(groups, size, size)


@pytest.mark.parametrize("seed", range(3))
def test_the_values_are_those_of_the_double_loop(seed: int) -> None:
    captions = torch.tensor([[0, 1, 2, 3, 3], [0, 1, 1, 1, 2]])
    right = right_pairs(torch.arange(5).expand(2, 5), captions)
    scores = normal(seed, 2, 5, 5) + right
    scores[0, 1] = 0.5  # a query with equal scores

    found = measured(scores, right)

    for name, value in slow(list(scores.numpy()), list(right.numpy())).items():
        assert found[name] == pytest.approx(value), name
    assert found["emap_gap"] == pytest.approx(found["score"] - found["emap_score"])


def test_pairs_that_are_all_found() -> None:
    found = measured(torch.eye(8).expand(3, 8, 8) + normal(0, 3, 8, 8) / 10, own(3, 8))

    assert found["score"] == 1
    assert found["emap_score"] == pytest.approx(1 / 8)
    assert found["perceptual/image"] == found["perceptual/text"] == 1
    assert found["flips/image"] == found["flips/text"] == 1


def test_a_constant_tower_finds_nothing() -> None:
    scores = normal(0, 4, 1, 8).expand(4, 8, 8)  # every image has the same embedding

    found = measured(scores, own(4, 8))

    assert found["score"] == pytest.approx(1 / 8)
    assert found["emap_gap"] == pytest.approx(0)
    assert found["perceptual/image"] == pytest.approx(0)
    assert found["flips/image"] == pytest.approx(0)
    assert found["perceptual/text"] == pytest.approx(0)


def test_random_scores_are_at_chance() -> None:
    found = group_retrieval(normal(0, 200, 8, 8), own(200, 8))

    assert float(found.score) == pytest.approx(float(found.chance), abs=0.02)
    assert float(found.chance) == pytest.approx(1 / 8)
    assert float(found.low) < float(found.score - 1 / 8) < float(found.high)
    assert float(found.error) == pytest.approx((1 / 8 * 7 / 8 / 200 / 8) ** 0.5, rel=0.4)


def test_equal_captions_are_right_answers_too() -> None:
    captions = torch.tensor([[0, 1, 2, 2]])
    right = right_pairs(torch.arange(4)[None], captions)
    scores = torch.eye(4)[None].clone()
    scores[0, 2, 3] = scores[0, 3, 2] = 2.0  # each finds the other's caption

    assert float(group_retrieval(scores, own(1, 4)).score) == 0.5
    assert float(group_retrieval(scores, right).score) == 1
    assert float(group_retrieval(scores, right).chance) == pytest.approx((1 + 1 + 2 + 2) / 16)
