"""Modalities that are parts of one array."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from batches.kind import Kind
from batches.plain import Example, Net, plain_dict, stacked
from batches.twins import plain
from monai.data import MetaTensor
from torch import Tensor

from mviz_lightning import Modality


def _first_and_rest(net: Net, batch: Any) -> Tensor:
    return net.fuse(net.vector("first", batch["x"][:, :2]), net.vector("rest", batch["x"][:, 2:]))


def _two_and_three(two: list[int], three: list[int]) -> Callable[[Net, Any], Tensor]:
    return lambda net, batch: net.fuse(
        net.vector("two", batch["x"][..., two]), net.vector("three", batch["x"][..., three])
    )


def _columns(name: str) -> Callable[[Sequence[Example]], dict[str, Any]]:
    return lambda rows: {"x": stacked(rows, name), "y": stacked(rows, "y")}


def _sliced_picture(net: Net, batch: Any) -> Tensor:
    return net.fuse(net.vector("rgb", batch["image"][:, :3]), net.vector("depth", batch["image"][:, 3]))


KINDS = {
    "slices of channels": Kind(
        collate=plain("image"), modalities={"rgb": "image[:3]", "depth": "image[3:]"}, scores=_sliced_picture,
        twin="colour and depth",
    ),
    "one channel of an image": Kind(
        collate=plain("image"), modalities={"rgb": "image[:3]", "depth": Modality("image[3]", kind="image")},
        scores=_sliced_picture, twin="colour and depth",
    ),
    "slices of columns": Kind(
        collate=_columns("table"), modalities={"first": "x[:2]", "rest": "x[2:]"}, scores=_first_and_rest,
        twin="first and rest",
    ),
    "every second column": Kind(
        collate=_columns("table"), modalities={"even": "x[::2]", "odd": "x[1::2]"}, twin="even and odd",
        scores=lambda net, batch: net.fuse(
            net.vector("even", batch["x"][:, ::2]), net.vector("odd", batch["x"][:, 1::2])
        ),
    ),
    "slices of the last axis": Kind(
        collate=lambda rows: {"x": stacked(rows, "image").movedim(1, 3), "y": stacked(rows, "y")},
        modalities={"rgb": "x[..., :3]", "depth": "x[..., -1:]"}, twin="colour and depth, channels last",
        scores=lambda net, batch: net.fuse(
            net.vector("rgb", batch["x"][..., :3]), net.vector("depth", batch["x"][..., 3:])
        ),
    ),
    "slices inside example dicts": Kind(
        collate=lambda rows: [{"image": row.image, "y": int(row.y)} for row in rows],
        modalities={"rgb": "image[:3]", "depth": "image[3:]"}, twin="colour and depth",
        scores=lambda net, batch: _sliced_picture(net, {"image": torch.stack([one["image"] for one in batch])}),
        labels=lambda batch: torch.tensor([one["y"] for one in batch]),
    ),
    "lists of channels": Kind(
        collate=_columns("steps"), modalities={"two": "x[..., [0, 3]]", "three": "x[..., [1, 2, 4]]"},
        scores=_two_and_three([0, 3], [1, 2, 4]), twin="two and three channels",
    ),
    "slices of the second axis": Kind(
        collate=_columns("steps"), modalities={"two": "x[:, 1:3]", "three": "x[:, [0, 3, 4]]"},
        scores=_two_and_three([1, 2], [0, 3, 4]), twin="middle channels",
    ),
    "slices of a MetaTensor": Kind(
        collate=lambda rows: {"image": MetaTensor(stacked(rows, "image")), "y": stacked(rows, "y")},
        modalities={"rgb": "image[:3]", "depth": "image[3:]"}, scores=_sliced_picture, twin="colour and depth",
    ),
    "slices that leave a rest": Kind(
        collate=lambda rows: {"x": stacked(rows, "table"), **plain_dict(rows, "image")},
        modalities={"first": "x[:2]", "image": "image"},
        twin="first, and the rest unnamed", warns="the outputs depend on",
        scores=lambda net, batch: net.fuse(net.vector("table", batch["x"]), net.vector("image", batch["image"])),
    ),
}  # fmt: skip
