"""DIME, against one that asks a plain model for one mask and one donor at a time."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.dime_synthetic import context_of
from helpers.batches import floats, integers, probe_of, same, seeded
from helpers.few import spread
from hypothesis import given
from hypothesis import strategies as st
from reference import slow
from torch import Tensor, nn

from mviz_lightning import ConfigurationError, Modality, MonitorWarning
from mviz_lightning.batch import Segments
from mviz_lightning.engine import Evaluator, Query
from mviz_lightning.explainers import DIME, Explanation, ProbeContext, Responses
from mviz_lightning.explainers.dime.explainer import masked_rows
from mviz_lightning.functional import design, draw_masks

SIZES = {"image": 8, "text": 3, "audio": 2}
INDEX = {"image": [0, 1, 2, 3, 4, 5, 6, -1], "text": [0, 0, 1], "audio": [0, 1]}
BASELINE = {"image": 0.25, "text": -0.5, "audio": 0.0}
TASKS = [("multiclass", 3), ("binary", 1), ("multilabel", 3), ("regression", 1), ("regression", 2)]
TWO, THREE = ("image", "text"), ("image", "text", "audio")


class Net(nn.Module):
    """``forward(*inputs)`` with interactions of every order, or none."""

    def __init__(self, modalities: Sequence[str], outputs: int, *, additive: bool = False) -> None:
        super().__init__()
        self.nets = nn.ModuleList(
            nn.Sequential(nn.Linear(SIZES[name], 5), nn.Tanh(), nn.Linear(5, outputs)) for name in modalities
        )
        self.additive = additive

    def forward(self, *inputs: Tensor) -> Tensor:
        parts = 3 * torch.stack([net(values) for net, values in zip(self.nets, inputs, strict=True)])
        return parts.sum(0) if self.additive else parts.sum(0) + 2 * parts.prod(0) + parts[0] * parts[1]


def net(modalities: Sequence[str], outputs: int, **options: bool) -> nn.Module:
    return seeded(lambda: Net(modalities, outputs, **options)).double().requires_grad_(False)


def labels(task: str, outputs: int, count: int) -> Tensor:
    if task == "regression":
        return floats(count, outputs, seed=7) * torch.tensor([1.0, 30.0])[:outputs]
    return integers(max(outputs, 2), count) if task == "multiclass" else integers(2, count, outputs, seed=3)


def probe_context(modalities: Sequence[str] = TWO, task: str = "multiclass", outputs: int = 3) -> ProbeContext:
    """Two groups and two examples that no group holds, whose positions are ten times their index."""
    size = 5 if len(modalities) == 2 else 12
    count = 2 * size + 2
    batch = {name: floats(count, SIZES[name], seed=k).double() for k, name in enumerate(modalities)}
    probe = probe_of(batch | {"labels": labels(task, outputs, count)}, modalities, "labels")
    segments = {name: Segments(name, torch.tensor([INDEX[name]]), BASELINE[name]) for name in modalities}
    order = torch.randperm(2 * size, generator=torch.Generator().manual_seed(1)).view(2, size)
    positions = [10 * example for example in range(count)]
    scale = torch.tensor([1.0, 30.0]) if task == "regression" and outputs == 2 else None
    return ProbeContext(
        replace(probe, segments=segments, groups=order), task, design(len(modalities), size), positions, scale
    )


def predict(module: nn.Module, batch: Any) -> Tensor:
    return module(*(batch[name] for name in THREE if name in batch))


def explained(
    found: ProbeContext, module: nn.Module, example: int, call: Callable = predict, **options: Any
) -> Explanation:
    method = DIME(**options)
    responses = Evaluator(module, call)(found.probe, method.plan(found, [example]).queries)
    return method.explain(found, [example], Responses(responses)).examples[0]


@pytest.mark.parametrize(("task", "outputs"), TASKS)
def test_the_error_of_an_interaction_is_its_spread_without_each_donor(task: str, outputs: int) -> None:
    found, module = probe_context(TWO, task, outputs), net(TWO, outputs)
    example = int(found.probe.groups[0, 2])
    group = found.probe.groups[0]
    pairs = torch.cartesian_prod(group, group)
    values = module(*(found.probe.leaves[name][pairs[:, k]] for k, name in enumerate(TWO)))
    grid = found.decomposable(values).view(5, 5, -1).numpy()
    kept = [[2, *(k for k in range(5) if k not in (2, donor))] for donor in (0, 1, 3, 4)]
    without = np.array([slow.unimodal_contribution(grid[np.ix_(rows, rows)])[0] for rows in kept])

    for output in explained(found, module, example).outputs:
        unit = found.unit(output.output)
        expected = unit * np.sqrt(3 / 4 * ((without - without.mean(0)) ** 2).sum(0)[output.output])
        assert output.error == pytest.approx(expected, rel=1e-6)
        assert output.error > 0


def test_an_additive_model_has_no_error() -> None:
    found = probe_context(THREE)
    outputs = explained(found, net(THREE, 3, additive=True), int(found.probe.groups[0, 0])).outputs

    assert [output.error for output in outputs] == pytest.approx([0] * len(outputs), abs=1e-9)


def centred(found: ProbeContext, module: nn.Module) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """The plain model for a single row, centred over classes; values are in their own unit."""

    def model(inputs: Sequence[np.ndarray]) -> np.ndarray:
        outputs = module(*(torch.from_numpy(values).unsqueeze(0) for values in inputs))[0].numpy()
        return outputs - outputs.mean() if found.task == "multiclass" else outputs

    return model


def inputs_of(found: ProbeContext, example: int) -> list[np.ndarray]:
    return [found.probe.leaves[name][example].numpy() for name in found.probe.schema.names]


def masked_inputs(found: ProbeContext, example: int, name: str, masks: np.ndarray) -> list[np.ndarray]:
    own, entries = found.probe.leaves[name][example].numpy(), INDEX[name]
    return [np.array([own[k] if u < 0 or mask[u] else BASELINE[name] for k, u in enumerate(entries)]) for mask in masks]


def slow_dime(found: ProbeContext, module: nn.Module, example: int, name: str, samples: int = 48) -> Any:
    modality = found.probe.schema.names.index(name)
    masks = draw_masks(1 + max(INDEX[name]), samples, found.seed).double().numpy()
    partners = DIME().partners(found, example, masks.shape[1]).tolist()
    donors = [[inputs_of(found, donor)[m] for m, donor in enumerate(row)] for row in partners]
    masked = modality, masked_inputs(found, example, name, masks)
    alpha = len(masks) / samples
    return slow.dime(centred(found, module), inputs_of(found, example), donors, masked, masks, alpha)


EXAMPLES = [0, 7, pytest.param(-1, id="of no group")]


@pytest.mark.parametrize("example", spread(EXAMPLES, 3))
@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize(("task", "outputs"), TASKS)
def test_units_add_what_the_slow_way_says(task: str, outputs: int, modalities: Any, example: int) -> None:
    found, module = probe_context(modalities, task, outputs), net(modalities, outputs)
    example %= found.probe.size
    explanation = explained(found, module, example, outputs=range(outputs))

    assert [output.output for output in explanation.outputs] == list(range(outputs))
    for name in modalities:
        unimodal, interaction = slow_dime(found, module, example, name)
        assert np.abs(interaction).max() > 1e-3
        for output in explanation.outputs:
            part = output.parts[name]
            np.testing.assert_allclose(part.unimodal.numpy(), unimodal[:, output.output], rtol=1e-8, atol=1e-10)
            np.testing.assert_allclose(part.interaction.numpy(), interaction[:, output.output], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize(("task", "outputs"), TASKS)
def test_uc_and_mi_of_two_modalities_are_those_of_the_grid(task: str, outputs: int, example: int) -> None:
    found, module = probe_context(TWO, task, outputs), net(TWO, outputs)
    example %= found.probe.size
    group, place = found.group(example)
    model, inputs = centred(found, module), [inputs_of(found, member) for member in group.tolist()]
    grid = np.array([[model([first[0], second[1]]) for second in inputs] for first in inputs])
    expected = slow.unimodal_contribution(grid)[place], slow.multimodal_interaction(grid)[place]

    for output in explained(found, module, example, outputs=range(outputs)).outputs:
        assert output.unimodal == pytest.approx(expected[0][output.output], abs=1e-10)
        assert output.interaction == pytest.approx(expected[1][output.output], abs=1e-10)
        assert output.value == pytest.approx(model(inputs[place])[output.output], abs=1e-10)


@pytest.mark.slow
@given(st.integers(0, 25), st.sampled_from(TASKS))
def test_uc_and_mi_add_up_to_the_value(example: int, task: tuple[str, int]) -> None:
    found, module = probe_context(THREE, *task), net(THREE, task[1])

    for output in explained(found, module, example, masks=2).outputs:
        assert output.unimodal + output.interaction == pytest.approx(output.value, abs=1e-12)
        model = centred(found, module)
        assert output.value == pytest.approx(model(inputs_of(found, example))[output.output], abs=1e-10)


@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
def test_an_additive_model_has_no_interaction(modalities: Any) -> None:
    found, module = probe_context(modalities), net(modalities, 3, additive=True)

    for example in (3, found.probe.size - 1):
        for output in explained(found, module, example).outputs:
            assert abs(output.interaction) < 1e-12
            assert all(part.interaction.abs().max() < 1e-12 for part in output.parts.values())
            assert all(part.unimodal.abs().max() > 0.01 for part in output.parts.values())


def test_rows_are_every_mask_beside_the_own_partner_and_then_the_donors() -> None:
    masks = torch.tensor([[True, True], [False, True]])
    query = masked_rows(torch.tensor([7, 7, 7]), torch.tensor([[1, 2, 3], [2, 3, 1]]), 1, "text", masks)

    assert query.sources.tolist() == [[7, 7, 7], [1, 7, 3], [2, 7, 1]] * 2
    assert query.masks["text"].tolist() == [[True, True]] * 3 + [[False, True]] * 3


def masked_parts(found: ProbeContext, example: int, **options: Any) -> dict[str, Query]:
    _, *masked = DIME(**options).plan(found, [example]).queries
    return {next(iter(query.masks)): query for query in masked}


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("donors", [None, 3, 4, 9])
def test_donors_are_other_examples_and_the_same_for_all_masks(
    modalities: Any, donors: int | None, example: int
) -> None:
    found = probe_context(modalities)
    example %= found.probe.size
    size, everyone = found.probe.groups.shape[1], found.probe.groups.flatten().tolist()

    for name, query in masked_parts(found, example, donors=donors).items():
        modality = modalities.index(name)
        masks, default = (48, 20) if name == "image" else (4, 255)
        expected = min(donors or default, len(set(everyone) - {example}))
        assert len(query) == masks * (1 + expected)
        by_mask = query.sources.view(masks, 1 + expected, len(modalities))
        assert torch.equal(by_mask, by_mask[:1].expand_as(by_mask))
        assert by_mask[0, 0].tolist() == [example] * len(modalities)
        assert by_mask[0, :, modality].tolist() == [example] * (1 + expected)
        others = [row[:modality] + row[modality + 1 :] for row in by_mask[0, 1:].tolist()]
        assert all(example not in row and len(set(row)) == len(row) for row in others)
        assert all(len(set(column)) == expected for column in zip(*others, strict=True))
        if expected < size:
            group = set(found.group(example)[0].tolist())
            assert all(set(row) <= group for row in others)


@pytest.mark.parametrize("donors", [1, 2])
def test_few_donors_are_different_examples_for_each_modality_too(donors: int) -> None:
    for name, query in masked_parts(probe_context(THREE), 3, donors=donors).items():
        for row in query.sources[1 : 1 + donors].tolist():
            others = [example for m, example in enumerate(row) if THREE[m] != name]
            assert len(set(others)) == len(others)


def test_by_default_a_modality_with_few_masks_has_more_donors() -> None:
    tables = {"wide": floats(320, 10), "narrow": floats(320, 4, seed=1), "small": floats(320, 2, seed=2)}
    read = {name: Modality(name, kind="tabular") for name in tables}
    found = context_of(tables, read, task="regression")

    rows = {name: len(query) for name, query in masked_parts(found, 3).items()}
    assert rows == {"wide": 48 * (1 + 20), "narrow": 16 * (1 + 63), "small": 4 * (1 + 255)}
    assert {name: len(query) for name, query in masked_parts(found, 3, donors=15).items()} == {
        "wide": 48 * (1 + 15), "narrow": 16 * (1 + 15), "small": 4 * (1 + 15),
    }  # fmt: skip


def test_donors_of_another_group_are_as_good() -> None:
    # f = a * b: what a adds is a times the donors' mean of b, which comes from the groups of all.
    tables = {"a": floats(64, 2), "b": floats(64, 2, seed=1) + 1}
    found = context_of(
        tables, {name: Modality(name, kind="tabular", baseline=0.0) for name in tables}, task="regression"
    )

    def product(module: nn.Module, batch: Any) -> Tensor:
        return (batch["a"].sum(1) * batch["b"].sum(1)).unsqueeze(1)

    for donors in (15, 31, 63):
        part = explained(found, nn.Identity(), 40, product, donors=donors).outputs[0].parts["a"]
        others = [k for k in (*range(32, 48), *range(32), *range(48, 64)) if k != 40][:donors]
        mean = float(tables["b"][others].sum(1).mean())
        ratio = part.unimodal / (part.unimodal + part.interaction)
        torch.testing.assert_close(
            ratio, torch.full_like(ratio, mean / float(tables["b"][40].sum())), rtol=1e-4, atol=0
        )


def test_more_donors_than_there_are_is_said() -> None:
    with pytest.warns(MonitorWarning, match=r"DIME\(donors=20\): there are 9 other examples; raise num_examples"):
        query = masked_parts(probe_context(), 3, donors=20)["text"]
    assert len(query) == 4 * (1 + 9)


@pytest.mark.parametrize(("masks", "expected"), [(None, {"image": 48, "text": 4}), (16, {"image": 16, "text": 4})])
def test_masks_may_be_said(masks: int | None, expected: dict[str, int]) -> None:
    found = masked_parts(probe_context(), 3, masks=masks, donors=2)
    assert {name: len(query) // 3 for name, query in found.items()} == expected
    assert all(query.masks[name][:3].all() for name, query in found.items())
    assert len(masked_parts(probe_context(), 3, masks=256, donors=2)["image"]) == 128 * 3


def with_units(found: ProbeContext, **segments: Segments) -> ProbeContext:
    return replace(found, probe=replace(found.probe, segments=segments))


def test_large_modalities_get_three_masks_for_each_unit() -> None:
    wide = with_units(probe_context(), image=Segments("image", torch.arange(30).unsqueeze(0)))
    assert len(masked_parts(wide, 3, donors=1)["image"]) == 2 * 90


@pytest.mark.parametrize(
    ("name", "value"), [("num_examples", -1), ("every_n_validations", 0), ("donors", 0), ("masks", 1)]
)
def test_impossible_arguments_are_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"^DIME\({name}={value}\): give {value + 1} or more\.$"):
        DIME(**{name: value})


def test_arguments_of_another_kind_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^DIME\(num_examples='4'\): give a whole number, 0 or more\.$"):
        DIME(num_examples="4")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"^DIME\(outputs=1\): give a list of numbers of outputs, \[1\] for"):
        DIME(outputs=1).check(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("outputs", [[0, 3], [-1]])
def test_an_output_that_the_model_does_not_have_is_refused(outputs: list[int]) -> None:
    DIME(outputs=[0, 2]).check(3)
    with pytest.raises(
        ConfigurationError, match=rf"the model has 3 outputs; {outputs[-1]} is out of range; allowed are 0 to 2"
    ):
        DIME(outputs=outputs).check(3)


@pytest.mark.parametrize(("task", "outputs"), TASKS)
def test_an_explanation_survives_a_checkpoint(task: str, outputs: int) -> None:
    explanation, file = explained(probe_context(THREE, task, outputs), net(THREE, outputs), 3), io.BytesIO()
    torch.save(explanation.state(), file)
    file.seek(0)
    again = Explanation.of(torch.load(file, weights_only=True))

    assert same(again.state(), explanation.state())
    assert same(list(again.outputs), list(explanation.outputs))
    assert (again.example, again.position, again.note) == (3, 30, "")
    assert again.target == explanation.target is not None


# -- Few units, and outputs that are not finite ------------------------------------------------------------------------


@pytest.mark.parametrize("others", [0, -1], ids=["others have some", "nobody has any"])
def test_an_example_without_units_is_explained_by_the_other_modality(others: int) -> None:
    found, module = probe_context(), net(TWO, 3)
    index = torch.full((found.probe.size, 3), others)
    index[3] = -1
    cut = with_units(found, text=Segments("text", index), image=found.probe.segments["image"])
    parts = explained(cut, module, 3).outputs[0].parts

    assert parts["text"].unimodal.shape == parts["text"].interaction.shape == (0,)
    assert np.isnan(parts["text"].unimodal_r2)
    expected = explained(found, module, 3).outputs[0].parts["image"]
    torch.testing.assert_close(parts["image"].unimodal, expected.unimodal)


@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
def test_an_example_whose_own_output_is_not_finite_is_not_explained(modalities: Any) -> None:
    found, module = probe_context(modalities), net(modalities, 3)
    example = found.probe.size - 1
    own = [found.probe.leaves[name][example] for name in modalities]

    def broken(module: nn.Module, batch: Any) -> Tensor:
        hit = [(batch[name] == values).all(1) for name, values in zip(modalities, own, strict=True)]
        return predict(module, batch).masked_fill(torch.stack(hit).all(0).unsqueeze(1), torch.nan)

    with pytest.raises(RuntimeError, match=rf"outputs of validation example {10 * example} or of its group are NaN"):
        explained(found, module, example, broken)
