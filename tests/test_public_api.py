"""The public names: which there are, that each is in one place, and that no two mean different things."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

import pytest

import mviz_lightning

FOLDER = Path(mviz_lightning.__file__).parent

PUBLIC = {
    "mviz_lightning": {
        "CollapseWarning", "ConfigurationError", "Modality", "MonitorWarning", "MultimodalMonitor", "ShareReport",
        "UnimodalCollapse", "explain",
    },
    "mviz_lightning.actions": {
        "Action", "Alarms", "EncoderLearningRate", "GradientModulation", "ModalityDropout", "SaveCheckpoint",
        "StopTraining",
    },
    "mviz_lightning.batch": {
        "BatchSchema", "JointSegments", "Maskable", "Modalities", "Modality", "Probe", "Reservoir", "Segmentation",
        "Segments", "WordSegments", "parse_modalities", "register",
    },
    "mviz_lightning.functional": {
        # contribution shares
        "Design", "GridDesign", "TupleDesign", "contribution_shares", "decomposable", "design", "half_splits",
        "share_ratios", "split_components", "two_way_components",
        # classes, subgroups and single examples
        "ExampleEffects", "example_effects", "subset_totals", "swap_effects",
        # intervals
        "Deletions", "EMAPScores", "Estimate", "jackknife",
        # single predictions
        "donor_error", "emap", "multimodal_interaction", "unimodal_contribution",
        # measures of other papers
        "CoalitionDesign", "ShapleyValues", "all_coalitions", "coalition_design", "full_coalition_design", "intershap",
        "mm_shap", "modality_shapley", "permutation_gains", "shapley_estimate", "shapley_interactions",
        "shapley_shares",
        # scores and decisions
        "Task", "decision_margins", "emap_gap", "failure_categories", "failure_category_names",
        "graded_accuracy", "label_ranking_average_precision", "perceptual_score", "prediction_flips",
        # attributions of segments
        "Perturbation", "SegmentWeights", "ShapleyMasks", "Surrogate", "draw_masks", "mixed_differences", "pair_masks",
        "perturbation_attribution", "perturbation_masks", "shapley_masks", "shapley_values", "surrogate",
        # features
        "Family", "SparseLinear", "benjamini_hochberg", "classify_features", "effective_rank", "elastic_net",
        "feature_components", "main_effects", "over_represented", "sparse_linear",
        # embeddings of pairs
        "Retrieval", "alignment", "embedding_rank", "group_retrieval", "modality_gap", "uniformity",
        # raw inputs
        "gaussian_kernel", "kernel_ridge_predictions", "standardised_kernel",
    },
    "mviz_lightning.kinds": {
        "Audio", "Graph", "Image", "ModalityType", "Patches", "Pictures", "Regions", "Series", "Sounds", "Tabular",
        "Text", "Video", "blocks", "fill",
    },
    "mviz_lightning.metrics": {
        "Alignment", "ContributionShares", "EMAPGap", "EmbeddingRank", "GradedAccuracy", "GroupRetrieval", "InterSHAP",
        "LabelRankingAveragePrecision", "ModalityGap", "ModalityShapley", "PerceptualScore", "PredictionFlips",
        "Uniformity", "default_score",
    },
    "mviz_lightning.sinks": {
        "FileSink", "LoggerSink", "Sink", "SinkError", "TensorBoardSink", "WandbSink", "register", "sinks_for",
        "unregister",
    },
}  # fmt: skip

EXPLAINERS = {
    "DIME", "CrossModalInteraction", "ErrorAnalysis", "ExampleRanking", "MultimodalPrediction",
    "MultimodalRepresentation",
    "UnimodalImportance",
}  # fmt: skip

TESTING = {"Additive", "MemorySink", "Product"}

METRICS = {
    "Alignment": "alignment",
    "ContributionShares": "contribution_shares",
    "EMAPGap": "emap_gap",
    "EmbeddingRank": "embedding_rank",
    "GradedAccuracy": "graded_accuracy",
    "GroupRetrieval": "group_retrieval",
    "InterSHAP": "intershap",
    "LabelRankingAveragePrecision": "label_ranking_average_precision",
    "ModalityGap": "modality_gap",
    "ModalityShapley": "shapley_shares",
    "PerceptualScore": "perceptual_score",
    "PredictionFlips": "prediction_flips",
    "Uniformity": "uniformity",
}
"""Metric -> the pure function that it mirrors."""

SAME_NAME = {"register"}  # batch.register takes types of batches, sinks.register classes of loggers
"""Names that two modules may share, each with its reason."""


def named(text: str) -> Iterator[str]:
    """Yield the classes, types and functions of a module that have no underscore."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            written = [target.id for target in targets if isinstance(target, ast.Name)]
            yield from (name for name in written if name[0].isupper() and name != name.upper())


def repeated(files: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the names that more than one module defines, with these modules."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, text in files.items():
        for name in dict.fromkeys(named(text)):
            found[name].append(path)
    return {name: paths for name, paths in found.items() if len(paths) > 1}


@pytest.mark.parametrize("module", PUBLIC)
def test_the_public_names_are_these(module: str) -> None:
    room = import_module(module)
    assert set(room.__all__) == PUBLIC[module]
    assert len(room.__all__) == len(PUBLIC[module])
    assert all(hasattr(room, name) for name in room.__all__)


def test_the_explainers_and_the_fakes_are_public() -> None:
    room = import_module("mviz_lightning.explainers")
    assert set(room.__all__) >= EXPLAINERS
    assert all(hasattr(room, name) for name in room.__all__)
    assert set(vars(import_module("mviz_lightning.testing"))) >= TESTING


@pytest.mark.parametrize("module", [*PUBLIC, "mviz_lightning.explainers"])
def test_a_star_import_gives_the_public_names_without_a_warning(module: str) -> None:
    found: dict[str, object] = {}
    exec(f"from {module} import *", found)  # noqa: S102
    assert set(found) - {"__builtins__"} == set(import_module(module).__all__)


def test_every_estimator_is_documented_with_its_shapes() -> None:
    room = import_module("mviz_lightning.functional")
    for name in room.__all__:
        found = getattr(room, name)
        if getattr(found, "__module__", "").startswith("mviz_lightning"):
            text = found.__doc__ or ""
            assert text.partition("\n")[0].endswith((".", ":")), name
            assert "``(" in text or isinstance(found, type) or name in {"design", "failure_category_names"}, name


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_names_the_function_that_has_its_formula(metric: str) -> None:
    functional, metrics = (import_module(f"mviz_lightning.{room}") for room in ("functional", "metrics"))
    assert f"mviz_lightning.functional.{METRICS[metric]}`" in getattr(metrics, metric).__doc__
    assert f"mviz_lightning.metrics.{metric}`" in getattr(functional, METRICS[metric]).__doc__


@pytest.mark.slow
def test_no_name_means_two_things() -> None:
    files = {str(path.relative_to(FOLDER)): path.read_text() for path in sorted(FOLDER.rglob("*.py"))}
    assert {name: paths for name, paths in repeated(files).items() if name not in SAME_NAME} == {}


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"a.py": "class A: ...", "b.py": "def A(): ..."}, ["A"]),
        ({"a.py": "class A: ...", "b.py": "from a import A\nclass _A: ..."}, []),
        ({"a.py": "class A1b: ...", "b.py": "A1b: TypeAlias = int"}, ["A1b"]),
        ({"a.py": "T = TypeVar('T')", "b.py": "T = TypeVar('T')"}, []),
        ({"a.py": "def f(): ...", "b.py": "class B:\n    def f(self): ..."}, []),
    ],
)
def test_a_repeated_name_would_be_found(files: dict[str, str], found: list[str]) -> None:
    assert list(repeated(files)) == found
