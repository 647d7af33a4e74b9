"""The monitor's work without a Trainer, from a first batch to values that can be logged."""

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.batches import (
    FAMILIES,
    Additive,
    LateFusion,
    ModelCase,
    OnBatch,
    call_named,
    floats,
    integers,
    same,
    seeded,
)
from torch import Tensor, nn
from torchmetrics.classification import MulticlassF1Score

from mviz_lightning import ConfigurationError, MonitorWarning
from mviz_lightning.batch import parse_modalities
from mviz_lightning.batch.rows import take_examples
from mviz_lightning.engine import isolated
from mviz_lightning.engine.processes import OtherRankError, Ranks
from mviz_lightning.session import probe_sampling as collection
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

COUNT = 48


def data(outputs: int = 3, count: int = COUNT) -> dict[str, Tensor]:
    """Return examples of three modalities, and labels for every task."""
    return {
        "image": floats(count, 4, seed=1),
        "text": floats(count, 3, seed=2),
        "audio": floats(count, 2, seed=3),
        "multiclass": integers(outputs, count, seed=4),
        "binary": integers(2, count, seed=5),
        "multilabel": integers(2, count, outputs, seed=6),
        "regression": floats(count, outputs, seed=7).squeeze(1),
    }


class Three(nn.Module):
    """``forward(image, text, audio)`` with interactions of every order, or none."""

    def __init__(self, outputs: int, *, additive: bool = False) -> None:
        super().__init__()
        self.nets = nn.ModuleList(
            nn.Sequential(nn.Linear(size, 5), nn.Tanh(), nn.Linear(5, outputs)) for size in (4, 3, 2)
        )
        self.additive = additive

    def forward(self, image: Tensor, text: Tensor, audio: Tensor) -> Tensor:
        a, b, c = (net(values) for net, values in zip(self.nets, (image, text, audio), strict=True))
        return a + b + c if self.additive else a + b + c + a * b + a * b * c


TWO, THREE = ["image", "text"], ["image", "text", "audio"]


def config(modalities: Any = TWO, **options: Any) -> SessionConfig:
    return SessionConfig(parse_modalities(modalities), **{"num_examples": 24, "group_size": 12, **options})


def model(modalities: Any, outputs: int, *, additive: bool = False) -> nn.Module:
    if len(modalities) == 3:
        return seeded(lambda: Three(outputs, additive=additive))
    return seeded(lambda: (Additive if additive else LateFusion)(outputs=outputs))


def batches(
    examples: Mapping[str, Any], size: int = 10, order: Sequence[int] | None = None
) -> list[tuple[Any, list[int]]]:
    """Cut examples into batches, each with its positions."""
    positions = list(range(COUNT)) if order is None else list(order)
    parts = [positions[start : start + size] for start in range(0, len(positions), size)]
    return [
        ({name: take_examples(leaf, torch.tensor(part)) for name, leaf in examples.items()}, part) for part in parts
    ]


def dry_run(found: Session, module: nn.Module, batch: Any) -> str:
    """Try the model on a batch of which nothing is kept; raise what fails, say how it is called."""
    found.collect(batch, lambda count: [None] * count)
    found.dry_run(module)
    found.check()
    return found.call


def collected(found: Session, module: nn.Module, passed: Sequence[tuple[Any, Sequence[int | None]]]) -> Session:
    """Dry-run the model on the first batch, then collect all batches."""
    dry_run(found, module, passed[0][0])
    for batch, positions in passed:
        found.collect(batch, lambda _, positions=positions: positions)
    return found


def completed(settings: SessionConfig, module: nn.Module, passed: Any = None, **examples: Any) -> Session:
    found = collected(Session(settings), module, passed or batches(examples or data()))
    found.complete()
    return found


SCORES = {"score", "emap_score", "emap_gap", "emap_gap_low", "emap_gap_high"}


def score_keys(modalities: Sequence[str]) -> set[str]:
    return SCORES | {f"perceptual/{name}" for name in modalities}


TASKS = [("multiclass", 3), ("binary", 1), ("multilabel", 3), ("regression", 1), ("regression", 2)]


@pytest.mark.long
@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize(("task", "outputs"), TASKS)
def test_a_run_gives_shares_and_scores(task: str, outputs: int, modalities: list[str]) -> None:
    found = completed(config(modalities, target=task), model(modalities, outputs), **data(outputs))
    values = found.run().values
    assert set(values) == {key for key in found.config.keys if task != "regression" or not key.startswith("flips/")}
    assert all(np.isfinite(value) for value in values.values())
    assert sum(values[f"contribution/{name}"] for name in modalities) + values["interaction"] == pytest.approx(1)
    assert values["interaction"] > 0.01


@pytest.mark.long
@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize(("task", "outputs"), TASKS)
def test_without_labels_the_scores_are_absent(task: str, outputs: int, modalities: list[str]) -> None:
    found = completed(config(modalities, task=task), model(modalities, outputs), **data(outputs))
    assert set(found.run().values) == set(found.config.keys)


@pytest.mark.parametrize(("task", "outputs"), [(task, outputs) for task, outputs in TASKS if outputs == 1])
def test_one_output_needs_neither_labels_nor_a_task(task: str, outputs: int) -> None:
    assert completed(config(), model(TWO, 1), **data(1)).run().values["interaction"] > 0


def doubled(examples: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: leaf.double() if leaf.is_floating_point() else leaf for name, leaf in examples.items()}


@pytest.mark.long
@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize(("task", "outputs"), TASKS)
def test_an_additive_model_has_no_interaction(task: str, outputs: int, modalities: list[str]) -> None:
    module = model(modalities, outputs, additive=True).double()
    values = completed(config(modalities, target=task), module, **doubled(data(outputs))).run().values
    assert abs(values["interaction"]) < 1e-12
    assert values["emap_gap"] == pytest.approx(0, abs=1e-5)
    assert sum(values[f"contribution/{name}"] for name in modalities) == pytest.approx(1)


@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_interaction_that_rounding_feigns_is_not_far_above_the_noise_floor(modalities, dtype: torch.dtype) -> None:
    def predict(module: nn.Module, batch: Any) -> Tensor:
        return module(**{name: batch[name] for name in modalities}).to(dtype)

    module = model(modalities, 3, additive=True).double()
    found = completed(config(modalities, task="multiclass", predict=predict), module, **doubled(data())).run()
    assert abs(found.values["interaction"]) < 10 * found.noise_floor


def test_a_model_that_ignores_a_modality_says_so() -> None:
    module = OnBatch(lambda self, batch: self.net(batch["image"]), net=seeded(lambda: nn.Linear(4, 3)))
    with pytest.warns(MonitorWarning, match="swapping 'text' among 10 examples leaves the scores bit-identical"):
        values = completed(config(target="multiclass"), module).run().values
    for key in ("total/text", "contribution/text", "weakest_total", "interaction", "perceptual/text"):
        assert values[key] == pytest.approx(0, abs=1e-12)
    assert values["contribution/image"] == values["total/image"] == pytest.approx(1)


def test_the_score_is_that_of_the_real_examples() -> None:
    module, examples = model(TWO, 3), data()
    examples["multiclass"] = module(examples["image"], examples["text"]).argmax(1)
    assert completed(config(target="multiclass"), module, **examples).run().values["score"] == 1
    examples["multiclass"] = (examples["multiclass"] + 1) % 3
    assert completed(config(target="multiclass"), module, **examples).run().values["score"] == 0


def test_another_score_can_be_asked_for() -> None:
    module, examples = model(TWO, 3), data()
    found = completed(config(target="multiclass", score=MulticlassF1Score(3)), module, **examples)
    values, rows = found.run().values, found.probe.groups.flatten()
    outputs = module(examples["image"], examples["text"]).detach()
    chosen = [found.probe.leaves[name][rows] for name in ("image", "text", "multiclass")]
    expected = MulticlassF1Score(3)(module(*chosen[:2]).detach(), chosen[2])
    assert values["score"] == pytest.approx(float(expected))
    assert len(outputs) == COUNT


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_every_family_of_models_can_be_measured(family: Callable[..., ModelCase]) -> None:
    case = family(26)
    task = None if case.target else "multiclass"
    settings = config(case.modalities, target=case.target, task=task, predict=case.predict)
    found = completed(settings, case.module, [(case.batch, range(26))])
    values = found.run().values
    assert all(np.isfinite(value) for value in values.values())
    assert values["interaction"] != 0


def test_values_depend_neither_on_batches_nor_on_their_order_nor_on_the_random_state() -> None:
    first = completed(config(target="multiclass"), model(TWO, 3)).run().values
    torch.rand(5)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(8)).tolist()
    passed = batches(data(), 7, order)
    second = completed(config(target="multiclass"), model(TWO, 3), passed).run().values
    assert second == first


@pytest.mark.long
@pytest.mark.parametrize("chunk_size", [2, 5, 50])
def test_values_do_not_depend_on_the_chunks(chunk_size: int) -> None:
    first = completed(config(target="multiclass"), model(TWO, 3)).run().values
    second = completed(config(target="multiclass", chunk_size=chunk_size), model(TWO, 3)).run().values
    assert second == pytest.approx(first, abs=1e-5)


def test_another_seed_draws_other_examples() -> None:
    first, second = (completed(config(target="multiclass", seed=seed), model(TWO, 3)).run().values for seed in (0, 1))
    assert first != second


def test_the_same_examples_are_measured_again_and_again() -> None:
    module = model(TWO, 3)
    found = completed(config(target="multiclass"), module)
    first, probe = found.run().values, found.probe
    assert found.run().values == first
    with torch.no_grad():
        module.text_net[2].weight.mul_(0.1)
    assert found.run().values["total/text"] < first["total/text"]
    assert found.probe is probe


def test_a_run_counts_its_rows_and_its_time() -> None:
    found = completed(config(), model(TWO, 1), **data(1))
    measurement = found.run()
    assert measurement.rows == 2 * 12 * 12
    assert measurement.seconds > 0
    assert 0 <= measurement.noise_floor < 1e-12
    assert found.run().rows == measurement.rows


@pytest.mark.long
@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("budget", [1200, 5000])
def test_a_budget_is_kept(modalities: list[str], budget: int) -> None:
    settings = config(modalities, budget=budget, num_examples=COUNT, group_size=12)
    found = completed(settings, model(modalities, 1), **data(1))
    rows = found.run().rows
    free = completed(replace(settings, budget=None), model(modalities, 1), **data(1)).run().rows
    assert rows <= budget
    assert rows == min(free, budget // (free // 4) * (free // 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_examples": 1}, r"num_examples=1: give 2 or more"),
        ({"group_size": 0}, r"group_size=0: give 2 or more"),
        ({"reference": -1}, r"reference=-1: give 2 or more"),
        ({"chunk_size": 1}, r"chunk_size=1: give 2 or more"),
        ({"group_size": 3}, r"group_size=3: 2 modalities need groups of 4 or more"),
        ({"modalities": THREE, "group_size": 11}, r"group_size=11: 3 modalities need groups of 12 or more"),
        (
            {"num_examples": 20},
            r"num_examples=20: intervals need 2 groups of group_size=12; give num_examples=24 or more",
        ),
        ({"budget": 287}, r"budget=287 rows: two groups of 12 take 288; raise the budget or lower group_size"),
    ],
)
def test_an_impossible_configuration_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        config(**options)


def test_the_smallest_budget_that_is_offered_is_accepted() -> None:
    assert completed(config(budget=288), model(TWO, 1), **data(1)).run().rows == 288


@pytest.mark.parametrize(("modalities", "count", "least"), [(TWO, 7, 8), (TWO, 0, 8), (THREE, 23, 24)])
def test_too_few_examples_are_refused(modalities: list[str], count: int, least: int) -> None:
    passed = batches(data(1), order=range(max(count, 2)))
    found = Session(config(modalities))
    dry_run(found, model(modalities, 1), passed[0][0])
    for batch, positions in passed if count else []:
        found.collect(batch, lambda _, positions=positions: positions)
    with pytest.raises(
        ConfigurationError,
        match=rf"{count} validation examples were seen; contribution shares of {len(modalities)} modalities need "
        rf"{least} or more. Raise limit_val_batches or enlarge the validation set",
    ):
        found.complete()


@pytest.mark.parametrize(
    ("modalities", "count", "size"), [(TWO, 8, 4), (TWO, 23, 11), (THREE, 24, 12), (THREE, 39, 19)]
)
def test_fewer_examples_than_two_groups_take_smaller_groups_under_a_warning(
    modalities: list[str], count: int, size: int
) -> None:
    settings = config(modalities, num_examples=40, group_size=20)
    with pytest.warns(
        MonitorWarning,
        match=rf"{count} validation examples are fewer than two groups of group_size=20; groups of {size} are used and "
        rf"intervals will be wide. Enlarge the validation set or set group_size={size}",
    ):
        found = completed(settings, model(modalities, 1), batches(data(1), order=range(count)))
    assert found.probe.groups.shape == (2, size)
    assert np.isfinite(list(found.run().values.values())).all()


def test_outputs_that_are_not_finite_fail_the_run_and_not_the_next_one() -> None:
    module = model(TWO, 3)
    found = completed(config(target="multiclass"), module)
    expected = found.run().values
    weight = module.image_net[0].weight.detach().clone()
    module.image_net[0].weight.data[0] = float("nan")
    with pytest.raises(
        RuntimeError, match=r"288 of 288 rows of the model's outputs are NaN or infinite; look at the loss"
    ):
        found.run()
    module.image_net[0].weight.data.copy_(weight)
    assert found.run().values == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_rows_that_are_no_longer_finite_are_counted(value: float) -> None:
    found = completed(config(), OnBatch(lambda _, batch: batch["image"][:, :1] + batch["text"][:, :1]), **data(1))
    found.run()
    found.probe.leaves["image"][found.probe.groups[1, 3]] = value
    with pytest.raises(RuntimeError, match=r"12 of 288 rows of the model's outputs are NaN or infinite"):
        found.run()


def test_a_model_that_is_not_finite_from_the_start_is_rehearsed_without_a_false_warning() -> None:
    module = model(TWO, 3)
    module.image_net[0].weight.data.fill_(float("nan"))
    found = completed(config(target="multiclass"), module)
    with pytest.raises(RuntimeError, match="NaN or infinite"):
        found.run()


def test_a_label_that_forward_reads_is_named_in_the_dry_run() -> None:
    module = OnBatch(lambda _, batch: batch["image"] * batch["text"][:, :1] + batch["multiclass"][:, None])
    with pytest.warns(MonitorWarning, match="the outputs depend on 'multiclass'"):
        dry_run(Session(config(task="multiclass")), module, data())


def test_the_dry_run_says_how_the_model_is_called() -> None:
    assert dry_run(Session(config(target="multiclass")), model(TWO, 3), data()) == "forward(image=image, text=text)"


@pytest.mark.parametrize(
    ("settings", "outputs", "message"),
    [
        (config(["image", "words"]), 3, r"no leaf 'words' in the batch; leaves found: image \(48, 4\)"),
        (config(), 3, r"the model has 3 outputs, and neither task= nor target= shows what they are"),
        (
            config(target="multiclass", task="multilabel"),
            3,
            r"task='multilabel' with 3 outputs needs targets of 3 value",
        ),
        (
            config(target="multiclass"),
            2,
            r"task='multiclass' with 2 outputs needs targets from 0 to 1; found are 0 to 2",
        ),
    ],
)
def test_the_dry_run_refuses_what_cannot_be_measured(settings: SessionConfig, outputs: int, message: str) -> None:
    found = Session(settings)
    with pytest.raises(ConfigurationError, match=message):
        dry_run(found, model(TWO, outputs), data())
    assert not found.dry_run_done


def test_a_target_without_numbers_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"target='name' \(list of 16\) has no numbers; give the path of class"
    ):
        dry_run(Session(config(target="name")), model(TWO, 3), {**data(), "name": [b"a"] * COUNT})


def test_a_model_is_left_as_it_was() -> None:
    module = model(TWO, 3)
    module.text_net.eval()
    module.image_net[0].weight.grad = floats(5, 4)
    before = {name: leaf.clone() for name, leaf in module.state_dict().items()}
    modes, state, gradient = [child.training for child in module.modules()], torch.get_rng_state(), floats(5, 4)
    completed(config(target="multiclass"), module).run()
    assert same(before, dict(module.state_dict()))
    assert [child.training for child in module.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(module.image_net[0].weight.grad, gradient)


def test_batches_are_left_as_they_were_and_may_change_afterwards() -> None:
    passed, untouched = batches(data()), batches(data())
    expected = completed(config(target="multiclass"), model(TWO, 3), untouched).run().values
    found = Session(config(target="multiclass"))
    dry_run(found, model(TWO, 3), passed[0][0])
    for number, (batch, positions) in enumerate(passed):
        found.collect(batch, lambda _, positions=positions: positions)
        assert same(batch, untouched[number][0])
        for leaf in batch.values():
            leaf.zero_()
        batch.clear()
    found.complete()
    assert found.run().values == expected


def test_examples_that_stand_twice_are_left_out() -> None:
    passed = batches(data())
    again = [*passed, (passed[0][0], [None] * 10)]
    assert same(
        completed(config(target="multiclass"), model(TWO, 3), again).probe.leaves,
        completed(config(target="multiclass"), model(TWO, 3), passed).probe.leaves,
    )


def test_collecting_tells_how_many_examples_were_considered() -> None:
    found = Session(config(target="multiclass"))
    batch = data()
    dry_run(found, model(TWO, 3), batch)
    assert found.collect(batch, range) == COUNT
    found.complete()
    assert found.collect(batch, range) == 0


def test_the_probe_is_drawn_once() -> None:
    found = completed(config(target="multiclass"), model(TWO, 3))
    probe = found.probe
    found.complete()
    assert found.probe is probe


def test_a_batch_that_cannot_be_collected_fails_when_the_probe_is_drawn() -> None:
    passed = batches(data())
    del passed[2][0]["multiclass"]
    with pytest.raises(ConfigurationError, match=r"a batch has no leaf 'multiclass', but the first one had"):
        completed(config(target="multiclass"), model(TWO, 3), passed)


def test_nothing_can_be_run_before_there_is_a_probe() -> None:
    with pytest.raises(RuntimeError, match=r"the model was not tried yet; call dry_run first"):
        Session(config()).run()


def test_examples_beyond_the_groups_are_kept_for_reference() -> None:
    found = completed(config(reference=40), model(TWO, 1), **data(1))
    assert found.probe.size == 40
    assert found.probe.groups.shape == (2, 12)


def test_fewer_examples_are_kept_when_they_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    example = sum(leaf.nbytes for leaf in data(1).values()) // COUNT
    monkeypatch.setattr(collection, "REFERENCE_BYTES", 30 * example)
    assert completed(config(), model(TWO, 1), **data(1)).probe.size == 30
    monkeypatch.setattr(collection, "REFERENCE_BYTES", 10 * example)
    assert completed(config(), model(TWO, 1), **data(1)).probe.size == 24


def test_a_pass_in_inference_mode_gives_the_same_values() -> None:
    expected = completed(config(target="multiclass"), model(TWO, 3)).run().values
    module = model(TWO, 3)
    with torch.inference_mode():
        passed = batches({name: leaf.clone() for name, leaf in data().items()})
        found = completed(config(target="multiclass"), module, passed)
        assert found.run().values == expected


def test_examples_of_a_pass_in_inference_mode_can_be_differentiated() -> None:
    module = model(TWO, 3)
    with torch.inference_mode():
        passed = batches({name: leaf.clone() for name, leaf in data().items()})
        found = completed(config(target="multiclass"), module, passed)
        with isolated(module), torch.enable_grad():
            batch = found.probe.batch(torch.tensor([[0, 1], [2, 3]]), {})
            outputs = module(batch["image"].requires_grad_(), batch["text"])
            (gradient,) = torch.autograd.grad(outputs.square().sum(), batch["image"])
    assert gradient.abs().sum() > 0


def test_notes_are_given_once() -> None:
    found = Session(config())
    found.remarks.note("a", "b")
    assert found.pop_notes() == "a; b"
    assert found.pop_notes() == ""


def through_a_checkpoint(state: dict[str, Any]) -> dict[str, Any]:
    """Save and load as a resumed training does."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


LARGE = 2**20


def test_a_saved_probe_is_used_again_as_soon_as_a_batch_is_seen() -> None:
    first = completed(config(target="multiclass"), model(TWO, 3))
    second = Session(config(target="multiclass"))
    second.load(through_a_checkpoint(first.state(LARGE)))
    assert second.probe is None
    dry_run(second, model(TWO, 3), data())
    assert same(dict(second.probe.leaves), dict(first.probe.leaves))
    assert torch.equal(second.probe.groups, first.probe.groups)
    assert second.run().values == first.run().values
    assert second.pop_notes() == ""


def test_a_state_that_was_loaded_is_saved_again_before_it_is_used() -> None:
    state = completed(config(target="multiclass"), model(TWO, 3)).state(LARGE)
    second = Session(config(target="multiclass"))
    second.load(state)
    assert same(second.state(LARGE), dict(state))


def test_without_a_probe_there_is_no_state() -> None:
    assert Session(config()).state(LARGE) == {}


def test_a_probe_with_strings_is_saved_whole() -> None:
    examples = {**data(), "name": [f"{k}" for k in range(COUNT)], "number": list(range(COUNT))}
    first = completed(config(target="multiclass"), model(TWO, 3), **examples)
    state = through_a_checkpoint(first.state(LARGE))
    second = Session(config(target="multiclass"))
    second.load(state)
    dry_run(second, model(TWO, 3), examples)
    assert second.probe.leaves["name"] == first.probe.leaves["name"]
    assert second.probe.leaves["number"] == first.probe.leaves["number"]


@pytest.mark.long
@pytest.mark.parametrize(
    "leaf",
    [
        np.arange(COUNT),
        [np.float64(k) for k in range(COUNT)],
        list(np.array(["a", "b"] * (COUNT // 2))),
        [floats(k + 1) for k in range(COUNT)],
        [{"a": k} for k in range(COUNT)],
        tuple("ab" * (COUNT // 2)),
    ],
    ids=["array", "NumPy scalars", "NumPy strings", "tensors", "dicts", "tuple"],
)
def test_a_state_can_be_loaded_whatever_the_leaves(leaf: Any) -> None:
    examples = {**data(), "extra": leaf}
    first = completed(config(target="multiclass"), model(TWO, 3), **examples)
    second = Session(config(target="multiclass"))
    second.load(through_a_checkpoint(first.state(LARGE)))
    collected(second, model(TWO, 3), batches(examples))
    second.complete()
    assert second.run().values == first.run().values
    assert second.pop_notes() == ""


def test_a_probe_that_is_too_large_leaves_its_fingerprint_only() -> None:
    first = completed(config(target="multiclass"), model(TWO, 3))
    size = sum(leaf.nbytes for leaf in first.probe.leaves.values())
    whole = {"fingerprint", "group_size", "leaves", "groups", "positions", "pool", "label_names", "content"}
    whole |= {"bounds", "own_shapes"}
    assert set(first.state(size)) == whole
    assert set(first.state(size - 1)) == {"fingerprint", "group_size"}
    assert set(first.state(0)) == {"fingerprint", "group_size"}


def test_a_probe_that_is_drawn_anew_from_the_same_examples_is_the_same() -> None:
    first = completed(config(target="multiclass"), model(TWO, 3))
    second = Session(config(target="multiclass"))
    second.load(through_a_checkpoint(first.state(0)))
    collected(second, model(TWO, 3), batches(data()))
    second.complete()
    assert second.pop_notes() == ""
    assert second.run().values == first.run().values


def test_a_probe_that_is_drawn_anew_from_other_examples_is_noted() -> None:
    second = Session(config(target="multiclass"))
    second.load(through_a_checkpoint(completed(config(target="multiclass"), model(TWO, 3)).state(0)))
    collected(second, model(TWO, 3), batches({**data(), "image": floats(COUNT, 4, seed=99)}))
    second.complete()
    assert second.pop_notes() == "probe drawn anew: the validation set or its order changed since the checkpoint"


def test_a_saved_probe_of_other_leaves_is_drawn_anew_and_noted() -> None:
    second = Session(config(target="multiclass"))
    second.load(through_a_checkpoint(completed(config(target="multiclass"), model(TWO, 3)).state(LARGE)))
    collected(second, model(TWO, 3), batches({**data(), "id": torch.arange(COUNT)}))
    assert second.probe is None
    second.complete()
    assert "drawn anew" in second.pop_notes()


class Meeting:
    """Where the processes, here threads, lay down what they gather."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count, timeout=20)
        self.laid: list[Any] = [None] * count


@dataclass(frozen=True)
class ThreadRanks(Ranks):
    meeting: Meeting | None = None

    def gather(self, value: Any) -> list[Any]:
        self.meeting.laid[self.rank] = value
        self.meeting.barrier.wait()
        gathered = list(self.meeting.laid)
        self.meeting.barrier.wait()
        return gathered


def on_two_ranks(act: Callable[[Ranks], Any]) -> list[Any]:
    """Return what an action gives, or raises, on each of two ranks."""
    meeting, results = Meeting(2), [None, None]

    def run(rank: int) -> None:
        try:
            results[rank] = act(ThreadRanks(rank, 2, meeting))
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def on_rank(passed: Sequence[Any], settings: SessionConfig) -> Callable[[Ranks], Session]:
    """Let every second batch pass by on a rank, after a rehearsal alone: models are no business of threads."""

    def act(ranks: Ranks) -> Session:
        found = dry_run_done[ranks.rank]
        found.share_among(ranks)
        for batch, positions in passed[ranks.rank :: 2]:
            found.collect(batch, lambda _, positions=positions: positions)
        found.complete()
        return found

    dry_run_done = [Session(settings), Session(settings)]
    for found in dry_run_done:
        dry_run(found, model(TWO, 3), data())
    return act


def test_two_ranks_draw_the_probe_of_one() -> None:
    settings = config(target="multiclass", reference=30)
    expected = completed(settings, model(TWO, 3)).probe
    for found in on_two_ranks(on_rank(batches(data(), 7), settings)):
        assert same(dict(found.probe.leaves), dict(expected.leaves))
        assert torch.equal(found.probe.groups, expected.groups)


def test_examples_that_both_ranks_saw_count_once() -> None:
    settings = config(target="multiclass", reference=30)
    expected = completed(settings, model(TWO, 3)).probe
    twice = [part for part in batches(data(), 7) for _ in range(2)]
    for found in on_two_ranks(on_rank(twice, settings)):
        assert same(dict(found.probe.leaves), dict(expected.leaves))


def test_a_rank_that_fails_is_heard_by_the_other() -> None:
    passed = batches(data(), 7)
    del passed[1][0]["multiclass"]
    here, there = on_two_ranks(on_rank(passed, config(target="multiclass")))
    assert isinstance(there, ConfigurationError)
    assert "a batch has no leaf 'multiclass'" in str(there)
    assert isinstance(here, ConfigurationError)
    assert str(here).startswith("rank 1 failed: NotMeasurableError: a batch has no leaf 'multiclass'")


def test_another_ranks_failure_has_its_own_name() -> None:
    def act(ranks: Ranks) -> None:
        with ranks.raise_on_all_ranks():
            if ranks.rank == 0:
                raise OSError("disk full")

    here, there = on_two_ranks(act)
    assert isinstance(here, OSError)
    assert isinstance(there, OtherRankError)
    assert str(there) == "rank 0 failed: OSError: disk full"


def test_too_few_examples_on_two_ranks_fail_on_both() -> None:
    for found in on_two_ranks(on_rank(batches(data(), 3, range(6)), config(target="multiclass"))):
        assert isinstance(found, ConfigurationError)
        assert "6 validation examples were seen" in str(found)


def test_predict_may_be_given() -> None:
    found = completed(config(target="multiclass", predict=call_named), model(TWO, 3))
    assert found.run().values == completed(config(target="multiclass"), model(TWO, 3)).run().values
