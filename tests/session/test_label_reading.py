"""Labels of every form are read as one form: against models and labels that are known."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.batches import LateFusion, floats, integers, seeded
from session.test_example_selection import on_ranks
from session.test_targets import COUNT, batch, report, without_costs
from sklearn.metrics import label_ranking_average_precision_score
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MultilabelF1Score

from mviz_lightning.batch import parse_modalities
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers import ErrorAnalysis
from mviz_lightning.functional.targets import decided, graded, labelled, one_each, standard_form
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.label_reading import LabelReader
from mviz_lightning.session.session import Session
from mviz_lightning.session.task import default_scoring, resolve_task

CLASSES = integers(3, COUNT, seed=4)
NAMES = ["bird", "cat", "dog"]
VQA = torch.tensor([[0.3, 1.0, 0.0], [0.0, 0.6, 0.9], [0.0, 0.0, 0.3], [0.0, 0.0, 0.0]])
ONE_HOT = functional.one_hot(torch.tensor([2, 0, 1, 0]), 3)


def said(target: Any, caplog: Any, **options: Any) -> list[str]:
    with caplog.at_level(logging.INFO):
        report(target, **options)
    return [record.message.removeprefix("MultimodalMonitor: ") for record in caplog.records]


# -- Class indices -----------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    "target",
    [
        CLASSES.float(),
        CLASSES.double().unsqueeze(1),
        CLASSES + 1,
        (CLASSES + 1).float(),
        CLASSES.tolist(),
        [NAMES[index] for index in CLASSES],
        tuple(NAMES[index] for index in CLASSES),
        [str(index) for index in CLASSES.tolist()],
        0.9 * functional.one_hot(CLASSES, 3) + 0.1 / 3,
        (0.9 * functional.one_hot(CLASSES, 3) + 0.1 / 3).bfloat16(),
    ],
    ids=["floats", "column", "from one", "floats from one", "list", "strings", "tuple", "digits", "smoothed", "bf16"],
)
def test_labels_of_every_form_give_what_class_indices_give(target: Any) -> None:
    stages = [ErrorAnalysis(num_examples=3)]
    options: dict[str, Any] = {"num_examples": COUNT, "explainers": stages}
    expected, found = report(CLASSES, **options), report(target, **options)

    assert without_costs(found.values) == pytest.approx(without_costs(expected.values), abs=0.03)  # other groups
    assert found.values["score"] == expected.values["score"]
    cases = [report_.results["errors"].worst for report_ in (found, expected)]  # type: ignore[attr-defined]
    assert {type(case.target) for case in cases[0]} == {int}
    known = dict(enumerate(CLASSES.tolist()))
    assert all(case.target == known[case.position] for case in cases[0])


@pytest.mark.long
@pytest.mark.parametrize(
    ("target", "line"),
    [
        (CLASSES + 1, "the labels 1 to 3 are read as classes 0 to 2"),
        (
            [NAMES[index] for index in CLASSES],
            "the labels ('labels') are strings and are read as classes in sorted order: 0 = 'bird', 1 = 'cat', 2 = 'd",
        ),
        ([str(index) for index in CLASSES.tolist()], "the labels ('labels') are strings and are read as the numbers"),
    ],
)
@pytest.mark.parametrize("task", [None, "multiclass"])
def test_how_labels_are_read_is_said(target: Any, line: str, task: Any, caplog: Any) -> None:
    assert next(text for text in said(target, caplog, task=task) if text.startswith("the labels")).startswith(line)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 3, 2, 3], [0, 2, 1, 2]),
        ([1, 3, -100, 3], [0, 2, -100, 2]),
        ([1, 2, 1, 2], [1, 2, 1, 2]),  # 3 does not occur
        ([0, 2, 1, 2], [0, 2, 1, 2]),
    ],
)
def test_labels_are_shifted_only_where_that_is_certain(labels: list[int], expected: list[int]) -> None:
    assert standard_form(torch.tensor(labels), "multiclass", 3).tolist() == expected


def test_the_order_of_class_names_is_that_of_labels_that_are_strings() -> None:
    order = ["dog", "bird", "cat"]
    expected = report(CLASSES, num_examples=COUNT).values["score"]
    found = report([order[index] for index in CLASSES], class_names=order, num_examples=COUNT)

    assert found.values["score"] == expected


def test_strings_of_too_few_classes_are_refused_with_what_to_pass() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"target='labels' holds 2 different strings \('bird', 'cat'\), and the model has 3 output.* class_names=",
    ):
        report([NAMES[index] for index in CLASSES.clamp(max=1)])


def test_two_strings_are_the_classes_of_one_output() -> None:
    module = seeded(lambda: LateFusion(outputs=1))
    words = ["yes" if index else "no" for index in integers(2, COUNT, seed=4)]
    found, expected = (
        report(target, module=module, num_examples=COUNT) for target in (words, integers(2, COUNT, seed=4))
    )

    assert found.values["score"] == expected.values["score"]


def parts(words: Sequence[str], size: int = 12) -> list[dict[str, Any]]:
    whole = batch(torch.zeros(COUNT))
    return [
        {name: leaf[start : start + size] for name, leaf in whole.items()} | {"labels": words[start : start + size]}
        for start in range(0, COUNT, size)
    ]


def session(**options: Any) -> Session:
    settings = {"num_examples": 24, "group_size": 12, "reference": 24, "target": "labels"} | options
    return Session(SessionConfig(parse_modalities(["image", "text"]), **settings))


def test_a_class_that_the_sample_lacks_counts_on_all_processes() -> None:
    # The one example of the first class in sorted order is not among the 24 that are kept.
    words = ["cat", "dog"] * (COUNT // 2)
    alone = session(num_examples=24)
    feed(alone, parts(words))
    absent = next(place for place in range(COUNT) if place not in alone.positions)
    words[absent] = "bird"

    def act(ranks: Ranks) -> tuple[list[int], list[int]]:
        found = session()
        found.share_among(ranks)
        feed(found, parts(words), ranks)
        assert found.probe is not None
        read = LabelReader().read(found.probe, 3)
        assert read.target is not None
        return [NAMES.index(words[place]) for place in found.positions], read.target.tolist()

    for count in (1, 2):
        for expected, read in on_ranks(count, act):
            assert "bird" not in [NAMES[index] for index in expected]
            assert read == expected


def feed(found: Session, batches: Sequence[dict[str, Any]], ranks: Ranks | None = None) -> None:
    ranks = ranks or Ranks()
    module, start = seeded(lambda: LateFusion(outputs=3)).eval(), 0
    for number, one in enumerate(batches):
        places = range(start, start + len(one["labels"]))
        start += len(one["labels"])
        if number % ranks.count == ranks.rank:
            found.collect(one, lambda _, places=places: places)  # type: ignore[misc]
            found.dry_run(module)
    found.check()
    found.complete()


def test_a_checkpoint_knows_the_names_of_all_classes() -> None:
    words = ["cat", "dog"] * (COUNT // 2)
    words[0] = "bird"
    first = session(seed=next(seed for seed in range(9) if not holds_first(seed)))
    feed(first, parts(words))
    second = Session(first.config)
    second.load(first.state(10**9))
    second.collect(parts(["dog"] * COUNT)[0], lambda count: range(count))

    assert second.probe is not None
    assert list(second.probe.label_names) == NAMES
    assert torch.equal(second.probe.target, first.probe.target)  # type: ignore[union-attr, arg-type]


def holds_first(seed: int) -> bool:
    found = session(seed=seed)
    feed(found, parts(["bird", "cat", "dog"] * (COUNT // 3)))
    return 0 in found.positions


# -- Missing labels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.long, torch.uint8, torch.float32])
def test_another_value_that_marks_no_label_is_told(dtype: torch.dtype) -> None:
    labels = CLASSES.to(dtype, copy=True)
    labels[::2] = 255
    found = session()
    feed(found, [batch(torch.zeros(COUNT)) | {"labels": CLASSES}])
    probe = found.probe
    assert probe is not None
    read = LabelReader("multiclass", ignored=255).read(replace(probe, labels=labels), 3)

    assert read.target is not None
    assert read.target.tolist() == torch.where(labels == 255, -100, labels.long()).tolist()


def test_nan_marks_no_class() -> None:
    target = torch.tensor([0.0, float("nan"), 2.0])

    assert standard_form(target, "multiclass", 3).tolist() == [0, -100, 2]
    assert labelled(standard_form(target, "multiclass", 3)).tolist() == [True, False, True]


# -- Soft labels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "outputs", "target"),
    [
        ("multiclass", 3, VQA),  # rows sum to anything
        ("multiclass", 3, 10 * VQA),
        ("multiclass", 3, ONE_HOT),
        ("multiclass", 3, ONE_HOT.bool()),
        ("multiclass", 3, torch.rand(5, 3).softmax(1)),
        ("multilabel", 3, VQA),
        ("multilabel", 3, VQA.half()),
        ("multilabel", 3, ONE_HOT),
        ("multilabel", 3, VQA > 0),
        ("multilabel", 3, 2 * ONE_HOT - 1),
        ("binary", 1, torch.tensor([0.3, 1.0, 0.0])),
        ("binary", 1, torch.tensor([[0.3], [1.0], [0.0]])),
        ("binary", 1, torch.tensor([[True], [False]])),
        ("binary", 1, torch.tensor([-1, 1, 1])),
    ],
)
def test_a_task_that_the_loss_tells_takes_its_labels(task: Any, outputs: int, target: Tensor) -> None:
    assert resolve_task(task, outputs, target) == task
    found = standard_form(target, task, outputs)
    assert labelled(found).all()
    again = standard_form(found, task, outputs)
    assert torch.equal(again, found)


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (torch.rand(5, 3, generator=torch.Generator().manual_seed(0)).softmax(1), "multiclass"),
        (ONE_HOT * 0.8 + 0.2 / 3, "multiclass"),
        (VQA, "multilabel"),
        (VQA + 1e-5, "multilabel"),  # rounding is no value above 1
        (VQA * 3, "regression"),
    ],
)
def test_soft_labels_tell_the_task(target: Tensor, task: str) -> None:
    assert resolve_task(None, 3, target) == task


def test_standard_forms() -> None:
    assert standard_form(ONE_HOT, "multiclass", 3).tolist() == [2, 0, 1, 0]
    assert standard_form(VQA, "multiclass", 3).dtype == torch.float64
    assert standard_form(2 * ONE_HOT - 1, "multilabel", 3).tolist() == ONE_HOT.tolist()
    assert standard_form(torch.tensor([[True], [False]]), "binary", 1).tolist() == [[1], [0]]
    assert standard_form(torch.tensor([1.0, -1.0, -100.0]), "binary", 1).tolist() == [1, 0, -100]
    assert float(standard_form(VQA + 1e-5, "multilabel", 3).max()) == 1
    values = torch.tensor([[1.0, 3.0]])
    assert standard_form(values, "regression", 2) is values


def test_soft_labels_of_classes_are_no_smoothed_ones() -> None:
    assert one_each(0.9 * ONE_HOT + 0.1 / 3)
    assert not one_each(torch.rand(5, 3).softmax(1))
    assert graded(standard_form(VQA, "multiclass", 3), "multiclass")
    assert not graded(standard_form(ONE_HOT * 0.8 + 0.2 / 3, "multiclass", 3), "multiclass")


def test_an_example_without_an_answer_has_no_class() -> None:
    assert decided(VQA, "multiclass").tolist() == [1, 2, 2, -100]


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_soft_labels_are_scored_by_the_value_of_the_answer(task: str, caplog: Any) -> None:
    soft = VQA[torch.arange(COUNT) % 4]
    with caplog.at_level(logging.INFO):
        found = report(soft, task=task, num_examples=COUNT)
    inputs = batch(soft)
    with torch.no_grad():
        answers = seeded(lambda: LateFusion(outputs=3)).eval()(inputs["image"], inputs["text"]).argmax(1, keepdim=True)

    assert found.values["score"] == pytest.approx(float(soft.gather(1, answers).mean()))
    assert "score: the target's value at the highest output, a mean over examples (VQA accuracy)" in caplog.text


def test_soft_binary_labels_are_scored_by_the_side_that_the_output_chooses() -> None:
    soft, module = torch.rand(COUNT, generator=torch.Generator().manual_seed(1)), seeded(lambda: LateFusion(outputs=1))
    found = report(soft, task="binary", module=module, num_examples=COUNT)
    inputs = batch(soft)
    with torch.no_grad():
        positive = module.eval()(inputs["image"], inputs["text"])[:, 0] > 0

    assert found.values["score"] == pytest.approx(float(torch.where(positive, soft, 1 - soft).mean()), rel=1e-6)


def test_a_prediction_of_soft_labels_is_the_highest_output_alone() -> None:
    # All outputs are below 0, as of a model of thousands of answers: no label would ever flip.
    module = seeded(lambda: LateFusion(outputs=3))
    module.register_forward_hook(lambda _, inputs, outputs: outputs - 50)
    found = report(VQA[torch.arange(COUNT) % 4], module=module, task="multilabel")
    expected = report(CLASSES, module=module)

    assert found.values["flips/image"] > 0
    for name in ("flips/image", "flips/text"):
        assert found.values[name] == pytest.approx(expected.values[name], abs=0.15)


def test_hard_labels_are_scored_by_their_ranks(caplog: Any) -> None:
    hard = integers(2, COUNT, 3, seed=9)
    with caplog.at_level(logging.INFO):
        found = report(hard, num_examples=COUNT)
    inputs = batch(hard)
    with torch.no_grad():
        outputs = seeded(lambda: LateFusion(outputs=3)).eval()(inputs["image"], inputs["text"])

    expected = label_ranking_average_precision_score(hard.numpy(), outputs.numpy())
    assert found.values["score"] == pytest.approx(expected, abs=1e-6)
    assert "score: label-ranking average precision" in caplog.text


@pytest.mark.parametrize(
    ("task", "target", "words"),
    [
        ("multiclass", CLASSES, ""),
        ("regression", VQA, ""),
        ("binary", torch.tensor([0, 1]), ""),
        ("binary", torch.tensor([0.0, 0.3]), "the target's value on the side"),
        ("multilabel", ONE_HOT, "label-ranking average precision"),
        ("multilabel", VQA, "the target's value at the highest output"),
        ("multiclass", VQA, "the target's value at the highest output"),
        ("multilabel", None, ""),
        ("multilabel", torch.full((2, 3), -100), ""),
    ],
)
def test_a_score_that_is_no_accuracy_is_said(task: Any, target: Any, words: str) -> None:
    found = default_scoring(task, target)
    assert found.startswith(words)
    assert bool(found) == bool(words)


def test_a_score_that_was_given_is_not_said(caplog: Any) -> None:
    assert not [line for line in said(integers(2, COUNT, 3), caplog, score=MultilabelF1Score(3)) if "score:" in line]


@pytest.mark.parametrize("seed", range(3))
def test_log_probabilities_are_as_good_as_logits(seed: int) -> None:
    class Logs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = seeded(lambda: LateFusion(outputs=3), seed)

        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            return self.body(image, text).log_softmax(1)

    found, expected = (
        report(CLASSES, module=Logs()),
        report(CLASSES, module=seeded(lambda: LateFusion(outputs=3), seed)),
    )
    assert without_costs(found.values) == pytest.approx(without_costs(expected.values), abs=1e-5)


def test_floats_are_no_indices_where_they_are_not_whole() -> None:
    with pytest.raises(ConfigurationError, match=r"needs class indices as target; they are torch\.float32"):
        report(floats(COUNT), task="multiclass")
