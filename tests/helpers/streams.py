"""Streams of examples that are no plain loader of a data set."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from helpers.toy import examples
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    Sampler,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)

COUNT, SIZES = 64, (16, 3, 1, 20, 7, 16, 1)


class Stream(IterableDataset[Any]):
    """A data set without a length; its workers share the examples, or each gives all."""

    def __init__(self, data: Any, *, shared: bool = True) -> None:
        self.data, self.shared = data, shared

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        part = slice(worker.id, None, worker.num_workers) if worker and self.shared else slice(None)
        return iter(list(self.data)[part])


class Endless(Stream):
    """Starts over at its end."""

    def __iter__(self) -> Iterator[Any]:
        return itertools.cycle(super().__iter__())


class Sizes(Sampler[Any]):
    """Batches of several sizes."""

    sampler = None  # Lightning 2.5 asks for it

    def __iter__(self) -> Iterator[list[int]]:
        ends = list(itertools.accumulate(SIZES))
        return (list(range(end - size, end)) for size, end in zip(SIZES, ends, strict=True))

    def __len__(self) -> int:
        return len(SIZES)


class Wrapper:
    """A loader that is no DataLoader: it has no length, and starts anew."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def data(count: int = COUNT) -> TensorDataset:
    return examples(count, seed=1)


class Drawn(RandomSampler):
    """Draws with replacement, the same examples in each pass."""

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(0)
        return super().__iter__()


class Weighted(WeightedRandomSampler):
    """Draws some examples more often than others, the same in each pass."""

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(0)
        return super().__iter__()


STREAMS: dict[str, Callable[[], Any]] = {
    "without a length": lambda: DataLoader(Stream(data()), 16),
    "batches of one": lambda: DataLoader(data(), 1),
    "ragged last batch": lambda: DataLoader(data(), 24),
    "last batch of one": lambda: DataLoader(data(), 21),
    "batches of several sizes": lambda: DataLoader(data(), batch_sampler=Sizes()),
    "endless": lambda: DataLoader(Endless(data()), 16),
    "no DataLoader": lambda: Wrapper(list(DataLoader(data(), 16))),
}
"""Streams of the 64 examples in their order, each once: as many batches as ``LIMITS`` tells."""

LIMITS = {"endless": 4}
"""Stream -> ``limit_val_batches``, where it would not end."""

REPEATING: dict[str, Callable[[], Any]] = {
    "with replacement": lambda: DataLoader(data(), 16, sampler=Drawn(data(), replacement=True)),
    "weighted": lambda: DataLoader(data(), 16, sampler=Weighted(torch.linspace(0.1, 2, COUNT).tolist(), COUNT)),
    "starting over": lambda: DataLoader(Endless(data()), 16),
    "all of each worker": lambda: DataLoader(Stream(data(), shared=False), 8, num_workers=2),
}
"""Streams that give examples more than once."""

REPEATING_LIMITS = {"starting over": 8}


def first_ones(batches: Any) -> DataLoader[Any]:
    """Return a plain loader of the examples of a stream, each once, in the order in which they came."""
    rows = [row for batch in batches for row in zip(*batch, strict=True)]
    found: dict[Any, Any] = {}
    for row in rows:
        found.setdefault((*row[0].tolist(), *row[1].tolist()), row)
    return DataLoader(TensorDataset(*map(torch.stack, zip(*found.values(), strict=True))), 16)
