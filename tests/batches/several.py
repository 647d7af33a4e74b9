"""Several leaves of one modality, and several views of one example."""

from collections.abc import Sequence
from typing import Any

import torch
from batches.kind import Kind
from batches.plain import Example, Net, plain_dict, stacked
from torch import Tensor

from mviz_lightning import Modality


def _views(rows: Sequence[Example]) -> dict[str, Any]:
    image = stacked(rows, "image")
    return {"views": torch.stack([image, image.flip(3)], 1), **plain_dict(rows, "table")}


def _flat_crops(rows: Sequence[Example]) -> dict[str, Any]:
    return _views(rows) | {"views": _views(rows)["views"].flatten(0, 1)}


def _views_table(net: Net, batch: Any) -> Tensor:
    views = batch["views"].reshape(len(batch["table"]), 2, -1)
    image = net.vector("image", views[:, 0]) + net.vector("image", views[:, 1])
    return net.fuse(image, net.vector("table", batch["table"]))


VIEWS_TABLE = {"image": "views", "table": "table"}

KINDS = {
    "views of an example": Kind(
        collate=_views, modalities=VIEWS_TABLE, scores=_views_table, twin="two crops and table", drawn=False
    ),
    "crops behind one another": Kind(
        collate=_flat_crops, modalities={"image": Modality("views", lengths=2), "table": "table"},
        scores=_views_table, twin="two crops and table", drawn=False,
    ),
    "several content leaves": Kind(
        collate=lambda rows: plain_dict(rows, "image", "categories") | {"numbers": stacked(rows, "table")[:, :3]},
        modalities={"table": Modality("numbers", companions=["categories"], baseline="zero"), "image": "image"},
        scores=lambda net, batch: net.fuse(
            net.mixed(batch["numbers"], batch["categories"]), net.vector("image", batch["image"])
        ),
        twin="mixed columns and image",
    ),
}  # fmt: skip
