"""Gap, alignment, uniformity and effective rank of embeddings, against plain loops and known answers."""

import math

import numpy as np
import pytest
import torch
from helpers.draws import normal
from torch import Tensor

from mviz_lightning.functional import alignment, embedding_rank, modality_gap, uniformity
from mviz_lightning.metrics import Alignment, EmbeddingRank, ModalityGap, Uniformity


def points(embeddings: Tensor) -> list[np.ndarray]:
    return [row / np.linalg.norm(row) for row in embeddings.double().numpy()]


def slow_gap(first: Tensor, second: Tensor) -> float:
    left, right = (sum(points(some)) / len(some) for some in (first, second))
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(left, right, strict=True)))


def slow_alignment(first: Tensor, second: Tensor) -> float:
    pairs = zip(points(first), points(second), strict=True)
    return sum(float(((x - y) ** 2).sum()) for x, y in pairs) / len(first)


def slow_uniformity(embeddings: Tensor) -> float:
    rows = points(embeddings)
    pairs = [(i, j) for i in range(len(rows)) for j in range(i)]
    return math.log(sum(math.exp(-2 * float(((rows[i] - rows[j]) ** 2).sum())) for i, j in pairs) / len(pairs))


def slow_rank(embeddings: Tensor) -> float:
    rows = np.array(points(embeddings))
    centred = rows - rows.mean(0)
    values = [math.sqrt(max(0.0, value)) for value in np.linalg.eigvalsh(centred.T @ centred)]
    shares = [value / sum(values) for value in values]
    return math.exp(-sum(share * math.log(share) for share in shares if share > 0))


@pytest.mark.parametrize("seed", range(3))
def test_the_measures_are_those_of_the_loops(seed: int) -> None:
    first, second = normal(seed, 12, 5) + 0.5, normal(seed + 10, 12, 5)

    assert float(modality_gap(first, second)) == pytest.approx(slow_gap(first, second))
    assert float(alignment(first, second)) == pytest.approx(slow_alignment(first, second))
    assert float(uniformity(first)) == pytest.approx(slow_uniformity(first))
    assert float(embedding_rank(first)) == pytest.approx(slow_rank(first))


def test_metrics_of_parts_are_the_measures_of_the_whole() -> None:
    first, second = normal(1, 12, 5), normal(2, 12, 5)
    for metric, value in ((ModalityGap(), modality_gap), (Alignment(), alignment)):
        for part in (slice(0, 5), slice(5, 12)):
            metric.update(first[part], second[part])
        assert float(metric.compute()) == pytest.approx(float(value(first, second)))
    for alone, of_one in ((Uniformity(), uniformity), (EmbeddingRank(), embedding_rank)):
        for part in (slice(0, 5), slice(5, 12)):
            alone.update(first[part])
        assert float(alone.compute()) == pytest.approx(float(of_one(first)))


def test_points_spread_evenly_over_a_sphere() -> None:
    dimensions = 200
    sphere = normal(0, 400, dimensions)

    assert float(uniformity(sphere)) == pytest.approx(-4, abs=0.05)  # all distances are near the root of 2
    assert float(alignment(sphere, normal(1, 400, dimensions))) == pytest.approx(2, abs=0.02)
    corners = torch.cat([torch.eye(8), -torch.eye(8)])
    assert float(embedding_rank(corners)) == pytest.approx(8)
    assert float(modality_gap(corners, corners)) == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_one_point_up_to_rounding(dtype: torch.dtype) -> None:
    point = normal(0, 1, 16).expand(40, 16).to(dtype)
    shaken = point * (1 + torch.finfo(dtype).eps * normal(1, 40, 1)).to(dtype)

    assert float(uniformity(shaken)) == pytest.approx(0, abs=1e-3)
    assert float(embedding_rank(shaken)) == pytest.approx(1)
    assert float(alignment(point, point)) == 0
    assert float(modality_gap(point, -point)) == pytest.approx(2)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_points_in_a_few_directions(rank: int) -> None:
    ends = torch.eye(16)[:rank]

    assert float(embedding_rank(torch.cat([ends, -ends]).repeat(4, 1))) == pytest.approx(rank)
