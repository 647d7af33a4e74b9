"""Explanations of modalities with several content leaves, and what they say of leaves that are never masked."""

from itertools import product
from typing import Any

import pytest
import torch
from helpers.batches import OnBatch, call_forward, floats, integers, seeded
from helpers.pictured import pictured
from torch import Tensor, nn
from torch.testing import assert_close

from mviz_lightning import Modality, explain
from mviz_lightning.batch import parse_modalities
from mviz_lightning.explainers import DIME, CrossModalInteraction, Explainer, UnimodalImportance
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session
from mviz_lightning.sinks.records import Table

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


class Encoders(nn.Module):
    """An encoder for each leaf, which runs once for each distinct input."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.cont, self.cat = nn.Linear(4, 3), nn.Linear(5, 3), nn.Embedding(4, 3)

    def forward(self, batch: Any) -> Tensor:
        table = self.cont(batch["cont"]).tanh() + self.cat(batch["cat"]).sum(1)
        return (table * self.image(batch["image"])).sum(1, keepdim=True)


def test_explanations_are_the_same_where_encodings_are_reused() -> None:
    found = [
        reported(DIME(num_examples=2), UnimodalImportance(num_examples=2), model=seeded(Encoders), reuse=reuse).results
        for reuse in (True, False)
    ]
    for reused, plain in zip(found[0]["dime"].examples, found[1]["dime"].examples, strict=True):
        left, right = reused.outputs[0].parts["table"], plain.outputs[0].parts["table"]
        assert_close(left.unimodal, right.unimodal, atol=1e-4, rtol=1e-4)
        assert_close(left.interaction, right.interaction, atol=1e-4, rtol=1e-4)
        assert left.unimodal[5:].abs().max() > 0.01
    for reused, plain in zip(found[0]["importance"].examples, found[1]["importance"].examples, strict=True):
        left, right = reused.outputs[0].parts["table"], plain.outputs[0].parts["table"]
        assert_close(left.weights, right.weights, atol=1e-4, rtol=1e-4)


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


TOKENS = {
    "image": floats(COUNT, 4),
    "ids": integers(19, COUNT, 6, seed=1) + 1,
    "types": integers(2, COUNT, 6, seed=2),
    "places": torch.arange(6).expand(COUNT, 6).clone(),
    "y": floats(COUNT, seed=3),
}
TYPED = {"image": "image", "text": ["ids", "types", "places"]}


class Typed(nn.Module):
    """Reads words and, by ``gate``, their types; positions are the same in all examples."""

    def __init__(self, gate: float = 1.0) -> None:
        super().__init__()
        self.words, self.places = floats(20, seed=6), floats(6, seed=7)
        self.gate = nn.Parameter(torch.tensor(gate))

    def forward(self, batch: Any) -> Tensor:
        text = self.words[batch["ids"]] + self.places[batch["places"]] + self.gate * batch["types"]
        return (batch["image"].sum(1) + text.sum(1))[:, None]


SAID = "The parts of text are those of ids; types also changes the output and is never masked."
LINE = "the segments of text are those of ids; types also changes the output and is never masked"
EXPLAINERS: list[Explainer] = [
    DIME(num_examples=2),
    UnimodalImportance(method="occlusion", num_examples=2),
    CrossModalInteraction(num_examples=2),
]


def told(report: Any, explainer: Explainer) -> tuple[list[str], list[str]]:
    """Return what each of a method's pictures says, and the cells of its table."""
    records, lines = pictured(explainer, report.results[explainer.name], report._drawing)
    (table,) = (record for record in records.values() if isinstance(record, Table))
    cells = [cell for row in table.rows for cell in row if isinstance(cell, str)]
    return [" ".join(found) for found in lines.values()], cells


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=lambda one: type(one).__name__)
def test_pictures_and_tables_name_a_leaf_that_is_never_masked(explainer: Explainer) -> None:
    report = reported(explainer, model=Typed(), batch=TOKENS, modalities=TYPED)
    pictures, cells = told(report, explainer)
    assert len(pictures) == 2
    assert all(SAID in picture for picture in pictures)
    assert any("text (never masked: types)" in cell for cell in cells)
    assert report.notes.count(LINE) == 1
    assert "places" not in report.notes


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=lambda one: type(one).__name__)
def test_nothing_is_said_of_leaves_that_change_nothing(explainer: Explainer) -> None:
    report = reported(explainer, model=Typed(0.0), batch=TOKENS, modalities=TYPED)
    pictures, cells = told(report, explainer)
    assert "never masked" not in "".join([*pictures, *cells, report.notes])


def test_a_leaf_that_matters_only_after_the_training_is_named_then() -> None:
    module, settings = Typed(0.0), {"target": "y", "task": "regression", "num_examples": 32, "group_size": 8}
    explainers = [DIME(num_examples=1)]
    config = SessionConfig(modalities=parse_modalities(TYPED), predict=call_forward, explainers=explainers, **settings)
    found = Session(config)
    found.collect(TOKENS, range)
    found.dry_run(module)
    found.complete()
    found.run()
    assert found.unmasked == {}
    module.gate.data.fill_(1.0)
    found.run()
    assert found.unmasked == {"text": ("types",)}
    found.run()
    assert "\n".join(found.remarks.pop_lines()).count(LINE) == 1


def test_swapping_never_asks_a_model_for_what_it_cannot_do() -> None:
    # The second leaf holds indices into the first: only examples of one length exchange it, and errors show nothing.
    def picked(batch: Any) -> Tensor:
        assert (batch["index"] < (batch["nodes"] != 0).sum(1)).all()
        return (batch["image"].sum(1) + batch["nodes"].gather(1, batch["index"][:, None])[:, 0])[:, None]

    lengths = 1 + torch.arange(COUNT) % 6
    nodes = (floats(COUNT, 6, seed=1).abs() + 1) * (torch.arange(6) < lengths[:, None])
    batch = {"image": floats(COUNT, 4), "nodes": nodes, "index": lengths - 1, "y": floats(COUNT, seed=3)}
    modalities = {"image": "image", "graph": Modality("nodes", companions=["index"], kind="series", max_segments=6)}
    report = reported(DIME(num_examples=1), model=picked, batch=batch, modalities=modalities)
    assert "never masked" not in report.notes


def test_reasons_without_derivatives_name_the_leaves() -> None:
    report = reported(UnimodalImportance(num_examples=1), CrossModalInteraction(num_examples=1, method="second_order"))
    reason = "its parts lie in cont and cat, and derivatives need a single leaf"
    part = report.results["importance"].examples[0].outputs[0].parts["table"]
    assert (part.method, part.reason) == ("occlusion", reason)
    (pair,) = report.results["cross_modal"].examples[0].outputs[0].pairs
    assert (pair.method, pair.reason) == ("difference", reason)
