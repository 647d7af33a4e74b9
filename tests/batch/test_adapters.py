"""Batch objects of libraries and of one's own, read without being registered."""

import enum
import pathlib
from argparse import Namespace
from collections import UserDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.batches import floats, learn
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mviz_lightning import ConfigurationError
from mviz_lightning.batch import tree
from mviz_lightning.batch.registry import container_of, examples_of
from mviz_lightning.batch.rows import leaf_bytes, to_device

COUNT = 3
"""Number of examples of the batches here."""

Pair = namedtuple("Pair", ["a", "b"])  # noqa: PYI024 - users have untyped ones too


@dataclass(frozen=True)
class Held:
    a: Any
    b: Any


class Attributes:
    def __init__(self, a, b):
        self.a, self.b, self._private = a, b, "kept"

    def to(self, device):
        return self


class Slotted:
    __slots__ = ("a", "b", "unset")

    def __init__(self, a, b):
        self.a, self.b = a, b


class Below(Slotted):
    """Has slots and a dict."""


def tensordict(a, b):
    return pytest.importorskip("tensordict").TensorDict({"a": a, "b": b}, batch_size=[COUNT])


def data(a, b):
    return pytest.importorskip("torch_geometric.data").Data(x=a, b=b)


def hetero(a, b):
    graph = pytest.importorskip("torch_geometric.data").HeteroData()
    graph["paper"].x = a
    graph["paper", "cites", "paper"].edge_attr = b
    return graph


def frame(a, b):
    pandas = pytest.importorskip("pandas")
    columns = {
        "a": a.reshape(len(a), -1)[:, 0].numpy(),
        "b": [f"word {k}" for k in range(len(b))],
        3: b.reshape(len(b), -1)[:, 0].numpy(),
    }
    return pandas.DataFrame(columns, index=[f"row {k}" for k in range(len(a))])


TENSORS = {"tensordict": tensordict, "frame": frame}
"""Objects that hold tensors of one number of examples, and no containers."""

CONTAINERS = {
    "dict": lambda a, b: {"a": a, "b": b},
    "UserDict": lambda a, b: UserDict(a=a, b=b),
    "list": lambda a, b: [a, b],
    "tuple": lambda a, b: (a, b),
    "namedtuple": Pair,
    "dataclass": Held,
    "SimpleNamespace": lambda a, b: SimpleNamespace(a=a, b=b),
    "Namespace": lambda a, b: Namespace(a=a, b=b),
    "attributes": Attributes,
    "slots": Slotted,
    "slots and attributes": Below,
    "graph": data,
    "hetero graph": hetero,
}


def values(draw: Any) -> Tensor:
    shape = (COUNT, *draw(st.lists(st.integers(1, 3), max_size=2)))
    return floats(*shape, seed=draw(st.integers(0, 99)))


@st.composite
def nestings(draw: Any, depth: int = 3) -> Any:
    """Draw a batch of containers in containers; each leaf holds three examples."""
    kind = draw(st.sampled_from([*CONTAINERS, *TENSORS, "tensor"] if depth else [*TENSORS, "tensor"]))
    if kind == "tensor":
        return values(draw)
    if kind in TENSORS:
        return TENSORS[kind](values(draw), values(draw))
    if kind == "hetero graph":
        return hetero(values(draw), values(draw))
    return CONTAINERS[kind](draw(nestings(depth=depth - 1)), draw(nestings(depth=depth - 1)))


def bits(batch: Any) -> list[Any]:
    """Return the types of all nodes, their paths, and the content of the leaves."""
    nodes = [(tree.path(keys), node) for keys, node in tree.nodes(batch)]
    return [(path, type(node), b"" if tree.children(node) else list(leaf_bytes(node))) for path, node in nodes]


@pytest.mark.parametrize("make", [*CONTAINERS.values(), *TENSORS.values()], ids=[*CONTAINERS, *TENSORS])
def test_both_leaves_of_every_container_are_reached(make):
    batch = make(floats(COUNT, 2), floats(COUNT, 1, seed=1))
    assert len([keys for keys, node in tree.nodes(batch) if isinstance(node, Tensor | np.ndarray)]) >= 2


@given(nestings())
def test_a_copy_of_any_nesting_is_the_same_bit_for_bit(batch):
    twin = tree.copied(batch)
    assert bits(twin) == bits(batch)
    assert twin is not batch or isinstance(batch, Tensor)


@given(nestings())
def test_a_shell_of_any_nesting_that_is_filled_again_is_the_same_bit_for_bit(batch):
    before = bits(batch)
    leaves = {keys: node for keys, node in tree.nodes(batch) if not tree.children(node)}
    shell = tree.shell(batch, {keys: object() for keys in leaves})
    assert bits(tree.replace(shell, leaves)) == before
    assert bits(tree.put_together(tree.shell(batch, leaves))) == before
    assert bits(batch) == before


@given(nestings())
def test_other_examples_are_put_into_any_nesting(batch):
    leaves = {keys: node for keys, node in tree.nodes(batch) if not tree.children(node)}
    rows = torch.tensor([2, 0, 0, 1, 2])
    taken = {keys: leaf[rows] if isinstance(leaf, Tensor) else leaf[rows.numpy()] for keys, leaf in leaves.items()}
    built = tree.replace(tree.shell(batch, dict.fromkeys(leaves)), taken)
    assert [(path, kind) for path, kind, _ in bits(built)] == [(path, kind) for path, kind, _ in bits(batch)]
    for keys, leaf in taken.items():
        found = tree.get(built, keys)
        assert found.dtype == leaf.dtype
        assert list(leaf_bytes(found)) == list(leaf_bytes(leaf))


@pytest.mark.parametrize("make", [*CONTAINERS.values(), *TENSORS.values()], ids=[*CONTAINERS, *TENSORS])
def test_a_shell_keeps_no_memory_of_tensors(make):
    batch = make(floats(COUNT, 2), floats(COUNT, 2))
    tensors = {keys: node for keys, node in tree.nodes(batch) if isinstance(node, Tensor)}
    shell = tree.shell(batch, dict.fromkeys(tensors))
    held = shell.hollow if isinstance(shell, tree.Pieces) else shell
    kept = [node for _, node in tree.nodes(held) if isinstance(node, Tensor)]
    assert all(node.untyped_storage().nbytes() == node.element_size() for node in kept)


@pytest.mark.parametrize("make", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_the_code_of_every_node_leads_to_it(make):
    batch = make(floats(COUNT, 2), floats(COUNT, 2, seed=1))
    for keys, node in tree.nodes(batch):
        found = eval(f"batch{tree.code(batch, keys)}", {"batch": batch})  # noqa: S307 - our own code
        assert found is node or not isinstance(node, Tensor)
        shell = tree.shell(batch, {keys: None}) if keys else batch
        assert tree.code(shell, keys) == tree.code(batch, keys)


def test_attributes_are_spelled_as_attributes_and_keys_in_brackets():
    leaves = floats(COUNT, 2), floats(COUNT, 2)
    assert tree.code({"in": Attributes(*leaves)}, ("in", "a")) == '["in"].a'
    assert tree.code(tensordict(*leaves), ("a",)) == '["a"]'
    assert tree.code(data(*leaves), ("x",)) == ".x"
    assert tree.code(hetero(*leaves), ("paper", "x")) == '["paper"]["x"]'
    assert tree.code(frame(*leaves), ("a",)) == '["a"]'
    assert tree.code({"c": frame(*leaves)["a"]}, ("c", "values")) == '["c"].values'


class Colour(enum.Enum):
    RED = 1


class Text(str):
    __slots__ = ()


class Tokenizer:
    def __init__(self):
        self.vocabulary = {"a": 0}

    def __call__(self, text):
        return [self.vocabulary[one] for one in text]


class Configuration:
    """Has more attributes than a batch."""

    def __init__(self):
        vars(self).update({f"option_{k}": k for k in range(100)})


@pytest.mark.parametrize(
    "value",
    [
        3, 2.5, "text", Text("text"), b"x", None, True, floats(2), np.zeros(2), np.float32(1), pathlib.Path("a"),
        Colour.RED, nn.Linear(2, 2), Tokenizer(), Tokenizer, len, torch.device("cpu"), torch.float32, slice(2), {1, 2},
        range(3), ValueError("x"), iter([1]), torch, object(), Configuration(), torch.Generator(),
        torch.distributions.Normal(0, 1), type("Empty", (), {})(),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_other_objects_stay_closed(value):
    assert [keys for keys, _ in tree.nodes({"a": value})] == [(), ("a",)]


def test_pictures_stay_closed():
    image = pytest.importorskip("PIL.Image").new("RGB", (2, 2))
    assert tree.children(image) == []


def test_objects_that_hold_one_another_are_read_without_going_round():
    parent, child = Attributes(floats(2), None), Attributes(floats(3), None)
    parent.b, child.b = [child], {"parent": parent}
    assert [tree.path(keys) for keys, _ in tree.nodes(parent)] == ["", "a"]
    assert [tree.path(keys) for keys, _ in tree.nodes({"child": child})] == ["", "child", "child.a"]
    itself = Attributes(floats(2), None)
    itself.b = itself
    assert [tree.path(keys) for keys, _ in tree.nodes(itself)] == ["", "a"]
    twin = tree.replace(itself, {("a",): None})
    assert twin.a is None
    assert twin.b is itself


def test_what_an_object_hides_stays_with_its_copy():
    batch = Attributes(floats(2), floats(3))
    changed = tree.replace(batch, {("a",): None})
    assert changed._private == "kept"
    assert batch.a is not None


def test_a_frozen_object_is_copied():
    class Frozen:
        def __init__(self, a):
            object.__setattr__(self, "a", a)

        def __setattr__(self, name, value):
            raise AttributeError(name)

    assert tree.replace(Frozen(1), {("a",): 2}).a == 2


def test_tensors_inside_objects_move_to_the_device():
    moved = to_device([Attributes(floats(2), Pair(floats(2), "x")), {"c": frame(floats(2), floats(2))}], "meta")
    assert moved[0].a.device.type == moved[0].b.a.device.type == "meta"
    assert moved[0].b.b == "x"


def test_digests_of_objects_depend_on_their_content_alone():
    def digest(value):
        return b"".join(leaf_bytes(value))

    for make in CONTAINERS.values():
        first, same, other = (make(floats(COUNT, 2, seed=seed), floats(COUNT, 2)) for seed in (0, 0, 1))
        assert digest([first]) == digest([same]) != digest([other])
    closed = [SimpleNamespace(a=object()), SimpleNamespace(a=object())]
    assert digest(closed[0]) == digest(closed[1])
    words = [np.array([str(b"ab", "ascii"), "c"], dtype=object) for _ in range(2)]
    assert digest(words[0]) == digest(words[1])


def test_a_batch_of_graphs_has_attributes_and_examples():
    library = pytest.importorskip("torch_geometric.data")
    graphs = [library.Data(x=floats(n, 2, seed=n), edge_index=torch.tensor([[0], [n - 1]]), y=n) for n in (2, 3)]
    batch = library.Batch.from_data_list(graphs)
    assert set(dict(tree.children(batch))) == {"x", "edge_index", "y", "batch", "ptr"}
    found = examples_of(batch)
    back = found.join(batch, found.split(batch)[::-1])
    assert type(back) is type(batch)
    assert torch.equal(back.x, torch.cat([graphs[1].x, graphs[0].x]))
    assert back.edge_index.tolist() == [[0, 3], [2, 4]]
    changed = tree.replace(batch, {("x",): floats(5, 2, seed=9)})
    assert torch.equal(changed.x, floats(5, 2, seed=9))
    assert torch.equal(batch.x, torch.cat([graph.x for graph in graphs]))
    assert examples_of(graphs[0]) is None
    assert container_of(graphs[0]) is not None


def test_types_of_nodes_and_edges_are_containers():
    batch = hetero(floats(2, 3), floats(4, 1))
    assert [tree.path(keys) for keys, _ in tree.nodes(batch)] == [
        "", "paper", "paper.x", "paper__cites__paper", "paper__cites__paper.edge_attr",
    ]  # fmt: skip
    changed = tree.replace(batch, {("paper", "x"): floats(2, 3, seed=5)})
    assert torch.equal(changed["paper"].x, floats(2, 3, seed=5))
    assert torch.equal(batch["paper"].x, floats(2, 3))


def test_batch_size_and_device_of_a_tensordict_are_those_of_its_entries():
    library = pytest.importorskip("tensordict")
    inner = library.TensorDict({"b": torch.ones(3, 2)}, batch_size=[3])
    entries = {"a": torch.zeros(3, 2), "inner": inner, "word": "all"}
    batch = library.TensorDict(entries, batch_size=[3], device="cpu", names=["row"])
    batch["words"] = ["x", "y", "z"]
    taken = {("a",): torch.zeros(5, 2), ("inner", "b"): torch.ones(5, 2), ("words",): list("vwxyz")}
    built = tree.replace(tree.shell(batch, dict.fromkeys(taken)), taken)
    assert (built.batch_size, built["inner"].batch_size, built.device) == ((5,), (5,), torch.device("cpu"))
    assert (built.names, built["word"], list(built["words"])) == (["row"], "all", list("vwxyz"))
    locked = tree.replace(batch.lock_(), {("a",): torch.ones(3, 2)})
    assert locked.is_locked


@pytest.mark.slow
def test_a_tensorclass_is_read_by_its_attributes():
    library = pytest.importorskip("tensordict")

    @library.tensorclass
    class Scan:
        image: torch.Tensor
        site: str

    batch = Scan(image=torch.zeros(3, 2), site="x", batch_size=[3])
    built = tree.replace(tree.shell(batch, {("image",): None}), {("image",): torch.ones(4, 2)})
    assert type(built) is Scan
    assert (built.batch_size, built.site) == ((4,), "x")
    assert torch.equal(built.image, torch.ones(4, 2))
    assert tree.code(batch, ("image",)) == ".image"


def test_a_frame_keeps_types_and_order_of_its_columns():
    pandas = pytest.importorskip("pandas")
    columns = {
        "z": [1, 2, 3],
        "word": ["a", "b", "c"],
        "kind": pandas.Categorical(["u", "v", "u"]),
        "flag": [True, False, True],
        "when": pandas.to_datetime(["2020-01-01", "2021-01-01", "2022-01-01"]),
        "some": pandas.array([1, None, 3], "Int64"),
    }
    batch = pandas.DataFrame(columns, index=[7, 8, 9])
    batch.attrs["source"] = "here"
    rows = np.array([2, 0, 0, 1])
    taken = {(key,): column[rows] for key, column in tree.children(batch)}
    built = tree.replace(tree.shell(batch, dict.fromkeys(taken)), taken)
    expected = batch.iloc[rows].reset_index(drop=True)
    pandas.testing.assert_frame_equal(built, expected)
    assert built.attrs == {"source": "here"}
    pandas.testing.assert_frame_equal(tree.copied(batch), batch)


def test_a_series_keeps_its_type_and_its_name():
    pandas = pytest.importorskip("pandas")
    batch = pandas.Series(["u", "v", "u"], dtype="category", name="kind", index=[4, 5, 6])
    built = tree.replace(batch, {("values",): np.array(["v", "v"], dtype=object)})
    pandas.testing.assert_series_equal(built, pandas.Series(["v", "v"], dtype=batch.dtype, name="kind"))
    pandas.testing.assert_series_equal(tree.copied(batch), batch)


def test_columns_of_one_name_are_left_alone():
    pandas = pytest.importorskip("pandas")
    assert tree.children(pandas.DataFrame([[1, 2]], columns=["a", "a"])) == []


class Scan:
    """Keeps its tensors where no rule finds them."""

    def __init__(self):
        self._image, self.count = floats(4, 2), 4

    @property
    def image(self):
        raise AssertionError("a property is not computed for a message")

    def load(self):
        return self._image

    def __call__(self):
        return self._image


@pytest.mark.parametrize(("batch", "place"), [({"scan": Scan(), "text": floats(4, 2)}, "scan."), (Scan(), "")])
def test_the_attributes_of_an_object_that_is_not_read_are_named(batch, place):
    message = (
        rf"no leaf '{place}image'.* is a {__name__}.Scan, which is not read. Its attributes: count, image. "
        rf"mviz_lightning.batch.register\('{__name__}.Scan', split, join\)"
    )
    with pytest.raises(ConfigurationError, match=message):
        learn(batch, {"image": f"{place}image", "text": "text"})


@pytest.mark.parametrize("batch", [{"text": floats(4, 2)}, {"scan": floats(4, 2)}, [floats(4, 2)], {"scan": "word"}])
def test_no_advice_for_objects_where_there_is_none(batch):
    with pytest.raises(ConfigurationError, match=r"leaves found: [^A-Z]*\.$"):
        learn(batch, {"image": "scan.image", "text": "text"})
