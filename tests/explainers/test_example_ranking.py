"""The ranking of examples: the output that is split, its effects in its own unit, and what is listed."""

import pytest
import torch
from helpers.planted import COUNT, Pair, errors, inputs, session
from torch import nn

from mviz_lightning import explain
from mviz_lightning.explainers import ExampleRanking
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.plotting.labels import Labels


def ranked(module, batch, **options):
    return session(module, batch, **options).explain(ExampleRanking()).result


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel", "regression"])
def test_the_effects_add_up_to_the_output_that_is_split(task):
    batch, unimodal, interaction, _ = errors(task)
    found = ranked(Pair(unimodal, interaction), batch, task=task)
    assert sorted(one.position for one in found.ranked) == list(range(1000, 1000 + COUNT))
    outputs = unimodal + interaction
    for one in found.ranked:
        own = outputs[one.example]
        output = {"multiclass": int(own.argmax()), "multilabel": int(own.argmax())}.get(task, 0)
        centre = own.mean() if task == "multiclass" else 0
        assert one.output == output
        assert one.value == pytest.approx(float(own[output] - centre), abs=1e-5)
        # MI is added where all inputs are of one example; the UC of planted models is exact.
        planted = interaction[one.example]
        expected = planted[output] - (planted.mean() if task == "multiclass" else 0)
        assert one.interaction == pytest.approx(float(expected), abs=1e-4)
    assert [one.sureness for one in found.ranked] == sorted((one.sureness for one in found.ranked), reverse=True)


def test_values_of_several_outputs_keep_their_own_unit():
    batch, unimodal, interaction, _ = errors("regression", 2)
    found = ranked(Pair(unimodal, interaction), batch, task="regression")
    for one in found.ranked:
        assert one.value == pytest.approx(float((unimodal + interaction)[one.example, 0]), rel=1e-5, abs=1e-4)
        assert one.interaction == pytest.approx(float(interaction[one.example, 0]), rel=1e-3, abs=1e-3)


class Marks(nn.Module):
    """Class 0 by the image, class 1 by the text, class 2 by both together."""

    def forward(self, image, text):
        mine, yours = image[:, 0], text[:, 0]
        both = 3.0 * (mine == 2) * (yours == 2)
        return torch.stack([4.0 * (mine == 0), 4.0 * (yours == 1), both, torch.zeros_like(mine)], 1)


def test_drivers_are_those_of_the_classes():
    label = torch.arange(192) % 8  # most examples belong to no marked class
    image, text = (label.where((label == k) | (label == 2), 9).float().unsqueeze(1) for k in (0, 1))
    batch = {"image": image, "text": text, "y": label.clamp(max=3)}
    modalities = {"image": "image", "text": "text"}
    report = explain(Marks(), [batch], modalities=modalities, target="y", explainers=[ExampleRanking()])
    found = report.results["ranking"]
    sure = [one for one in found.ranked if one.is_sure]
    assert {one.driver for one in sure} >= {"image only", "text only"}
    expected = {0: "image only", 1: "text only", 2: "interaction"}
    assert all(one.driver == expected[one.target] for one in sure if one.target in expected)
    assert all(one.driver == "interaction" for one in found.ranked if one.target == 2)
    assert found.values["only_image"] == sum(one.driver == "image only" for one in sure) / len(found.ranked)
    assert "ranking" in report.findings
    text = str(found)
    assert text.splitlines()[1].split()[:2] == ["image", "only"]
    assert f"{len(found.ranked)} examples: image only" in text


def test_the_table_lists_every_example_with_its_errors():
    batch, unimodal, interaction, _ = errors("multiclass")
    found = ranked(Pair(unimodal, interaction), batch)
    drawing = DrawingContext({}, Labels("multiclass", ["a", "b", "c"]))
    (table,) = ExampleRanking().draw(found, drawing, "epoch 0 (step 4)")
    assert table.key == "ranking/examples"
    assert list(table.columns)[:4] == ["when", "example", "driver", "sureness"]
    assert len(table.rows) == COUNT
    row = dict(zip(table.columns, table.rows[0], strict=True))
    first = found.ranked[0]
    assert (row["example"], row["driver"], row["MI error"]) == (first.position, first.driver, first.interaction_error)
    assert row["target"] in {"a", "b", "c"}


def test_labels_are_not_needed():
    found = ranked(Pair(torch.randn(COUNT, 3), torch.randn(COUNT, 3)), inputs(), target=None, task="multiclass")
    assert len(found.ranked) == COUNT
    assert all(one.target is None for one in found.ranked)
