"""Arguments of another kind than they can be are refused before anything runs."""

import pytest
import torch
from torchmetrics.classification import MulticlassF1Score

from mviz_lightning import ConfigurationError, MultimodalMonitor, explain
from mviz_lightning.batch import Modality
from mviz_lightning.explainers import DIME
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.testing import Additive

MODALITIES = {"a": 0, "b": 1}
BATCH = (torch.randn(64, 3), torch.randn(64, 5), torch.randint(0, 3, (64,)))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"explainers": DIME()}, r"^explainers=DIME\(.*: give a list; \[x\] for a single x, \[\] for none\.$"),
        ({"explainers": None}, r"^explainers=None: give a list"),
        ({"explainers": "DIME"}, r"^explainers='DIME': give a list"),
        (
            {"explainers": ["DIME"]},
            r"^explainers: 'DIME' is not a method; give objects .*, for example \[DIME\(\)\]\.$",
        ),
        ({"explainers": [DIME]}, r"^explainers: <class '.*DIME'> is not a method; give objects"),
        ({"pin": 5}, r"^pin=5: give a list"),
        ({"pin": ["5"]}, r"^pin=\['5'\]: give whole numbers of 0 or more, the indices of validation examples\.$"),
        ({"score": "accuracy"}, r"^score='accuracy': give a torchmetric, "),
        ({"score": MulticlassF1Score}, r"^score=<class .*: give a torchmetric, "),
        ({"class_names": "abc"}, r"^class_names='abc': give a list, a name for each output\.$"),
        ({"target": ["labels"]}, r"^target=\['labels'\]: give the path of one leaf, for example 'labels'\.$"),
        ({"num_examples": "128"}, r"^num_examples='128': give a whole number, 2 or more\.$"),
        ({"num_examples": -1}, r"^num_examples=-1: give 2 or more\.$"),
        ({"group_size": 16.0}, r"^group_size=16\.0: give a whole number, 2 or more\.$"),
        ({"chunk_size": None}, r"^chunk_size=None: give a whole number, 2 or more\.$"),
        ({"budget": "4096"}, r"^budget='4096': give a whole number, 0 or more\.$"),
        ({"seed": "0"}, r"^seed='0': give a whole number, for example seed=0\.$"),
        ({"seed": 0.5}, r"^seed=0\.5: give a whole number, for example seed=0\.$"),
    ],
)
def test_an_argument_of_another_kind_is_refused_at_once(argument, message):
    with pytest.raises(ConfigurationError, match=message):
        MultimodalMonitor(MODALITIES, **argument)
    with pytest.raises(ConfigurationError, match=message):
        explain(Additive([3, 5], 3), [BATCH], modalities=MODALITIES, **argument)


@pytest.mark.parametrize("given", ["32", -1, float("nan"), None])
def test_the_size_in_checkpoints_is_a_number(given):
    with pytest.raises(ConfigurationError, match=r"^checkpoint_megabytes=.*: give a number, 0 or more, for example"):
        MultimodalMonitor(MODALITIES, checkpoint_megabytes=given)


def test_a_single_batch_is_no_list_of_batches():
    with pytest.raises(
        ConfigurationError, match=r"^batches is a single batch; pass a loader or a list of batches: \[batch\]"
    ):
        explain(Additive([3, 5], 3), {"a": BATCH[0], "b": BATCH[1]}, modalities=["a", "b"], task="multiclass")


def test_a_target_in_a_tuple_may_be_a_number_as_modalities_may():
    report = explain(Additive([3, 5], 3), [BATCH], modalities=MODALITIES, target=2)
    assert "score" in report.values


@pytest.mark.parametrize(
    ("modalities", "budget", "grouping"),
    [
        (2, None, (8, 16)),
        (2, 512, (2, 16)),  # two groups of the usual size, as ever
        (2, 511, (6, 9)),
        (2, 256, (7, 6)),
        (2, 100, (6, 4)),
        (2, 32, (2, 4)),
        (3, 1100, (2, 12)),
    ],
)
def test_a_small_budget_makes_groups_smaller(modalities: int, budget: int | None, grouping: tuple[int, int]) -> None:
    named = {name: Modality(index) for index, name in enumerate("abc"[:modalities])}
    config = SessionConfig(named, budget=budget)
    found = config.base_grouping
    assert (config.affordable_groups(found), found.size) == grouping
    assert config.limiting == budget
    assert budget is None or config.affordable_groups(found) * config.rows_of(found.size) <= budget


def test_a_budget_that_no_two_groups_fit_in_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="budget=31 rows: two groups of 4 take 32; raise the budget\\.$"):
        SessionConfig({name: Modality(index) for index, name in enumerate("ab")}, budget=31)
