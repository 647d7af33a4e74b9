"""Types of batch objects that a user registers."""

import sys
from types import ModuleType

import pytest
import torch
from helpers.batches import floats, learn

from mviz_lightning import ConfigurationError
from mviz_lightning.batch import registry, tree
from mviz_lightning.batch.registry import ClassTest, container_of, examples_of, register


class Points:
    """An object whose parts no rule of ours finds."""

    def __init__(self, xyz, colour):
        self._xyz, self._colour = xyz, colour


class Scan(Points):
    pass


def split(points):
    return {"xyz": points._xyz, "colour": points._colour}


def join(points, parts):
    return type(points)(parts["xyz"], parts["colour"])


@pytest.fixture(autouse=True)
def _registrations_of_one_test(monkeypatch):
    monkeypatch.setattr(registry, "_registrations", [])
    registry._candidates.cache_clear()
    yield
    registry._candidates.cache_clear()


def points() -> Points:
    return Points(floats(4, 3), floats(4, 2, seed=1))


TYPES = {
    "class": Points,
    "dotted name": f"{__name__}.Points",
    "function": lambda value: isinstance(value, Points),
    "test of the class": ClassTest(lambda cls: issubclass(cls, Points)),
}

every_type = pytest.mark.parametrize("given", TYPES.values(), ids=TYPES.keys())


@every_type
@pytest.mark.parametrize("cls", [Points, Scan])
def test_parts_of_a_registered_object_are_reached_and_replaced(given, cls):
    value = cls(floats(4, 3), floats(4, 2, seed=1))
    assert [keys for keys, _ in tree.nodes({"points": value})] == [(), ("points",)]
    register(given, split, join)
    assert tree.get({"points": value}, ("points", "xyz")) is value._xyz
    changed = tree.replace({"points": value}, {("points", "colour"): None})["points"]
    assert type(changed) is cls
    assert changed._xyz is value._xyz
    assert changed._colour is None
    assert value._colour is not None


@every_type
def test_examples_of_a_registered_object_are_found(given):
    assert examples_of(points()) is None
    register(given, lambda value: list(zip(value._xyz, value._colour, strict=True)), lambda _, examples: examples,
             examples=True)  # fmt: skip
    assert container_of(points()) is None
    found = examples_of(points())
    assert found is not None
    assert len(found.split(points())) == 4
    assert found.join(points(), [1, 2]) == [1, 2]


@every_type
@pytest.mark.parametrize("value", [floats(2), {"a": 1}, [1], ("a",), None, "text", 3])
def test_other_values_are_as_before(given, value):
    register(given, split, join)
    assert container_of(value) is None
    assert examples_of(value) is None


def test_the_newest_registration_counts():
    register(Points, split, join)
    register(ClassTest(lambda cls: cls is Points), lambda value: {"new": value._xyz}, join)
    assert list(dict(tree.children(points()))) == ["new"]
    assert list(dict(tree.children(Scan(1, 2)))) == ["xyz", "colour"]


def test_the_same_type_registered_again_replaces_its_older_registration():
    count = len(registry._registrations)
    for _ in range(3):
        register(Points, split, join)
        register(Points, lambda value: [value], join, examples=True)
    assert len(registry._registrations) == count + 2


def test_a_registered_mapping_is_read_as_registered():
    class Padded(dict):
        pass

    register(Padded, lambda value: {"only": value["a"]}, lambda value, parts: Padded(a=parts["only"]))
    assert tree.replace(Padded(a=1), {("only",): 2}) == Padded(a=2)


def test_a_name_that_a_loaded_package_shows_is_known_and_nothing_is_imported(monkeypatch):
    package = ModuleType("shown_package")
    package.Points = Points
    register("shown_package.Points", split, join)
    assert container_of(points()) is None
    monkeypatch.setitem(sys.modules, "shown_package", package)
    registry._candidates.cache_clear()
    assert container_of(points()) is not None


def test_naming_a_class_imports_nothing():
    register("wave.Wave_read", split, join)
    before = set(sys.modules)
    assert container_of(points()) is None
    assert set(sys.modules) == before


def test_a_schema_is_learnt_and_built_of_registered_objects():
    register(Points, split, join)
    batch = {"points": points(), "labels": torch.arange(4)}
    schema = learn(batch, {"shape": "points.xyz", "colour": "points.colour"}, "labels")
    built = schema.build(schema.take(schema.leaves(batch), torch.tensor([[0, 1], [3, 2]])))
    assert torch.equal(built["points"]._xyz, batch["points"]._xyz[[0, 3]])
    assert torch.equal(built["points"]._colour, batch["points"]._colour[[1, 2]])


@pytest.mark.parametrize("given", [3, None, "Points", "my module.Points", [Points], (Points, Scan)])
def test_a_type_of_another_kind_is_refused(given):
    with pytest.raises(ConfigurationError, match=r"batch.register\(type=.*give a class, a dotted name such as"):
        register(given, split, join)


@pytest.mark.parametrize("name", ["split", "join"])
def test_what_cannot_be_called_is_refused(name):
    functions = {"split": split, "join": join, name: "text"}
    with pytest.raises(ConfigurationError, match=rf"register\({name}='text'\): give a function, def {name}\("):
        register(Points, **functions)


@pytest.mark.parametrize(("examples", "wanted"), [(False, "a dict from names to parts"), (True, "the list of its")])
def test_a_split_that_returns_something_else_is_named(examples, wanted):
    register(Points, lambda value: 3, join, examples=examples)
    found = examples_of(points()) if examples else container_of(points())
    with pytest.raises(ConfigurationError, match=rf"type=.*Points.*split returns a int; return {wanted}"):
        found.split(points())


def test_a_function_that_fails_for_other_values_is_named():
    register(lambda value: value.xyz is not None, split, join)
    with pytest.raises(ConfigurationError, match=r"for a Tensor it raises AttributeError.*for any value"):
        container_of(floats(2))
