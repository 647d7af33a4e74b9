"""Labels are passed only where a model cannot be called without them, and modalities also in one list."""

from typing import Any

import pytest
import torch
from helpers.batches import LateFusion, floats, learn, pair_batch, seeded, with_logits
from helpers.calls import chosen, outputs_of, refusal
from torch import Tensor, nn
from torch.nn import functional

from mviz_lightning.engine.forward_arguments import candidate_calls

pytestmark = pytest.mark.filterwarnings("ignore:the parameters of forward have other names")

NET = seeded(LateFusion)
BATCH = pair_batch(5)
IMAGE, TEXT, LABELS = BATCH.values()
EXPECTED = NET(IMAGE, TEXT).detach()


class Spread(nn.Module):
    """Computes a loss where it gets labels, and returns it in front."""

    def forward(self, **inputs: Tensor) -> Any:
        found = NET(inputs["image"], inputs["text"])
        return (functional.cross_entropy(found, inputs["labels"]), found) if "labels" in inputs else found


class Demanding(nn.Module):
    """Cannot be called without labels."""

    def forward(self, **inputs: Tensor) -> Any:
        found = NET(inputs["image"], inputs["text"])
        return functional.cross_entropy(found, inputs["labels"]), found


class Required(nn.Module):
    def forward(self, image: Tensor, text: Tensor, labels: Tensor) -> Any:
        found = NET(image, text)
        return functional.cross_entropy(found, labels), found


class Optional(nn.Module):
    """As transformers do it: labels have a parameter, and a loss comes with them."""

    def forward(self, image: Any = None, text: Any = None, labels: Any = None, **kwargs: Any) -> Any:
        assert labels is None
        return with_logits(NET(image, text))


@pytest.mark.parametrize("target", ["labels", None])
@pytest.mark.parametrize(
    ("kind", "description"),
    [
        (Spread, "forward(**batch) without labels"),
        (Optional, "forward(image=image, text=text)"),
        (Demanding, "forward(**batch)"),
        (Required, "forward(image=image, text=text, labels=labels)"),
    ],
)
def test_labels_are_passed_only_if_the_model_cannot_be_called_without(
    kind: type[nn.Module], description: str, target: str | None
) -> None:
    call = chosen(kind(), BATCH, target=target)
    assert call.description == description
    assert torch.equal(outputs_of(kind(), BATCH, target=target), EXPECTED)
    line = call.advice(call.outputs.taken).removeprefix("pass predict=")
    found = eval(line)(kind(), BATCH)  # noqa: S307 - it is our own
    assert torch.equal(getattr(found, "logits", found), EXPECTED)


def test_required_labels_of_a_tuple_are_passed_by_order() -> None:
    assert chosen(Required(), (IMAGE, TEXT, LABELS), ["0", "1"], "2").description == "forward(0, 1, 2)"


class Forcing(nn.Module):
    """Teacher forcing: the scores are those of an answer that is given."""

    def forward(self, image: Tensor, text: Tensor, labels: Tensor) -> Tensor:
        return NET(image, text) + labels.unsqueeze(1)


class ForcingSpread(nn.Module):
    def forward(self, **inputs: Tensor) -> Tensor:
        return Forcing()(**inputs)


@pytest.mark.parametrize("kind", [Forcing, ForcingSpread])
def test_scores_that_change_with_labels_are_not_taken(kind: type[nn.Module]) -> None:
    message = refusal(kind(), BATCH, target="labels")
    assert "the scores change with 'labels', the labels" in message


def test_without_a_target_a_leaf_that_is_named_like_labels_may_be_an_input() -> None:
    # The dry run warns that it belongs to no modality.
    assert chosen(Forcing(), BATCH).description == "forward(image=image, text=text, labels=labels)"


class Taking(nn.Module):
    """Takes its inputs out of the batch."""

    def forward(self, batch: Any) -> Tensor:
        batch.pop("labels")
        return NET(batch.pop("image"), batch.pop("text"))


def test_a_batch_that_a_model_empties_is_whole_afterwards() -> None:
    batch = dict(BATCH)
    assert chosen(Taking(), batch, target="labels").description == "forward(batch=batch)"
    assert list(batch) == ["image", "text", "labels"]


class Sampling(Required):
    """Draws noise: outputs of two calls differ for another reason than the labels."""

    def forward(self, image: Tensor, text: Tensor, labels: Tensor) -> Any:
        return super().forward(image, text, labels)[0], NET(image, text) + torch.rand(1)


def test_noise_is_not_taken_for_an_effect_of_the_labels() -> None:
    assert chosen(Sampling(), BATCH, target="labels").outputs.taken == "[1]"


class Pairwise(nn.Module):
    """One argument: image and text, and nothing else."""

    def forward(self, inputs: Any) -> Tensor:
        image, text = inputs
        return NET(image, text)


class OnlyList(nn.Module):
    def forward(self, x: Any, scale: float = 1.0) -> Tensor:
        if not isinstance(x, list) or len(x) != 2:
            raise TypeError("expected a list of two tensors")
        return NET(*x) * scale


class OnlyTuple(nn.Module):
    def forward(self, x: Any) -> Tensor:
        if not isinstance(x, tuple) or len(x) != 2:
            raise TypeError("expected a pair")
        return NET(*x)


class ByModality(nn.Module):
    def forward(self, inputs: Any) -> Tensor:
        return NET(inputs["image"], inputs["text"])


class SumOfAll(nn.Module):
    """Adds up whatever it gets, also the labels."""

    def forward(self, inputs: Any) -> Tensor:
        return sum(values.reshape(len(values), -1).sum(1, keepdim=True) for values in inputs)


NAMED = {"pixels": IMAGE, "tokens": TEXT, "y": LABELS}
LISTS = [
    (Pairwise, BATCH, ["image", "text"], "forward([image, text])"),
    (Pairwise, (IMAGE, TEXT, LABELS), ["0", "1"], "forward([0, 1])"),
    (OnlyList, (IMAGE, TEXT, LABELS), ["0", "1"], "forward([0, 1])"),
    (OnlyTuple, [IMAGE, TEXT, LABELS], ["0", "1"], "forward((0, 1))"),
    (OnlyList, NAMED, {"image": "pixels", "text": "tokens"}, "forward([pixels, tokens])"),
    (ByModality, NAMED, {"text": "tokens", "image": "pixels"}, 'forward({"text": tokens, "image": pixels})'),
    (ByModality, (IMAGE, TEXT, LABELS), {"image": "0", "text": "1"}, 'forward({"image": 0, "text": 1})'),
]


@pytest.mark.parametrize(("kind", "batch", "modalities", "description"), LISTS)
def test_modalities_are_passed_in_one_argument(
    kind: type[nn.Module], batch: Any, modalities: Any, description: str
) -> None:
    call = chosen(kind(), batch, modalities)
    assert call.description == description
    assert torch.equal(outputs_of(kind(), batch, modalities), EXPECTED)
    line = call.advice().removeprefix("pass predict=")
    assert torch.equal(eval(line)(kind(), batch), EXPECTED)  # noqa: S307 - it is our own


def test_a_list_without_the_labels_is_preferred_to_a_batch_whose_labels_change_the_scores() -> None:
    batch = (IMAGE, TEXT, floats(5, seed=9))
    call = chosen(SumOfAll(), batch, ["0", "1"], "2")
    assert call.description == "forward([0, 1])"


def test_a_model_that_takes_labels_from_the_whole_batch_is_called_all_the_same() -> None:
    class Whole(nn.Module):
        def forward(self, batch: Any) -> Tensor:
            return Forcing()(batch["image"], batch["text"], batch["labels"])

    # That the scores depend on the labels is a warning of the dry run.
    assert chosen(Whole(), BATCH, target="labels").description == "forward(batch=batch)"


def test_all_calls_without_labels_come_before_those_with_them() -> None:
    calls = candidate_calls(Spread(), learn(BATCH, target="labels"))
    assert [call.description for call in calls] == ["forward(**batch) without labels", "forward(**batch)"]
