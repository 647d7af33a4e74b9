"""Features of two modalities are no scores of one: the similarity is asked for, with the line that computes it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.batches import pair_batch, seeded
from helpers.calls import chosen, pasted, refusal
from torch import Tensor, nn

from mviz_lightning import explain

BATCH = pair_batch(8)


class Towers(nn.Module):
    """Encodes both modalities, and returns what a function makes of the features and two numbers."""

    def __init__(self, returned: Callable[..., Any]) -> None:
        super().__init__()
        self.image_net, self.text_net = seeded(lambda: nn.Linear(4, 5)), seeded(lambda: nn.Linear(3, 5), 1)
        self.scale, self.bias = nn.Parameter(torch.tensor(3.0)), nn.Parameter(torch.tensor(-1.0))
        self.returned = returned

    def forward(self, image: Tensor, text: Tensor) -> Any:
        return self.returned(self.image_net(image), self.text_net(text), self.scale.exp(), self.bias * 1)

    def similarities(self, batch: Any = BATCH) -> Tensor:
        return self.image_net(batch["image"]) @ self.text_net(batch["text"]).T


def embeds(image: Tensor, text: Tensor, *_: Tensor) -> dict[str, Tensor]:
    return {"text_embeds": text, "image_embeds": image}


FEATURES: dict[str, tuple[Callable[..., Any], float, float]] = {
    "features and scale": (lambda image, text, scale, bias: (image, text, scale), 3.0, 0.0),
    "and bias": (lambda *outputs: outputs, 3.0, -1.0),
    "features": (lambda image, text, *_: (image, text), 0.0, 0.0),
    "text first": (lambda image, text, scale, _: [text, image, scale], 3.0, 0.0),
    "by name": (embeds, 0.0, 0.0),
    "by name, with scale": (lambda image, text, scale, _: {**embeds(image, text), "logit_scale": scale}, 3.0, 0.0),
    "a loss is no scale": (lambda image, text, *_: (image, text, (image * text).sum()), 0.0, 0.0),
    "a loss in front": (lambda image, text, *_: ((image * text).sum(), image, text), 0.0, 0.0),
}


@pytest.mark.parametrize(("returned", "log_scale", "bias"), FEATURES.values(), ids=FEATURES.keys())
def test_features_of_either_modality_are_asked_for_with_their_similarity(
    returned: Callable[..., Any], log_scale: float, bias: float
) -> None:
    module = Towers(returned)
    message = refusal(module, BATCH)
    assert "changes with 'image' alone" in message
    assert "so neither is the scores" in message
    expected = torch.tensor(log_scale).exp() * module.similarities() + bias
    torch.testing.assert_close(pasted(message)(module, BATCH), expected)
    # What the message says of logits that are added.
    added = eval(message.rpartition("predict=")[2].removesuffix(".").replace(" @ ", " + ").replace(".T", ""))  # noqa: S307
    assert added(module, BATCH).shape == (8, 5)


def test_the_line_that_is_pasted_measures_all_pairs() -> None:
    module, batch = Towers(lambda image, text, scale, _: (image, text, scale)), pair_batch(64)
    settings: dict[str, Any] = {"modalities": ["image", "text"], "task": "regression", "num_examples": 32}
    with pytest.raises(Exception, match="so neither is the scores") as caught:
        explain(module, [batch], **settings)
    found = explain(module, [batch], predict=pasted(str(caught.value)), **settings)
    expected = explain(
        module, [batch], predict=lambda model, given: model.similarities(given).diagonal()[:, None], **settings
    )
    of_pairs = {key: found.values[key] for key in expected.values}  # scores of all pairs have those of retrieval too
    assert of_pairs == pytest.approx(expected.values, rel=1e-3, abs=1e-6)


def test_ones_own_predict_that_returns_features_is_told_so_too() -> None:
    module = Towers(lambda *outputs: outputs[:3])
    message = refusal(module, BATCH, predict=lambda model, batch: model(batch["image"], batch["text"]))
    assert message.endswith(
        "return outputs[2] * outputs[0] @ outputs[1].T from the function that you pass as predict=."
    )


NOT_FEATURES: dict[str, Callable[..., Any]] = {
    "scores in front": lambda image, text, *_: (image * text, image, text),
    "scores behind": lambda image, text, *_: (image, text, image * text),
    "widths differ": lambda image, text, *_: (image, text[:, :3]),
    "one modality": lambda image, text, *_: (image, image * 2),
    "named scores": lambda image, text, *_: SimpleNamespace(logits=image * text, image_embeds=image, text_embeds=text),
}


@pytest.mark.parametrize("returned", NOT_FEATURES.values(), ids=NOT_FEATURES.keys())
def test_other_outputs_are_read_as_before(returned: Callable[..., Any]) -> None:
    assert chosen(Towers(returned), BATCH).outputs.taken in ("[0]", ".logits")
