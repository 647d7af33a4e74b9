"""Modalities that some batches or examples lack."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from batches.kind import IMAGE_TABLE, Kind
from batches.plain import Example, Net, plain_dict, stacked
from batches.twins import first_batch_lacks, some_incomplete
from torch import Tensor

from mviz_lightning import Modality


def _with_default(net: Net, present: Tensor, encoded: Tensor) -> Tensor:
    """Return ``(B, 5)``: encodings where a modality is present, the learned vector elsewhere."""
    return encoded.where(present.unsqueeze(1), net.missing)


def _some_tables(net: Net, batch: Any, tables: Sequence[Tensor | None]) -> Tensor:
    rows = [net.missing if one is None else net.vector("table", one.unsqueeze(0))[0] for one in tables]
    return net.fuse(net.vector("image", batch["image"]), torch.stack(rows))


def _maybe_table(net: Net, batch: Any) -> Tensor:
    image, table = net.vector("image", batch["image"]), batch.get("table")
    return net.fuse(image, net.missing.expand_as(image) if table is None else net.vector("table", table))


def _whole_batches(with_key: bool) -> Callable[[Sequence[Example]], dict[str, Any]]:
    def collate(rows: Sequence[Example]) -> dict[str, Any]:
        if all(row.complete for row in rows):
            return plain_dict(rows, "image", "table")
        return plain_dict(rows, "image") | ({"table": None} if with_key else {})

    return collate


def _absent(collate: Callable[[Sequence[Example]], Any], scores: Callable[[Net, Any], Tensor], **more: Any) -> Kind:
    given = {"modalities": IMAGE_TABLE, "twin": "complete ones", "rows": some_incomplete}
    return Kind(collate=collate, scores=scores, **(given | more))


def _nan_rows(rows: Sequence[Example]) -> dict[str, Any]:
    there = torch.tensor([row.complete for row in rows]).unsqueeze(1)
    return plain_dict(rows, "image", "table") | {"table": stacked(rows, "table").where(there, torch.nan)}


def _nan_scores(net: Net, batch: Any) -> Tensor:
    missing = batch["table"].isnan().all(1)
    table = _with_default(net, ~missing, net.vector("table", batch["table"].nan_to_num()))
    return net.fuse(net.vector("image", batch["image"]), table)


def _presence_leaf(rows: Sequence[Example]) -> dict[str, Any]:
    there = torch.tensor([row.complete for row in rows])
    table = stacked(rows, "table").where(there.unsqueeze(1), 0)
    return plain_dict(rows, "image") | {"table": table, "has_table": there}


def _presence_scores(net: Net, batch: Any) -> Tensor:
    table = _with_default(net, batch["has_table"], net.vector("table", batch["table"]))
    return net.fuse(net.vector("image", batch["image"]), table)


def _some_empty(rows: Sequence[Example]) -> dict[str, Any]:
    kept = [row.series if row.complete else row.series[:0] for row in rows]
    return {"series": torch.cat(kept), "num_steps": torch.tensor(list(map(len, kept))), **plain_dict(rows, "table")}


KINDS = {
    "None in some batches": _absent(
        _whole_batches(with_key=True), _maybe_table, rows=first_batch_lacks, sizes=(8,) * 6, twin="complete batches"
    ),
    "no key in some batches": _absent(
        _whole_batches(with_key=False), _maybe_table, rows=first_batch_lacks, sizes=(8,) * 6, twin="complete batches"
    ),
    "None in a list": _absent(
        lambda rows: plain_dict(rows, "image") | {"table": [row.table if row.complete else None for row in rows]},
        lambda net, batch: _some_tables(net, batch, batch["table"]),
    ),
    "a presence leaf": _absent(
        _presence_leaf, _presence_scores,
        modalities={"image": "image", "table": Modality("table", present="has_table")},
    ),
    "rows of NaN": _absent(_nan_rows, _nan_scores),
    "empty sequences": _absent(
        _some_empty,
        lambda net, batch: net.fuse(
            net.packed("series", batch["series"], batch["num_steps"]), net.vector("table", batch["table"])
        ),
        modalities={"series": "series", "table": "table"}, twin="complete series",
    ),
}  # fmt: skip
