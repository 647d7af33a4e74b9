"""Containers of an image and a table that have no more of their own than names."""

from collections import UserDict, namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from batches.kind import ALONE, IMAGE_TABLE, Kind
from batches.plain import Net, stacked
from monai.data import MetaTensor
from omegaconf import OmegaConf
from tensordict import TensorDict
from torch import Tensor
from transformers import BatchEncoding

Triple = namedtuple("Triple", ["image", "table", "y"])  # noqa: PYI024 - users have untyped ones too


@dataclass
class Held:
    image: Any
    table: Any
    y: Any


@dataclass(frozen=True)
class FrozenHeld:
    image: Any
    table: Any
    y: Any


class Attributes:
    """A batch of one's own, as libraries write them: attributes and ``to``."""

    def __init__(self, image: Any, table: Any, y: Any) -> None:
        self.image, self.table, self.y = image, table, y

    def to(self, device: Any) -> "Attributes":
        return Attributes(self.image.to(device), self.table.to(device), self.y.to(device))


def container(make: Callable[..., Any], read: Callable[[Any], Sequence[Tensor]], *paths: str, **more: Any) -> Kind:
    """Return a kind that holds an image, a table and labels.

    Args:
        make: (image, table, labels) -> batch.
        read: Batch -> (image, table, labels).
        paths: Where image and table are.
        more: Further arguments of the kind.
    """

    def scores(net: Net, batch: Any) -> Tensor:
        image, table, _ = read(batch)
        return net.fuse(net.vector("image", image), net.vector("table", table))

    image, table = paths or ("image", "table")
    given: dict[str, Any] = {
        "collate": lambda rows: make(stacked(rows, "image"), stacked(rows, "table"), stacked(rows, "y")),
        "modalities": {"image": image, "table": table},
        "scores": scores,
        "labels": lambda batch: read(batch)[2],
        "twin": "image and table",
    }
    return Kind(**(given | more))


def attributes(batch: Any) -> tuple[Tensor, Tensor, Tensor]:
    return batch.image, batch.table, batch.y


def entries(batch: Any) -> tuple[Tensor, Tensor, Tensor]:
    return batch["image"], batch["table"], batch["y"]


def named(image: Tensor, table: Tensor, y: Tensor) -> dict[str, Tensor]:
    return {"image": image, "table": table, "y": y}


KINDS = {
    "tuple": container(lambda *leaves: leaves, lambda batch: batch, "0", "1"),
    "list": container(lambda *leaves: list(leaves), lambda batch: batch, "0", "1"),
    "dict": container(named, entries),
    "nested dict": container(
        lambda image, table, y: {"inputs": {"camera": {"pixels": image}, "table": table}, "target": {"y": y}},
        lambda batch: (batch["inputs"]["camera"]["pixels"], batch["inputs"]["table"], batch["target"]["y"]),
        "inputs.camera.pixels", "inputs.table",
    ),
    "dataclass": container(Held, attributes),
    "frozen dataclass": container(FrozenHeld, attributes),
    "namedtuple": container(Triple, attributes),
    "UserDict": container(lambda *leaves: UserDict(named(*leaves)), entries),
    "SimpleNamespace": container(lambda *leaves: SimpleNamespace(**named(*leaves)), attributes),
    "object with attributes": container(Attributes, attributes),
    "SimpleNamespace in a tuple": container(
        lambda image, table, y: (SimpleNamespace(image=image, table=table), y),
        lambda batch: (batch[0].image, batch[0].table, batch[1]),
        "0.image", "0.table",
    ),
    "TensorDict": container(lambda *leaves: TensorDict(named(*leaves), batch_size=[len(leaves[2])]), entries),
    "nested TensorDict": container(
        lambda image, table, y: TensorDict(
            {"inputs": TensorDict({"image": image, "table": table}, [len(y)]), "y": y}, batch_size=[len(y)]
        ),
        lambda batch: (batch["inputs", "image"], batch["inputs", "table"], batch["y"]),
        "inputs.image", "inputs.table",
    ),
    "BatchEncoding": Kind(
        collate=lambda rows: BatchEncoding(
            {"input_ids": stacked(rows, "ids"), "attention_mask": (stacked(rows, "ids") > 0).long(),
             "pixel_values": stacked(rows, "image"), "labels": stacked(rows, "y")}
        ),
        modalities={"text": ["input_ids", "attention_mask"], "image": "pixel_values"},
        scores=lambda net, batch: net.fuse(
            net.text(batch["input_ids"], batch["attention_mask"]), net.vector("image", batch.pixel_values)
        ),
        labels=lambda batch: batch["labels"],
        twin="text and image",
    ),
    "MetaTensor": container(lambda image, table, y: named(MetaTensor(image), table, y), entries),
    "config as an argument": container(named, entries, modalities=OmegaConf.create(IMAGE_TABLE)),
    "batches of one": container(named, entries, sizes=ALONE),
}  # fmt: skip
