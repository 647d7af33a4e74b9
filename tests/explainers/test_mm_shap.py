"""MM-SHAP of single examples, against Shapley values that are enumerated over the segments of both modalities."""

import pytest
import torch
from benchmarks.dime_synthetic import context_of
from helpers.batches import floats
from reference.coalitions import softmax
from reference.importance import shapley_of_subsets
from torch import Tensor, nn

from mviz_lightning import Modality
from mviz_lightning.explainers import ProbeContext, Responses
from mviz_lightning.explainers.base import Explainer
from mviz_lightning.explainers.contribution_shares.measures import measure_explainers
from mviz_lightning.functional import Task

COLUMNS = {"table": 3, "text": 2}


def network(outputs: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, outputs)).double()


def context(task: Task) -> tuple[ProbeContext, Tensor]:
    """Return 32 examples of two tables, and their ``(32, 5)`` columns; masked columns are 0."""
    batch = {name: floats(32, size, seed=seed).double() for seed, (name, size) in enumerate(COLUMNS.items())}
    modalities = {name: Modality(name, kind="tabular", baseline="zero") for name in COLUMNS}
    return context_of(batch, modalities, task=task), torch.cat(list(batch.values()), 1)


def explained(method: Explainer, probe_context: ProbeContext, model: nn.Module) -> dict[str, float]:
    """Return what a method finds of a model of the joined columns."""
    queries = method.plan(probe_context, []).queries
    batches = [probe_context.probe.batch(query.sources, query.masks) for query in queries]
    outputs = [model(torch.cat([batch[name] for name in COLUMNS], 1)).detach() for batch in batches]
    return dict(method.explain(probe_context, [], Responses(outputs)).values)


@pytest.mark.parametrize(("task", "outputs"), [("multiclass", 3), ("binary", 1), ("multilabel", 3), ("regression", 1)])
def test_shares_are_those_of_enumerated_shapley_values_of_the_prediction(task: Task, outputs: int) -> None:
    (method,) = measure_explainers(["mm_shap"])
    model, (probe_context, columns) = network(outputs), context(task)

    def score(logits: Tensor, predicted: int) -> float:
        values = logits.detach()
        if task == "multiclass":
            return float(softmax(values.numpy())[predicted])
        return float(values[0]) if task == "regression" else float(values[predicted].sigmoid())

    def share(example: int) -> float:
        predicted = int(model(columns[example]).argmax())
        kept = [torch.tensor([float(unit in there) for unit in range(5)]) for there in ({0, 1, 2}, {3, 4})]
        game = lambda there: score(
            model(columns[example] * torch.tensor([unit in there for unit in range(5)])), predicted
        )
        sizes = torch.from_numpy(shapley_of_subsets(game, 5)).abs()
        return float((sizes @ kept[0].double()) / sizes.sum())

    examples = probe_context.probe.groups.T.flatten()[:8].tolist()
    expected = sum(map(share, examples)) / 8
    found = explained(method, probe_context, model)
    assert found["table"] == pytest.approx(expected, abs=1e-9)
    assert found["text"] == pytest.approx(1 - expected, abs=1e-9)


def test_a_modality_that_is_not_used_has_a_share_of_0() -> None:
    (method,) = measure_explainers(["mm_shap"])
    found = explained(method, context("regression")[0], nn.Sequential(Columns(3)))
    assert found == {"table": pytest.approx(1), "text": pytest.approx(0, abs=1e-12)}


class Columns(nn.Module):
    """The sum of the first columns."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, columns: Tensor) -> Tensor:
        return columns[:, : self.count].sum(1, keepdim=True)
