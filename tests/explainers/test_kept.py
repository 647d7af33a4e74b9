"""Lines that keep what methods find: the shape of each method, and what is kept of a method of the user's own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from mviz_lightning.explainers import Explainer, Request, Result
from mviz_lightning.explainers.cross_modal_interaction.kept import interaction_lines
from mviz_lightning.explainers.cross_modal_interaction.result import (
    CrossModalResult,
    ExampleInteractions,
    OutputInteractions,
    PairInteraction,
)
from mviz_lightning.explainers.error_analysis.kept import error_lines
from mviz_lightning.explainers.error_analysis.result import Case, ClassErrors, ErrorResult
from mviz_lightning.explainers.example_ranking.kept import KEPT, ranking_lines
from mviz_lightning.explainers.example_ranking.result import RankedExample, RankingResult
from mviz_lightning.explainers.kept import MOST_NUMBERS, KeepingContext
from mviz_lightning.explainers.multimodal_prediction.kept import prediction_lines
from mviz_lightning.explainers.multimodal_prediction.result import (
    ExampleFeatures,
    FeatureEffect,
    PredictionResult,
    ReferenceExample,
)
from mviz_lightning.explainers.multimodal_representation.concepts import Concept, Trait
from mviz_lightning.explainers.multimodal_representation.kept import feature_lines
from mviz_lightning.explainers.multimodal_representation.result import ActivatingExample, Feature, Representation
from mviz_lightning.explainers.position_effects.kept import position_lines
from mviz_lightning.explainers.position_effects.result import PositionEffectsResult, PositionMaps
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.sinks.plain import plain_data
from mviz_lightning.sinks.records import PredictionRecord

CLASSES = ("cat", "dog", "owl")
SHOWN = (3, 30, 1, 2, 0.75)
"""Example, position, prediction, target and probability."""


def context(task: Any = "multiclass", **settings: Any) -> KeepingContext:
    return KeepingContext(Labels(task, CLASSES), lambda one: f"id {one.position}", **settings)


def plain(lines: Any) -> list[dict[str, Any]]:
    """Return lines as a file holds them."""
    found: list[dict[str, Any]] = json.loads(json.dumps([plain_data(line, 6) for line in lines], allow_nan=False))
    return found


EXAMPLE = {
    "example": "id 30",
    "predicted": 1,
    "predicted_name": "dog",
    "target": 2,
    "target_name": "owl",
    "probability": 0.75,
}


def test_pairs_have_a_row_for_each_segment_of_the_first_modality():
    weights = torch.tensor([[0.5, -0.25], [0.0, 1.0], [2.0, 0.125]])
    pair = PairInteraction("image", "text", weights, "joint masks", 4, floor=1e-7)
    result = CrossModalResult(examples=[ExampleInteractions(*SHOWN, [OutputInteractions(2, "true", 1.5, [pair])])])
    (line,) = plain(interaction_lines(result, context()))
    assert line == {
        "result": "cross_modal",
        **EXAMPLE,
        "output": 2,
        "output_name": "owl",
        "role": "true",
        "value": 1.5,
        "pairs": [
            {
                "first": "image",
                "second": "text",
                "weights": weights.tolist(),
                "method": "joint masks",
                "corners": 4,
                "reason": "",
                "floor": 1e-07,
            }
        ],
    }


def test_errors_have_a_line_of_counts_and_one_of_each_case():
    counts = {"right": 3, "rescued": 1}
    case = Case(
        *SHOWN, alone=0, output=2, value=0.5, unimodal=0.75, interaction=-0.25, error=0.1, category="misled", loss=2.0
    )
    result = ErrorResult(
        counts=counts, classes=[ClassErrors(1, counts)], worst=[case], rescued=[], history=[(0, 9, counts)]
    )
    told, line = plain(error_lines(result, context()))
    assert told == {
        "result": "errors",
        "counts": counts,
        "classes": [{"index": 1, "counts": counts, "between": None, "name": "dog"}],
        "history": [[0, 9, counts]],
    }
    expected = {
        "output": 2,
        "output_name": "owl",
        "alone": 0,
        "alone_name": "cat",
        "value": 0.5,
        "uc": 0.75,
        "mi": -0.25,
    }
    expected |= {"error": 0.1, "category": "misled", "loss": 2.0, "result": "errors", "list": "worst"}
    assert line == EXAMPLE | expected


def test_quarters_of_values_are_named_by_their_bounds():
    quarter = ClassErrors(0, {}, (0.5, 1.25))
    result = ErrorResult(counts={}, classes=[quarter], worst=[], rescued=[], history=[])
    (told,) = plain(error_lines(result, context("regression")))
    assert told["classes"][0]["name"] == "0.5 to 1.25"


def test_the_sparse_model_names_its_outputs_and_the_examples_of_its_features():
    shown = ExampleFeatures(*SHOWN, 1, [FeatureEffect(7, 0.5, -2.0)], agrees=True)
    result = PredictionResult(
        features=9, constant=1, penalty=0.01, held_out=20, non_zero={1: 1}, weights=[(7, 1, 0.5)], examples=[shown],
        activating={7: [ReferenceExample(4, 40, 0)]},
    )  # fmt: skip
    told, line = plain(prediction_lines(result, context()))
    assert (told["weights"], told["outputs"], told["activating"]) == ([[7, 1, 0.5]], {"1": "dog"}, {"7": ["id 40"]})
    assert line["effects"] == [{"feature": 7, "weight": 0.5, "activation": -2.0, "effect": -1.0}]
    assert (line["output_name"], line["agrees"]) == ("dog", True)


def representation() -> Representation:
    traits = (Trait("word", "text", "purring"), Trait("class", "label", 2))
    concepts = [Concept(trait, 3, 4, 5, 60, 0.01) for trait in traits]
    strongest = [ActivatingExample(3, 30, 2.5, 2)]
    feature = Feature(
        1, 2, [0.1, 0.2, 0.7], [0.0] * 3, [1.0] * 3, 0.5, strongest, concepts, 0.5, {"text": torch.ones(2)}
    )
    return Representation(
        modalities=["image", "text"], kinds=torch.tensor([0, 2, -1]), shares=torch.eye(3), total=60, shown=[feature]
    )


def test_features_are_counted_by_what_they_follow():
    told, line = plain(feature_lines(representation(), context()))
    assert told["counts"] == {"image": 1, "text": 0, "multimodal": 1, "constant": 1}
    assert told["all_kinds"] == ["image", "multimodal", "constant"]
    assert (line["feature"], line["kind"], line["parts"]) == (1, "multimodal", {"text": [1.0, 1.0]})
    assert line["examples"] == [{"example": "id 30", "activation": 2.5, "target_name": "owl"}]
    assert [(one["kind"], one["name"]) for one in line["concepts"]] == [("word", "purring"), ("class", "owl")]


def test_hidden_inputs_hide_words_but_not_classes():
    _, line = plain(feature_lines(representation(), context(show_inputs=False)))
    assert [one["name"] for one in line["concepts"]] == ["owl"]


def test_the_surest_examples_of_each_driver_are_kept():
    drivers = ["image only", "text only", "interaction", "mixed"]
    ranked = [
        RankedExample(k, k, 0, 0, 0.5, 0, 1.0, {"image": 1.0}, {"image": 0.1}, 0.0, 0.1, drivers[k % 2], 50.0 - k)
        for k in range(50)
    ]
    lines = plain(ranking_lines(RankingResult(ranked=ranked, drivers=drivers), context()))
    assert [line["driver"] for line in lines] == ["image only"] * KEPT + ["text only"] * KEPT
    assert lines[0]["sureness"] == 50.0
    assert lines[KEPT]["sureness"] == 49.0


def test_maps_of_positions_are_flat_in_the_shape_of_the_lattice():
    effects = torch.arange(12.0).view(2, 2, 3)
    shown = PositionMaps(*SHOWN, effects, torch.tensor([[0, 1, 2], [-100, 0, 1]]), None)
    (line,) = plain(position_lines(PositionEffectsResult(effects=[shown], modalities=["image", "depth"]), context()))
    assert (line["shape"], line["modalities"]) == ([2, 3], ["image", "depth"])
    assert line["effects"] == effects.flatten(1).tolist()
    assert (line["labels"], line["decisions"]) == ([0, 1, 2, -100, 0, 1], None)


@dataclass(frozen=True, kw_only=True)
class OwnResult(Result):
    """What a method of the user's own finds."""

    map: Tensor
    table: Mapping[str, Sequence[float]]
    words: str = "purring"
    _hidden: int = 3


class Own(Explainer):
    name = "own"

    def plan(self, probe_context: Any, examples: Any) -> Request:
        return Request()

    def explain(self, probe_context: Any, examples: Any, responses: Any) -> Result:
        raise NotImplementedError

    def draw(self, result: Any, drawing: Any, when: str) -> Any:
        return []


def own(size: int = 4) -> OwnResult:
    shown = [PredictionRecord(*SHOWN)]
    return OwnResult(values={"mean": 1.0}, memory={"runs": 1}, examples=shown, map=torch.ones(size), table={"a": [0.5]})


def test_all_fields_of_a_method_of_ones_own_are_kept():
    (line,) = plain(Own().kept(own(), context()))
    assert line == {
        "result": "other",
        "example": None,
        "fields": {"map": [1.0] * 4, "table": {"a": [0.5]}, "words": "purring"},
        "examples": [EXAMPLE],
    }


def test_a_method_of_ones_own_keeps_no_fields_where_inputs_are_hidden():
    (line,) = plain(Own().kept(own(), context(show_inputs=False)))
    assert (line["fields"], line["examples"]) == ({}, [EXAMPLE])


def test_a_huge_array_of_a_method_of_ones_own_is_named_by_its_shape():
    (line,) = plain(Own().kept(own(MOST_NUMBERS + 1), context()))
    assert line["fields"]["map"] == f"{MOST_NUMBERS + 1} numbers ({MOST_NUMBERS + 1},)"


@pytest.mark.parametrize(
    ("task", "predicted", "name"), [("multilabel", [0, 2], "cat, owl"), ("regression", 0.12345, "0.1235")]
)
def test_predictions_of_any_task_have_a_name(task, predicted, name):
    found = context(task).example(PredictionRecord(3, 30, predicted, None, None))
    assert (found["predicted_name"], found["target_name"], found["probability"]) == (name, None, None)
