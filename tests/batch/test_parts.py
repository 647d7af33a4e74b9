"""Several leaves in one node: parts of arrays, and entries of whole examples."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers.batches import floats, learn, same

from mviz_lightning import ConfigurationError

SOURCES = torch.tensor([[0, 2], [1, 0], [3, 3]])


def image_batch(count: int = 4, seed: int = 0) -> dict[str, Any]:
    return {"image": floats(count, 4, 3, 2, seed=seed), "y": torch.arange(count)}


def recombined(batch: Any, modalities: Any, target: str | None = "y") -> Any:
    schema = learn(batch, modalities, target)
    return schema.build(schema.take(schema.leaves(batch), SOURCES))


def test_each_part_comes_from_its_own_source() -> None:
    batch = image_batch()
    made = recombined(batch, {"rgb": "image[:3]", "depth": "image[3]"})
    assert torch.equal(made["image"][:, :3], batch["image"][SOURCES[:, 0], :3])
    assert torch.equal(made["image"][:, 3], batch["image"][SOURCES[:, 1], 3])
    assert torch.equal(made["y"], SOURCES[:, 0])


def test_what_nobody_names_travels_with_the_first() -> None:
    batch = image_batch()
    schema = learn(batch, {"red": "image[0]", "depth": "image[3]"}, "y")
    assert schema.unowned == ["y", "image"]
    made = schema.build(schema.take(schema.leaves(batch), SOURCES))
    assert torch.equal(made["image"][:, :3], batch["image"][SOURCES[:, 0], :3])
    assert torch.equal(made["image"][:, 3], batch["image"][SOURCES[:, 1], 3])


def test_columns_by_a_list() -> None:
    batch = {"x": floats(4, 5), "y": torch.arange(4)}
    made = recombined(batch, {"a": "x[[0, 3]]", "b": ["x[1:3]", "x[4]"]})
    expected = batch["x"][SOURCES[:, 0]].clone()
    expected[:, [1, 2, 4]] = batch["x"][SOURCES[:, 1]][:, [1, 2, 4]]
    assert torch.equal(made["x"], expected)


def test_parts_of_series_of_several_lengths_keep_the_length_of_the_batch() -> None:
    schema = learn({"x": floats(2, 5, 3)}, {"a": "x[:, :2]", "b": "x[:, 2:]"})
    longer = {"x": floats(2, 7, 3)}
    assert same(schema.build(schema.leaves(longer)), longer)


def test_arrays_of_numpy_and_lists_of_arrays_are_divided_too() -> None:
    batch = {"x": floats(4, 5).numpy(), "z": [floats(n, 3).numpy() for n in (2, 3, 1, 4)], "y": np.arange(4)}
    made = recombined(batch, {"a": ["x[:2]", "z[:, 0]"], "b": ["x[2:]", "z[:, 1:]"]})
    assert isinstance(made["x"], np.ndarray)
    assert [rows.shape for rows in made["z"]] == [(2, 3), (3, 3), (4, 3)]
    assert np.array_equal(made["z"][1][:2, 1:], batch["z"][0][:, 1:])
    assert np.array_equal(made["z"][0][:1, 1:], batch["z"][2][:, 1:])
    assert made["z"][0][1, 1:].tolist() == [0, 0]
    assert np.array_equal(made["x"][:, :2], batch["x"][SOURCES[:, 0], :2])


@pytest.mark.parametrize(
    ("modalities", "message"),
    [
        ({"a": "image[:3]", "b": "image[2:]"}, r"'image\[:3\]' and 'image\[2:\]' overlap; .* \(4, 3, 2\)"),
        ({"a": "image", "b": "image[3]"}, r"'image' and 'image\[3\]' overlap; .* \(4, 3, 2\)"),
        ({"a": "image[:3]", "b": "image[4]"}, r"'image\[4\]' is out of range: axis 0 has 4 entries.*\(4, 3, 2\)"),
        ({"a": "image[:3]", "b": "depth[3]"}, r"no leaf 'depth\[3\]' in the batch; leaves found: image"),
        ({"a": "image[:3]", "b": "y[0]"}, r"'y\[0\]' is out of range"),
    ],
)
def test_parts_that_cannot_be_are_refused_by_name(modalities: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        learn(image_batch(), modalities)


def test_a_key_with_brackets_is_a_key() -> None:
    schema = learn({"x[0]": floats(3, 2), "z": floats(3, 2)}, {"a": "x[0]", "b": "z"})
    assert schema.keys["x[0]"] == ("x[0]",)


def test_later_arrays_may_differ_along_whole_axes_only() -> None:
    schema = learn(image_batch(), {"rgb": "image[:3]", "depth": "image[3]"}, "y")
    with pytest.raises(ConfigurationError, match=r"'image\[:3\]': .* \(5, 3, 2\), but \(4, 3, 2\) in the first batch"):
        schema.leaves({"image": floats(2, 5, 3, 2), "y": torch.arange(2)})


def example_dicts(count: int = 4) -> list[dict[str, Any]]:
    return [
        {"image": floats(3, n + 1, 2, seed=n), "text": f"word {n}", "info": {"age": np.float32(n), "y": n}}
        for n in range(count)
    ]


def test_a_list_of_example_dicts_is_recombined_entry_by_entry() -> None:
    batch = example_dicts()
    made = recombined(batch, {"image": "image", "text": ["text", "info.age"]}, "info.y")
    expected = [
        {"image": batch[a]["image"], "text": batch[b]["text"], "info": {"age": batch[b]["info"]["age"], "y": a}}
        for a, b in SOURCES.tolist()
    ]
    assert same(made, expected)


def test_examples_inside_a_batch_and_parts_inside_examples() -> None:
    batch = {"samples": tuple({"x": floats(3, seed=n), "z": n} for n in range(4)), "y": torch.arange(4)}
    made = recombined(batch, {"a": "samples.x[:2]", "b": ["samples.x[2]", "samples.z"]})
    expected = tuple(
        {"x": torch.cat([batch["samples"][a]["x"][:2], batch["samples"][b]["x"][2:]]), "z": b}
        for a, b in SOURCES.tolist()
    )
    assert same(made["samples"], expected)


def test_a_list_of_two_parts_is_no_list_of_examples() -> None:
    batch = [{"x": floats(4, 2)}, {"x": floats(4, 3)}, torch.arange(4)]
    assert learn(batch, {"a": "0.x", "b": "1.x"}, "2").owners == {"0.x": 0, "1.x": 1, "2": 0}


RESTS = {
    "image[1:3]": {"a": "image[0]", "b": "image[3]"},
    "image[[1, 3]]": {"a": "image[0]", "b": "image[2]"},
    "image[3]": {"a": "image[:3]", "b": "x"},
    "image[:, 1:3]": {"a": "image[:, 0]", "b": "x"},
    "image[:, :, 0]": {"a": "image[..., 1]", "b": "x"},
    "image": {"a": "image[0, :2]", "b": "x"},
}


@pytest.mark.parametrize(("written", "modalities"), RESTS.items(), ids=RESTS)
def test_the_rest_of_an_array_is_named_so_that_it_can_be_given(written: str, modalities: dict[str, str]) -> None:
    batch = {**image_batch(), "x": floats(4, 2)}
    schema = learn(batch, modalities, "y")
    assert "image" in schema.unowned
    assert schema.written("image") == written
    assert all(schema.written(path) == path for path in schema.owners if path != "image")
    if written != "image":
        whole = learn(batch, {**modalities, "rest": written}, "y")
        assert "image" not in whole.owners
        part = whole.leaves(batch)[written]
        mask = torch.zeros(4, 3, 2, dtype=torch.bool)
        for path in modalities.values():
            if path != "x":
                mask |= whole.index_of(path).covered(mask.shape)
        assert torch.equal(part.reshape(4, -1), batch["image"][:, ~mask].reshape(4, -1))


@pytest.mark.parametrize("make", [torch.arange, torch.ones, np.ones], ids=["numbers", "tensors", "arrays"])
def test_a_long_list_of_arrays_is_read_as_one_array_an_example(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each entry may count the rows of any other, so that few facts of each are computed, and each once."""
    summed = []
    monkeypatch.setattr("mviz_lightning.batch.packing.products", lambda numbers: summed.append(1) or numbers)
    batch = {"ids": [make(3 + k % 17) for k in range(64)], "table": floats(64, 3), "y": torch.arange(64)}
    schema = learn(batch, {"ids": "ids", "table": "table"}, "y")
    assert schema.owners == {"ids": 0, "table": 1, "y": 0}
    assert [len(row) for row in schema.leaves(batch)["ids"]] == [3 + k % 17 for k in range(64)]
    sizes = 1 + 17
    assert len(summed) <= 65 * sizes


def test_a_list_of_example_tuples_is_read_place_by_place() -> None:
    batch = [(floats(4, seed=n), floats(3, seed=9 + n), float(n)) for n in range(4)]
    made = recombined(batch, {"image": "0", "table": "1"}, "2")
    assert same(made, [(batch[a][0], batch[b][1], float(a)) for a, b in SOURCES.tolist()])
