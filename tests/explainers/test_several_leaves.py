"""Explanations of modalities with several content leaves, and what they say of leaves that are never masked."""

from itertools import product
from typing import Any

import pytest
import torch
from helpers.batches import OnBatch, call_forward, floats, integers
from torch import Tensor, nn
from torch.testing import assert_close

from mviz_lightning import explain
from mviz_lightning.explainers import DIME, CrossModalInteraction, Explainer, UnimodalImportance

COUNT = 64
WEIGHTS = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0])
EFFECTS = floats(4, 3, seed=5)
BATCH = {
    "image": floats(COUNT, 4),
    "cont": floats(COUNT, 5, seed=1),
    "cat": integers(4, COUNT, 3, seed=2),
    "y": floats(COUNT, seed=3),
}


def additive(batch: Any) -> Tensor:
    table = batch["cont"] @ WEIGHTS + EFFECTS.gather(0, batch["cat"]).sum(1)
    return (batch["image"].sum(1) + table)[:, None]


def truth(example: int) -> Tensor:
    """Return what each column of the table adds to the output, against its baseline."""
    common = torch.stack([column.bincount().argmax() for column in BATCH["cat"].T])
    columns = [float(WEIGHTS[k] * (BATCH["cont"][example, k] - BATCH["cont"][:, k].mean())) for k in range(5)]
    columns += [float(EFFECTS[BATCH["cat"][example, k], k] - EFFECTS[common[k], k]) for k in range(3)]
    return torch.tensor(columns, dtype=torch.float64)


TABLE = {"image": "image", "table": ["cont", "cat"]}


def reported(
    *explainers: Explainer, model: Any = additive, batch: Any = BATCH, modalities: Any = TABLE, **settings: Any
) -> Any:
    given = {"target": "y", "task": "regression", "num_examples": COUNT, "group_size": 8} | settings
    module = model if isinstance(model, nn.Module) else OnBatch(lambda _, rows: model(rows))
    return explain(module, [batch], modalities=modalities, predict=call_forward, explainers=explainers, **given)


def by_lime(columns: Tensor) -> Tensor:
    """Return LIME's weights for columns that add up, from all 256 masks: least squares with a row for each penalty."""
    masks = torch.tensor(list(product([1.0, 0.0], repeat=8)), dtype=torch.float64)
    near = torch.exp(-((1 - masks.mean(1).sqrt()) ** 2) / (2 * 0.25**2)).sqrt()[:, None]
    rows = torch.cat([near * torch.cat([masks, torch.ones(256, 1)], 1), torch.eye(9, dtype=torch.float64)[:8]])
    wanted = torch.cat([near * (masks @ columns)[:, None], torch.zeros(8, 1, dtype=torch.float64)])
    return torch.linalg.lstsq(rows, wanted).solution[:8, 0]


def test_the_unimodal_contribution_of_each_column_is_what_it_adds() -> None:
    for found in reported(DIME(masks=256, num_examples=3)).results["dime"].examples:
        part = found.outputs[0].parts["table"]
        assert_close(part.unimodal, by_lime(truth(found.position)), atol=1e-4, rtol=1e-4)
        assert_close(part.unimodal, truth(found.position), atol=0.25, rtol=0.05)
        assert part.interaction.abs().max() < 1e-5


@pytest.mark.parametrize("method", ["occlusion", "shap", "lime", "integrated_gradients", "gradient"])
def test_every_method_of_importance_finds_what_each_column_adds(method: Any) -> None:
    report = reported(UnimodalImportance(method=method, samples=256, num_examples=3, num_totals=4))
    for found in report.results["importance"].examples:
        part, columns = found.outputs[0].parts["table"], truth(found.position)
        assert_close(part.weights, by_lime(columns) if method == "lime" else columns, atol=1e-4, rtol=1e-4)
        assert part.change == pytest.approx(float(columns.sum()), abs=1e-4)


def gated(batch: Any) -> Tensor:
    """A column of the image acts together with one of either leaf of the table."""
    return (batch["image"][:, 0] * (2 * batch["cont"][:, 1] + (batch["cat"][:, 2] == 3)))[:, None]


@pytest.mark.parametrize("method", ["difference", "second_order"])
def test_cross_modal_interactions_of_columns_in_either_leaf(method: Any) -> None:
    report = reported(CrossModalInteraction(method=method, num_examples=3, corners=1), model=gated)
    common = int(BATCH["cat"][:, 2].bincount().argmax())
    for found in report.results["cross_modal"].examples:
        (pair,) = found.outputs[0].pairs
        place, expected = found.position, torch.zeros(4, 8, dtype=torch.float64)
        image = float(BATCH["image"][place, 0] - BATCH["image"][:, 0].mean())
        expected[0, 1] = 2 * image * float(BATCH["cont"][place, 1] - BATCH["cont"][:, 1].mean())
        expected[0, 7] = image * (float(BATCH["cat"][place, 2] == 3) - float(common == 3))
        assert_close(pair.weights, expected, atol=1e-4, rtol=1e-4)
