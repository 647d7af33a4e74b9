"""Several rows of scores an example: views, crops, copies. Their mean has the shares of a model that averages."""

import re
from typing import Any

import pytest
import torch
from helpers.batches import floats, integers
from torch import Tensor, nn
from torch.nn import functional

from mviz_lightning import explain
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.observation.views import Views, possible_views, views_of

V, COUNT = 3, 64
SETTINGS = {"modalities": {"image": "image", "text": "text"}, "num_examples": COUNT, "group_size": 8}


class Net(nn.Module):
    """Multiplies what it reads of one image and one text."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image_net, self.text_net = nn.Linear(4, 5), nn.Linear(3, 5)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.image_net(image) * self.text_net(text) + self.image_net(image)


def batches(*, sort: bool = False, size: int = 16) -> list[dict[str, Tensor]]:
    labels = integers(5, COUNT, seed=3)
    leaves = {"image": floats(COUNT, V, 4, seed=1), "text": floats(COUNT, 3, seed=2), "y": labels}
    if sort:  # all examples of the first batch have one label
        leaves["y"] = torch.arange(COUNT) // 16
    return [{path: leaf[at : at + size] for path, leaf in leaves.items()} for at in range(0, COUNT, size)]


def following(net: Any, batch: Any) -> Tensor:
    """The rows of an example follow one another."""
    scores = net(batch["image"].flatten(0, 1), batch["text"].repeat_interleave(V, 0))
    return functional.cross_entropy(scores, batch["y"].repeat_interleave(V))


def blocks(net: Any, batch: Any) -> Tensor:
    """A block of all examples follows another."""
    scores = net(batch["image"].transpose(0, 1).flatten(0, 1), batch["text"].repeat(V, 1))
    return functional.cross_entropy(scores, batch["y"].repeat(V))


def joined(net: Any, batch: Any) -> Tensor:
    """One view after the other, in one call."""
    images, texts = torch.cat(list(batch["image"].unbind(1))), torch.cat([batch["text"]] * V)
    return functional.cross_entropy(net(images, texts), torch.cat([batch["y"]] * V))


def reshaped(net: Any, batch: Any) -> Tensor:
    """Spells its sizes out, so that no recipe can repeat it: the step is replayed."""
    size = int(batch["y"].shape[0])
    images = torch.stack([batch["image"][i, v] for i in range(size) for v in range(V)])
    texts = torch.stack([batch["text"][i] for i in range(size) for _ in range(V)])
    return functional.cross_entropy(net(images, texts), torch.stack([y for y in batch["y"] for _ in range(V)]))


def flattened_labels(net: Any, batch: Any) -> Tensor:
    """Expands labels by a view."""
    scores = net(batch["image"].flatten(0, 1), batch["text"].repeat_interleave(V, 0))
    return functional.cross_entropy(scores, batch["y"].unsqueeze(1).expand(-1, V).reshape(-1))


def looked_up(net: Any, batch: Any) -> Tensor:
    """Calls no loss: its scores meet labels by hand."""
    scores = net(batch["image"].flatten(0, 1), batch["text"].repeat_interleave(V, 0)).log_softmax(-1)
    return -scores.gather(1, batch["y"].repeat_interleave(V).unsqueeze(1)).mean()


def averaged(net: Any, batch: Any) -> Tensor:
    """The plain twin: the mean of the scores of all views of an example."""
    return torch.stack([net(batch["image"][:, v], batch["text"]) for v in range(V)]).mean(0)


STEPS = [following, blocks, joined, reshaped, flattened_labels, looked_up]


def plain(**data: Any) -> dict[str, float]:
    found = explain(Net(), batches(**data), predict=averaged, target="y", task="multiclass", **SETTINGS)
    return without_cost(found.values)


def without_cost(values: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in values.items() if key != "agreement"}


@pytest.mark.long
@pytest.mark.parametrize("sort", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_the_mean_of_the_rows_of_an_example_is_measured(step, sort):
    found = explain(Net(), batches(sort=sort), step=step, **SETTINGS).values
    expected = plain(sort=sort)
    assert 0.05 < expected["total/text"] < 0.95
    assert without_cost(found) == pytest.approx(expected, abs=1e-6)
    assert found.get("agreement", 1) == 1


def test_views_that_the_step_averages_itself_are_rows_of_examples(tmp_path):
    def step(net: Any, batch: Any) -> Tensor:
        scores = net(batch["image"].flatten(0, 1), batch["text"].repeat_interleave(V, 0))
        return functional.cross_entropy(scores.unflatten(0, (-1, V)).mean(1), batch["y"])

    found = explain(Net(), batches(), step=step, **SETTINGS).values
    assert without_cost(found) == pytest.approx(plain(), abs=1e-6)


@pytest.mark.parametrize(("step", "row"), [(following, "row i * 3 + v"), (blocks, "row v * B + i")])
def test_the_log_says_which_rows_belong_to_an_example(step, row, caplog):
    with caplog.at_level("INFO", logger="mviz_lightning"):
        explain(Net(), batches(), step=step, **SETTINGS)
    assert f"of each example the mean of its 3 rows of scores, {row} for view v of example i" in caplog.text
    assert "target: batch" in caplog.text


def paired(net: Any, batch: Any) -> Tensor:
    """The rows of an example have several labels: one of the candidates is right."""
    scores = net(batch["image"].flatten(0, 1), batch["text"].repeat_interleave(V, 0))
    return functional.cross_entropy(
        scores, (batch["y"].repeat_interleave(V) + torch.arange(V).repeat(len(batch["y"]))) % 5
    )


def test_rows_with_several_labels_are_asked_for_and_the_answer_can_be_pasted():
    with pytest.raises(ConfigurationError, match="it is unknown which 3 rows belong to an example") as raised:
        explain(Net(), batches(), step=paired, **SETTINGS)
    lines = re.findall(r"^    predict=(lambda .*?)(?:, task=\"multiclass\")?$", str(raised.value), re.MULTILINE)
    assert len(lines) == 2
    told = {"target": "y", "task": "multiclass"}
    first = explain(Net(), batches(), predict=eval(lines[0]), **told, **SETTINGS).values  # noqa: S307 - our own
    assert first == pytest.approx(plain(), abs=1e-6)
    with pytest.raises(ConfigurationError, match="outputs"):  # of other rows: an example depends on its neighbours
        explain(Net(), batches(), predict=eval(lines[1]), **told, **SETTINGS)  # noqa: S307 - our own


def test_tokens_of_a_sequence_are_no_views():
    def step(net: Any, batch: Any) -> Tensor:
        tokens = net(batch["image"].repeat_interleave(100, 1).flatten(0, 1), batch["text"].repeat_interleave(300, 0))
        return functional.cross_entropy(tokens, batch["y"].repeat_interleave(300))

    with pytest.raises(ConfigurationError, match="allowed is one row of scores an example"):
        explain(Net(), batches(), step=step, **SETTINGS)


def test_views_are_split_as_they_were_stacked():
    rows = floats(4, V, 2)
    for views, stacked in (
        (Views(V, blocks=False), rows.flatten(0, 1)),
        (Views(V, blocks=True), torch.cat(rows.unbind(1))),
    ):
        assert torch.equal(views.split(stacked), rows)
        assert torch.allclose(views.by_example(stacked), rows.mean(1))
        code = eval(f"stacked{views.code}", {"stacked": stacked})  # noqa: S307 - our own
        assert torch.allclose(code, rows.mean(1))


@pytest.mark.parametrize(("rows", "count", "found"), [(12, 4, 2), (13, 4, 0), (4, 4, 0), (12, 1, 0), (4 * 65, 4, 0)])
def test_only_a_few_rows_an_example_are_views(rows, count, found):
    assert len(possible_views(rows, count)) == found


def test_equal_targets_tell_which_rows_are_of_one_example():
    y = torch.arange(4)
    assert views_of(floats(12, 5), y.repeat_interleave(3), 4) == (Views(3, blocks=False),)
    assert views_of(floats(12, 5), y.repeat(3), 4) == (Views(3, blocks=True),)
    assert views_of(floats(12, 5), torch.zeros(12), 4) == possible_views(12, 4)
    assert views_of(floats(12, 5), torch.arange(12), 4) == ()
    assert views_of(floats(12, 5), None, 4) == ()
