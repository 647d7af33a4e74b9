"""What a regression on raw inputs proves of a modality, without a model."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from collapse.test_rule import ACCURACY, history, verdict
from helpers.draws import normal
from helpers.few import few, spread
from reference import alarm as slow
from torch import Tensor

from mviz_lightning import Modality
from mviz_lightning.batch import BatchSchema, Probe
from mviz_lightning.collapse.raw_input_proof import RawInputProof, fit_raw_input_proof
from mviz_lightning.collapse.raw_inputs import FEWEST, FOLDS, encoded
from mviz_lightning.collapse.rule import CollapseRule
from mviz_lightning.functional import Task
from mviz_lightning.modalities import modality_type_of
from mviz_lightning.modalities.base import REGISTRY, ModalityType
from mviz_lightning.modalities.text import Text
from mviz_lightning.sinks.records import State

NAN, INF = float("nan"), float("inf")


def draws(seed: int, *shape: int, classes: int = 3) -> Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))


# -- Raw inputs --------------------------------------------------------------------------------------------------------


def probe(leaves: Mapping[str, Any], **said: Any) -> Probe:
    """All the examples, each leaf a modality but the mask; groups do not matter."""
    modalities = {name: Modality(name, **said) for name in leaves if name != "mask"}
    return Probe(BatchSchema.learn(leaves, modalities), leaves, torch.zeros(0, 4, dtype=torch.long))


def told(target: Tensor, task: Task, outputs: int, seed: int = 0, **leaves: object) -> dict[str, RawInputProof]:
    return fit_raw_input_proof(probe(leaves), target, task, outputs, seed)


def informative(alone: RawInputProof) -> bool:
    """Whether the rule, with its own thresholds, calls a silent modality collapsed by this proof and no other."""
    state = verdict(history("ss"), CollapseRule(), replace(ACCURACY, alone={"b": alone})).state
    assert state in (State.COLLAPSED, State.UNUSED)
    return state is State.COLLAPSED


def test_a_modality_that_holds_the_label_is_told_from_one_that_does_not() -> None:
    target = draws(0, 100)
    clear = torch.eye(3)[target] + 0.3 * normal(1, 100, 3)
    found = told(target, "multiclass", 3, image=clear, text=normal(2, 100, 5))

    assert list(found) == ["image", "text"]
    assert found["image"].explained > 0.7
    assert informative(found["image"])
    assert not informative(found["text"])
    assert {alone.examples for alone in found.values()} == {100}
    assert all(type(alone.explained) is type(alone.error) is float for alone in found.values())


@pytest.mark.parametrize(
    ("task", "target", "outputs"),
    [
        ("binary", draws(0, 80, classes=2), 1),
        ("binary", draws(0, 80, classes=2).double(), 1),
        ("multilabel", draws(0, 80, 3, classes=2), 3),
        ("regression", normal(0, 80), 1),
        ("regression", normal(0, 80, 2), 2),
        ("multiclass", draws(0, 80), 3),
        ("multiclass", draws(0, 80), 5),
    ],
)
def test_every_task_is_asked_for(task: Task, target: Tensor, outputs: int) -> None:
    clear = encoded(target, task, outputs) + 0.1 * normal(1, 80, outputs)
    found = told(target, task, outputs, image=clear, text=normal(2, 80, 4))

    assert found["image"].explained > 0.8
    assert informative(found["image"])
    assert not informative(found["text"])


def test_a_target_of_a_large_unit_does_not_drown_the_others() -> None:
    target = torch.stack([normal(0, 100) * 1e6, normal(1, 100)], 1)
    found = told(target, "regression", 2, image=target[:, 1:], text=target[:, :1])

    assert found["image"].explained == pytest.approx(0.5, abs=0.1)
    assert found["text"].explained == pytest.approx(0.5, abs=0.1)


def test_a_target_that_does_not_vary_changes_nothing() -> None:
    values, image = normal(0, 60, 1), normal(1, 60, 2)
    image[:, :1] += values
    with_constant = torch.cat([values, torch.full((60, 1), 7.0)], 1)

    assert told(with_constant, "regression", 2, image=image) == told(values, "regression", 1, image=image)


@pytest.mark.parametrize("target", [torch.zeros(60, dtype=torch.long), torch.ones(60, dtype=torch.long)])
def test_labels_that_are_all_the_same_are_told_by_nothing(target: Tensor) -> None:
    for task, outputs in (("multiclass", 3), ("binary", 1)):
        assert told(target, task, outputs, image=normal(0, 60, 2)) == {}


@pytest.mark.parametrize(("count", "asked"), [(FEWEST - 1, False), (FEWEST, True), (FEWEST + 1, True)])
def test_too_few_examples_are_not_asked(count: int, *, asked: bool) -> None:
    assert bool(told(draws(0, count), "multiclass", 3, image=normal(0, count, 2))) == asked


@pytest.mark.slow
@pytest.mark.parametrize("task", few(["regression", "multiclass", "multilabel"]))
def test_what_is_explained_and_its_error_are_those_of_a_mean_over_examples(task: Task) -> None:
    """Of a single input, on the folds that the seed deals; classes and labels weigh as much as they vary."""
    image = normal(1, 48, 1)
    values = normal(0, 48) + image[:, 0]
    target, y = {
        "regression": (values, (values / values.std())[:, None]),
        "multiclass": (classes := (values > -0.5).long() + (values > 1.2), torch.eye(3)[classes].double()),
        "multilabel": (both := torch.stack([values > 0, values > 1], 1).long(), both.double()),
    }[task]
    found = told(target, task, y.shape[1], seed=3, image=image)["image"]

    folds = (torch.randperm(48, generator=torch.Generator().manual_seed(3)) % FOLDS).numpy()
    scaled, y = slow.standardised(image.numpy()), y.numpy()
    kernels = [scaled @ scaled.T, slow.gaussian(scaled)]
    predicted = slow.held_out(kernels, y, folds, [10.0**power for power in range(-4, 3)])
    usual = np.array([y[folds != fold].mean(0) for fold in folds])
    by_mean, by_inputs = ((y - usual) ** 2).sum(1), ((y - predicted) ** 2).sum(1)
    gained = (by_mean - by_inputs) / by_mean.mean()
    assert found.explained == pytest.approx(gained.mean(), rel=1e-6)
    assert found.error == pytest.approx(gained.std(ddof=1) / 48**0.5, rel=1e-6)


def test_copies_of_one_thing_prove_nothing() -> None:
    """Several pictures of a patient, or captions of a picture: what goes with the copy is remembered, not learned."""
    target, image = draws(0, 120), normal(1, 120, 40)
    for jitter in (0.0, 0.05):
        shaken = image.repeat(3, 1) + jitter * normal(2, 360, 40)
        assert told(target.repeat(3), "multiclass", 3, image=shaken)["image"].explained < 0.05


def test_values_that_recur_are_no_copies() -> None:
    target = draws(0, 120)
    found = told(target, "multiclass", 3, image=target.double().unsqueeze(1))

    assert found["image"].explained > 0.9


def test_the_answer_is_the_same_each_time_and_leaves_all_random_states() -> None:
    target, image = draws(0, 60), normal(1, 60, 3)
    before = torch.get_rng_state()
    first, second = (told(target, "multiclass", 3, image=image) for _ in range(2))

    assert first == second
    assert torch.equal(torch.get_rng_state(), before)
    assert told(target, "multiclass", 3, seed=1, image=image) != first


@pytest.mark.parametrize("values", [torch.zeros(60, 3, 5, 5), [" ".join("abcdefgh")] * 60])
def test_copies_of_a_few_wide_things_are_not_asked(values: object) -> None:
    assert told(draws(0, 60), "multiclass", 3, image=values) == {}


@pytest.mark.parametrize("values", [torch.ones(60, 4), torch.full((60, 2), NAN), [""] * 60])
def test_inputs_that_are_all_the_same_explain_nothing_for_sure(values: object) -> None:
    found = told(draws(0, 60), "multiclass", 3, image=values)["image"]

    assert (found.explained, found.error) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))
    assert not informative(found)


def test_pictures_that_were_divided_by_255_twice_tell_what_they_told() -> None:
    target = draws(0, 80, classes=2)
    pixels = (draws(1, 80, 3, 6, 6, classes=200) + 50 * target.view(-1, 1, 1, 1)).to(torch.uint8)
    plain, twice = (told(target, "binary", 1, image=image)["image"] for image in (pixels, pixels.float() / 255 / 255))

    assert informative(plain)
    assert twice.explained == pytest.approx(plain.explained, abs=1e-3)


def noise_proven(count: int, majority: float, seeds: int, columns: int = 20) -> int:
    """How often noise passes for information."""
    found = 0
    for seed in range(seeds):
        target = torch.zeros(count, dtype=torch.long)
        target[
            torch.randperm(count, generator=torch.Generator().manual_seed(seed))[: round(count * (1 - majority))]
        ] = 1
        found += informative(told(target, "binary", 1, seed, text=normal(1000 + seed, count, columns))["text"])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("majority", [0.5, 0.8, 0.95])
@pytest.mark.parametrize(("count", "seeds"), spread([(64, 100), (128, 40), (256, 15), (512, 6)], 2))
def test_noise_is_hardly_ever_proof(count: int, seeds: int, majority: float) -> None:
    assert noise_proven(count, majority, seeds) <= seeds // 50


@pytest.mark.slow
@pytest.mark.parametrize(("count", "seeds"), [(64, 60), (256, 10)])
@pytest.mark.parametrize("columns", [1, 2, 3000])
def test_nor_is_noise_of_few_or_many_columns(count: int, seeds: int, columns: int) -> None:
    assert noise_proven(count, 0.6, seeds, columns) <= seeds // 50


@pytest.mark.long
@pytest.mark.parametrize("classes", [4, 10])
def test_labels_in_another_order_are_told_by_nothing(classes: int) -> None:
    target = draws(0, 128, classes=classes)
    image = torch.eye(classes)[target] + 0.2 * normal(1, 128, classes)
    found = []
    for seed in range(30):
        order = torch.randperm(128, generator=torch.Generator().manual_seed(seed))
        found.append(told(target[order], "multiclass", classes, image=image)["image"])

    assert informative(told(target, "multiclass", classes, image=image)["image"])
    assert sum(informative(alone) for alone in found) <= 1
    assert np.mean([alone.explained for alone in found]) < 0


# -- The numbers of each kind ------------------------------------------------------------------------------------------


def features(values: object, mask: Tensor | None = None, **said: object) -> Tensor | None:
    return modality_type_of(Modality("x", **said), values).features(values, mask)


@pytest.mark.parametrize(
    ("values", "columns"),
    [
        (normal(0, 6, 3), 3),
        (normal(0, 6, 3, 4, 5), 60),
        (normal(0, 6, 7, 2), 14),
        (draws(0, 6, 3, 8, 8, classes=255).to(torch.uint8), 192),
    ],
)
def test_tensors_are_their_own_features(values: Tensor, columns: int) -> None:
    found = features(values)

    assert found is not None
    assert found.shape == (6, columns)
    assert torch.equal(found, values.flatten(1))


def test_padding_is_no_feature() -> None:
    values, mask = normal(0, 2, 3, 2), torch.tensor([[True, True, False], [True, False, False]])
    found = features(values, mask, kind="series")

    assert found is not None
    assert found.view(2, 3, 2)[~mask].eq(0).all()
    assert torch.equal(found.view(2, 3, 2)[mask], values[mask])


def test_a_mask_of_other_entries_is_ignored() -> None:
    values = normal(0, 2, 3, 2)

    assert torch.equal(features(values, torch.ones(2, 7, dtype=torch.bool), kind="series"), values.flatten(1))


def test_words_are_counted_and_not_read_as_numbers() -> None:
    found = features(["a B b", "", "b  c\nb b"])

    assert torch.equal(found, torch.tensor([[1, 2, 0], [0, 0, 0], [0, 3, 1]]).float().log1p())


def test_token_ids_are_counted_without_their_padding() -> None:
    ids = torch.tensor([[7, 7, 9, 0], [50257, 7, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool()

    assert torch.equal(features(ids, mask), torch.tensor([[2, 1, 0], [1, 0, 1]]).float().log1p())
    assert torch.equal(features(ids), torch.tensor([[2, 1, 1, 0], [1, 0, 2, 1]]).float().log1p())


@pytest.mark.parametrize("shape", [(2, 4, 1), (2, 1, 1, 4)])
def test_masks_of_further_axes_are_read(shape: tuple[int, ...]) -> None:
    ids = torch.tensor([[7, 7, 9, 0], [5, 7, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool()

    assert torch.equal(Text.features(ids, mask.view(shape)), Text.features(ids, mask))


def test_tokens_in_another_place_are_the_same_tokens() -> None:
    ids = draws(0, 30, 9, classes=40)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))

    kernels = [counts @ counts.T for counts in (Text.features(ids, None), Text.features(ids[:, order], None))]
    torch.testing.assert_close(*kernels)


def test_a_text_that_holds_the_label_is_found() -> None:
    target = draws(0, 120, classes=2)
    texts = [f"one {'good' if label else 'bad'} {number}" for number, label in enumerate(target.tolist())]

    assert informative(told(target, "binary", 1, text=texts)["text"])


@pytest.mark.parametrize("values", [[torch.zeros(2), torch.zeros(3)], None, {"a": 1}])
def test_what_is_no_numbers_has_no_features(values: object) -> None:
    assert ModalityType.features(values, None) is None
    assert Text.features(values, None) is None


def test_modalities_without_numbers_are_left_out() -> None:
    objects = [object() for _ in range(40)]
    found = told(draws(0, 40), "multiclass", 3, image=normal(0, 40, 2), text=objects)

    assert list(found) == ["image"]


def test_the_mask_of_a_modality_counts() -> None:
    target = draws(0, 60, classes=2)
    ids = torch.stack([target + 5, torch.full_like(target, 3)], 1)
    hidden = torch.tensor([[0, 1]]).repeat(60, 1)
    found = fit_raw_input_proof(probe({"text": ids, "mask": hidden}, mask="mask"), target, "binary", 1)

    assert found["text"].explained == pytest.approx(0, abs=1e-9)


class Lengths(ModalityType):
    """Lists of which only the length is a number; not registered, for it has no name."""

    @classmethod
    def features(cls, values, mask):
        return torch.tensor([[float(len(value))] for value in values])

    cut = draw = paint = None


def test_a_kind_of_ones_own_says_its_own_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REGISTRY, "lengths", Lengths)
    target = draws(0, 40, classes=2)
    lists = [[0] * (3 * label + number % 2) for number, label in enumerate(target.tolist())]
    found = fit_raw_input_proof(probe({"text": lists}, kind="lengths"), target, "binary", 1)

    assert found["text"].explained > 0.9
