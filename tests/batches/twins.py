"""Plain batches, dicts of stacked tensors: what the monitor finds in them, it has to find in all other kinds."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from batches.kind import ALONE, IMAGE_TABLE, Kind
from batches.plain import Example, Net, examples, plain_dict, stacked, with_some_incomplete
from torch import Tensor

from mviz_lightning import Modality


def image_table(net: Net, batch: Any) -> Tensor:
    return net.fuse(net.vector("image", batch["image"]), net.vector("table", batch["table"]))


def series_table(net: Net, batch: Any) -> Tensor:
    return net.fuse(net.sequence("series", batch["series"]), net.vector("table", batch["table"]))


def patches_table(net: Net, batch: Any) -> Tensor:
    return net.fuse(net.sequence("patch", batch["patches"]), net.vector("table", batch["table"]))


def nodes_table(net: Net, batch: Any) -> Tensor:
    owners = torch.zeros(batch["nodes"].shape[1]).long()
    graphs = [net.graph(*graph, owners, 1) for graph in zip(batch["nodes"], batch["edges"], strict=True)]
    return net.fuse(torch.cat(graphs), net.vector("table", batch["table"]))


def photo_table(net: Net, batch: Any) -> Tensor:
    photos = torch.stack([net.photo(photo) for photo in batch["photo"]])
    return net.fuse(photos, net.vector("table", batch["table"]))


def complete() -> list[Example]:
    """Return the complete ones among examples of which every third lacks a modality."""
    return [row for row in some_incomplete() if row.complete]


def some_incomplete() -> list[Example]:
    return with_some_incomplete(lambda seed: seed % 3 == 1)


def first_batch_lacks() -> list[Example]:
    """Return examples of which the first 8 and another 8 lack a modality."""
    return with_some_incomplete(lambda seed: seed // 8 in {0, 2})


def complete_batches() -> list[Example]:
    return [row for row in first_batch_lacks() if row.complete]


def plain(*names: str) -> Callable[[Sequence[Example]], dict[str, Any]]:
    return lambda rows: plain_dict(rows, *names)


TWINS = {
    "image and table": Kind(
        collate=plain("image", "table"), modalities=IMAGE_TABLE, scores=image_table,
    ),
    "complete ones": Kind(
        collate=plain("image", "table"), modalities=IMAGE_TABLE, scores=image_table, rows=complete
    ),
    "complete batches": Kind(
        collate=plain("image", "table"), modalities=IMAGE_TABLE, scores=image_table, rows=complete_batches
    ),
    "complete series": Kind(
        collate=plain("series", "table"), modalities={"series": "series", "table": "table"}, scores=series_table,
        sizes=ALONE, rows=complete,
    ),
    "first 24": Kind(
        collate=plain("image", "table"), modalities=IMAGE_TABLE, scores=image_table, rows=lambda: examples(24)
    ),
    "photo and table": Kind(
        collate=plain("photo", "table"), modalities={"photo": "photo", "table": "table"}, scores=photo_table,
        sizes=ALONE,
    ),
    "bytes and table": Kind(
        collate=lambda rows: plain_dict(rows, "table") | {"image": torch.stack([pixels(row) for row in rows])},
        modalities=IMAGE_TABLE,
        scores=lambda net, batch: net.fuse(
            net.vector("rgb", centred(batch["image"])), net.vector("table", batch["table"])
        ),
    ),
    "series and table": Kind(
        collate=plain("series", "table"), modalities={"series": "series", "table": "table"}, scores=series_table,
        sizes=ALONE,
    ),
    "patches and table": Kind(
        collate=plain("patches", "table"), modalities={"patches": "patches", "table": "table"}, scores=patches_table,
        sizes=ALONE,
    ),
    "nodes and table": Kind(
        collate=plain("nodes", "edges", "table"), modalities={"graph": ["nodes", "edges"], "table": "table"},
        scores=nodes_table, sizes=ALONE,
    ),
    "text and image": Kind(
        collate=lambda rows: plain_dict(rows, "ids", "image") | {"mask": (stacked(rows, "ids") > 0).long()},
        modalities={"text": ["ids", "mask"], "image": "image"},
        scores=lambda net, batch: net.fuse(net.text(batch["ids"], batch["mask"]), net.vector("image", batch["image"])),
    ),
    "colour and depth": Kind(
        collate=lambda rows: {
            "rgb": stacked(rows, "image")[:, :3], "depth": stacked(rows, "image")[:, 3:], "y": stacked(rows, "y")
        },
        modalities={"rgb": "rgb", "depth": "depth"},
        scores=lambda net, batch: net.fuse(net.vector("rgb", batch["rgb"]), net.vector("depth", batch["depth"])),
    ),
    "first and rest": Kind(
        collate=lambda rows: {
            "first": stacked(rows, "table")[:, :2], "rest": stacked(rows, "table")[:, 2:], "y": stacked(rows, "y")
        },
        modalities={"first": "first", "rest": "rest"},
        scores=lambda net, batch: net.fuse(net.vector("first", batch["first"]), net.vector("rest", batch["rest"])),
    ),
    "first, and the rest unnamed": Kind(
        collate=lambda rows: {
            "first": stacked(rows, "table")[:, :2], "rest": stacked(rows, "table")[:, 2:],
            "image": stacked(rows, "image"), "y": stacked(rows, "y"),
        },
        modalities={"first": "first", "image": "image"},
        scores=lambda net, batch: net.fuse(
            net.vector("table", torch.cat([batch["first"], batch["rest"]], 1)), net.vector("image", batch["image"])
        ),
        warns="the outputs depend on",
    ),
    "even and odd": Kind(
        collate=lambda rows: {
            "even": stacked(rows, "table")[:, ::2], "odd": stacked(rows, "table")[:, 1::2], "y": stacked(rows, "y")
        },
        modalities={"even": "even", "odd": "odd"},
        scores=lambda net, batch: net.fuse(net.vector("even", batch["even"]), net.vector("odd", batch["odd"])),
    ),
    "colour and depth, channels last": Kind(
        collate=lambda rows: {
            "rgb": stacked(rows, "image").movedim(1, 3)[..., :3],
            "depth": stacked(rows, "image").movedim(1, 3)[..., 3:],
            "y": stacked(rows, "y"),
        },
        modalities={"rgb": "rgb", "depth": "depth"},
        scores=lambda net, batch: net.fuse(net.vector("rgb", batch["rgb"]), net.vector("depth", batch["depth"])),
    ),
    "two and three channels": Kind(
        collate=lambda rows: {
            "two": stacked(rows, "steps")[..., [0, 3]], "three": stacked(rows, "steps")[..., [1, 2, 4]],
            "y": stacked(rows, "y"),
        },
        modalities={"two": "two", "three": "three"},
        scores=lambda net, batch: net.fuse(net.vector("two", batch["two"]), net.vector("three", batch["three"])),
    ),
    "middle channels": Kind(
        collate=lambda rows: {
            "two": stacked(rows, "steps")[..., 1:3], "three": stacked(rows, "steps")[..., [0, 3, 4]],
            "y": stacked(rows, "y"),
        },
        modalities={"two": "two", "three": "three"},
        scores=lambda net, batch: net.fuse(net.vector("two", batch["two"]), net.vector("three", batch["three"])),
    ),
    "two crops and table": Kind(
        collate=lambda rows: plain_dict(rows, "table")
        | {"first": stacked(rows, "image"), "second": stacked(rows, "image").flip(3)},
        modalities={"image": ["first", "second"], "table": "table"},
        scores=lambda net, batch: net.fuse(
            net.vector("image", batch["first"]) + net.vector("image", batch["second"]),
            net.vector("table", batch["table"]),
        ),
    ),
    "mixed columns and image": Kind(
        collate=lambda rows: plain_dict(rows, "image")
        | {"mixed": torch.cat([stacked(rows, "table")[:, :3], stacked(rows, "categories")], 1)},
        modalities={"table": Modality("mixed", baseline="zero"), "image": "image"},
        scores=lambda net, batch: net.fuse(
            net.mixed(batch["mixed"][:, :3], batch["mixed"][:, 3:]), net.vector("image", batch["image"])
        ),
    ),
}  # fmt: skip
"""Plain batches: dicts of stacked tensors."""


def pixels(row: Example) -> Tensor:
    """Return ``(3, 8, 8)`` uint8."""
    return (row.image[:3] * 40 + 128).clamp(0, 255).to(torch.uint8)


def centred(picture: Tensor) -> Tensor:
    """Return the numbers that :func:`pixels` rounded."""
    return (picture.float() - 128) / 40
