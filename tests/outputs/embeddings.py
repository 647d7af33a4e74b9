"""Models whose outputs are embeddings under a contrastive loss, and the two or three towers that make them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from helpers.batches import floats, integers
from torch import Tensor, nn
from torch.nn.functional import cosine_embedding_loss, cosine_similarity, cross_entropy, logsigmoid, normalize
from torch.utils.data import DataLoader, StackDataset
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

NUMBER = 32
"""Examples that are recombined: all of the validation data."""

SMALL = {"num_examples": NUMBER, "group_size": 8, "reference": NUMBER}
PAIR = {"image": "image", "text": "text"}
THREE = PAIR | {"audio": "audio"}


class Towers(nn.Module):
    """An encoder for each modality, and a temperature. In float64."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text, self.audio = (nn.Sequential(nn.Linear(size, 4), nn.Tanh()) for size in (6, 5, 3))
        self.scale, self.bias = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.tensor(-1.0))
        self.double()

    def embedded(self, name: str, values: Tensor) -> Tensor:
        """Return ``(B, 4)`` of length 1."""
        return normalize(getattr(self, name)(values.flatten(1)), dim=-1)


class Still(Towers):
    """A tower that gives every text the same embedding."""

    def embedded(self, name: str, values: Tensor) -> Tensor:
        return super().embedded(name, 0 * values if name == "text" else values)


def tiny_clip() -> nn.Module:
    text = {"vocab_size": 20, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "eos_token_id": 19}
    more = {"num_attention_heads": 2, "max_position_embeddings": 6}
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    picture = {"image_size": 8, "patch_size": 4}
    return CLIPModel(CLIPConfig(text_config=text | more, vision_config=vision | picture, projection_dim=4))


def tiny_siglip() -> nn.Module:
    text = {"vocab_size": 20, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    more = {"num_attention_heads": 2, "max_position_embeddings": 6, "projection_size": 8}
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    picture = {"image_size": 8, "patch_size": 4}
    return SiglipModel(SiglipConfig(text_config=text | more, vision_config=vision | picture))


@dataclass(frozen=True)
class EmbeddingsKind:
    """A step with a loss of all pairs.

    Attributes:
        step: (module, batch) -> loss.
        towers: Modality -> (network, entries of the data) -> ``(N, D)`` its embeddings.
        net: The network.
        forward: (network, image, text) -> what the module returns.
        modalities: The monitor's argument.
        entries: Changes the data.
        expects: How a warning begins that is right.
    """

    step: Callable[[Any, Any], Tensor]
    towers: Mapping[str, Callable[[Any, Mapping[str, Tensor]], Tensor]]
    net: Callable[[], nn.Module] = Towers
    forward: Callable[..., Any] = lambda net, image, text: (net.embedded("image", image), net.embedded("text", text))
    modalities: Any = field(default_factory=lambda: PAIR)
    entries: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda entries: entries
    expects: str = ""

    def data(self, seed: int = 0) -> dict[str, Tensor]:
        return self.entries(entries(seed))

    def loaders(self) -> tuple[DataLoader[Any], DataLoader[Any]]:
        return tuple(DataLoader(StackDataset(**self.data(seed)), 8) for seed in (100, 0))  # type: ignore[return-value]


def entries(seed: int = 0) -> dict[str, Tensor]:
    """Return images, texts and sounds that show the same three numbers, and what CLIP and SigLIP take."""
    meaning = floats(NUMBER, 3, seed=seed).double()
    noise = [0.3 * floats(NUMBER, size, seed=seed + place).double() for place, size in enumerate((6, 5, 3), 1)]
    found = [one.clone() for one in noise]
    for one in found:
        one[:, :3] += meaning
    ids = 2 + integers(16, NUMBER, 6, seed=seed + 5)
    ids[:, 5] = 19
    return {
        "image": found[0], "text": found[1], "audio": found[2], "ids": ids,
        "pixels": floats(NUMBER, 3, 8, 8, seed=seed + 6),
    }  # fmt: skip


def shuffled(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """The text of every example is that of another one."""
    return found | {"text": found["text"].roll(3, 0)}


def repeated(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every caption belongs to four images."""
    return found | {"text": found["text"][torch.arange(NUMBER) // 4]}


def of(name: str) -> Callable[[Any, Mapping[str, Tensor]], Tensor]:
    return lambda net, found: net.embedded(name, found[name])


TOWERS = {"image": of("image"), "text": of("text")}


def both(module: Any, batch: Any) -> tuple[Tensor, Tensor]:
    return module(batch["image"], batch["text"])  # type: ignore[no-any-return]


def clip(module: Any, batch: Any) -> Tensor:
    """CLIP's loss as most people write it."""
    image, text = both(module, batch)
    logits = module.net.scale.exp() * image @ text.T
    labels = torch.arange(len(logits))
    return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2


def one_direction(module: Any, batch: Any) -> Tensor:
    """The rows are texts."""
    image, text = both(module, batch)
    logits = text @ image.T / 0.2
    return cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def siglip(module: Any, batch: Any) -> Tensor:
    image, text = both(module, batch)
    logits = image @ text.T * module.net.scale.exp() + module.net.bias
    signs = 2 * torch.eye(len(logits)) - 1
    return -logsigmoid(signs * logits).sum() / len(logits)


def info_nce(module: Any, batch: Any) -> Tensor:
    """InfoNCE written by hand."""
    image, text = both(module, batch)
    scores = torch.einsum("id,jd->ij", image, text) / 0.1
    return (scores.logsumexp(1) - scores.diagonal()).mean()


def features_and_scale(module: Any, batch: Any) -> Tensor:
    """OpenCLIP's forward."""
    found = module(batch["image"], batch["text"])
    logits = found["logit_scale"] * found["image_features"] @ found["text_features"].t()
    labels = torch.arange(logits.shape[0])
    return (cross_entropy(logits, labels) + cross_entropy(logits.t(), labels)) / 2


def open_clip(net: Towers, image: Tensor, text: Tensor) -> dict[str, Tensor]:
    features = {"image_features": net.embedded("image", image), "text_features": net.embedded("text", text)}
    return features | {"logit_scale": net.scale.exp()}


def three(module: Any, batch: Any) -> Tensor:
    """All pairs of three towers."""
    found = {name: module.net.embedded(name, batch[name]) for name in THREE}
    labels = torch.arange(len(batch["image"]))
    pairs = (("image", "text"), ("image", "audio"), ("text", "audio"))
    return sum(cross_entropy(5 * found[a] @ found[b].T, labels) for a, b in pairs)  # type: ignore[return-value]


def cosine(module: Any, batch: Any) -> Tensor:
    """Matching pairs beside pairs of the neighbour."""
    image, text = both(module, batch)
    near, far = torch.ones(len(image)), -torch.ones(len(image))
    return cosine_embedding_loss(image, text, near) + cosine_embedding_loss(image, text.roll(1, 0), far)


def attracted(module: Any, batch: Any) -> Tensor:
    """A loss without negatives."""
    return -cosine_similarity(*both(module, batch)).mean()


def transformer(module: Any, batch: Any) -> Tensor:
    """The model computes its own loss."""
    return module.net(pixel_values=batch["pixels"], input_ids=batch["ids"], return_loss=True).loss  # type: ignore[no-any-return]


def pooled(name: str) -> Callable[[Any, Mapping[str, Tensor]], Tensor]:
    def embedded(net: Any, found: Mapping[str, Tensor]) -> Tensor:
        outputs = net(pixel_values=found["pixels"], input_ids=found["ids"])
        return outputs.image_embeds if name == "image" else outputs.text_embeds  # type: ignore[no-any-return]

    return embedded


TRANSFORMERS = {"image": pooled("image"), "text": pooled("text")}
PIXELS = {"image": "pixels", "text": "ids"}
KINDS: dict[str, EmbeddingsKind] = {
    "CLIP by hand": EmbeddingsKind(clip, TOWERS),
    "rows are texts": EmbeddingsKind(one_direction, TOWERS),
    "SigLIP by hand": EmbeddingsKind(siglip, TOWERS),
    "InfoNCE by logsumexp": EmbeddingsKind(info_nce, TOWERS),
    "features and a scale": EmbeddingsKind(features_and_scale, TOWERS, forward=open_clip),
    "CLIPModel": EmbeddingsKind(transformer, TRANSFORMERS, net=tiny_clip, modalities=PIXELS),
    "SiglipModel": EmbeddingsKind(transformer, TRANSFORMERS, net=tiny_siglip, modalities=PIXELS),
    "cosine embedding loss": EmbeddingsKind(cosine, TOWERS),
    "a loss without negatives": EmbeddingsKind(attracted, TOWERS),
    "one caption for four images": EmbeddingsKind(clip, TOWERS, entries=repeated),
    "a constant tower": EmbeddingsKind(clip, TOWERS, net=Still, expects="swapping 'text'"),
    "shuffled texts": EmbeddingsKind(clip, TOWERS, entries=shuffled),
}  # fmt: skip
"""Models of two towers."""

THREE_TOWERS = EmbeddingsKind(three, TOWERS | {"audio": of("audio")}, modalities=THREE)

FAST = {
    "CLIP by hand", "InfoNCE by logsumexp", "CLIPModel", "cosine embedding loss",
    "one caption for four images", "a constant tower",
}  # fmt: skip
"""One of each family."""
