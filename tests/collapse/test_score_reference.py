"""What scores are measured against: one constant answer, and the labels themselves."""

from io import BytesIO

import pytest
import torch
from collapse.test_raw_input_proof import normal, probe
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, PearsonCorrCoef, R2Score
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryF1Score,
    MulticlassAccuracy,
    MulticlassAUROC,
    MultilabelAccuracy,
    MultilabelAveragePrecision,
)

from mviz_lightning.collapse.raw_input_proof import RawInputProof, fit_raw_input_proof
from mviz_lightning.collapse.raw_inputs import encoded
from mviz_lightning.collapse.score_reference import ScoreReference, anchors
from mviz_lightning.functional import Task
from mviz_lightning.metrics import GradedAccuracy, LabelRankingAveragePrecision, default_score
from mviz_lightning.session.history import History

NAN, INF = float("nan"), float("inf")

# -- Chance and perfection ---------------------------------------------------------------------------------------------


CLASSES = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
LABELS = torch.tensor([0, 1, 1, 1, 1, 1, 1, 1, 1, 1])
SEVERAL = torch.tensor([[0, 1, 1], [0, 1, 0], [0, 1, 1], [1, 1, 0]])
SOFT = torch.tensor([[0.3, 1.0, 0.0], [0.0, 0.6, 0.9], [0.0, 0.0, 0.3]])
VALUES = torch.tensor([1.0, 2.0, 3.0, 6.0])


@pytest.mark.parametrize(
    ("score", "task", "target", "outputs", "chance", "perfect"),
    [
        (MulticlassAccuracy(3, average="micro"), "multiclass", CLASSES, 3, 0.5, 1),
        (MulticlassAccuracy(3, average="macro"), "multiclass", CLASSES, 3, 1 / 3, 1),
        (MulticlassAccuracy(4, average="micro"), "multiclass", CLASSES, 4, 0.5, 1),  # a class that is not there
        (MulticlassAUROC(3), "multiclass", CLASSES, 3, 0.5, 1),
        (BinaryAccuracy(), "binary", LABELS, 1, 0.9, 1),
        (BinaryAccuracy(), "binary", 1 - LABELS, 1, 0.9, 1),
        (BinaryAccuracy(), "binary", torch.tensor([0, 1, 0, 1]), 1, 0.5, 1),
        (BinaryAUROC(), "binary", LABELS, 1, 0.5, 1),
        (BinaryF1Score(), "binary", 1 - LABELS, 1, 0, 1),
        (MultilabelAccuracy(3, average="micro"), "multilabel", SEVERAL, 3, 9 / 12, 1),
        (LabelRankingAveragePrecision(), "multilabel", SEVERAL, 3, (3 + 5 / 6) / 4, 1),
        (LabelRankingAveragePrecision(), "multilabel", torch.eye(2).long().repeat(5, 1), 2, 0.75, 1),  # in some order
        (GradedAccuracy(), "multilabel", SOFT, 3, (1 + 0.6 + 0) / 3, (1 + 0.9 + 0.3) / 3),
        (GradedAccuracy(), "multiclass", SOFT, 3, (1 + 0.6 + 0) / 3, (1 + 0.9 + 0.3) / 3),
        (GradedAccuracy(), "binary", torch.tensor([0.9, 0.8, 0.1]), 1, (0.9 + 0.8 + 0.1) / 3, (0.9 + 0.8 + 0.9) / 3),
        (MultilabelAveragePrecision(3), "multilabel", SEVERAL, 3, (0.25 + 1 + 0.5) / 3, 1),
        (R2Score(), "regression", VALUES, 1, 0, 1),
        (R2Score(), "regression", torch.stack([VALUES, -VALUES.square()], 1), 2, 0, 1),
        (MeanSquaredError(), "regression", VALUES, 1, 3.5, 0),
        (MeanSquaredError(squared=False), "regression", VALUES, 1, 3.5**0.5, 0),
    ],
)
def test_chance_is_one_answer_for_all_and_perfection_the_labels(
    score: Metric, task: Task, target: Tensor, outputs: int, chance: float, perfect: float
) -> None:
    found = anchors(score, task, target, outputs)

    assert (found.chance, found.perfect) == (pytest.approx(chance, abs=1e-6), pytest.approx(perfect, abs=1e-6))
    assert (type(found.chance), type(found.perfect), found.alone) == (float, float, None)
    assert found.skill(found.chance) == 0
    assert found.skill(found.perfect) == 1


@pytest.mark.parametrize(("score", "chance"), [(MeanSquaredError(), 3.5), (MeanAbsoluteError(), 1.5)])
def test_errors_of_several_values_have_a_chance_too(score: Metric, chance: float) -> None:
    assert anchors(score, "regression", torch.stack([VALUES, VALUES], 1), 2).chance == pytest.approx(chance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.int64])
def test_values_of_every_type_have_a_chance(dtype: torch.dtype) -> None:
    found = anchors(R2Score(), "regression", VALUES.to(dtype), 1)

    assert found.skill(0.5) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("task", "target", "outputs"),
    [
        ("multiclass", torch.full((20,), 2), 3),
        ("binary", torch.zeros(20, dtype=torch.long), 1),
        ("multilabel", torch.ones(20, 2, dtype=torch.long), 2),
        ("regression", torch.full((20,), 0.1), 1),
    ],
)
def test_where_all_labels_are_the_same_no_skill_can_be_told(task: Task, target: Tensor, outputs: int) -> None:
    found = anchors(default_score(task, outputs), task, target, outputs)

    assert found.skill(0.5) is None


def test_no_skill_is_told_by_the_rounding_of_a_constants_mean() -> None:
    for constant in torch.linspace(-1, 1, 50, dtype=torch.float64):
        target = constant.repeat(49)
        assert anchors(MeanSquaredError(), "regression", target, 1).skill(0.5) is None


@pytest.mark.filterwarnings("ignore:No (positive|negative) samples:UserWarning")
def test_a_curve_of_one_class_tells_nothing() -> None:
    assert anchors(BinaryAUROC(), "binary", torch.zeros(20, dtype=torch.long), 1).skill(0.5) is None


@pytest.mark.filterwarnings("ignore:The variance of predictions:UserWarning")
def test_a_correlation_with_a_constant_is_0() -> None:
    found = anchors(PearsonCorrCoef(), "regression", VALUES.double(), 1)

    assert found.chance == 0
    assert found.perfect == pytest.approx(1)
    assert found.skill(0.5) == pytest.approx(0.5)


class Odd(Metric):
    """Refuses answers that are all the same, or gives something that is no single number."""

    def __init__(self, value: object = None) -> None:
        super().__init__()
        self.value = value

    def update(self, predicted: Tensor, target: Tensor) -> None:
        if self.value is None and bool((predicted == predicted[0]).all()):
            raise RuntimeError("all the same")

    def compute(self) -> Tensor:
        return torch.tensor(1.0 if self.value is None else self.value)


def test_a_score_that_refuses_a_constant_has_no_chance() -> None:
    found = anchors(Odd(), "regression", VALUES, 1)

    assert (found.chance, found.perfect, found.skill(0.5)) == (None, 1, None)


@pytest.mark.parametrize("value", [NAN, INF, -INF, [1.0, 2.0], []])
def test_a_score_that_is_no_single_number_tells_nothing(value: object) -> None:
    assert anchors(Odd(value), "regression", VALUES, 1) == ScoreReference()


def test_the_score_that_is_given_is_left_as_it_was() -> None:
    score = MulticlassAccuracy(3)
    score.update(torch.eye(3), torch.tensor([0, 1, 1]))
    before = score.compute()
    anchors(score, "multiclass", CLASSES, 3)

    assert torch.equal(score.compute(), before)
    assert score.sync_on_compute


@pytest.mark.parametrize(
    ("task", "target", "outputs", "expected"),
    [
        ("multiclass", torch.tensor([2, 0]), 3, [[0, 0, 1], [1, 0, 0]]),
        ("multiclass", torch.tensor([[2], [0]]), 3, [[0, 0, 1], [1, 0, 0]]),
        ("binary", torch.tensor([1, 0]), 1, [[1], [0]]),
        ("multiclass", torch.tensor([[0.5, 0.25], [0, 2]]), 2, [[0.5, 0.25], [0, 2]]),
        ("multilabel", torch.tensor([[1, 0], [1, 1]]), 2, [[1, 0], [1, 1]]),
        ("regression", torch.tensor([0.5, 2.0]), 1, [[0.5], [2]]),
        ("regression", torch.tensor([[[0.5], [1.0]]]), 2, [[0.5, 1]]),
    ],
)
def test_labels_are_the_outputs_of_who_knows_them(
    task: Task, target: Tensor, outputs: int, expected: list[list[float]]
) -> None:
    found = encoded(target, task, outputs)

    assert found.dtype == torch.float64
    assert found.tolist() == expected


# -- Checkpoints -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "score_reference",
    [
        ScoreReference(),
        ScoreReference(0.25, 1.0),
        ScoreReference(2.0, 0.0, {}),
        ScoreReference(None, 1.0, {"image": RawInputProof(0.3, 0.01, 64), "text": RawInputProof(-0.1, 0.02, 64)}),
    ],
)
def test_a_yardstick_survives_a_checkpoint_of_plain_types(score_reference: ScoreReference) -> None:
    file = BytesIO()
    torch.save(score_reference.state(), file)
    file.seek(0)

    assert ScoreReference.load(torch.load(file, weights_only=True)) == score_reference


def test_so_does_one_that_was_measured_with_its_history() -> None:
    data = probe({"text": normal(0, 40, 3)})
    found = anchors(R2Score(), "regression", data.leaves["text"][:, 0], 1)
    history = History(["text"])
    proof = fit_raw_input_proof(data, data.leaves["text"][:, 0], "regression", 1)
    history.measure_against({"": ScoreReference(found.chance, found.perfect, proof)})
    file = BytesIO()
    torch.save(history.state(), file)
    file.seek(0)
    loaded = History(["text"])
    loaded.load(torch.load(file, weights_only=True))

    assert loaded.score_reference == history.score_reference


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5))
def test_skill_is_a_number_or_none(chance: float, perfect: float, score: float) -> None:
    found = ScoreReference(chance, perfect).skill(score)

    assert (found is None) == (chance == perfect)
