"""DIME on functions whose unimodal contributions and interactions are known, and on pairs with a modality swapped.

Full runs: tests/benchmarks/dime_synthetic.py and swap_check.py. Each test names the mistakes that make it fail.
"""

from collections.abc import Callable, Mapping
from functools import cache
from itertools import permutations
from typing import Any, TypeAlias

import pytest
import torch
from benchmarks import dime_synthetic as synthetic
from benchmarks.swap_check import MODALITIES, compare, context_of, pairs, swap
from benchmarks.swap_check import evaluator_of as scene_evaluator
from helpers.batches import OnBatch, call_forward, floats, seeded
from helpers.few import few
from reference.scenes import COMBINATIONS, VOCABULARY, SceneNet, Scenes
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from torch.testing import assert_close

from mviz_lightning import Modality
from mviz_lightning.engine import Evaluator, Query
from mviz_lightning.explainers import DIME, Attribution, Explanation, ProbeContext, Responses
from mviz_lightning.explainers.dime.explainer import attributions, masked_rows
from mviz_lightning.functional import draw_masks
from mviz_lightning.testing import Additive

UNITS = 4
"""Columns of a modality; so few that the defaults take all masks there are."""

GENEROUS = DIME(donors=100, masks=128, outputs=(synthetic.LAST,))

Make: TypeAlias = Callable[[], nn.Module]


class Exact(nn.Module):
    """The synthetic experiment's s as what class 1 is ahead; both logits are shifted by the same product."""

    def forward(self, d1: Tensor, d2: Tensor) -> Tensor:
        s, shift = synthetic.total(d1, d2), 2 * d1.sum(1) * d2.sum(1)
        return torch.stack([shift, shift + s], 1)


def network() -> nn.Module:
    """The paper's network after a second of training: accuracy 0.96."""
    with torch.random.fork_rng():
        return synthetic.trained(synthetic.draw(40_000, 0), 0, epochs=5)


@cache
def correlated(make: Make, dime: DIME = synthetic.DEFAULTS, count: int = 200) -> synthetic.Correlations:
    return synthetic.measure(make(), synthetic.draw(512, 1), dime, count)[0]


def meant(found: synthetic.Correlations, letters: str) -> float:
    """Return the lower correlation with its truth, of both modalities."""
    return min(found[name, truth] for name, truth in synthetic.MEANT.items() if name.startswith(letters))


def cross_terms(found: synthetic.Correlations) -> float:
    """Return the largest correlation of UC and MI with what they should not find."""
    return max(abs(value) for (name, truth), value in found.items() if synthetic.MEANT.get(name, truth) != truth)


@pytest.mark.slow
def test_the_parts_of_a_known_function_are_found() -> None:
    # Fails with a single donor for all rows, with donors that bring the masked modality along, with an MI from which
    # UC is not subtracted, with masks that do not mask what they say, and with logits that are not centred.
    found = correlated(Exact, GENEROUS, 40)

    assert meant(found, "UC") >= 0.99
    assert meant(found, "MI") >= 0.98


@pytest.mark.slow
@pytest.mark.parametrize(("make", "unimodal", "interaction"), few([(Exact, 0.96, 0.94), (network, 0.95, 0.88)]))
def test_the_parts_are_found_with_the_defaults(make: Make, unimodal: float, interaction: float) -> None:
    found = correlated(make)

    assert meant(found, "UC") >= unimodal
    assert meant(found, "MI") >= interaction
    assert cross_terms(found) <= 0.13
    # What does not disentangle stays far below.
    assert 0.5 < found["LIME_1", "d1"] < 0.85
    assert 0.5 < found["LIME_1", "d1*d2"] < 0.85


def test_a_table_has_a_line_for_every_explanation() -> None:
    found = synthetic.Result([correlated(Exact)], 10, 1.0)
    lines = list(found.table("ours"))

    assert [line.split(" ")[1] for line in lines[4:-1]] == list(synthetic.EXPLANATIONS)
    assert sum("**" in cell for line in lines[4:] for cell in line.split("|")) == len(synthetic.MEANT)


def tables(values: Mapping[str, Tensor]) -> ProbeContext:
    """Make tables the fixed examples of a regression; a masked column is 0."""
    modalities = {name: Modality(name, kind="tabular", baseline="zero") for name in values}
    return synthetic.context_of(values, modalities, task="regression")


def asker(module: nn.Module) -> Evaluator:
    return Evaluator(module, call_forward, chunk_size=4096)


def explained(evaluator: Evaluator, probe_context: ProbeContext, example: int, **arguments: Any) -> Explanation:
    dime = DIME(**arguments)
    responses = evaluator(probe_context.probe, dime.plan(probe_context, [example]).queries)
    return dime.explain(probe_context, [example], Responses(responses)).examples[0]


def normal(modalities: int, count: int = 48) -> dict[str, Tensor]:
    return {name: floats(count, UNITS, seed=seed) for seed, name in enumerate("abc"[:modalities])}


@pytest.mark.parametrize("modalities", [2, 3])
def test_units_of_an_additive_model_do_not_interact(modalities: int) -> None:
    # Fails with an MI from which UC is not subtracted, and with donors that bring the masked modality along.
    additive = seeded(lambda: Additive([UNITS] * modalities))
    evaluator = asker(OnBatch(lambda _, batch: additive(*batch.values())))
    probe_context = tables(normal(modalities))

    found = [explained(evaluator, probe_context, example).outputs[0] for example in range(4)]

    for output in found:
        assert output.interaction == pytest.approx(0, abs=1e-6)
        for part in output.parts.values():
            assert float(part.interaction.abs().max()) < 1e-6
            assert float(part.unimodal.abs().max()) > 1e-2


def products(module: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Predict: the columns' sums, multiplied over the modalities."""
    return torch.stack([values.sum(1) for values in batch.values()]).prod(0).unsqueeze(1)


def others_of(example: int) -> list[int]:
    """Return the rest of an example's group."""
    first = example // synthetic.GROUP * synthetic.GROUP
    return [donor for donor in range(first, first + synthetic.GROUP) if donor != example]


@pytest.mark.parametrize("example", [0, 5, 31])
def test_units_of_a_product_count_as_much_as_the_donors_say(example: int) -> None:
    # f = sum a * sum b. Fails, beside the above, with the example itself among its donors or the own partner in their
    # mean: both shrink MI by 1/16, which no correlation shows.
    values = normal(2)
    probe_context, evaluator = tables(values), asker(OnBatch(products))
    others, masks = others_of(example), draw_masks(UNITS, 2**UNITS)
    for number, (name, partner) in enumerate([("a", "b"), ("b", "a")]):
        partners = torch.tensor(others).unsqueeze(1).expand(-1, 2)
        query = masked_rows(torch.tensor([example] * 2), partners, number, name, masks)
        (found,) = attributions(evaluator(probe_context.probe, [query])[0].double(), masks, alpha=0)
        own, donors = values[partner][example].sum(), values[partner][others].sum(1).mean()

        assert_close(found.unimodal, (values[name][example] * donors).double(), rtol=1e-4, atol=1e-4)
        assert_close(found.interaction, (values[name][example] * (own - donors)).double(), rtol=1e-4, atol=1e-4)

        found = explained(evaluator, probe_context, example, donors=len(others)).outputs[0]
        part = found.parts[name]  # shrunk by the ridge, both alike
        assert_close(part.interaction * donors, part.unimodal * (own - donors), rtol=1e-4, atol=1e-4)
        assert part.unimodal_r2 > 0.9


@pytest.mark.parametrize("example", [0, 5, 31])
def test_a_product_as_a_whole_has_the_parts_that_its_group_says(example: int) -> None:
    # Fails with the example itself among its donors, and with pairs of the group's examples that are real ones.
    values = normal(2)
    a, b = (values[name].double().sum(1) for name in "ab")
    rest = others_of(example)
    recombined = (a[rest].sum() * b[rest].sum() - (a * b)[rest].sum()) / (len(rest) * (len(rest) - 1))
    unimodal = a[example] * b[rest].mean() + a[rest].mean() * b[example] - recombined

    found = explained(asker(OnBatch(products)), tables(values), example).outputs[0]

    assert found.value == pytest.approx(float(a[example] * b[example]), rel=1e-4, abs=1e-5)
    assert found.unimodal == pytest.approx(float(unimodal), rel=1e-4, abs=1e-5)
    assert found.interaction == pytest.approx(float(a[example] * b[example] - unimodal), rel=1e-4, abs=1e-5)


def lime(masks: Tensor, responses: Tensor) -> Tensor:
    """Return LIME's weights by its own formulas: cosine distance, width 0.25, ridge of 1, a free intercept."""
    everything = torch.ones(masks.shape[1]).double()
    distance = 1 - cosine_similarity(masks.double(), everything, dim=1)
    weight = (-distance.square() / 0.25**2).exp().sqrt().diag()
    inputs = torch.cat([masks.double(), torch.ones(len(masks), 1)], 1)
    penalty = torch.diag(torch.tensor([1.0] * masks.shape[1] + [0.0])).double()
    return torch.linalg.solve(inputs.T @ weight @ inputs + penalty, inputs.T @ weight @ responses)[:-1]


@pytest.mark.parametrize("modalities", [2, 3])
def test_both_parts_together_are_lime(modalities: int) -> None:
    # Fails with a kernel of another width or the inverse one, another penalty, different masks for the two parts.
    probe_context, evaluator = tables(normal(modalities)), asker(mixing(modalities))
    example, masks = 20, draw_masks(UNITS, 12)

    found = explained(evaluator, probe_context, example, masks=len(masks), outputs=[1]).outputs[0]

    for name, part in found.parts.items():
        own = Query(torch.full((len(masks), modalities), example), {name: masks})
        responses = evaluator(probe_context.probe, [own])[0].double()[:, 1]
        assert_close(part.unimodal + part.interaction, lime(masks, responses), rtol=1e-4, atol=1e-6)


def test_donors_of_several_modalities_come_from_different_examples() -> None:
    # f = sum a * b * c, where b = c = 1 or -1: with donors taken whole b * c were 1, and UC all there is. Taken apart,
    # b * c averages to about 0, and UC is nothing.
    signs = floats(112, 1, seed=3).sign()
    values = {"a": floats(112, UNITS), "b": signs, "c": signs.clone()}
    probe_context, evaluator = tables(values), asker(OnBatch(products))

    found = [explained(evaluator, probe_context, i, donors=100).outputs[0].parts["a"] for i in range(4)]

    for part in found:
        assert float(part.unimodal.abs().max()) < 0.3 * float(part.interaction.abs().max())


def mixing(modalities: int) -> nn.Module:
    net = seeded(lambda: nn.Sequential(nn.Linear(UNITS * modalities, 16), nn.Tanh(), nn.Linear(16, 2)))
    return OnBatch(lambda module, batch: module.net(torch.cat(list(batch.values()), 1)), net=net)


def close(left: Tensor, right: Tensor) -> bool:
    """Tell whether two maps are the same up to rounding of the network."""
    return float((left - right).abs().max()) <= 1e-5 * float(left.abs().max())


def swapped_well(before: Attribution, after: Attribution) -> bool:
    """Tell whether UC stayed, and MI did not."""
    return close(before.unimodal, after.unimodal) and not close(before.interaction, after.interaction)


@pytest.mark.parametrize("modalities", [2, 3])
def test_another_partner_leaves_the_unimodal_part_as_it_was(modalities: int) -> None:
    # Fails with the own partner in the donors' mean, with UC and MI exchanged, with an MI of donors alone.
    probe_context, evaluator = tables(normal(modalities)), asker(mixing(modalities))
    names = "abc"[:modalities]

    for stays, swapped in permutations(names, 2):
        for pair in [(0, 16), (17, 3), (40, 5)]:
            assert swapped_well(*swap(evaluator, probe_context, stays, pair, swapped=swapped)), (stays, swapped, pair)


@pytest.mark.parametrize(("stays", "swapped"), [("image", "question"), ("question", "image")])
def test_another_question_leaves_the_image_as_it_was(stays: str, swapped: str) -> None:
    scenes = Scenes.draw(64, 0)
    chosen = pairs(scenes, 2)
    probe_context, evaluator = context_of(scenes.batch, MODALITIES), scene_evaluator(seeded(lambda: SceneNet(8)))

    swaps = [swap(evaluator, probe_context, stays, pair, swapped=swapped) for pair in chosen]

    assert all(swapped_well(*found) for found in swaps)
    found = compare(swaps)
    assert found["UC"].largest <= 1e-5 * found["UC"].size
    assert float(found["UC"].distance.max()) < 1e-6 < float(found["MI"].distance.min())


@pytest.fixture(scope="module", name="scenes")
def drawn_scenes() -> Scenes:
    return Scenes.draw(1000, 5)


def test_scenes_show_what_their_boxes_say(scenes: Scenes) -> None:
    bright = scenes.image.amax(1) > 0.5
    rows = torch.arange(32)
    low, high = scenes.boxes[..., :2], scenes.boxes[..., 2:]
    within = (low[..., None] <= rows) & (rows < high[..., None])  # (N, 4, 2, 32)
    boxed = within[:, :, 1, :, None] & within[:, :, 0, None, :]

    assert int(boxed.sum(1).max()) == 1  # objects do not overlap
    assert not bool((bright & ~boxed.any(1)).any())
    painted = (boxed & bright[:, None]).sum((2, 3)) / boxed.sum((2, 3))
    shares = [painted[scenes.shape == number].mean() for number in range(3)]
    assert shares == pytest.approx([torch.pi / 4, 1, 0.5], abs=0.06)
    # Tight: every side of a box is touched.
    assert torch.equal((boxed & bright[:, None]).any(2), within[:, :, 0])
    assert torch.equal((boxed & bright[:, None]).any(3), within[:, :, 1])


def test_questions_name_an_object_in_half_of_the_scenes(scenes: Scenes) -> None:
    there = (scenes.combinations == scenes.combination[:, None]).any(1)

    assert torch.equal(there, scenes.label == 1)
    assert torch.equal(scenes.asked >= 0, there)
    assert int(there.sum()) == 500
    rows = torch.arange(1000)
    assert torch.equal(scenes.combinations[rows, scenes.asked][there], scenes.combination[there])
    assert torch.equal(scenes.asked_box[there], scenes.boxes[rows, scenes.asked][there])
    assert bool((scenes.asked_box[~there] == -1).all())


def test_neither_the_question_nor_the_image_tells_the_answer(scenes: Scenes) -> None:
    count = torch.stack([scenes.combination[scenes.label == label].bincount() for label in (0, 1)], 1)
    objects = (scenes.shape >= 0).sum(1).double()

    assert float((count[:, 1] / count.sum(1) - 0.5).abs().max()) < 0.2
    assert float(objects[scenes.label == 1].mean() - objects[scenes.label == 0].mean()) == pytest.approx(0, abs=0.15)


def test_a_question_reads_as_it_should(scenes: Scenes) -> None:
    names = {f"{colour} {shape}" for colour in VOCABULARY[8:12] for shape in VOCABULARY[12:]}

    assert len(names) == COMBINATIONS
    assert all(any(name in scenes.question(i) for name in names) for i in range(50))
    assert torch.equal(scenes.mask, (scenes.words > 0).long())
    assert {int(length) for length in scenes.mask.sum(1)} == {3, 5, 7}


def test_scenes_are_the_same_again(scenes: Scenes) -> None:
    again = vars(Scenes.draw(1000, 5))

    assert all(torch.equal(values, again[name]) for name, values in vars(scenes).items())
