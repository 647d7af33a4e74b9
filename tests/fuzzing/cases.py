"""Random data, batches and small models, and what the monitor has to find in them, computed row by row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from outputs.truth import Grids
from reference.slow import Array
from torch import Tensor, nn

from mviz_lightning.functional import Task
from mviz_lightning.session import explain as explaining
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.head_arguments import split
from mviz_lightning.session.session import Session

FUSIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": lambda a, b: a + b,
    "product": lambda a, b: a * b,
    "both": lambda a, b: a + b + a * b,
    "gate": lambda a, b: a * b.sigmoid(),
    "maximum": torch.maximum,
    "first": lambda a, b: a + 0 * b,
}
"""How two encodings are joined; of the last, the second modality is not used."""


@dataclass
class Record:
    """A batch that is an object."""

    left: Any
    right: Any
    label: Any


class Row(NamedTuple):
    """A batch with named places."""

    left: Any
    right: Any
    label: Any


@dataclass(frozen=True)
class Container:
    """How the leaves stand in a batch.

    Attributes:
        make: Leaves -> a batch.
        read: A batch -> the leaves of the modalities.
        paths: Paths of the modalities and of the labels.
    """

    make: Callable[[Any, Any, Any], Any]
    read: Callable[[Any], tuple[Any, Any]]
    paths: tuple[str, str, str]


def _of_examples(batch: Any) -> tuple[Any, Any]:
    return tuple(torch.stack([one[name] for one in batch]) for name in ("l", "r"))  # type: ignore[return-value]


CONTAINERS = {
    "tuple": Container(lambda a, b, y: (a, b, y), lambda batch: (batch[0], batch[1]), ("0", "1", "2")),
    "mapping": Container(
        lambda a, b, y: {"l": a, "r": b, "y": y, "id": 7}, lambda batch: (batch["l"], batch["r"]), ("l", "r", "y")
    ),
    "nested": Container(
        lambda a, b, y: [{"in": (a, {"r": b})}, y],
        lambda batch: (batch[0]["in"][0], batch[0]["in"][1]["r"]),
        ("0.in.0", "0.in.1.r", "1"),
    ),
    "record": Container(Record, lambda batch: (batch.left, batch.right), ("left", "right", "label")),
    "row": Container(Row, lambda batch: (batch.left, batch.right), ("left", "right", "label")),
    "examples": Container(
        lambda a, b, y: [{"l": one, "r": two, "y": label} for one, two, label in zip(a, b, y, strict=True)],
        _of_examples,
        ("l", "r", "y"),
    ),
    "parts": Container(
        lambda a, b, y: {"x": torch.cat([a.flatten(1), b.flatten(1)], 1), "y": y},
        lambda batch: (batch["x"], batch["x"]),
        ("x[:4]", "x[4:]", "y"),
    ),
}


class Net(nn.Module):
    """Two linear encoders of all that an example holds, a fusion and a head."""

    def __init__(self, container: str, fusion: str, sizes: tuple[int, int], outputs: int) -> None:
        super().__init__()
        self.container, self.fusion = CONTAINERS[container], FUSIONS[fusion]
        self.left, self.right = nn.Linear(sizes[0], 3), nn.Linear(sizes[1], 3)
        self.head = nn.Linear(3, outputs)

    def scores(self, left: Tensor, right: Tensor) -> Tensor:
        left, right = left.flatten(1)[:, : self.left.in_features], right.flatten(1)[:, -self.right.in_features :]
        return self.head(self.fusion(self.left(left).tanh(), self.right(right).tanh()))  # type: ignore[no-any-return]

    def forward(self, batch: Any) -> Tensor:
        return self.scores(*self.container.read(batch))


@dataclass(frozen=True)
class Labels:
    """Labels as a user keeps them, and as numbers.

    Attributes:
        given: One for each example, in a tensor or a list.
        numbers: ``(N, ...)`` what they mean; -100 or NaN where an example has none.
        task: What the outputs stand for.
        options: What the user has to say.
    """

    given: Any
    numbers: Tensor
    task: Task
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One thing to measure."""

    container: str
    fusion: str
    left: Tensor
    right: Tensor
    labels: Labels
    outputs: int
    sizes: Sequence[int]
    group: int
    seed: int
    options: Mapping[str, Any]

    def model(self) -> Net:
        torch.manual_seed(self.seed)
        inside = (self.left[0].numel(), self.right[0].numel())
        return Net(self.container, self.fusion, inside, self.outputs).to(self.left.dtype)

    def batches(self) -> list[Any]:
        found, first, make = [], 0, CONTAINERS[self.container].make
        for size in self.sizes:
            rows = slice(first, first + size)
            found.append(make(self.left[rows], self.right[rows], self.labels.given[rows]))
            first += size
        return found


def classes(draw: Any, count: int, outputs: int) -> Labels:
    numbers = torch.arange(count) % outputs
    form = draw(st.sampled_from(["from 0", "from 1", "floats", "column", "one-hot", "texts", "list"]))
    options: dict[str, Any] = {}
    given: Any = {
        "from 0": numbers,
        "from 1": numbers + 1,
        "floats": numbers.double(),
        "column": numbers.unsqueeze(1),
        "one-hot": nn.functional.one_hot(numbers, outputs),
        "texts": [f"class {9 - number}" for number in numbers.tolist()],
        "list": numbers.tolist(),
    }[form]
    if form == "texts":
        options["class_names"] = [f"class {9 - number}" for number in range(outputs)]
    if form in ("from 0", "floats") and draw(st.booleans()):
        given, numbers = given.clone(), numbers.clone()
        given[::3] = numbers[::3] = -100
    if form == "one-hot" and outputs == 1:
        options["task"] = "multiclass"
    return Labels(given, numbers, "multiclass", options)


def one_output(draw: Any, count: int, values: Tensor) -> Labels:
    numbers = torch.arange(count) % 2
    form = draw(st.sampled_from(["0 and 1", "-1 and 1", "floats", "bools", "values", "column", "gaps"]))
    task: Task = "regression" if form in ("values", "column", "gaps") else "binary"
    given: dict[str, Tensor] = {
        "0 and 1": numbers,
        "-1 and 1": 2 * numbers - 1,
        "floats": numbers.double(),
        "bools": numbers.bool(),
        "values": values[:, 0],
        "column": values[:, :1],
        "gaps": values[:, 0].clone().index_fill(0, torch.arange(0, count, 4), float("nan")),
    }
    kept = given[form].flatten() if task == "regression" else numbers
    return Labels(given[form], kept, task, {"task": "binary"} if form == "-1 and 1" else {})


def several_values(draw: Any, count: int, outputs: int, values: Tensor) -> Labels:
    if draw(st.booleans()):
        numbers = (torch.arange(count).unsqueeze(1) // (1 + torch.arange(outputs))) % 2
        return Labels(numbers, numbers, "multilabel", {"task": "multilabel"})
    return Labels(values[:, :outputs] * 3, values[:, :outputs] * 3, "regression", {"task": "regression"})


@st.composite
def labels(draw: Any, count: int, outputs: int, values: Tensor) -> Labels:
    if outputs == 1:
        return one_output(draw, count, values)
    return classes(draw, count, outputs) if draw(st.integers(0, 2)) else several_values(draw, count, outputs, values)


@dataclass(frozen=True)
class Scaled(Grids):
    """Grids of some of the examples; several values are compared on the scale of the labels of all."""

    everyone: Tensor | None = None

    def _centred(self) -> Array:
        if self.task != "regression" or self.scores.shape[-1] == 1 or self.everyone is None:
            return super()._centred()
        return self.scores / self.everyone.std(0).numpy()  # type: ignore[no-any-return]


@st.composite
def cases(draw: Any) -> Case:
    count, group = draw(st.integers(16, 28)), draw(st.sampled_from([6, 8]))
    seed, outputs = draw(st.integers(0, 999)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(seed)
    container = draw(st.sampled_from(sorted(CONTAINERS)))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    shape = (4,) if container == "parts" else draw(st.sampled_from([(3,), (2, 2), (1,), (2, 1, 3)]))
    left = torch.randn(count, *shape, generator=generator, dtype=dtype) * draw(st.sampled_from([1.0, 1e-3, 100.0]))
    right = torch.randn(count, draw(st.integers(1, 4)), generator=generator, dtype=dtype)
    values = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    sizes = []
    while sum(sizes) < count:
        sizes.append(min(count - sum(sizes), draw(st.integers(1, count))))
    options = {"reuse": draw(st.booleans()), "chunk_size": draw(st.sampled_from([2, 7, 128]))}
    chosen = draw(labels(count, outputs, values))
    fusion = draw(st.sampled_from(sorted(FUSIONS)))
    return Case(container, fusion, left, right, chosen, outputs, sizes, group, seed, options)


def measured(case: Case) -> tuple[Mapping[str, float], Mapping[str, float], Tensor]:
    """Return what the package finds, what it has to find, and the groups of examples that it recombined."""
    left, right, target = CONTAINERS[case.container].paths
    given = dict(case.labels.options)
    by_head = split(target=target, task=given.get("task"), score=None, class_names=given.get("class_names"))
    modalities = explaining.parse_modalities({"a": left, "b": right})
    config = SessionConfig(modalities, **by_head, group_size=case.group, seed=case.seed, **case.options)
    session, model = Session(config), case.model()
    explaining._collect(session, model, case.batches(), None)
    session.complete()
    found = session.run().values
    assert session.probe is not None
    groups = torch.tensor(session.positions)[session.probe.groups]
    labels = case.labels
    grids = Scaled.of(model.scores, case.left, case.right, labels.numbers, groups, labels.task, None, labels.numbers)
    return found, _named(grids.shares(case.seed) | grids.decided(case.seed)), groups


def _named(expected: Mapping[str, float]) -> dict[str, float]:
    return {name.replace("/0", "/a").replace("/1", "/b"): value for name, value in expected.items()}
