"""A leaf in no modality that matters: its warning proposes the modality that it acts with, in code to paste."""

import warnings
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from helpers.batches import FAMILIES, ModelCase, OnBatch, floats, probe_of, seeded, token_leaves
from helpers.strays import pasted, warning_of
from torch import Tensor, nn

from mviz_lightning import Modality, MonitorWarning, explain
from mviz_lightning.batch.modality import parse_modalities
from mviz_lightning.batch.modality_code import modalities_code
from mviz_lightning.engine.call_choice import choose_call

COUNT = 32


class Masked(nn.Module):
    """Both modalities are padded: means of what is real, and a head over both."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.read, self.head = nn.Linear(3, 4), nn.Embedding(20, 4), nn.Bilinear(4, 4, 3)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        image = self.look(batch["image"]) * batch["image_mask"][..., None]
        text = self.read(batch["ids"]).masked_fill(batch["attention_mask"][..., None] == 0, 0.0)
        real = batch["attention_mask"].sum(1, keepdim=True)
        return 5 * self.head(image.sum(1) / batch["image_mask"].sum(1, keepdim=True), text.sum(1) / real)


def padded(count: int = COUNT) -> dict[str, Tensor]:
    tokens, patches = token_leaves(count), floats(count, 5, 3, seed=4)
    real = (torch.arange(5) < 1 + torch.arange(count).unsqueeze(1) % 4).float()
    leaves = {"ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
    return {**leaves, "image": patches, "image_mask": real, "label": torch.arange(count) % 3}


MASKS = {
    "mask of the text": ({"image": ["image", "image_mask"], "text": "ids"}, {"attention_mask": "text"}),
    "mask of the image": ({"text": ["ids", "attention_mask"], "image": "image"}, {"image_mask": "image"}),
    "mask of the first": ({"image": "image", "text": ["ids", "attention_mask"]}, {"image_mask": "image"}),
    "both masks": ({"image": "image", "text": "ids"}, {"attention_mask": "text", "image_mask": "image"}),
}


@pytest.mark.parametrize(("modalities", "owners"), MASKS.values(), ids=MASKS.keys())
def test_a_mask_is_given_to_the_modality_that_it_acts_with(modalities, owners):
    message = warning_of(seeded(Masked), padded(), modalities)
    for leaf, owner in owners.items():
        assert f"{leaf!r} acts with {owner!r}" in message
    (advice,) = pasted(message)
    for name, given in advice.items():
        leaves = [modalities[name]] if isinstance(modalities[name], str) else modalities[name]
        found = [given] if isinstance(given, str) else given
        assert found == leaves + [leaf for leaf, owner in owners.items() if owner == name]
    assert warning_of(seeded(Masked), padded(), advice) == ""


class OneLeafEach(nn.Module):
    """The same model, whose masks cannot travel with the wrong modality: each stands in the leaf of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = seeded(Masked)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        (ids, attention), image = batch["text"].unbind(1), batch["image"]
        leaves = {"ids": ids, "attention_mask": attention}
        return self.net({**leaves, "image": image[..., :3], "image_mask": image[..., 3]})


def test_the_advice_changes_the_numbers_to_those_of_a_reference_by_hand():
    batch, settings = padded(), {"target": "label", "num_examples": COUNT, "group_size": 8}
    declared = {"image": ["image", "image_mask"], "text": "ids"}
    with pytest.warns(MonitorWarning, match="'attention_mask' acts with 'text'") as caught:
        wrong = explain(seeded(Masked), [batch], modalities=declared, **settings).values
    (advice,) = pasted(str(caught[0].message))
    right = explain(seeded(Masked), [batch], modalities=advice, **settings).values
    joined = {
        "text": torch.stack([batch["ids"], batch["attention_mask"]], 1),
        "image": torch.cat([batch["image"], batch["image_mask"][..., None]], 2),
        "label": batch["label"],
    }
    reference = explain(OneLeafEach(), [joined], modalities=["image", "text"], **settings).values
    keys = ("contribution/image", "contribution/text", "interaction", "total/image", "total/text", "score")
    assert {key: right[key] for key in keys} == pytest.approx({key: reference[key] for key in keys}, abs=1e-6)
    assert abs(wrong["total/text"] - reference["total/text"]) > 0.01


@pytest.mark.parametrize(
    ("family", "values"), [("CNN and LSTM", "ids"), ("ViLT", "input_ids"), ("LXMERT", "input_ids")]
)
def test_in_published_models_the_attention_mask_acts_with_the_text(family, values):
    case: ModelCase = FAMILIES[family](16)
    modalities = {"image": case.modalities["image"], "text": values}
    schema = probe_of(case.batch, modalities, case.target).schema
    call = choose_call(case.module.eval(), schema, case.batch, case.predict)
    (advice,) = pasted(warning_of(case.module, case.batch, modalities, call.predict))
    assert advice == {"image": case.modalities["image"], "text": [values, "attention_mask"]}


def on_batch(function: Any) -> OnBatch:
    return OnBatch(lambda _, batch: function(batch))


def with_loss(*places: str) -> OnBatch:
    """A model that returns the loss of each example, its logits and other outputs, in some order."""

    def outputs(batch: Any) -> tuple[Tensor, ...]:
        logits = batch["image"] * batch["text"]
        loss = nn.functional.cross_entropy(logits, batch["label"], reduction="none")
        found = {"loss": loss, "scaled loss": 2 * loss, "logits": logits, "map": logits[:, :, None]}
        return tuple(found[place] for place in places)

    return on_batch(outputs)


def target_warnings(module: nn.Module, predict: Any = None) -> list[str]:
    batch = {**PAIR, "label": torch.arange(16) % 4}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        explain(
            module,
            [batch],
            modalities=["image", "text"],
            target="label",
            num_examples=16,
            group_size=8,
            predict=predict,
        )
    return [found for found in (str(one.message) for one in caught) if "depend" in found]


LOSS = "the scores depend on the label ('label', the target=): what is read as the scores may be the loss. "


@pytest.mark.parametrize("places", [("loss", "logits"), ("loss", "scaled loss", "logits"), ("loss", "map", "logits")])
def test_where_the_loss_is_read_the_output_without_the_label_is_proposed(places):
    place = f"[{len(places) - 1}]"
    assert target_warnings(with_loss(*places)) == [f"{LOSS}Pass predict=lambda module, batch: module(batch){place}."]
    assert target_warnings(with_loss(*places), lambda module, batch: module(batch)[len(places) - 1]) == []
    own = target_warnings(with_loss(*places), lambda module, batch: module(batch))
    assert own == [f"{LOSS}Return outputs{place} from the function that you pass as predict=."]


@pytest.mark.parametrize("places", [("loss",), ("loss", "scaled loss"), ("loss", "map")])
def test_where_every_output_needs_the_label_the_scores_are_asked_for(places):
    assert target_warnings(with_loss(*places)) == [
        f"{LOSS}Return the scores from predict=, a function (module, batch) -> scores."
    ]


def test_other_leaves_beside_the_label_are_still_given_to_a_modality():
    module = on_batch(lambda batch: batch["image"] + batch["text"] * batch["id"] + batch["label"][:, None])
    label, stray = target_warnings(module)
    assert label.startswith(LOSS)
    assert pasted(stray) == [{"image": "image", "text": ["text", "id"]}]


@pytest.mark.parametrize(("strays", "verbs"), [(["id"], ("belongs", "is")), (["id", "age"], ("belong", "are"))])
def test_verbs_agree_with_the_number_of_leaves(strays, verbs):
    batch = {**PAIR, "age": floats(16, 1, seed=6)}
    module = on_batch(lambda given: given["image"] + given["text"] * sum(given[name] for name in strays))
    named = ", ".join(map(repr, strays))
    assert warning_of(module, batch, ["image", "text"]).startswith(
        f"the outputs depend on {named}, which {verbs[0]} to no modality and {verbs[1]} swapped together with 'image'. "
    )


PAIR = {"image": floats(16, 4), "text": floats(16, 4, seed=1), "id": floats(16, 1, seed=2)}


@pytest.mark.parametrize(
    "function",
    [
        lambda batch: batch["image"] * batch["text"] * batch["id"],
        lambda batch: batch["image"] * batch["id"] + batch["text"] * batch["id"],
        lambda batch: torch.cat([batch["image"], batch["text"], batch["id"]], 1),
        lambda batch: (
            torch.cat([torch.ones_like(batch["image"]), batch["id"]], 1) * torch.cat([batch["text"]] * 2, 1)[:, :5]
        ),
        lambda batch: batch["image"] + batch["text"] + torch.from_numpy(batch["id"].numpy() * 2),
        lambda batch: batch["image"] + batch["text"] + torch.tensor(batch["id"].tolist()),
    ],
    ids=["fused", "both", "put beside both", "put beside ones", "NumPy", "lists"],
)
def test_where_the_trace_does_not_tell_all_candidates_are_named(function):
    message = warning_of(on_batch(function), PAIR, ["image", "text"])
    assert "does not show whether 'id' acts with 'image' or 'text'" in message
    assert pasted(message) == [{"image": ["image", "id"], "text": "text"}, {"image": "image", "text": ["text", "id"]}]
    for advice in pasted(message):
        assert warning_of(on_batch(function), PAIR, advice) == ""


@pytest.mark.parametrize(
    "function",
    [
        lambda batch: batch["image"] + batch["text"] * batch["id"],
        lambda batch: batch["image"] + (batch["text"] * batch["id"]) * batch["id"],
        lambda batch: batch["image"] * (batch["text"] - batch["id"].expand(-1, 4).clone()),
        lambda batch: batch["image"] + torch.where(batch["id"] > 0, batch["text"], 0.0),
        lambda batch: (batch["image"] + batch["text"] * batch["id"]) / batch["id"],
    ],
    ids=["product", "twice", "by a detour", "where", "at first alone, then with both"],
)
def test_what_a_leaf_meets_alone_counts(function):
    (advice,) = pasted(warning_of(on_batch(function), PAIR, ["image", "text"]))
    assert advice == {"image": "image", "text": ["text", "id"]}


def test_of_three_modalities_only_those_it_meets_are_named():
    batch = {**PAIR, "audio": floats(16, 4, seed=3)}
    module = on_batch(lambda given: given["image"] + (given["text"] * given["audio"]) * given["id"])
    first, second = pasted(warning_of(module, batch, ["image", "text", "audio"]))
    assert first == {"image": "image", "text": ["text", "id"], "audio": "audio"}
    assert second == {"image": "image", "text": "text", "audio": ["audio", "id"]}


def test_a_clear_and_an_unclear_leaf_are_both_proposed():
    batch = {**PAIR, "mask": floats(16, 4, seed=5)}
    module = on_batch(lambda given: given["image"] * (given["text"] * given["mask"]) * given["id"])
    message = warning_of(module, batch, ["image", "text"])
    assert (
        "shows that 'mask' acts with 'text'. A traced forward does not show whether 'id' acts with 'image'" in message
    )
    assert [given["text"] for given in pasted(message)] == [["text", "mask"], ["text", "mask", "id"]]


def test_where_the_forward_cannot_be_followed_all_are_named(monkeypatch):
    monkeypatch.setattr("mviz_lightning.engine.output_dependence.trace_rows", lambda *_: 1 / 0)
    message = warning_of(on_batch(lambda batch: batch["image"] + batch["text"] * batch["id"]), PAIR, ["image", "text"])
    assert len(pasted(message)) == 2


def test_what_cannot_be_written_is_left_to_the_user():
    declared = {"image": ["image", "image_mask"], "text": Modality("ids", decode=str)}
    message = warning_of(seeded(Masked), padded(), declared)
    line = 'modalities={"image": ["image", "image_mask"], "text": Modality("ids", mask="attention_mask", decode=...)}.'
    assert message.endswith(f"Pass {line} Replace every ... by the value that you pass now.")


def listed(modality: Any, *more: str) -> Any:
    """Return how a modality is written with further leaves."""
    written = modalities_code(parse_modalities({"a": modality, "b": "other"}), {"a": list(more)})
    return written.removeprefix('modalities={"a": ').removesuffix(', "b": "other"}')


@pytest.mark.parametrize(
    ("modality", "more", "expected"),
    [
        ("ids", [], '"ids"'),
        ("ids", ["mask"], '["ids", "mask"]'),
        (["ids", "mask"], ["types"], '["ids", "mask", "types"]'),
        (Modality("ids", "mask"), ["types"], '["ids", "mask", "types"]'),
        (Modality("ids", "real"), ["types"], 'Modality("ids", mask="real", companions=["types"])'),
        (Modality("ids", max_segments=9), ["mask"], 'Modality("ids", mask="mask", max_segments=9)'),
        (Modality("x", mean=[0.5], std=0.2), ["y"], 'Modality("x", companions=["y"], mean=[0.5], std=0.2)'),
        (Modality("x", mean=torch.tensor([0.5, 0.25])), [], 'Modality("x", mean=[0.5, 0.25])'),
        (Modality("ids", decode=str), ["mask"], 'Modality("ids", mask="mask", decode=...)'),
        (Modality("x", boxes="boxes"), ["y"], 'Modality("x", companions=["y"], boxes="boxes")'),
        (Modality("x", edges="e"), ["w"], 'Modality("x", companions=["w"], edges="e")'),
        (Modality("x", grid="g"), [], 'Modality("x", grid="g")'),
        (["x", "edge_index"], ["edge_attr"], '["x", "edge_index", "edge_attr"]'),
    ],
)
def test_modalities_are_written_as_they_were_declared(modality, more, expected):
    assert listed(modality, *more) == expected
    if "..." not in expected:
        read = parse_modalities({"a": eval(expected, {"Modality": Modality}), "b": "other"})["a"]  # noqa: S307 - it is our own
        assert set(read.leaves) == {*parse_modalities({"a": modality, "b": "other"})["a"].leaves, *more}
