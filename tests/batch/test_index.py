"""Parts of arrays as users write them, against NumPy's indexing."""

import numpy as np
import pytest
import torch
from helpers.batches import floats

from mviz_lightning import ConfigurationError
from mviz_lightning.batch.index import Index

TEXTS = [
    "0",
    "-1",
    ":3",
    "1:",
    "::2",
    "..., 0",
    "..., [0, 2]",
    "[1, 0]",
    ":, 1:3",
    "1, :, 2",
    "..., -2:",
    ":, [-1]",
    "0, [1, 3]",
]


def numpy_index(text: str):
    """Return the index for NumPy; a whole number keeps its axis here, so it is a slice there."""
    parts = [f"{n}:{int(n) + 1 or ''}" if n.lstrip("-").isdigit() else n for n in text.split(", ")]
    text = ", ".join(parts) if "[" not in text else text.replace("0, [", "0:1, [")
    return eval(f"np.s_[:, {text}]", {"np": np})  # noqa: S307 - of the texts above


@pytest.mark.parametrize("text", TEXTS)
def test_a_part_is_that_of_numpy(text: str) -> None:
    arrays = floats(2, 3, 4, 5)
    index = Index.parse("x", text)
    assert np.array_equal(index.take(arrays, 1).numpy(), arrays.numpy()[numpy_index(text)])
    one = index.take(arrays[1], 0)
    assert np.array_equal(one.numpy(), index.take(arrays, 1)[1].numpy())


@pytest.mark.parametrize("text", TEXTS)
def test_a_part_is_written_to_its_own_entries(text: str) -> None:
    index, arrays = Index.parse("x", text), floats(2, 3, 4, 5)
    expected, part = arrays.numpy().copy(), index.take(floats(2, 3, 4, 5, seed=1), 1)
    expected[numpy_index(text)] = part.numpy()
    index.put(arrays, part, 1)
    assert np.array_equal(arrays.numpy(), expected)


@pytest.mark.parametrize("text", TEXTS)
def test_the_covered_entries_are_those_that_are_taken(text: str) -> None:
    numbers = torch.arange(60).view(3, 4, 5)
    taken = Index.parse("x", text).take(numbers, 0).flatten()
    assert torch.equal(Index.parse("x", text).covered((3, 4, 5)), torch.isin(numbers, taken))


@pytest.mark.parametrize("text", ["", "a", "1.5", "[0], [1]", "..., ...", "::-1", "[]", "None", "x[0]", "[1, 'a']"])
def test_what_is_no_index_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not an index of one example's array.*\"x\[:3\]\""):
        Index.parse(f"x[{text}]", text)


@pytest.mark.parametrize("text", ["3", "-4", ":4", "0, 5", "0, 0, 0, 0", "..., [5]", "3:", "1:1"])
def test_an_index_out_of_range_is_refused_with_the_shape(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"'x\[.*\]' is out of range.*\(3, 4, 5\)"):
        Index.parse("x", text).require_fits(f"x[{text}]", (3, 4, 5))
