"""What failed, on models whose unimodal contributions and interactions are known, and against slow loops."""

import io
from collections import Counter

import numpy as np
import pytest
import torch
from helpers import planted
from helpers.batches import Additive, LateFusion, floats, integers, seeded
from helpers.planted import COUNT
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from reference import errors as slow
from reference.slow import unimodal_contribution
from torch import nn

from mviz_lightning import ConfigurationError
from mviz_lightning.explainers import ErrorAnalysis, Explainer
from mviz_lightning.explainers.error_analysis.explainer import LONGEST, thinned_history
from mviz_lightning.explainers.error_analysis.result import ErrorResult
from mviz_lightning.functional import decomposable, half_splits
from mviz_lightning.functional.failures import decision_margins, failure_categories, failure_category_names

TASKS = [("multiclass", 3), ("multiclass", 2), ("binary", 1), ("multilabel", 3), ("regression", 1), ("regression", 2)]


def result_of(found, moment=(0, 0), **options) -> ErrorResult:
    explained = found.explain(ErrorAnalysis(**options), moment=moment)
    assert isinstance(explained.result, ErrorResult)
    return explained.result


def planted_study(task, outputs, **options):
    batch, unimodal, interaction, kinds = planted.errors(task, outputs)
    return planted.session(planted.Pair(unimodal, interaction), batch, task=task, **options), kinds


@pytest.fixture(scope="module", params=TASKS, ids=lambda param: f"{param[0]}-{param[1]}")
def case(request):
    """Return task, outputs, session, result, and the categories that were planted."""
    task, outputs = request.param
    found, kinds = planted_study(task, outputs)
    return task, outputs, found, result_of(found, num_examples=10), kinds


# -- Planted errors ----------------------------------------------------------------------------------------------------


def test_planted_decisions_are_counted_in_their_categories(case) -> None:
    task, _, _, result, kinds = case
    expected = Counter(kind for row in kinds for kind in row)
    assert result.counts == {name: expected[name] for name in failure_category_names(task)}
    total = sum(map(len, kinds))
    assert result.values == {name: expected[name] / total for name in failure_category_names(task)[1:]}
    assert min(result.counts.values()) > 0


def test_planted_decisions_are_counted_by_class_by_output_or_by_quarter(case) -> None:
    task, outputs, found, result, kinds = case
    label = found.probe.leaves["label"].view(COUNT, -1)
    rows = {planted.number_of(image[None]).item(): k for k, image in enumerate(found.probe.leaves["image"])}
    by = {}
    for number, row in enumerate(kinds):
        for column, kind in enumerate(row):
            value = label[rows[number], column].item()
            quarter = int(sum(label[:, 0] < value)) * 4 // COUNT
            key = column if len(row) > 1 else quarter if task == "regression" else value
            by.setdefault(key, Counter())[kind] += 1
    assert {one.index: dict(one.counts) for one in result.classes} == {
        key: {name: counts[name] for name in failure_category_names(task)} for key, counts in by.items()
    }
    bounds = [one.between for one in result.classes]
    if (task, outputs) == ("regression", 1):
        assert bounds == [(0, 7), (8, 15), (16, 23), (24, 31)]
    else:
        assert set(bounds) == {None}


def test_the_worst_are_the_mistakes_of_the_largest_loss_and_are_described(case) -> None:
    task, outputs, found, result, kinds = case
    _, unimodal, interaction, _ = planted.errors(task, outputs)
    outputs_of, label = (unimodal + interaction).double(), planted.errors(task, outputs)[0]["label"]
    losses = loss_of(outputs_of, label, task)
    wrong = [
        (-losses[i, k], i, k)
        for i in range(COUNT)
        for k in range(len(kinds[i]))
        if task == "regression" or kinds[i][k] not in ("right", "rescued")
    ]
    unit = label.double().std(0) if outputs == 2 and task == "regression" else torch.ones(outputs)
    expected = sorted((loss / float(unit[k] if task == "regression" else 1), i, k) for loss, i, k in wrong)
    assert [found.position - 1000 for found in result.worst] == [i for _, i, _ in expected[:10]]
    value, alone = (decomposable(part.double(), task) for part in (outputs_of, unimodal))
    for one, (_, i, k) in zip(result.worst, expected, strict=False):
        output = int(label[i]) if task == "multiclass" else k
        assert (one.output, one.category) == (output, kinds[i][k])
        assert one.loss == pytest.approx(losses[i, k], rel=1e-4)
        assert one.value == pytest.approx(float(value[i, output]), rel=1e-4, abs=1e-4)
        assert one.unimodal == pytest.approx(float(alone[i, output]), rel=1e-4, abs=1e-4)
        assert one.unimodal + one.interaction == pytest.approx(one.value, rel=1e-6)
        assert one.predicted == pytest.approx(said(outputs_of[i], task), rel=1e-5)
        assert one.alone == pytest.approx(said(unimodal[i].double(), task), rel=1e-5)
        assert one.target == pytest.approx(truth(label[i], task))
        assert float(found.probe.leaves["image"][one.example, 0, 0, 0]) == i / 64


def loss_of(outputs, label, task):
    """Return ``(N, K)`` losses in NumPy."""
    values, label = outputs.numpy(), label.numpy()
    if task == "multiclass":
        return (np.log(np.exp(values).sum(1)) - values[np.arange(COUNT), label])[:, None]
    label = label.reshape(COUNT, -1)
    return abs(values - label) if task == "regression" else np.log1p(np.exp(-(2 * label - 1) * values))


def said(outputs, task):
    if task == "multiclass":
        return int(outputs.argmax())
    if task == "regression":
        return outputs.tolist() if len(outputs) > 1 else float(outputs[0])
    on = (outputs > 0).nonzero().flatten().tolist()
    return on if task == "multilabel" else len(on)


def truth(label, task):
    return label.nonzero().flatten().tolist() if task == "multilabel" else label.tolist()


def test_the_rescued_are_those_that_the_interaction_helped_most(case) -> None:
    task, outputs, _, result, kinds = case
    _, unimodal, interaction, _ = planted.errors(task, outputs)
    name = "lowered" if task == "regression" else "rescued"
    label = planted.errors(task, outputs)[0]["label"].view(COUNT, -1)
    gain = margin(unimodal + interaction, label, task) - margin(unimodal, label, task)
    scale = label.double().std(0).numpy() if outputs == 2 and task == "regression" else 1
    order = sorted((-g, i, k) for (i, k), g in np.ndenumerate(gain / scale) if kinds[i][k] == name)
    assert [one.position - 1000 for one in result.rescued] == [i for _, i, _ in order[:10]]
    assert {one.category for one in result.rescued} == {name}
    assert len(result.rescued) == min(10, result.counts[name])


def margin(outputs, label, task):
    """Return ``(N, K)`` margins in NumPy."""
    values, label = outputs.double().numpy(), label.numpy()
    if task == "multiclass":
        rest = [max(np.delete(row, k)) for row, (k,) in zip(values, label, strict=True)]
        return (values[np.arange(COUNT), label[:, 0]] - rest)[:, None]
    return -abs(values - label) if task == "regression" else values * (2 * label - 1)


def test_no_more_are_listed_than_asked_for_and_than_there_are(case) -> None:
    task, _, found, result, _ = case
    few, none, many = (result_of(found, num_examples=count, name=f"n{count}") for count in (2, 0, 1000))
    assert (few.worst, few.rescued) == (result.worst[:2], result.rescued[:2])
    assert (none.worst, none.rescued) == ([], [])
    assert len(many.rescued) == many.counts["lowered" if task == "regression" else "rescued"]
    wrong = many.counts if task == "regression" else {"spoiled", "unrepaired", "misled"}
    assert len(many.worst) == sum(many.counts[name] for name in wrong)


@pytest.mark.long
@pytest.mark.parametrize(("task", "outputs"), TASKS)
def test_three_modalities(task, outputs) -> None:
    batch, unimodal, interaction, kinds = planted.errors(task, outputs)
    batch["sound"] = batch["image"].flatten(1)
    found = planted.session(
        Three(unimodal, interaction), batch, ["image", "text", "sound"], task=task, group_size=16, pairs=False
    )
    expected = Counter(kind for row in kinds for kind in row)
    assert result_of(found).counts == {name: expected[name] for name in failure_category_names(task)}


class Three(planted.Table):
    def forward(self, image, text, sound):
        return self.looked_up(*map(planted.number_of, (image, text, sound)))


# -- Against slow loops ------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(("task", "outputs"), TASKS)
def test_categories_are_those_of_slow_loops(task, outputs) -> None:
    module = seeded(lambda: LateFusion(outputs=outputs))
    batch = {"image": 3 * floats(64, 4), "text": 3 * floats(64, 3, seed=1), "label": labels(task, outputs)}
    found = planted.session(module, batch, ["image", "text"], task=task, num_examples=64)
    probe, seen, with_halves = found.probe, [], []
    target = probe.target.view(64, -1).double()
    scale = target.std(0) if (task, outputs) == ("regression", 2) else torch.ones(outputs)
    for group in probe.groups:
        rows = torch.cartesian_prod(group, group)
        values = module(probe.leaves["image"][rows[:, 0]], probe.leaves["text"][rows[:, 1]]).detach().double()
        known = probe.target[group].tolist() if task == "multiclass" else (target[group] / scale).numpy()
        grid = values / scale if task == "regression" else values
        grid = grid.view(8, 8, outputs).numpy()
        seen += slow.sorted_out(grid, known, task)
        for half in half_splits(8, 4, 0).flatten(0, 1).tolist():
            for i in range(8):
                kept = [i, *(k for k in half if k != i)]
                with_halves.append(slow.sorted_out(grid[np.ix_(kept, kept)], np.asarray(known)[kept], task)[0])
    expected, of_halves = (Counter(kind for row in rows for kind in row) for rows in (seen, with_halves))
    names, result = failure_category_names(task), result_of(found)
    assert result.counts == {name: expected[name] for name in names}
    assert len(+expected) > 2
    corrected = {k: 2 * expected[k] / expected.total() - of_halves[k] / of_halves.total() for k in names[1:]}
    assert result.values == pytest.approx(corrected)
    assert result.values != pytest.approx({k: expected[k] / expected.total() for k in names[1:]})


def test_decisions_whose_gain_is_certain_come_first() -> None:
    module = seeded(lambda: LateFusion(outputs=3))
    batch = {"image": 3 * floats(64, 4), "text": 3 * floats(64, 3, seed=1)}
    batch["label"] = module(batch["image"], batch["text"]).argmax(1)  # all are right, so more are rescued
    found = planted.session(module, batch, ["image", "text"], task="multiclass", num_examples=64)
    probe, result = found.probe, result_of(found, num_examples=50)
    lower = []
    for one in result.rescued:
        group = next(group for group in probe.groups if one.example in group)
        place = group.tolist().index(one.example)
        grid = module(
            *(
                probe.leaves[m][rows]
                for m, rows in zip(("image", "text"), torch.cartesian_prod(group, group).T, strict=True)
            )
        )
        grid = grid.detach().double().view(8, 8, 3).numpy()
        others = [k for k in range(8) if k != place]
        without = [[place, *(k for k in others if k != donor)] for donor in others]
        left_out = np.array([unimodal_contribution(grid[np.ix_(kept, kept)])[0] for kept in without])
        centred = left_out - left_out.mean(1, keepdims=True)
        assert one.error == pytest.approx(np.sqrt(6 / 7 * 7 * centred[:, one.output].var()), rel=1e-4)
        lead = left_out[:, one.output] - np.delete(left_out, one.output, 1).max(1)
        value, alone = grid[place, place], unimodal_contribution(grid)[place]
        gain = margin_of(value, one.output) - margin_of(alone, one.output)
        lower.append(gain - 1.96 * np.sqrt(6 / 7 * 7 * lead.var()))
    assert len(lower) > 5
    assert lower == sorted(lower, reverse=True)


def margin_of(logits, label):
    return logits[label] - np.delete(logits, label).max()


def labels(task, outputs):
    if task == "multiclass":
        return integers(outputs, 64, seed=2)
    if task == "binary":
        return integers(2, 64, seed=2)
    return integers(2, 64, outputs, seed=2) if task == "multilabel" else 2 * floats(64, outputs, seed=2)


def test_errors_add_up_to_what_the_score_lacks() -> None:
    found, _ = planted_study("multiclass", 3)
    values = result_of(found).values
    score = found.run().values["score"]
    assert values["spoiled"] + values["unrepaired"] + values["misled"] == pytest.approx(1 - score, abs=1e-6)


def test_without_interaction_nothing_is_rescued_spoiled_or_misled() -> None:
    batch = {"image": 3 * floats(64, 4), "text": 3 * floats(64, 3, seed=1), "label": labels("multiclass", 3)}
    counts = result_of(planted.session(seeded(Additive), batch, ["image", "text"])).counts
    assert counts["rescued"] == counts["spoiled"] == counts["misled"] == 0
    assert counts["unrepaired"] > 0


def test_the_rounding_of_an_offset_is_no_interaction() -> None:
    batch, unimodal, interaction, _ = planted.errors("multiclass", 3)
    wrong = 1000 + 0.3 * floats(COUNT, 1).expand_as(unimodal)
    numbers, label = torch.arange(COUNT), batch["label"]
    wrong = wrong.index_put((numbers, label), torch.tensor(-2e-4), accumulate=True)  # a few steps of float32 there
    wrong = wrong.index_put((numbers, (label + 2) % 3), torch.tensor(-1.0), accumulate=True)
    found = planted.session(planted.Pair(wrong, 0 * interaction), batch, task="multiclass")
    assert result_of(found).counts["unrepaired"] == COUNT


@given(st.sampled_from(["multiclass", "binary", "multilabel", "regression"]), st.integers(2, 5), st.integers(0, 10**6))
def test_every_decision_is_in_the_category_of_the_slow_loop(task, outputs, seed) -> None:
    outputs = 1 if task == "binary" else outputs
    value, alone = (floats(20, outputs, seed=seed + k).double() for k in range(2))
    columns = 1 if task == "multiclass" else outputs
    target = (
        floats(20, outputs, seed=seed + 2).double()
        if task == "regression"
        else integers(outputs if task == "multiclass" else 2, 20, columns, seed=seed + 2)
    )
    names = failure_category_names(task)
    found = [[names[place] for place in row] for row in failure_categories(value, alone, target, task).tolist()]
    known = target[:, 0].tolist() if task == "multiclass" else target.numpy()
    assert found == [slow.of_example(value[i].numpy(), alone[i].numpy(), known[i], task) for i in range(20)]


def test_margins_are_how_far_the_truth_leads() -> None:
    logits, two = torch.tensor([[1.0, 4.0, 2.0]]), torch.tensor([[-2.0, 3.0]])
    assert decision_margins(logits, torch.tensor([[1]]), "multiclass").tolist() == [[2]]
    assert decision_margins(logits, torch.tensor([[2]]), "multiclass").tolist() == [[-2]]
    assert decision_margins(two, torch.tensor([[1, 1]]), "multilabel").tolist() == [[-2, 3]]
    assert decision_margins(two, torch.tensor([[0.0, 0.0]]), "regression").tolist() == [[-2, -3]]


def test_what_is_no_more_than_rounding_does_not_mislead() -> None:
    value, alone, true = torch.tensor([[-2e-6]]), torch.tensor([[-1e-6]]), torch.tensor([[1]])
    names = failure_category_names("binary")
    assert names[int(failure_categories(value, alone, true, "binary"))] == "misled"
    assert names[int(failure_categories(value, alone, true, "binary", floor=1e-5))] == "unrepaired"
    values = torch.tensor([[1e-6]]), torch.tensor([[2e-6]]), torch.zeros(1, 1)
    assert int(failure_categories(*values, "regression")) == 1
    assert int(failure_categories(*values, "regression", floor=1e-5)) == 0


# -- Arguments, costs, memory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_examples": -1}, r"ErrorAnalysis\(num_examples=-1\): give 0 or more"),
        ({"every_n_validations": 0}, r"ErrorAnalysis\(every_n_validations=0\): give 1 or more"),
    ],
)
def test_impossible_arguments_are_refused(options, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ErrorAnalysis(**options)


def test_without_labels_nothing_is_an_error() -> None:
    batch, unimodal, interaction, _ = planted.errors("multiclass")
    found = planted.session(planted.Pair(unimodal, interaction), batch, target=None, task="multiclass")
    with pytest.raises(ConfigurationError, match=r"target=None, but error analysis needs labels. Give target="):
        found.explain(ErrorAnalysis())


def test_it_costs_what_the_shares_cost() -> None:
    found, _ = planted_study("binary", 1)
    assert found.explain(ErrorAnalysis()).rows == found.run().rows == COUNT * 8


@pytest.mark.filterwarnings("ignore")  # jsonargparse's, of its own renamed methods
def test_it_is_built_from_yaml() -> None:
    parser = ArgumentParser()
    parser.add_argument("--explainer", type=Explainer)
    said = "{class_path: mviz_lightning.explainers.ErrorAnalysis, init_args: {num_examples: 3, name: mine}}"
    built = parser.instantiate_classes(parser.parse_args([f"--explainer={said}"])).explainer
    assert built == ErrorAnalysis(num_examples=3, name="mine")


def test_the_history_goes_on_and_follows_the_training() -> None:
    batch, unimodal, interaction, _ = planted.errors("multiclass")
    module = planted.Pair(unimodal, interaction)
    found = planted.session(module, batch)
    first = result_of(found, (3, 80))
    module.interaction = nn.Parameter(torch.zeros_like(interaction))
    second = result_of(found, (5, 120))
    assert second.counts["rescued"] == 0 != first.counts["rescued"]
    assert list(second.history) == [(3, 80, first.counts), (5, 120, second.counts)]
    assert [epoch for epoch, *_ in result_of(found, (5, 120), name="another").history] == [5]


def test_the_history_survives_a_checkpoint() -> None:
    batch, unimodal, interaction, _ = planted.errors("multiclass")
    module = planted.Pair(unimodal, interaction)
    found = planted.session(module, batch)
    first = result_of(found)
    assert planted.plain(first.memory)
    file = io.BytesIO()
    torch.save(found.state(limit=2**20), file)
    file.seek(0)
    resumed = planted.session(module, batch, state=torch.load(file, weights_only=True))
    assert list(result_of(resumed, (1, 10)).history) == [(0, 0, first.counts), (1, 10, first.counts)]


def test_the_history_does_not_grow_without_end() -> None:
    history = []
    for number in range(5 * LONGEST):
        history = thinned_history([*history, number])
        assert len(history) <= LONGEST
        assert (history[0], history[-1]) == (0, number)
    assert history == sorted(set(history))
    assert len(history) > LONGEST / 2
