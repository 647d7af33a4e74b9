"""Masks, lengths and token types in no modality: the pasted advice gives each to the modality that it describes."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from helpers.batches import floats, integers, probe_of, seeded
from helpers.strays import pasted, warning_of
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from mviz_lightning import MonitorWarning, explain

COUNT, TOKENS, PATCHES = 32, 6, 5
LENGTHS = 2 + integers(TOKENS - 1, COUNT)
REAL = torch.arange(TOKENS) < LENGTHS[:, None]
SEEN = torch.arange(PATCHES) < 1 + integers(PATCHES, COUNT, seed=5)[:, None]

BATCH = {
    "image": floats(COUNT, PATCHES, 8, seed=2) * SEEN[..., None],
    "ids": (integers(19, COUNT, TOKENS, seed=1) + 1) * REAL,
    "label": integers(3, COUNT),
}
"""Both modalities are padded, the ids with 0; the image comes first."""

STRAYS = {
    "attention_mask": REAL.long(),
    "key_padding_mask": ~REAL,
    "image_mask": SEEN.float(),
    "lengths": LENGTHS,
    "list_of_lengths": LENGTHS.tolist(),
    "column_of_lengths": LENGTHS[:, None],
    "array": REAL.numpy(),
    "added": -1e4 * (~REAL).float()[:, None, None],
    "types": integers(2, COUNT, TOKENS, seed=8),
}
Batch = Mapping[str, Any]


class Net(nn.Module):
    """The layers that models use masks in."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.read = nn.Linear(8, 8), nn.Embedding(20, 8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encode = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.recur, self.head, self.out = nn.LSTM(8, 8, batch_first=True), nn.Bilinear(8, 8, 3), nn.Linear(8, 3)

    def late(self, batch: Batch, text: Tensor) -> Tensor:
        return self.head(self.look(batch["image"]).mean(1), text)

    def joined(self, batch: Batch) -> Tensor:
        return torch.cat([self.look(batch["image"]), self.read(batch["ids"])], 1)

    def packed(self, batch: Batch, lengths: Any) -> Tensor:
        steps = pack_padded_sequence(self.read(batch["ids"]), lengths, batch_first=True, enforce_sorted=False)
        return self.late(batch, self.recur(steps)[1][0][-1])


def pooled(steps: Tensor, real: Tensor) -> Tensor:
    weights = real[..., None].to(steps.dtype)
    return (steps * weights).sum(1) / weights.sum(1).clamp(min=1)


def after_image(mask: Tensor, value: float) -> Tensor:
    return torch.cat([torch.full((len(mask), PATCHES), value), mask.float()], 1)


def cut(net: Net, batch: Batch, lengths: Sequence[Any]) -> Tensor:
    rows = zip(batch["ids"], lengths, strict=True)
    return net.late(batch, torch.stack([net.read(row)[: int(length)].mean(0) for row, length in rows]))


def attended(net: Net, batch: Batch) -> Tensor:
    text = net.read(batch["ids"])
    hidden = batch["attention_mask"] == 0
    return net.late(batch, net.attend(text, text, text, key_padding_mask=hidden, need_weights=False)[0].mean(1))


def crossed(net: Net, batch: Batch) -> Tensor:
    text, hidden = net.read(batch["ids"]), batch["attention_mask"] == 0
    asked = net.attend(net.look(batch["image"]), text, text, key_padding_mask=hidden, need_weights=False)
    return net.out(asked[0].mean(1))


def pooled_after_crossing(net: Net, batch: Batch) -> Tensor:
    text, image = net.read(batch["ids"]), net.look(batch["image"])
    return net.out(pooled(text + net.attend(text, image, image, need_weights=False)[0], batch["attention_mask"]))


def image_crossed(net: Net, batch: Batch) -> Tensor:
    text, image, hidden = net.read(batch["ids"]), net.look(batch["image"]), batch["image_mask"] == 0
    return net.out(net.attend(text, image, image, key_padding_mask=hidden, need_weights=False)[0].mean(1))


def added(net: Net, batch: Batch) -> Tensor:
    steps = net.joined(batch)
    scores = steps @ steps.transpose(1, 2) + nn.functional.pad(batch["added"][:, 0], (PATCHES, 0))
    return net.out((scores.softmax(-1) @ steps).mean(1))


MODELS = {
    "masked_fill": (
        lambda net, b: net.late(b, net.read(b["ids"]).masked_fill(b["attention_mask"][..., None] == 0, 0).mean(1)),
        ["attention_mask"],
    ),
    "MultiheadAttention": (attended, ["attention_mask"]),
    "TransformerEncoder": (
        lambda net, b: net.late(b, net.encode(net.read(b["ids"]), src_key_padding_mask=b["key_padding_mask"]).mean(1)),
        ["key_padding_mask"],
    ),
    "packed by the mask's sums": (lambda net, b: net.packed(b, b["attention_mask"].sum(1).cpu()), ["attention_mask"]),
    "packed by lengths": (lambda net, b: net.packed(b, b["lengths"].cpu()), ["lengths"]),
    "packed by numbers": (lambda net, b: net.packed(b, b["lengths"].tolist()), ["lengths"]),
    "packed by a list": (lambda net, b: net.packed(b, torch.tensor(b["list_of_lengths"])), ["list_of_lengths"]),
    "last step": (
        lambda net, b: net.late(b, net.recur(net.read(b["ids"]))[0][torch.arange(len(b["ids"])), b["lengths"] - 1]),
        ["lengths"],
    ),
    "multiplied after the encoder": (
        lambda net, b: net.late(b, (net.recur(net.read(b["ids"]))[0] * b["attention_mask"][..., None]).mean(1)),
        ["attention_mask"],
    ),
    "pooled": (
        lambda net, b: net.late(b, pooled(net.recur(net.read(b["ids"]))[0], b["attention_mask"])),
        ["attention_mask"],
    ),
    "one by one, by lengths": (lambda net, b: cut(net, b, b["lengths"]), ["lengths"]),
    "one by one, by numbers": (lambda net, b: cut(net, b, b["lengths"].tolist()), ["lengths"]),
    "one by one, by a column": (lambda net, b: cut(net, b, b["column_of_lengths"]), ["column_of_lengths"]),
    "one by one, by a list": (lambda net, b: cut(net, b, b["list_of_lengths"]), ["list_of_lengths"]),
    "image asks text": (crossed, ["attention_mask"]),
    "text asks image": (image_crossed, ["image_mask"]),
    "pooled after text asked image": (pooled_after_crossing, ["attention_mask"]),
    "joint encoder": (
        lambda net, b: net.out(
            net.encode(net.joined(b), src_key_padding_mask=after_image(b["attention_mask"] == 0, 0.0) > 0).mean(1)
        ),
        ["attention_mask"],
    ),
    "joint encoder, both masks": (
        lambda net, b: net.out(pooled(net.encode(net.joined(b)), torch.cat([b["image_mask"], b["attention_mask"]], 1))),
        ["image_mask", "attention_mask"],
    ),
    "added to joint scores": (added, ["added"]),
    "NumPy": (
        lambda net, b: net.out(pooled(net.encode(net.joined(b)), after_image(torch.as_tensor(b["array"]), 1.0))),
        ["array"],
    ),
    "last token of both": (
        lambda net, b: net.out(net.encode(net.joined(b))[torch.arange(len(b["ids"])), PATCHES + b["lengths"] - 1]),
        ["lengths"],
    ),
    "types put beside the patches'": (
        lambda net, b: net.out(
            net.encode(net.joined(b) + net.read(nn.functional.pad(b["types"], (PATCHES, 0)))).mean(1)
        ),
        ["types"],
    ),
}


class Model(nn.Module):
    def __init__(self, forward: Any) -> None:
        super().__init__()
        self.net, self.function = seeded(Net), forward

    def forward(self, batch: Batch) -> Tensor:
        return 5 * self.function(self.net, batch)


def owner_of(leaf: str) -> str:
    return "image" if leaf == "image_mask" else "text"


@pytest.mark.long
@pytest.mark.parametrize("reverse", [False, True], ids=["image first", "text first"])
@pytest.mark.parametrize(("function", "strays"), MODELS.values(), ids=MODELS.keys())
def test_the_pasted_advice_gives_a_mask_to_the_modality_whose_padding_it_marks(
    function: Any, strays: list[str], reverse: bool
) -> None:
    batch = {**BATCH, **{leaf: STRAYS[leaf] for leaf in strays}}
    declared = {"text": "ids", "image": "image"} if reverse else {"image": "image", "text": "ids"}
    told = [leaf for leaf in strays if owner_of(leaf) != next(iter(declared))]
    message = warning_of(Model(function), batch, declared)
    (advice,) = pasted(message)
    assert warning_of(Model(function), batch, advice) == ""
    schema = probe_of(batch, advice).schema
    assert {leaf: schema.names[schema.owners[leaf]] for leaf in strays} == {leaf: owner_of(leaf) for leaf in strays}
    assert all(repr(leaf) in message for leaf in told)


def steps() -> dict[str, Any]:
    def one_by_one(model: Any, batch: Batch) -> Tensor:
        text = model.net.encode(model.net.read(batch["ids"]), src_key_padding_mask=batch["attention_mask"] == 0)
        scores = 5 * model.net.late(batch, pooled(text, batch["attention_mask"]))
        return nn.functional.cross_entropy(scores, batch["label"])

    def by_lengths(model: Any, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(5 * cut(model.net, batch, batch["lengths"]), batch["label"])

    return {"encoders one by one": (one_by_one, "attention_mask"), "loop over examples": (by_lengths, "lengths")}


class Parts(nn.Module):
    """A model without a forward: the step calls its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.net = seeded(Net)


@pytest.mark.slow
@pytest.mark.parametrize(("step", "leaf"), steps().values(), ids=steps().keys())
def test_the_advice_of_an_observed_step(step: Any, leaf: str) -> None:
    batch, settings = {**BATCH, leaf: STRAYS[leaf]}, {"step": step, "num_examples": COUNT, "group_size": 8}
    with pytest.warns(MonitorWarning, match=f"'{leaf}', which belongs to no modality") as caught:
        explain(Parts(), [batch], modalities={"image": "image", "text": "ids"}, **settings)
    (advice,) = pasted(str(caught[0].message))
    assert advice == {"image": "image", "text": ["ids", leaf]}
    with warnings.catch_warnings():
        warnings.simplefilter("error", MonitorWarning)
        explain(Parts(), [batch], modalities=advice, **settings)


def facts(leaves: dict[str, Any], path: str) -> str:
    """Return what is said of a stray leaf that a model adds to a product of both modalities."""

    def function(net: Net, batch: Batch) -> Tensor:
        return net.out(pooled(net.encode(net.joined(batch)), torch.cat([batch["image"][..., 0], batch[path]], 1) ** 2))

    found = warning_of(Model(function), {**BATCH, **leaves}, {"image": "image", "text": "ids"})
    return found.partition(". ")[2].partition(" Pass")[0]


def test_the_warning_says_what_the_batch_shows() -> None:
    assert facts({"mask": REAL.float()}, "mask") == "In the batch, 'mask' marks the padding of 'ids'."
    assert facts({"types": STRAYS["types"]}, "types") == "In the batch, 'types' has as many steps as 'ids'."
    assert facts({"ids_weights": floats(COUNT, TOKENS, seed=9)}, "ids_weights").startswith("A traced forward does not")
    assert facts({"text_weights": floats(COUNT, TOKENS, seed=9)}, "text_weights") == (
        "In the batch, 'text_weights' has the name of 'ids'."
    )


def test_a_mask_that_a_model_puts_beside_ones_like_the_image_is_of_the_text() -> None:
    # A traced forward sees the mask together with the image alone.
    def function(net: Net, batch: Batch) -> Tensor:
        shown = torch.cat([torch.ones_like(batch["image"][..., 0]).long(), batch["attention_mask"]], 1)
        return net.out(net.encode(net.joined(batch) + net.read(shown)).mean(1))

    batch = {**BATCH, "attention_mask": STRAYS["attention_mask"]}
    message = warning_of(Model(function), batch, {"image": "image", "text": "ids"})
    assert "In the batch, 'attention_mask' marks the padding of 'ids'. Pass" in message
    assert pasted(message) == [{"image": "image", "text": ["ids", "attention_mask"]}]


def test_equal_lengths_are_told_apart_by_what_is_padded() -> None:
    seen = torch.arange(TOKENS) < 1 + integers(TOKENS, COUNT, seed=5)[:, None]
    image = floats(COUNT, TOKENS, 8, seed=2) * seen[..., None]
    batch = {**BATCH, "image": image, "first": REAL.long(), "second": seen.long()}

    def function(net: Net, b: Batch) -> Tensor:
        return net.out(pooled(net.encode(net.joined(b)), torch.cat([b["second"], b["first"]], 1)))

    (advice,) = pasted(warning_of(Model(function), batch, {"image": "image", "text": "ids"}))
    assert advice == {"image": ["image", "second"], "text": ["ids", "first"]}


def test_what_no_fact_tells_is_left_open() -> None:
    batch = {**BATCH, "weight": floats(COUNT, 1, seed=7)}
    message = warning_of(
        Model(lambda net, b: net.out(net.joined(b).mean(1) * b["weight"])), batch, {"image": "image", "text": "ids"}
    )
    assert len(pasted(message)) == 2
