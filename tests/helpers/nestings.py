"""Random batches: leaves of many kinds in random nestings, and the same batches of other rows, built by hand.

Nothing here asks the package how a batch is read. A column knows the values of its examples and how a node is made of
such values; a batch of other rows is made of the values of those rows.
"""

from collections import UserDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from hypothesis import assume
from hypothesis import strategies as st
from PIL import Image
from tensordict import TensorDict
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence
from torch_geometric.data import Batch, Data

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


@dataclass(frozen=True)
class Column:
    """The values of all examples in some nodes of a batch.

    Attributes:
        entries: One for each example; where there are several parts, a tuple of them.
        nodes: Name of a node -> what makes it of values.
        parts: What the user writes behind the path of the first node to name each part; ``("",)`` for all of it.
        rest: Whether the last part is named by nobody.
        lengths: Name of the node that counts the rows of the first one, where it has to be told.
    """

    entries: Sequence[Any]
    nodes: Mapping[str, Callable[[Sequence[Any]], Any]]
    parts: Sequence[str] = ("",)
    rest: bool = False
    lengths: str | None = None


def tensors(draw: Any, *shape: int) -> Tensor:
    """Draw a tensor: numbers of a seeded state, in some element type; whole numbers are below 0, and count nothing."""
    dtype = draw(st.sampled_from(DTYPES))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    values = torch.randn(shape, generator=generator)
    if dtype is torch.int64:
        return (values * 9).long().clamp(max=0) - 2
    return (
        (values * 40 + 100).to(torch.uint8)
        if dtype is torch.uint8
        else (values > 0 if dtype is torch.bool else values.to(dtype))
    )


def floats_of(draw: Any, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))


@st.composite
def stacked(draw: Any, count: int) -> Column:
    shape = draw(st.lists(st.integers(1, 3), max_size=3))
    return Column(list(tensors(draw, count, *shape)), {"leaf": torch.stack})


@st.composite
def arrays(draw: Any, count: int) -> Column:
    shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    return Column(list(floats_of(draw, count, *shape).numpy()), {"array": np.stack})


@st.composite
def strings(draw: Any, count: int) -> Column:
    return Column(
        draw(st.lists(st.text("ab", min_size=1, max_size=4), min_size=count, max_size=count)), {"words": list}
    )


@st.composite
def listed(draw: Any, count: int) -> Column:
    """A list with a tensor or an array for each example, whose sizes differ or not."""
    axes, container = draw(st.integers(1, 3)), draw(st.sampled_from([list, tuple]))
    sizes = st.tuples(*[st.integers(1, 3)] * axes)
    values: list[Any] = [floats_of(draw, *draw(sizes)) for _ in range(count)]
    if draw(st.booleans()):
        values = [value.numpy() for value in values]
    return Column(values, {"listed": container})


@st.composite
def pictures(draw: Any, count: int) -> Column:
    mode = draw(st.sampled_from(["L", "RGB", "RGBA"]))
    depth = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    sizes = [(draw(st.integers(1, 3)), draw(st.integers(1, 3))) for _ in range(count)]
    pixels = [(floats_of(draw, *size, *depth) * 60 + 128).clamp(0, 255).to(torch.uint8).numpy() for size in sizes]
    return Column([Image.fromarray(one) for one in pixels], {"pictures": list})


@st.composite
def sequences(draw: Any, count: int) -> Column:
    rows = [floats_of(draw, draw(st.integers(1, 4)), 2) for _ in range(count)]
    return Column(rows, {"sequence": lambda values: pack_sequence(list(values), enforce_sorted=False)})


COUNTERS: dict[str, Callable[[Sequence[int]], Tensor]] = {
    "num_rows": lambda lengths: torch.tensor(lengths),
    "cu_seqlens": lambda lengths: torch.tensor([0, *lengths]).cumsum(0).int(),
    "offsets": lambda lengths: torch.tensor([0, *lengths]).cumsum(0)[:-1],
    "grid": lambda lengths: torch.tensor([[1, 1, length] for length in lengths]),
    "numbers": lambda lengths: torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)),
}
"""Leaves that count rows, each made of the numbers of rows."""


@st.composite
def packed(draw: Any, count: int) -> Column:
    """Rows of all examples behind one another, and a leaf that counts them."""
    lengths = draw(st.lists(st.integers(1, 4), min_size=count, max_size=count).filter(lambda found: max(found) > 1))
    rows = [floats_of(draw, length, 2) for length in lengths]
    counter = draw(st.sampled_from(sorted(COUNTERS)))
    told = counter == "offsets" or draw(st.booleans())  # offsets are recognised by name, which they lack in tuples
    assume(counter != "offsets" or int(COUNTERS[counter](lengths).sum()) != sum(lengths))  # they could be counts
    made = {"rows": torch.cat, counter: lambda values: COUNTERS[counter](list(map(len, values)))}
    return Column(rows, made, lengths=counter if told else None)


@st.composite
def parted(draw: Any, count: int) -> Column:
    """A tensor, stacked or listed, in two named parts along one axis, and perhaps a rest."""
    axis, rest = draw(st.integers(0, 1)), draw(st.booleans())
    first, second, third = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2)) if rest else 0
    whole = floats_of(draw, count, *((first + second + third, 2) if axis == 0 else (2, first + second + third)))
    sizes = [first, second, third] if rest else [first, second]
    values = [tuple(one.split(sizes, axis)) for one in whole]
    ahead = "" if axis == 0 else draw(st.sampled_from([":, ", "..., "]))
    named = [f"{ahead}:{first}", f"{ahead}{list(range(first, first + second))}"]
    together = draw(st.sampled_from([torch.stack, list]))
    made = {"array": lambda values: together([torch.cat(list(parts), axis) for parts in values])}
    return Column(values, made, [f"[{one}]" for one in named] + ([""] if rest else []), rest=rest)


@st.composite
def dictionaries(draw: Any, count: int) -> Column:
    """A list of example dicts with two named entries, and perhaps a rest."""
    rest = draw(st.booleans())
    columns = [list(floats_of(draw, count, 2)), [floats_of(draw, draw(st.integers(1, 3))) for _ in range(count)]]
    columns += [draw(st.lists(st.text("xy", min_size=1, max_size=2), min_size=count, max_size=count))] if rest else []
    values = list(zip(*columns, strict=True))
    made = {"rows": lambda values: [dict(zip("abc", parts, strict=False)) for parts in values]}
    return Column(values, made, [".a", ".b", ".c"][: 2 + rest], rest=rest)


@st.composite
def tensordicts(draw: Any, count: int) -> Column:
    """A TensorDict with two named entries, and perhaps a rest."""
    parts = 2 + draw(st.booleans())
    values = list(zip(*[floats_of(draw, count, 1 + part) for part in range(parts)], strict=True))

    def make(values: Sequence[Any]) -> TensorDict:
        entries = (torch.stack(column) for column in zip(*values, strict=True))
        return TensorDict(dict(zip("abc", entries, strict=False)), batch_size=[len(values)])

    return Column(values, {"held": make}, [".a", ".b", ".c"][:parts], rest=parts > 2)


@st.composite
def frames(draw: Any, count: int) -> Column:
    """A frame with a column of real and one of whole numbers, and perhaps a rest of strings."""
    parts = 2 + draw(st.booleans())
    words = draw(st.lists(st.text("xy", min_size=1, max_size=2), min_size=count, max_size=count))
    held = [floats_of(draw, count).tolist(), [-k for k in range(count)], words]
    values = list(zip(*held[:parts], strict=True))

    def make(values: Sequence[Any]) -> pd.DataFrame:
        return pd.DataFrame(dict(zip("abc", map(list, zip(*values, strict=True)), strict=False)))

    return Column(values, {"frame": make}, [".a", ".b", ".c"][:parts], rest=parts > 2)


@st.composite
def graphs(draw: Any, count: int) -> Column:
    sizes = draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
    rings = [torch.stack([torch.arange(size), (torch.arange(size) + 1) % size]) for size in sizes]
    nodes = [floats_of(draw, size, 2) for size in sizes]
    values = [Data(x=x, edge_index=edges) for x, edges in zip(nodes, rings, strict=True)]
    return Column(values, {"graphs": lambda values: Batch.from_data_list(list(values))})


def columns(count: int) -> st.SearchStrategy[Column]:
    kinds = (stacked, stacked, arrays, strings, listed, pictures, sequences, packed, packed, parted, dictionaries)
    kinds += (tensordicts, frames, graphs)
    return st.one_of(*[kind(count) for kind in kinds])


# -- Nestings ----------------------------------------------------------------------------------------------------------


class Bag:
    """An object with attributes."""

    def __init__(self, **held: Any) -> None:
        vars(self).update(held)


def _dataclass(**held: Any) -> Any:
    return _class_of(tuple(held))(**held)


def _class_of(names: tuple[str, ...]) -> type:
    if names not in _CLASSES:
        _CLASSES[names] = make_dataclass("Held", names, frozen=len(names) % 2 == 0)
    return _CLASSES[names]


_CLASSES: dict[tuple[str, ...], type] = {}

CONTAINERS: dict[str, Callable[..., Any]] = {
    "dict": dict,
    "UserDict": lambda **held: UserDict(held),
    "dataclass": _dataclass,
    "namespace": SimpleNamespace,
    "object": Bag,
    "tuple": lambda **held: tuple(held.values()),
    "list": lambda **held: list(held.values()),
}
"""Containers, each made of its entries by name."""


@dataclass(frozen=True)
class Nesting:
    """A container, and what lies in it: further containers, or the numbers of nodes.

    Attributes:
        kind: Name of the container.
        entries: Name -> nesting or number of a node.
    """

    kind: str
    entries: Mapping[str, Any]

    def build(self, nodes: Sequence[Any]) -> Any:
        """Return the container with these nodes."""
        held = {
            name: entry.build(nodes) if isinstance(entry, Nesting) else nodes[entry]
            for name, entry in self.entries.items()
        }
        return CONTAINERS[self.kind](**held)

    def sizes(self) -> Iterator[int]:
        """Yield the number of entries of every list and tuple."""
        if self.kind in {"tuple", "list"}:
            yield len(self.entries)
        for entry in self.entries.values():
            if isinstance(entry, Nesting):
                yield from entry.sizes()

    def paths(self) -> Iterator[tuple[int, str]]:
        """Yield the number of every node and its path."""
        for place, (name, entry) in enumerate(self.entries.items()):
            key = str(place) if self.kind in {"tuple", "list"} else name
            if isinstance(entry, Nesting):
                yield from ((number, f"{key}.{below}") for number, below in entry.paths())
            else:
                yield entry, key


@st.composite
def nestings(draw: Any, names: Sequence[str], numbers: Sequence[int]) -> Nesting:
    """Draw a nesting of these nodes; its top holds all of them, alone or in containers."""
    groups: dict[int, list[int]] = {}
    for number in numbers:
        groups.setdefault(draw(st.integers(0, 3)), []).append(number)
    entries: dict[str, Any] = {}
    for place, group in groups.items():
        if len(group) < len(numbers) and place == 0:
            entries["inner"] = draw(nestings(names, group))
        else:
            entries |= {f"{names[number]}_{number}": number for number in group}
    return Nesting(draw(st.sampled_from(sorted(CONTAINERS))), entries)


@dataclass(frozen=True)
class Made:
    """A random batch.

    Attributes:
        columns: Its leaves.
        count: Number of examples.
        nesting: Where they lie.
        constants: What does not depend on the examples.
        modalities: The monitor's argument.
        owners: For each column and part, the position of its modality.
    """

    columns: Sequence[Column]
    count: int
    nesting: Nesting
    constants: Sequence[Any]
    modalities: Mapping[str, Any] = field(default_factory=dict)
    owners: Sequence[Sequence[int]] = ()

    def build(self, sources: Tensor) -> Any:
        """Return the batch whose row r has its part of modality m from example ``sources[r, m]``, built by hand."""
        nodes: list[Any] = []
        for column, owners in zip(self.columns, self.owners, strict=True):
            values = [self._value(column, owners, row) for row in sources.tolist()]
            nodes += [make(values) for make in column.nodes.values()]
        return self.nesting.build([*nodes, *self.constants])

    @staticmethod
    def _value(column: Column, owners: Sequence[int], row: Sequence[int]) -> Any:
        if len(column.parts) == 1:
            return column.entries[row[owners[0]]]
        return tuple(column.entries[row[owner]][part] for part, owner in enumerate(owners))


def _undecidable(found: Sequence[Column]) -> bool:
    """Tell whether rows of two leaves could be counted by the same leaf, and nothing tells which one counts which."""
    totals = [(sum(map(len, one.entries)), one.lengths) for one in found if "rows" in one.nodes and len(one.parts) == 1]
    repeated = {total for total, _ in totals if [other for other, _ in totals].count(total) > 1}
    return any(total in repeated and told is None for total, told in totals)


CONSTANTS = (None, 3, 0.5, "name", torch.tensor(2.0))


@st.composite
def batches(draw: Any) -> Made:
    """Draw a batch with two modalities or more."""
    count = draw(st.integers(2, 6))
    labels = Column(list(floats_of(draw, count)), {"labels": torch.stack}, rest=True)
    found = [*draw(st.lists(columns(count), min_size=2, max_size=4)), labels]
    assume(not _undecidable(found))
    assume(any("listed" not in column.nodes for column in found[:-1]))  # one list of tensors may be one of leaves
    constants = draw(st.lists(st.sampled_from(CONSTANTS), max_size=2))
    names = [name for column in found for name in column.nodes] + ["constant"] * len(constants)
    nesting = draw(nestings(names, range(len(names))))
    assume(count not in nesting.sizes())  # a list with as many entries as examples may hold one for each
    paths = dict(nesting.paths())
    modalities: dict[str, Any] = {}
    owners, node = [], 0
    for number, column in enumerate(found):
        own = []
        for part, behind in enumerate(column.parts):
            if column.rest and part == len(column.parts) - 1:
                own.append(0)  # what nobody names travels with the first
                continue
            own.append(len(modalities))
            modalities[f"m{number}{part}"] = (f"{paths[node]}{behind}", column.lengths and paths[node + 1])
        owners.append(own)
        node += len(column.nodes)
    return Made(found, count, nesting, constants, modalities, owners)
