"""Rows of all examples behind one another, and what tells how many each example has."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from batches.kind import Kind
from batches.plain import Example, Net, padded, plain_dict, stacked
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence, unpack_sequence

from mviz_lightning import Modality


def joined(rows: Sequence[Example], name: str) -> Tensor:
    return torch.cat([getattr(row, name) for row in rows])


def counted(rows: Sequence[Example], name: str) -> Tensor:
    return torch.tensor([len(getattr(row, name)) for row in rows])


def _packed(**held: Callable[[Sequence[Example]], Any]) -> Callable[[Sequence[Example]], dict[str, Any]]:
    """Return a collate function of patches behind one another, a table, and what tells their numbers."""
    return lambda rows: {
        "patches": joined(rows, "patches"), **{name: read(rows) for name, read in held.items()},
        **plain_dict(rows, "table"),
    }  # fmt: skip


def _packed_scores(count: Callable[[Any], Tensor]) -> Callable[[Net, Any], Tensor]:
    return lambda net, batch: net.fuse(
        net.packed("patch", batch["patches"], count(batch)), net.vector("table", batch["table"])
    )


PATCHES_TABLE = {"patches": "patches", "table": "table"}


def begins(counts: Tensor) -> Tensor:
    return counts.cumsum(0) - counts


def _cu_seqlens(rows: Sequence[Example]) -> Tensor:
    return torch.cat([torch.zeros(1).int(), counted(rows, "patches").cumsum(0).int()])


def _number(name: str) -> Callable[[Sequence[Example]], Tensor]:
    return lambda rows: counted(rows, name)


def owners(rows: Sequence[Example], name: str = "patches") -> Tensor:
    return torch.arange(len(rows)).repeat_interleave(counted(rows, name))


def _two_pictures(rows: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Return grids of one picture of an example, or of two that its patches make up, and how many it has."""
    grids = [[row.grid] if k % 2 else [torch.tensor([1, 1, row.grid[2]])] * int(row.grid[1]) for k, row in _odd(rows)]
    return torch.cat([torch.stack(one) for one in grids]), torch.tensor(list(map(len, grids)))


def _odd(rows: Sequence[Example]) -> Iterable[tuple[int, Example]]:
    return ((int(row.patches.shape[0]) + int(row.y), row) for row in rows)


def _several_pictures(rows: Sequence[Example]) -> dict[str, Any]:
    grids, numbers = _two_pictures(rows)
    return {"patches": joined(rows, "patches"), "grid": grids, "num_images": numbers, **plain_dict(rows, "table")}


def _several_counts(batch: Any) -> Tensor:
    owner = torch.arange(len(batch["num_images"])).repeat_interleave(batch["num_images"])
    return torch.zeros_like(batch["num_images"]).index_add(0, owner, batch["grid"].prod(1))


def _packed_sequence_table(net: Net, batch: Any) -> Tensor:
    rows = unpack_sequence(batch["series"])
    real = [torch.ones(len(row)) for row in rows]
    values, mask = (torch.nn.utils.rnn.pad_sequence(one, batch_first=True) for one in (rows, real))
    return net.fuse(net.sequence("series", values, mask), net.vector("table", batch["table"]))


def _padded_series(rows: Sequence[Example]) -> dict[str, Any]:
    return {"series": padded(rows, "series")[0], "lengths": counted(rows, "series"), **plain_dict(rows, "table")}


def _lengths_table(net: Net, batch: Any) -> Tensor:
    real = torch.arange(batch["series"].shape[1]) < batch["lengths"].unsqueeze(1)
    return net.fuse(net.sequence("series", batch["series"], real), net.vector("table", batch["table"]))


KINDS = {
    "PackedSequence": Kind(
        collate=lambda rows: {
            "series": pack_sequence([row.series for row in rows], enforce_sorted=False), **plain_dict(rows, "table")
        },
        modalities={"series": "series", "table": "table"}, scores=_packed_sequence_table, twin="series and table",
    ),
    "padded series with lengths": Kind(
        collate=_padded_series, modalities={"series": ["series", "lengths"], "table": "table"},
        scores=_lengths_table, twin="series and table", drawn=False,
    ),
    "packed rows with counts": Kind(
        collate=_packed(num_patches=_number("patches")), modalities=PATCHES_TABLE,
        scores=_packed_scores(lambda batch: batch["num_patches"]), twin="patches and table",
    ),
    "packed rows with a grid": Kind(
        collate=_packed(image_grid_thw=lambda rows: stacked(rows, "grid")), modalities=PATCHES_TABLE,
        scores=_packed_scores(lambda batch: batch["image_grid_thw"].prod(1)), twin="patches and table",
    ),
    "packed rows with image sizes": Kind(
        collate=_packed(image_sizes=lambda rows: stacked(rows, "grid")[:, 1:]), modalities=PATCHES_TABLE,
        scores=_packed_scores(lambda batch: batch["image_sizes"].prod(1)), twin="patches and table",
    ),
    "several pictures an example": Kind(
        collate=_several_pictures, modalities=PATCHES_TABLE, scores=_packed_scores(_several_counts),
        twin="patches and table",
    ),
    "cu_seqlens": Kind(
        collate=_packed(cu_seqlens=_cu_seqlens), modalities=PATCHES_TABLE,
        scores=_packed_scores(lambda batch: batch["cu_seqlens"].diff().long()), twin="patches and table",
    ),
    "offsets": Kind(
        collate=_packed(offsets=lambda rows: begins(counted(rows, "patches"))), modalities=PATCHES_TABLE,
        scores=_packed_scores(
            lambda batch: torch.cat([batch["offsets"], torch.tensor([len(batch["patches"])])]).diff()
        ),
        twin="patches and table",
    ),
    "a vector of example numbers": Kind(
        collate=_packed(batch=owners), modalities=PATCHES_TABLE,
        scores=_packed_scores(lambda batch: torch.bincount(batch["batch"], minlength=len(batch["table"]))),
        twin="patches and table",
    ),
    "packed rows with lengths=": Kind(
        collate=_packed(meta=lambda rows: {"n": counted(rows, "patches")}),
        modalities={"patches": Modality("patches", lengths="meta.n"), "table": "table"},
        scores=_packed_scores(lambda batch: batch["meta"]["n"]), twin="patches and table",
    ),
}  # fmt: skip
