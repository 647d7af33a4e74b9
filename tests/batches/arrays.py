"""Arrays that are no tensors, and lists with an entry for each example."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from batches.containers import Held, container, named
from batches.kind import IMAGE_TABLE, Kind
from batches.plain import Example, Net, plain_dict, stacked
from batches.twins import centred, image_table, pixels
from PIL import Image
from torch import Tensor


def _frame(table: Tensor) -> pd.DataFrame:
    return pd.DataFrame(table.numpy(), columns=list("abcdef"), index=[f"id {k}" for k in range(len(table), 0, -1)])


def _frame_columns(rows: Sequence[Example]) -> dict[str, Any]:
    return {"frame": _frame(stacked(rows, "table")), "y": stacked(rows, "y")}


def _list_of(read: Callable[[Example], Any], **more: Any) -> Kind:
    """Return a kind with a list of pictures, beside a table."""
    return Kind(
        collate=lambda rows: plain_dict(rows, "table") | {"image": [read(row) for row in rows]},
        **({"modalities": IMAGE_TABLE, "scores": image_table} | more),
    )


def _bytes_table(net: Net, batch: Any) -> Tensor:
    pictures = torch.stack([torch.from_numpy(np.array(one)).permute(2, 0, 1) for one in batch["image"]])
    return net.fuse(net.vector("rgb", centred(pictures)), net.vector("table", batch["table"]))


def _photos_table(net: Net, batch: Any) -> Tensor:
    photos = torch.stack([net.photo(torch.as_tensor(photo)) for photo in batch["image"]])
    return net.fuse(photos, net.vector("table", batch["table"]))


def single_dicts(rows: Sequence[Example]) -> list[dict[str, Any]]:
    return [{"image": row.image, "table": row.table, "y": int(row.y)} for row in rows]


def _stacked_dicts(net: Net, batch: Any) -> Tensor:
    image, table = (torch.stack([one[name] for one in batch]) for name in ("image", "table"))
    return net.fuse(net.vector("image", image), net.vector("table", table))


KINDS = {
    "NumPy arrays": container(
        lambda image, table, y: named(image.numpy(), table.numpy(), y),
        lambda batch: (torch.from_numpy(batch["image"]), torch.from_numpy(batch["table"]), batch["y"]),
    ),
    "pandas frame beside tensors": container(
        lambda image, table, y: named(image, _frame(table), y),
        lambda batch: (batch["image"], torch.tensor(batch["table"].to_numpy()), batch["y"]),
    ),
    "columns of a pandas frame": Kind(
        collate=_frame_columns,
        modalities={"first": ["frame.a", "frame.b"], "rest": ["frame.c", "frame.d", "frame.e", "frame.f"]},
        scores=lambda net, batch: net.fuse(
            net.vector("first", torch.tensor(batch["frame"][["a", "b"]].to_numpy())),
            net.vector("rest", torch.tensor(batch["frame"][list("cdef")].to_numpy())),
        ),
        twin="first and rest",
    ),
    "list of tensors of one size": _list_of(
        lambda row: row.image,
        twin="image and table",
        scores=lambda net, batch: image_table(net, batch | {"image": torch.stack(batch["image"])}),
    ),
    "list of arrays of unequal sizes": _list_of(
        lambda row: row.photo.numpy(), scores=_photos_table, twin="photo and table",
        modalities={"photo": "image", "table": "table"},
    ),
    "list of tensors of unequal sizes": _list_of(
        lambda row: row.photo, scores=_photos_table, twin="photo and table",
        modalities={"photo": "image", "table": "table"},
    ),
    "list of PIL images": _list_of(
        lambda row: Image.fromarray(pixels(row).permute(1, 2, 0).numpy()), scores=_bytes_table, twin="bytes and table"
    ),
    "list of example dicts": Kind(
        collate=single_dicts, modalities=IMAGE_TABLE, scores=_stacked_dicts, twin="image and table",
        labels=lambda batch: torch.tensor([one["y"] for one in batch]),
    ),
    "list of nested example dicts": Kind(
        collate=lambda rows: [{"inputs": {"image": row.image.numpy(), "table": row.table}, "y": row.y} for row in rows],
        modalities={"image": "inputs.image", "table": "inputs.table"}, twin="image and table",
        scores=lambda net, batch: _stacked_dicts(
            net, [{name: torch.as_tensor(value) for name, value in one["inputs"].items()} for one in batch]
        ),
        labels=lambda batch: torch.stack([one["y"] for one in batch]),
    ),
    "example dicts under a key": Kind(
        collate=lambda rows: {"rows": single_dicts(rows), "y": stacked(rows, "y")},
        modalities={"image": "rows.image", "table": "rows.table"}, twin="image and table",
        scores=lambda net, batch: _stacked_dicts(net, batch["rows"]),
    ),
    "list of example objects": Kind(
        collate=lambda rows: [Held(row.image, row.table, row.y) for row in rows],
        modalities=IMAGE_TABLE, twin="image and table",
        scores=lambda net, batch: _stacked_dicts(net, [vars(one) for one in batch]),
        labels=lambda batch: torch.stack([one.y for one in batch]),
    ),
}  # fmt: skip
