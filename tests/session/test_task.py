"""What a model's outputs stand for."""

import pytest
import torch
from torch import Tensor

from mviz_lightning.batch import parse_modalities
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.task import resolve_task

CLASSES = torch.tensor([0, 2, 1, 2])
YES_NO = torch.tensor([0, 1, 1, 0])
LABELS = torch.tensor([[0, 1, 1], [1, 0, 0]])
VALUES = torch.tensor([0.3, -1.2, 4.0])


@pytest.mark.parametrize(
    ("outputs", "target", "task"),
    [
        (3, CLASSES, "multiclass"),
        (3, CLASSES.unsqueeze(1), "multiclass"),
        (2, YES_NO, "multiclass"),
        (2, YES_NO.bool(), "multiclass"),
        (2, YES_NO.float(), "multiclass"),
        (3, CLASSES.float().unsqueeze(1), "multiclass"),
        (3, CLASSES + 1, "multiclass"),
        (1, YES_NO, "binary"),
        (1, YES_NO.bool(), "binary"),
        (1, YES_NO.float().unsqueeze(1), "binary"),
        (3, LABELS, "multilabel"),
        (3, LABELS.float(), "multilabel"),
        (1, VALUES, "regression"),
        (1, CLASSES, "regression"),
        (2, VALUES[:2].expand(4, 2), "regression"),
        (1, None, "regression"),
    ],
)
def test_labels_and_outputs_tell_the_task(outputs: int, target: Tensor | None, task: str) -> None:
    assert resolve_task(None, outputs, target) == task


@pytest.mark.parametrize(
    ("task", "outputs", "target"),
    [
        ("multiclass", 3, CLASSES),
        ("regression", 1, YES_NO),
        ("regression", 3, LABELS),
        ("multilabel", 3, LABELS),
        ("binary", 1, YES_NO),
        ("multiclass", 3, None),
        ("multilabel", 3, None),
    ],
)
def test_a_task_that_is_given_is_taken(task: str, outputs: int, target: Tensor | None) -> None:
    assert resolve_task(task, outputs, target) == task


def test_an_unknown_task_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ConfigurationError, match=r"task='classification': choose one of 'multiclass', 'binary', 'multilabel', 'regr"
    ):
        SessionConfig(parse_modalities(["0", "1"]), task="classification")


def test_several_outputs_without_labels_are_refused_with_what_to_say() -> None:
    with pytest.raises(ConfigurationError, match=r"the model has 4 outputs, and neither .* Pass task=, or target="):
        resolve_task(None, 4, None)


@pytest.mark.parametrize(
    ("task", "outputs", "target", "message"),
    [
        ("multiclass", 4, LABELS, r"needs targets of 1 value\(s\) per example; they have \(3,\)"),
        ("multilabel", 3, CLASSES, r"'multilabel' with 3 outputs needs targets of 3 .* they have one value"),
        ("regression", 2, VALUES, r"needs targets of 2 value\(s\) .* target= with the path of the right leaf"),
        (None, 4, LABELS, r"task='multilabel' with 4 outputs needs targets of 4 .* Pass task= if it was guessed wrong"),
        (None, 3, VALUES, r"task='regression' with 3 outputs needs targets of 3"),
    ],
)
def test_labels_of_another_shape_are_refused(task: str | None, outputs: int, target: Tensor, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        resolve_task(task, outputs, target)


def test_real_values_as_classes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"needs class indices as target; they are torch\.float32"):
        resolve_task("multiclass", 3, VALUES)


@pytest.mark.parametrize(
    ("task", "outputs", "target", "message"),
    [
        ("multiclass", 3, CLASSES * 2, r"needs targets from 0 to 2; found are 0 to 4"),
        ("multiclass", 2, CLASSES + 1, r"needs targets from 0 to 1; found are 1 to 3"),
        ("multiclass", 3, 1 - 2 * LABELS, r"needs targets from 0 up; found are -1 to 1"),
        ("multiclass", 3, CLASSES - 1, r"found are -1 to 1\. Leave unlabelled examples out"),
        (None, 2, CLASSES, r"task='multiclass' with 2 outputs needs targets from 0 to 1; found are 0 to 2"),
        ("binary", 1, CLASSES, r"needs targets from 0 to 1; found are 0 to 2"),
        ("multilabel", 3, LABELS * 2, r"needs targets from 0 to 1; found are 0 to 2"),
    ],
)
def test_labels_out_of_range_are_refused(task: str | None, outputs: int, target: Tensor, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        resolve_task(task, outputs, target)


@pytest.mark.parametrize(
    ("task", "outputs", "target"),
    [("binary", 2, YES_NO), ("binary", 2, None), ("multiclass", 1, None), ("multilabel", 1, YES_NO)],
)
def test_a_task_that_the_outputs_cannot_stand_for_is_refused(task: str, outputs: int, target: Tensor | None) -> None:
    # A binary task has one logit; one class or one label of several cannot be scored.
    with pytest.raises(ConfigurationError, match=rf"task='{task}' with {outputs} output"):
        resolve_task(task, outputs, target)
