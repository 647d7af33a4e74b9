"""What a modality adds to the others: against scikit-learn's kernel ridge regression, and where the answer is known."""

import time

import numpy as np
import pytest
import torch
from collapse.test_raw_input_proof import draws, probe
from helpers.draws import normal
from helpers.few import few
from reference import alarm as slow
from torch import Tensor

from mviz_lightning.collapse.beyond_others_proof import (
    BeyondOthersProof,
    nested_kernels,
    prove_beyond_others,
    sure_of,
)
from mviz_lightning.collapse.proofs import fit_proofs
from mviz_lightning.collapse.raw_input_proof import prove_alone
from mviz_lightning.collapse.raw_inputs import FOLDS, RawInputs, connected, kin_numbers
from mviz_lightning.collapse.rule import CollapseRule
from mviz_lightning.functional import Task
from mviz_lightning.functional.ridge import PENALTIES
from mviz_lightning.sinks.records import State

NAN = float("nan")


def added(target: Tensor, task: Task, outputs: int, seed: int = 0, **leaves: object) -> dict[str, BeyondOthersProof]:
    inputs = RawInputs.of(probe(leaves), target, task, outputs, seed)
    assert inputs is not None
    found = {name: prove_beyond_others(inputs, name) for name in inputs.things}
    return {name: proof for name, proof in found.items() if proof is not None}


def digits(count: int = 256, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Classes, and what a picture of each shows without noise."""
    target = draws(0, count, classes=classes)
    return target, normal(1, classes, 12)[target]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "low", "high"), few([(0.0, 0.99, 1.0), (1.0, 0.4, 0.55), (3.0, 0.02, 0.13), (None, -0.05, 0.02)])
)
def test_the_others_foretell_a_modality_as_far_as_it_is_a_function_of_them(
    own: float | None, low: float, high: float
) -> None:
    others, noise = normal(2, 400, 6), normal(3, 400, 3)
    mixed = others @ normal(4, 6, 3) / 6**0.5
    modality = noise if own is None else mixed / mixed.std(0) + own * noise
    found = added(draws(0, 400), "multiclass", 3, image=others, text=modality)["text"]

    assert found.foretold is not None
    assert low < found.foretold <= high  # 1 / (1 + own^2), less what 320 examples do not tell


@pytest.mark.slow
def test_the_share_that_is_foretold_is_that_of_the_loops() -> None:
    others, modality = normal(2, 60, 3), normal(3, 60, 2)
    modality[:, 0] += others[:, 0]
    found = added(draws(0, 60), "multiclass", 3, seed=5, image=others, text=modality)["text"]

    folds = (torch.randperm(60, generator=torch.Generator().manual_seed(5)) % FOLDS).numpy()
    z, o = (((x - x.mean(0)) / x.std(0, correction=0)).double().numpy() for x in (modality, others))
    kernel = o @ o.T / np.mean(np.diag(o @ o.T))
    predicted = slow.held_out([kernel, slow.kernel_gaussian(kernel)], z, folds, PENALTIES)
    assert found.foretold == pytest.approx(
        1 - np.square(z - predicted).sum() / np.square(z - z.mean(0)).sum(), abs=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize(("task", "modalities"), few([("regression", 3), ("multiclass", 2), ("multilabel", 2)]))
def test_gain_and_error_are_those_of_the_loops(task: Task, modalities: int) -> None:
    inputs = [normal(number, 40, 2).numpy() for number in range(modalities)]
    values = inputs[0][:, 0] + inputs[-1][:, 0] + 0.5 * normal(9, 40).numpy()
    target, y = {
        "regression": (torch.from_numpy(values), (values / values.std(ddof=1))[:, None]),
        "multiclass": (
            torch.from_numpy((values > -0.5).astype(int) + (values > 1)),
            np.eye(3)[(values > -0.5).astype(int) + (values > 1)],
        ),
        "multilabel": (
            torch.from_numpy(np.stack([values > 0, values > 1], 1).astype(int)),
            np.stack([values > 0, values > 1], 1).astype(float),
        ),
    }[task]
    leaves = {name: torch.from_numpy(found) for name, found in zip("abc", inputs, strict=False)}
    found = added(target, task, y.shape[1], seed=3, **leaves)["a"]

    folds = (torch.randperm(40, generator=torch.Generator().manual_seed(3)) % FOLDS).numpy()
    value, error = slow.beyond(inputs[0], inputs[1:], y, folds, [10.0**power for power in range(-4, 3)])
    assert found.gain == pytest.approx(value, abs=1e-7)
    assert found.error == pytest.approx(error, abs=1e-7)
    assert found.examples == 40


def test_a_copy_adds_nothing_to_the_last_digit() -> None:
    target, clear = digits()
    image = clear + 1.5 * normal(2, 256, 12)
    found = added(target, "multiclass", 4, image=image, text=image.clone())

    for proof in found.values():
        assert (proof.gain, proof.error) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))
    inputs = RawInputs.of(probe({"image": image, "text": image.clone()}), target, "multiclass", 4)
    kernels = nested_kernels(inputs, "text", ["image"])
    for own in kernels[5:]:  # each kernel of both is one of the others', up to a factor
        assert any(torch.allclose(own / own.mean(), other / other.mean()) for other in kernels[1:5])


@pytest.mark.slow
def test_a_column_of_the_others_adds_nothing() -> None:
    target, clear = digits()
    image = clear + 0.5 * normal(2, 256, 12)
    found = added(target, "multiclass", 4, image=image, text=image[:, :2])["text"]

    assert found.gain + 2 * found.error < 0.01
    assert judged(target, "multiclass", 4, image=image, text=image[:, :2]) is State.REDUNDANT


def judged(target: Tensor, task: Task, outputs: int, **leaves: object) -> State:
    """The state of a text that is silent, by its proofs."""
    proofs = fit_proofs(probe(leaves), target, task, outputs)
    return CollapseRule()._state("text", proofs.alone.get("text"), proofs.beyond.get("text"))


@pytest.mark.slow
def test_partners_of_an_xor_add_much_and_tell_nothing_alone() -> None:
    image, text = normal(0, 300, 2), 1e-6 * normal(1, 300, 2)  # scaled away, as by a loader
    target = (image[:, 0] * text[:, 0] > 0).long()
    proofs = fit_proofs(probe({"image": image, "text": text}), target, "binary", 1)

    assert proofs.alone["text"].explained < 3 * proofs.alone["text"].error
    assert proofs.beyond["text"].gain > max(0.3, 3 * proofs.beyond["text"].error)
    assert judged(target, "binary", 1, image=image, text=text) is State.COLLAPSED


@pytest.mark.slow
def test_noise_adds_nothing() -> None:
    target, clear = digits()
    found = added(target, "multiclass", 4, image=clear + normal(2, 256, 12), text=normal(3, 256, 30))["text"]

    assert abs(found.gain) < 0.005
    assert judged(target, "multiclass", 4, image=clear + normal(2, 256, 12), text=normal(3, 256, 30)) is State.UNUSED


@pytest.mark.slow
def test_independent_halves_each_add_half() -> None:
    image, text = normal(0, 400, 1), normal(1, 400, 1)
    found = added(image[:, 0] + text[:, 0], "regression", 1, image=image, text=text)

    for proof in found.values():
        assert proof.gain == pytest.approx(0.5, abs=3 * proof.error)


def test_beside_a_leaked_label_nothing_can_be_added() -> None:
    target, clear = digits()
    leak = torch.eye(4)[target] + 0.01 * normal(4, 256, 4)

    assert judged(target, "multiclass", 4, image=leak, text=clear + normal(2, 256, 12)) is State.REDUNDANT


@pytest.mark.slow
def test_of_100_classes_the_ones_digit_is_beyond_the_tens() -> None:
    target = draws(0, 400, classes=100)
    tens, ones = (normal(seed, 10, 16)[number] for seed, number in ((1, target // 10), (2, target % 10)))
    leaves = {"image": tens + 0.3 * normal(3, 400, 16), "text": ones + 0.3 * normal(4, 400, 16)}
    inputs = RawInputs.of(probe(leaves), target, "multiclass", 100)
    alone, beyond = prove_alone(inputs, "text"), prove_beyond_others(inputs, "text")

    assert 3 * alone.error < alone.explained < 0.12
    assert beyond.gain > 0.5
    assert CollapseRule()._state("text", alone, beyond) is State.COLLAPSED


@pytest.mark.slow
def test_a_modality_that_decides_one_of_forty_labels_is_named_with_it() -> None:
    image, text = normal(0, 400, 10), normal(1, 400, 4)
    target = (image @ normal(2, 10, 40) > 1).long()
    target[:, 7] = text[:, 0] > 0.5
    found = added(target, "multilabel", 40, image=image, text=text)

    assert [one.output for one in found["text"].outputs] == [7]
    assert found["text"].outputs[0].gain > 0.4
    assert 7 not in {one.output for one in found["image"].outputs}


@pytest.mark.slow
def test_noise_is_proven_on_no_output() -> None:
    image = normal(0, 300, 8)
    target = (image @ normal(2, 8, 60) > 1.5).long()
    found = [added(target, "multilabel", 60, image=image, text=normal(9 + seed, 300, 5))["text"] for seed in range(3)]

    assert not any(proof.outputs for proof in found)
    assert max(proof.gain for proof in found) < 0.005


def test_a_modality_alone_has_no_others_to_be_beyond() -> None:
    objects = [object() for _ in range(60)]

    assert added(draws(0, 60), "multiclass", 3, image=normal(0, 60, 2), text=objects) == {}


@pytest.mark.parametrize(("count", "errors"), [(1, 3.0), (40, 4.05), (500, 4.63)])
def test_the_more_outputs_the_surer(count: int, errors: float) -> None:
    assert sure_of(count) == pytest.approx(errors, abs=0.01)


def test_copies_of_the_others_stay_where_they_are() -> None:
    """Only copies of the modality itself lie in one fold: copies of all would chain most of a data set."""
    image, text = normal(0, 30, 20).repeat(2, 1), normal(1, 60, 20)
    inputs = RawInputs.of(probe({"image": image, "text": text}), draws(0, 60), "multiclass", 3)

    assert len(torch.unique(inputs.things["text"])) == 60
    assert "image" not in inputs.things  # 30 distinct pictures are too few


def test_the_error_is_that_of_things_drawn_as_a_whole() -> None:
    inputs = RawInputs.of(probe({"image": normal(0, 60, 20).repeat(2, 1)}), draws(0, 120), "multiclass", 3)
    values = normal(1, 120)
    mean, error = inputs.mean_and_error(values, "image")

    halves = values.view(2, 60).mean(0)
    assert float(mean) == pytest.approx(float(values.mean()))
    assert float(error) == pytest.approx(float(halves.std() / 60**0.5))


# -- Kin ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memberships", "expected"),
    [
        ([[0, 1, 2, 3], [0, 0, 1, 1]], [0, 0, 2, 2]),
        ([[0, 1, 1, 2], [5, 5, 6, 6]], [0, 0, 0, 0]),
        ([[3, 2, 1, 0], [0, 1, 2, 3]], [0, 1, 2, 3]),
    ],
)
def test_what_is_connected_by_any_chain_belongs_together(memberships: list[list[int]], expected: list[int]) -> None:
    assert connected([torch.tensor(numbers) for numbers in memberships]).tolist() == expected


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        (["p1", "p2", "p1"], [0, 1, 0]),
        ([4, 4, 7], [0, 0, 1]),
        ([0.5, NAN, NAN], [0, 1, 2]),
        (["a", None, None], [0, 1, 2]),
        (torch.tensor([3, 3, 1]), [0, 0, 1]),
        (torch.tensor([[3.0], [1.0], [3.0]]), [0, 1, 0]),
        (torch.tensor([[3, 1], [3, 2], [3, 1]]), [0, 1, 0]),
        (np.array(["x", "y", "x"]), [0, 1, 0]),
        ([torch.tensor(3), torch.tensor([3]), torch.tensor(4)], [0, 0, 1]),
    ],
)
def test_equal_entries_are_kin_and_unknown_ones_of_nobody(leaf: object, expected: list[int]) -> None:
    assert kin_numbers(leaf).tolist() == expected


@pytest.mark.slow
def test_what_is_shared_by_kin_alone_is_no_information() -> None:
    """Every patient has a label, and pictures that are alike: without kin the patient is recognised."""
    patient = torch.arange(240) // 12
    target = draws(0, 20, classes=2)[patient]
    image, text = normal(1, 20, 30)[patient] + 0.7 * normal(2, 240, 30), normal(3, 240, 4)
    examples = probe({"image": image, "text": text})
    loose, kept = (fit_proofs(examples, target, "binary", 1, kin=kin) for kin in (None, patient))

    for proofs, told in ((loose, True), (kept, False)):
        alone, beyond = proofs.alone["image"], proofs.beyond["image"]
        assert (alone.explained > max(0.005, 3 * alone.error)) is told
        assert (beyond.gain > max(0.005, 3 * beyond.error)) is told


def test_kin_lie_in_one_fold_with_the_copies() -> None:
    patient = torch.arange(120) % 30
    image = normal(0, 120, 20)
    image[1] = image[0]
    inputs = RawInputs.of(probe({"image": image}), draws(0, 120), "multiclass", 3, kin=patient)
    folds = inputs.folds("image")

    assert all(len(torch.unique(folds[patient == one])) == 1 for one in range(30))
    assert folds[0] == folds[1]  # patients 0 and 1 share a picture
    assert len(torch.unique(inputs.things["image"])) == 29


def test_too_few_families_prove_nothing() -> None:
    examples, target = probe({"image": normal(0, 120, 20)}), draws(0, 120)

    assert fit_proofs(examples, target, "multiclass", 3, kin=torch.arange(120) % 9).alone == {}
    assert list(fit_proofs(examples, target, "multiclass", 3, kin=torch.arange(120) % 10).alone) == ["image"]


@pytest.mark.slow
def test_the_proof_takes_seconds() -> None:
    target, clear = digits(512, 10)
    started = time.process_time()
    added(target, "multiclass", 10, image=clear + normal(2, 512, 12), text=normal(3, 512, 40))

    assert time.process_time() - started < 10
