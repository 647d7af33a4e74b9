"""Loaders without a length, and loaders that are several."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from batches.containers import container, entries, named
from batches.kind import Kind
from batches.plain import Example, Net
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset


class Rows(Dataset[dict[str, Tensor]]):
    """Some entries of each example."""

    def __init__(self, rows: Sequence[Example], *names: str) -> None:
        self.rows, self.names = rows, names

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: getattr(self.rows[index], name) for name in self.names}


class Stream(IterableDataset[dict[str, Tensor]]):
    """The same without a length."""

    def __init__(self, rows: Sequence[Example], *names: str) -> None:
        self.rows = Rows(rows, *names)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return (self.rows[index] for index in range(len(self.rows)))


def _combined(mode: str) -> Callable[[Sequence[Example]], CombinedLoader]:
    def loader(rows: Sequence[Example]) -> CombinedLoader:
        halves = {"camera": Rows(rows, "image", "y"), "lab": Rows(rows[:24], "table")}
        return CombinedLoader({name: DataLoader(half, batch_size=8) for name, half in halves.items()}, mode)

    return loader


def _combined_scores(net: Net, batch: Any) -> Tensor:
    image = net.vector("image", batch["camera"]["image"])
    table = net.missing.expand_as(image) if batch["lab"] is None else net.vector("table", batch["lab"]["table"])
    return net.fuse(image, table)


COMBINED = {
    "collate": None, "modalities": {"image": "camera.image", "table": "lab.table"}, "scores": _combined_scores,
    "labels": lambda batch: batch["camera"]["y"],
}  # fmt: skip

KINDS = {
    "IterableDataset without length": container(
        named, entries, loader=lambda rows: DataLoader(Stream(rows, "image", "table", "y"), batch_size=7)
    ),
    "DataLoader": container(
        named, entries, loader=lambda rows: DataLoader(Rows(rows, "image", "table", "y"), batch_size=7)
    ),
    "CombinedLoader that runs out": Kind(**COMBINED, loader=_combined("max_size"), twin="first 24"),
    "CombinedLoader of the shortest": Kind(**COMBINED, loader=_combined("min_size"), twin="first 24"),
}  # fmt: skip
