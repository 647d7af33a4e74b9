"""Where the modalities live in a batch, and batches built anew from leaves."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from helpers.batches import STRUCTURES, Structure, floats, learn, packed, pair_batch, same

from mviz_lightning import ConfigurationError, Modality
from mviz_lightning.batch.discovery import describe_leaves

every_structure = pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES.keys())


def learned(structure: Structure, batch: Any):
    return learn(batch, {"image": structure.image, "text": structure.text}, structure.labels)


@every_structure
def test_a_batch_is_rebuilt_in_its_own_structure(structure: Structure) -> None:
    batch = structure.make(floats(5, 4), floats(5, 3), torch.arange(5))
    schema = learned(structure, batch)
    assert same(schema.build(schema.leaves(batch)), batch)


@every_structure
def test_recombined_rows_take_each_modality_from_its_own_column(structure: Structure) -> None:
    image, text, labels = floats(5, 4), floats(5, 3), torch.arange(5)
    batch = structure.make(image, text, labels)
    schema = learned(structure, batch)
    sources = torch.tensor([[0, 4], [3, 3], [2, 1]])
    taken = schema.build(schema.take(schema.leaves(batch), sources))
    assert same(taken, structure.make(image[[0, 3, 2]], text[[4, 3, 1]], labels[[0, 3, 2]]))


@every_structure
def test_the_original_batch_stays_as_it_was(structure: Structure) -> None:
    batch = structure.make(floats(5, 4), floats(5, 3), torch.arange(5))
    before = copy.deepcopy(batch)
    schema = learned(structure, batch)
    schema.build(schema.take(schema.leaves(batch), torch.tensor([[0, 4]])))
    assert same(batch, before)


@every_structure
def test_a_schema_serves_batches_of_other_sizes(structure: Structure) -> None:
    schema = learned(structure, structure.make(floats(5, 4), floats(5, 3), torch.arange(5)))
    ragged = structure.make(floats(2, 4, seed=7), floats(2, 3, seed=8), torch.arange(2))
    leaves = schema.leaves(ragged)
    assert schema.size(leaves) == 2
    assert same(schema.build(leaves), ragged)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8])
@every_structure
def test_the_leaves_found_do_not_depend_on_the_batch_size(structure: Structure, count: int) -> None:
    schema = learned(structure, structure.make(floats(count, 4), floats(count, 3), torch.arange(count)))
    assert schema.owners == {structure.image: 0, structure.text: 1, structure.labels: 0}


def test_several_leaves_of_a_modality_travel_together() -> None:
    batch = {"ids": torch.arange(4), "attention_mask": torch.arange(4), "image": torch.arange(4)}
    schema = learn(batch, {"text": ["ids", "attention_mask"], "image": "image"})
    taken = schema.take(schema.leaves(batch), torch.tensor([[1, 2], [0, 3]]))
    assert {path: leaf.tolist() for path, leaf in taken.items()} == {
        "ids": [1, 0],
        "attention_mask": [1, 0],
        "image": [2, 3],
    }


@pytest.mark.parametrize(
    "inner", [dict, lambda **leaves: list(leaves.values()), lambda **leaves: tuple(leaves.values())]
)
def test_a_container_stands_for_all_leaves_below_it(inner) -> None:
    batch = {"text": inner(a=floats(4, 2), b=floats(4)), "image": floats(4, 3)}
    schema = learn(batch, {"image": "image", "text": "text"})
    assert len(schema.values["text"]) == 2
    assert [schema.owners[path] for path in schema.values["text"]] == [1, 1]


def test_a_container_may_hold_containers_constants_and_strings() -> None:
    batch = {"text": {"deep": [{"ids": floats(4, 2)}], "scale": 2.0, "raw": ["a"] * 4}, "image": floats(4, 3)}
    schema = learn(batch)
    assert schema.values["text"] == ["text.deep.0.ids", "text.raw"]
    rebuilt = schema.build(schema.take(schema.leaves(batch), torch.tensor([[0, 1]])))
    assert rebuilt["text"]["scale"] == 2.0


def test_a_container_may_hold_a_list_of_tensors_of_several_sizes() -> None:
    regions = [floats(3, 2 + k) for k in range(4)]
    batch = {"image": {"regions": regions, "size": floats(4)}, "text": floats(4, 3)}
    assert learn(batch).values["image"] == ["image.regions", "image.size"]


def test_leaves_in_no_modality_travel_with_the_first() -> None:
    batch = {"ids": torch.arange(3), **pair_batch(3)}
    schema = learn(batch, {"text": "text", "image": "image"})
    assert schema.unowned == ["ids", "labels"]
    taken = schema.take(schema.leaves(batch), torch.tensor([[2, 0], [0, 1]]))
    assert taken["ids"].tolist() == [2, 0]
    assert torch.equal(taken["text"], batch["text"][[2, 0]])


def test_paths_are_in_the_order_of_the_batch() -> None:
    schema = learn(pair_batch(), {"text": "text", "image": "image"})
    assert schema.paths == ["image", "text", "labels"]
    assert schema.names == ["text", "image"]


def test_constants_stay_where_they_are() -> None:
    batch = {**pair_batch(4), "scale": torch.tensor(2.0), "weights": floats(7), "name": "val", "flag": None, "count": 3}
    schema = learn(batch)
    rebuilt = schema.build(schema.take(schema.leaves(batch), torch.tensor([[0, 1]] * 6)))
    assert len(rebuilt["image"]) == 6
    assert all(same(rebuilt[key], batch[key]) for key in ("scale", "weights", "name", "flag", "count"))


def test_constants_and_leaves_are_moved_to_the_device() -> None:
    batch = {**pair_batch(4), "scale": torch.tensor(2.0)}
    schema = learn(batch)
    rebuilt = schema.build(schema.leaves(batch), "meta")
    assert {rebuilt[key].device.type for key in ("image", "text", "labels", "scale")} == {"meta"}


def test_the_template_does_not_hold_on_to_the_first_batch() -> None:
    schema = learn(pair_batch(4))
    assert schema.template == {"image": None, "text": None, "labels": None}


def test_lists_of_strings_are_leaves() -> None:
    batch = {"image": floats(3, 2), "text": ["a", "b", "c"]}
    schema = learn(batch)
    taken = schema.take(schema.leaves(batch), torch.tensor([[0, 2], [1, 0]]))
    assert taken["text"] == ["c", "a"]


@pytest.mark.parametrize("count", [2, 4, 5])
def test_a_list_of_tensors_of_several_sizes_is_one_leaf(count: int) -> None:
    images = [floats(3, 4 + k, 5) for k in range(count)]
    batch = {"image": images, "text": floats(count, 3)}
    schema = learn(batch, {"text": "text", "image": "image"})
    assert schema.owners == {"text": 0, "image": 1}
    taken = schema.take(schema.leaves(batch), torch.tensor([[0, 1]]))
    assert taken["image"][0] is images[1] or torch.equal(taken["image"][0], images[1])


@pytest.mark.parametrize("count", [2, 4, 5])
def test_a_list_of_tensors_may_be_the_first_modality_beside_strings(count: int) -> None:
    batch = {"image": [floats(3, 4 + k, 5) for k in range(count)], "text": [f"text {k}" for k in range(count)]}
    schema = learn(batch)
    assert schema.owners == {"image": 0, "text": 1}
    assert schema.size(schema.leaves(batch)) == count


def test_a_batch_of_three_images_of_three_channels_is_still_one_leaf() -> None:
    batch = {"image": [floats(3, 4 + k, 5) for k in range(3)], "text": floats(3, 2)}
    assert learn(batch).owners == {"image": 0, "text": 1}


def test_lists_of_targets_with_an_entry_for_each_example_travel_whole() -> None:
    targets = [{"boxes": floats(k + 1, 4), "labels": torch.arange(k + 1)} for k in range(3)]
    batch = (floats(3, 2), ["a", "b", "c"], targets)
    schema = learn(batch, {"image": "0", "text": "1"})
    assert schema.owners == {"0": 0, "1": 1, "2": 0}


def test_packed_sequences_and_arrays_are_leaves() -> None:
    batch = {"audio": packed([3, 1, 4]), "table": np.arange(6.0).reshape(3, 2), "y": np.arange(3)}
    schema = learn(batch, ["audio", "table"], "y")
    taken = schema.take(schema.leaves(batch), torch.tensor([[2, 0], [0, 1]]))
    assert [len(rows) for rows in taken["audio"]] == [4, 3]
    assert schema.build(taken)["audio"].batch_sizes.tolist() == [2, 2, 2, 1]
    assert taken["table"].tolist() == [[0, 1], [2, 3]]
    assert taken["y"].tolist() == [2, 0]


@pytest.mark.parametrize("extra", [None, {"name": "val"}, "val"])
def test_a_tuple_that_holds_modalities_is_never_a_leaf_itself(extra) -> None:
    batch = ((floats(3, 4), floats(3, 2), extra), torch.arange(3))
    schema = learn(batch, {"image": "0.0", "text": "0.1"})
    assert schema.owners == {"0.0": 0, "0.1": 1, "1": 0}
    rebuilt = schema.build(schema.take(schema.leaves(batch), torch.tensor([[0, 1], [1, 2]])))
    assert same(rebuilt[0], (batch[0][0][[0, 1]], batch[0][1][[1, 2]], extra))


def test_the_size_of_the_batch_is_told_by_lists_where_there_is_no_tensor() -> None:
    schema = learn({"a": ["x", "y"], "b": ["u", "v"]}, ["a", "b"])
    assert schema.owners == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("modalities", "target", "message"),
    [
        (
            {"image": "pixels", "text": "text"},
            None,
            r"modalities\['image'\]: no leaf 'pixels' .*; leaves found: image \(8, 4\), text \(8, 3\), labels \(8,\)\.",
        ),
        (["image", "text"], "label", r"target: no leaf 'label' in the batch; leaves found: image \(8, 4\), text"),
        ({"image": "image", "text": Modality("text", mask="mask")}, None, r"modalities\['text'\]: no leaf 'mask'"),
    ],
)
def test_a_path_that_leads_nowhere_lists_the_leaves_with_their_shapes(modalities, target, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        learn(pair_batch(8), modalities, target)


def test_a_target_that_has_no_entry_for_each_example_is_unknown() -> None:
    with pytest.raises(ConfigurationError, match=r"the leaf 'scale' .* has no entry per example"):
        learn({**pair_batch(4), "scale": torch.tensor(1.0)}, target="scale")


def test_a_leaf_given_again_by_its_container_is_refused() -> None:
    batch = {"inputs": {"image": floats(4, 2), "text": floats(4, 3)}}
    with pytest.raises(
        ConfigurationError,
        match=r"the leaf 'inputs.text' is given twice, in 'all' and in 'text'; a leaf belongs to one",
    ):
        learn(batch, {"all": "inputs", "text": "inputs.text"})


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (floats(3, 2), r"the leaf 'text' \(\(3, 2\)\) has 3 entries, but the batch holds 4 examples"),
        (["a"] * 5, r"the leaf 'text' \(list of 5\) has 5 entries, but the batch holds 4 examples"),
        (torch.tensor(1.0), r"the leaf 'text' \(\(\)\) has no entry per example, but the batch holds 4"),
        ("hello", r"the leaf 'text' \(str\) has no entry per example"),
    ],
)
def test_a_leaf_of_another_length_is_refused(leaf, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        learn({"image": floats(4, 2), "text": leaf})


def test_modalities_without_any_entries_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"no named leaf has one entry per example: float, str"):
        learn({"image": 1.0, "text": "a"})


def test_a_container_without_leaves_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"modalities\['text'\]: there is no leaf below 'text'"):
        learn({"image": floats(4, 2), "text": {"scale": 1.0}})


def test_a_later_batch_that_lacks_a_leaf_is_refused() -> None:
    schema = learn(pair_batch(4))
    batch = pair_batch(4)
    del batch["labels"]
    with pytest.raises(
        ConfigurationError,
        match=r"a batch has no leaf 'labels', but the first one had; leaves of this batch: image \(4, 4\), text",
    ):
        schema.leaves(batch)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (pair_batch(2), "image (2, 4), text (2, 3), labels (2,)"),
        ((floats(2, 1), {"a": ["x", "y"], "b": None}), "0 (2, 1), 1.a list of 2, 1.b NoneType"),
        (floats(2, 3), "one Tensor (2, 3)"),
        ("hello", "one str str"),
    ],
)
def test_describe_lists_leaves_with_their_shapes(batch, words: str) -> None:
    assert describe_leaves(batch) == words
