"""Leaves with several rows for each example beside leaves of one: two crops, pairs of sentences."""

from typing import Any

import pytest
import torch
from helpers.batches import floats, integers, learn, same
from torch import Tensor, nn
from torch.nn import functional

from mviz_lightning import Modality, explain
from mviz_lightning.errors import ConfigurationError

COUNT, V = 64, 2


class Crops(nn.Module):
    """Reads two crops of an image and one text."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image_net, self.text_net = nn.Linear(2 * 4, 5), nn.Linear(3, 5)

    def forward(self, crops: Tensor, text: Tensor) -> Tensor:
        image = self.image_net(crops.flatten(1))
        return image * self.text_net(text) + image


def batches(order: str = "stacked", size: int = 16) -> list[dict[str, Tensor]]:
    """Return batches whose crops are ``(B, 2, 4)``, or ``(2 * B, 4)`` in one order or the other."""
    crops, text, y = floats(COUNT, V, 4, seed=1), floats(COUNT, 3, seed=2), integers(5, COUNT, seed=3)
    found = []
    for at in range(0, COUNT, size):
        own = crops[at : at + size]
        rows = {"stacked": own, "following": own.flatten(0, 1), "blocks": torch.cat(own.unbind(1))}[order]
        found.append({"image": rows, "text": text[at : at + size], "y": y[at : at + size]})
    return found


def crops_of(batch: Any, order: str) -> Tensor:
    rows = batch["image"]
    if order == "stacked":
        return rows
    return rows.unflatten(0, (-1, V)) if order == "following" else rows.unflatten(0, (V, -1)).transpose(0, 1)


def values(order: str, image: Any, size: int = 16) -> dict[str, float]:
    def step(net: Any, batch: Any) -> Tensor:
        return functional.cross_entropy(net(crops_of(batch, order), batch["text"]), batch["y"])

    modalities = {"image": image, "text": "text"}
    settings = {"modalities": modalities, "num_examples": COUNT, "group_size": 8}
    return explain(Crops(), batches(order, size), step=step, **settings).values


@pytest.mark.long
@pytest.mark.parametrize("size", [16, 40])
@pytest.mark.parametrize("order", ["following", "blocks"])
def test_rows_of_an_example_travel_together(order, size):
    expected = values("stacked", "image", size)
    assert 0.05 < expected["total/text"] < 0.95
    found = values(order, Modality("image", lengths=V, blocks=order == "blocks"), size)
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("order", ["following", "blocks"])
def test_without_a_word_the_error_has_the_two_lines_to_choose_from(order):
    with pytest.raises(ConfigurationError) as raised:
        values(order, "image")
    assert "'image' ((32, 4)) has 32 entries, but the batch holds 16 examples" in str(raised.value)
    assert "give Modality('image', lengths=2) if they follow one another" in str(raised.value)
    assert "Modality('image', lengths=2, blocks=True) if a block of all examples follows another" in str(raised.value)


@pytest.mark.parametrize(("order", "blocks"), [("following", True), ("blocks", False)])
@pytest.mark.parametrize("size", [16, 40])
def test_the_wrong_order_is_found_by_the_own_scores(order, blocks, size):
    with pytest.raises(ConfigurationError, match="could not be reproduced for the same examples"):
        values(order, Modality("image", lengths=V, blocks=blocks), size)


@pytest.mark.parametrize("blocks", [False, True])
def test_batches_are_read_and_built_again(blocks):
    rows = floats(12, 4)
    batch = {"pair": rows, "mask": rows[:, 0] > 0, "score": floats(6, 3), "y": torch.arange(6)}
    schema = learn(batch, {"pair": Modality("pair", lengths=2, blocks=blocks), "score": "score"})
    leaves = schema.leaves(batch)
    first = rows[[0, 6]] if blocks else rows[:2]
    assert torch.equal(leaves["pair"][0], first)
    assert leaves["mask"].shape == (6, 2)  # has as many rows, and travels with them
    assert same(schema.build(leaves), batch)
    sources = torch.tensor([[1, 0], [4, 2], [4, 5]])
    built = schema.build(schema.take(leaves, sources))
    numbers = [[1, 4, 4, 7, 10, 10], [2, 3, 8, 9, 8, 9]][not blocks]
    assert torch.equal(built["pair"], rows[numbers])
    assert torch.equal(built["mask"], batch["mask"][numbers])
    assert torch.equal(built["score"], batch["score"][[0, 2, 5]])


def test_all_modalities_may_have_several_rows():
    pair = {"left": floats(12, 4), "right": floats(12, 3), "y": torch.arange(6)}
    modalities = {name: Modality(name, lengths=2) for name in ("left", "right")}
    schema = learn(pair, modalities, "y")
    assert {path: leaf.shape for path, leaf in schema.leaves(pair).items()} == {
        "left": (6, 2, 4),
        "right": (6, 2, 3),
        "y": (6,),
    }
    del pair["y"]
    assert learn(pair, modalities).leaves(pair)["right"].shape == (6, 2, 3)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"lengths": 1}, "lengths"),
        ({"blocks": True}, "give the rows of an example, lengths=2"),
    ],
)
def test_numbers_of_rows_are_checked(arguments, match):
    with pytest.raises(ConfigurationError, match=match):
        Modality("image", **arguments)


def test_another_number_of_rows_is_refused():
    with pytest.raises(ConfigurationError, match="does not hold 3 rows for each of"):
        values("blocks", Modality("image", lengths=3))
