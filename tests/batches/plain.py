"""Seeded examples in plain tensors, and one small network that takes them, for batches of every kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from helpers.batches import floats, integers, seeded
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.nn.utils.rnn import pad_sequence

NUMBER = 32
"""Examples of a kind that are measured."""

CLASSES = 3


@dataclass(frozen=True)
class Example:
    """One example, in everything that some kind of batch takes of it.

    Attributes:
        image: ``(4, 8, 8)``.
        table: ``(6,)``.
        photo: ``(3, h, w)`` of its own size.
        series: ``(T, 3)`` of its own length.
        steps: ``(7, 5)``.
        ids: ``(5,)`` token ids, 0 at padding.
        patches: ``(h * w, 9)``: the patches of one picture, row by row.
        grid: ``(3,)``: 1, h and w of these patches.
        nodes: ``(n, 9)``: the nodes of a graph.
        edges: ``(2, e)``: where its edges begin and end.
        categories: ``(2,)`` whole numbers below 4.
        y: The class.
        complete: Whether no modality is missing.
    """

    image: Tensor
    table: Tensor
    photo: Tensor
    series: Tensor
    steps: Tensor
    ids: Tensor
    patches: Tensor
    grid: Tensor
    nodes: Tensor
    edges: Tensor
    categories: Tensor
    y: Tensor
    complete: bool = True


def example(seed: int) -> Example:
    """Return an example; its sizes follow from the seed too."""
    length, height, width, nodes = 2 + seed % 5, 2 + seed % 2, 2 + seed % 3, 2 + seed % 4
    ids = 3 + integers(9, 5, seed=seed)
    ids[2 + seed % 4 :] = 0
    return Example(
        image=floats(4, 8, 8, seed=seed),
        table=floats(6, seed=seed + 1000),
        photo=floats(3, 5 + seed % 3, 6 - seed % 2, seed=seed + 2000),
        series=floats(length, 3, seed=seed + 3000),
        steps=floats(7, 5, seed=seed + 4000),
        ids=ids,
        patches=floats(height * width, 9, seed=seed + 5000),
        grid=torch.tensor([1, height, width]),
        nodes=floats(nodes, 9, seed=seed + 6000),
        edges=torch.stack([torch.arange(nodes), (torch.arange(nodes) + 1) % nodes]),
        categories=(integers(8, 2, seed=seed + 7000) - 4).clamp(min=0),  # mostly 0
        y=integers(CLASSES, seed=seed + 8000),
    )


def examples(number: int = NUMBER) -> list[Example]:
    return [example(seed) for seed in range(number)]


def with_some_incomplete(which: Callable[[int], bool]) -> list[Example]:
    """Return half as many examples again; those at the places where ``which`` holds lack a modality."""
    return [replace(example(seed), complete=not which(seed)) for seed in range(NUMBER + NUMBER // 2)]


def stacked(rows: Sequence[Example], name: str) -> Tensor:
    """Return ``(B, ...)`` of an entry that has one shape in all examples."""
    return torch.stack([getattr(row, name) for row in rows])


def padded(rows: Sequence[Example], name: str) -> tuple[Tensor, Tensor]:
    """Return ``(B, L, ...)`` of an entry of several lengths, and its mask ``(B, L)``."""
    found = [getattr(row, name) for row in rows]
    return pad_sequence(found, batch_first=True), pad_sequence([torch.ones(len(one)) for one in found], True)


class Net(nn.Module):
    """An encoder for everything that an example holds, and a head that multiplies two of them.

    It computes in float64, so that an example gives the same to 1e-12 in whatever order its numbers are added.
    """

    def __init__(self) -> None:
        super().__init__()
        sizes = {
            "image": 4 * 8 * 8, "rgb": 3 * 8 * 8, "depth": 8 * 8, "table": 6, "first": 2, "rest": 4, "pixel": 4,
            "series": 4, "steps": 7 * 5, "two": 7 * 2, "three": 7 * 3, "word": 7, "patch": 10, "node": 9, "cell": 12,
            "mixed": 3 + 2 * 4, "even": 3, "odd": 3,
        }  # fmt: skip
        self.parts = nn.ModuleDict({name: nn.Linear(size, 5) for name, size in sizes.items()})
        self.words = nn.Embedding(12, 6)
        self.missing = nn.Parameter(torch.linspace(-1, 1, 5))
        self.head = nn.Linear(5, CLASSES)
        self.double()

    def vector(self, name: str, values: Tensor) -> Tensor:
        """Return ``(B, 5)`` of ``(B, ...)`` in one shape."""
        return torch.tanh(self.parts[name](values.flatten(1).double()))

    def rows(self, name: str, values: Tensor, places: Tensor) -> Tensor:
        """Return ``(..., 5)`` of rows ``(..., D)`` and the place of each in its example."""
        return torch.tanh(self.parts[name](torch.cat([values, places.unsqueeze(-1) / 4], -1).double()))

    def sequence(self, name: str, values: Tensor, real: Tensor | None = None) -> Tensor:
        """Return ``(B, 5)`` of sequences ``(B, L, D)``: the mean over their real rows."""
        places = torch.arange(values.shape[1]).expand(values.shape[:2])
        return mean(self.rows(name, values, places), torch.ones(values.shape[:2]) if real is None else real)

    def packed(self, name: str, values: Tensor, counts: Tensor) -> Tensor:
        """Return ``(B, 5)`` of sequences behind one another, ``(L, D)``, of these lengths ``(B,)``."""
        owner = torch.arange(len(counts)).repeat_interleave(counts)
        places = torch.arange(len(values)) - (counts.cumsum(0) - counts)[owner]
        return mean_of_owners(self.rows(name, values, places), owner, len(counts))

    def text(self, ids: Tensor, real: Tensor) -> Tensor:
        """Return ``(B, 5)`` of token ids ``(B, T)`` and their mask."""
        return self.sequence("word", self.words(ids), real)

    def photo(self, picture: Tensor) -> Tensor:
        """Return ``(5,)`` of a picture ``(3, h, w)`` of any size: the mean over its pixels."""
        pixels = picture.flatten(1).T
        return self.rows("pixel", pixels, torch.arange(len(pixels)) / 8).mean(0) * 4

    def graph(self, nodes: Tensor, edges: Tensor, owner: Tensor, size: int) -> Tensor:
        """Return ``(size, 5)`` of graphs: each node adds its neighbours' features to its own."""
        received = nodes.index_add(0, edges[1], nodes[edges[0]])
        return mean_of_owners(torch.tanh(self.parts["node"](received.double())), owner, size)

    def mixed(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Return ``(B, 5)`` of numbers ``(B, 3)`` and categories ``(B, 2)``."""
        return self.vector("mixed", torch.cat([numbers, one_hot(categories.long(), 4).flatten(1)], 1))

    def fuse(self, left: Tensor, right: Tensor) -> Tensor:
        """Return scores ``(B, 3)``."""
        scores: Tensor = self.head(left + right + 4 * left * right)
        return scores


def mean(rows: Tensor, real: Tensor) -> Tensor:
    """Return ``(B, 5)``: twice the mean of real rows of ``(B, L, 5)``."""
    weights = real.to(rows.dtype).unsqueeze(2)
    return 2 * (rows * weights).sum(1) / weights.sum(1).clamp(min=1)


def mean_of_owners(rows: Tensor, owner: Tensor, size: int) -> Tensor:
    """Return ``(size, 5)``: twice the mean of the rows ``(L, 5)`` of each owner."""
    totals = rows.new_zeros(size, rows.shape[1]).index_add(0, owner, rows)
    return 2 * totals / torch.bincount(owner, minlength=size).clamp(min=1).unsqueeze(1)


def network() -> Net:
    """Return the one network of all kinds."""
    return seeded(Net, 3)


def plain_dict(rows: Sequence[Example], *names: str) -> dict[str, Any]:
    """Return the plainest batch: a dict of stacked tensors with the labels."""
    return {name: stacked(rows, name) for name in (*names, "y")}
