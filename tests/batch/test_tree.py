"""Pointing into any nesting, and getting a copy with other leaves."""

import copy
from collections import OrderedDict, defaultdict
from dataclasses import dataclass

import pytest
import torch
from helpers.batches import STRUCTURES, Example, FrozenExample, Pair, Structure, floats, packed, same
from transformers.modeling_outputs import BaseModelOutput

from mviz_lightning.batch import tree

every_structure = pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES.keys())


def by_path(batch):
    return {tree.path(keys): keys for keys, _ in tree.nodes(batch)}


def leaves():
    return floats(2, 4), floats(2, 3, seed=1), torch.tensor([0, 1])


@every_structure
def test_every_leaf_is_reached_by_its_dotted_path(structure: Structure) -> None:
    image, text, labels = leaves()
    batch = structure.make(image, text, labels)
    found = by_path(batch)
    assert tree.get(batch, found[structure.image]) is image
    assert tree.get(batch, found[structure.text]) is text
    assert tree.get(batch, found[structure.labels]) is labels


@every_structure
def test_replacing_a_leaf_gives_a_batch_of_the_same_structure(structure: Structure) -> None:
    image, text, labels = leaves()
    batch = structure.make(image, text, labels)
    other = floats(2, 4, seed=9)
    changed = tree.replace(batch, {by_path(batch)[structure.image]: other})
    assert same(changed, structure.make(other, text, labels))


@every_structure
def test_replacing_leaves_the_original_untouched_and_shares_the_rest(structure: Structure) -> None:
    image, text, labels = leaves()
    batch = structure.make(image, text, labels)
    found = by_path(batch)
    changed = tree.replace(batch, {found[structure.image]: None, found[structure.labels]: None})
    assert tree.get(batch, found[structure.image]) is image
    assert tree.get(batch, found[structure.labels]) is labels
    assert tree.get(changed, found[structure.text]) is text


@every_structure
def test_nothing_is_copied_when_nothing_is_replaced(structure: Structure) -> None:
    batch = structure.make(*leaves())
    assert tree.replace(batch, {}) is batch


def test_containers_come_before_what_they_hold() -> None:
    batch = {"a": [floats(1), {"b": floats(2)}]}
    assert [tree.path(keys) for keys, _ in tree.nodes(batch)] == ["", "a", "a.0", "a.1", "a.1.b"]


def test_the_batch_itself_can_be_replaced() -> None:
    assert tree.replace({"a": 1}, {(): 5}) == 5


def test_a_way_that_leads_nowhere_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="missing"):
        tree.get({"a": {"b": 1}}, ("a", "missing"))


@pytest.mark.parametrize("leaf", [["a", "b"], ("a", "b"), [1, 2.5], [b"x"], packed([2, 1]), "text", None, 3])
def test_leaves_have_nothing_below_them(leaf) -> None:
    assert [keys for keys, _ in tree.nodes({"a": leaf})] == [(), ("a",)]


def test_a_class_is_no_dataclass_instance() -> None:
    assert [keys for keys, _ in tree.nodes({"a": Example})] == [(), ("a",)]


def test_several_leaves_below_one_container_are_replaced_together() -> None:
    batch = ([floats(1), floats(2)], floats(3))
    changed = tree.replace(batch, {(0, 0): "x", (0, 1): "y"})
    assert changed[0] == ["x", "y"]
    assert changed[1] is batch[1]


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_mappings_keep_their_type_and_their_order(kind: type) -> None:
    batch = kind(b=1, a=2, c=3)
    changed = tree.replace(batch, {("a",): 9})
    assert type(changed) is kind
    assert list(changed.items()) == [("b", 1), ("a", 9), ("c", 3)]


def test_a_defaultdict_stays_one() -> None:
    batch = defaultdict(list, a=1)
    changed = tree.replace(batch, {("a",): 2})
    assert changed["unseen"] == []
    assert "unseen" not in batch


def test_a_frozen_dataclass_is_copied_not_changed() -> None:
    batch = FrozenExample(*leaves())
    before = copy.copy(batch)
    changed = tree.replace(batch, {("text",): None})
    assert changed.text is None
    assert same(batch, before)


def test_fields_that_are_not_in_the_constructor_are_kept() -> None:
    @dataclass
    class Counted:
        image: object
        calls: int = 0

        def __post_init__(self) -> None:
            self.calls += 1

    changed = tree.replace(Counted(1), {("image",): 2})
    assert (changed.image, changed.calls) == (2, 1)


def test_a_subclass_of_a_list_stays_one() -> None:
    class Images(list):
        pass

    changed = tree.replace(Images([floats(1), floats(2)]), {(0,): None})
    assert type(changed) is Images


def test_a_namedtuple_is_reached_by_names() -> None:
    batch = Pair(1, 2, 3)
    assert tree.get(batch, ("text",)) == 2
    assert tree.replace(batch, {("text",): 7}) == Pair(1, 7, 3)


def test_a_mapping_that_is_a_dataclass_too_shows_the_new_leaf_both_ways() -> None:
    batch = BaseModelOutput(last_hidden_state=floats(2, 3))
    other = floats(2, 3, seed=4)
    changed = tree.replace(batch, {("last_hidden_state",): other})
    assert changed["last_hidden_state"] is other
    assert changed.last_hidden_state is other


def test_the_code_of_what_a_template_leaves_out_has_brackets():
    assert tree.code({"targets": []}, ("targets", 0, "boxes")) == '["targets"][0]["boxes"]'
