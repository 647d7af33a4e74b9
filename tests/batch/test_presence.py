"""Which examples of a batch have which modalities."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers.batches import floats, learn, packed

from mviz_lightning.batch import Modality, parse_modalities
from mviz_lightning.batch.presence import (
    Gap,
    complete_examples,
    counted,
    gaps_of,
    nodes_of,
    present_examples,
    present_in_nodes,
)

NAN = float("nan")


def nodes(batch: Any, *paths: str) -> dict[str, Any]:
    return nodes_of(batch, parse_modalities(paths or ["image", "text"]))


def present(text: Any, modality: Any = "text", **more: Any) -> list[bool]:
    """Return which of four examples have the text; all have an image."""
    batch = {"image": floats(4, 3), "text": text, **more}
    schema = learn(batch, {"image": "image", "text": modality})
    found = present_examples(schema, schema.leaves(batch))
    assert found[:, 0].all()
    assert complete_examples(schema, schema.leaves(batch)).tolist() == found[:, 1].nonzero()[:, 0].tolist()
    raw = present_in_nodes(parse_modalities({"image": "image", "text": modality}), nodes(batch), 4)
    assert raw.tolist() == found.tolist()
    return found[:, 1].tolist()


ROWS = torch.tensor([[NAN, 1.0], [NAN, NAN], [0.0, 0.0], [NAN, NAN]])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (["a", None, "b c", None], [True, False, True, False]),
        (["a", "", "b c", "d"], [True, False, True, True]),
        ([torch.ones(2), None, torch.ones(0), torch.ones(1)], [True, False, False, True]),
        ([torch.ones(2), torch.full((3,), NAN), torch.tensor([NAN, 0]), np.zeros(0)], [True, False, True, False]),
        ((torch.ones(2), None, torch.ones(1), None), [True, False, True, False]),
        (np.array(["a", None, "b", "c"], dtype=object), [True, False, True, True]),
        (ROWS, [True, False, True, False]),
        (ROWS.half(), [True, False, True, False]),
        (ROWS.numpy(), [True, False, True, False]),
        (ROWS[:, 0], [False, False, True, False]),
        (torch.zeros(4, 2, dtype=torch.long), [True] * 4),
        (torch.zeros(4, 0, 3), [False] * 4),
        (torch.zeros(4, 0, dtype=torch.long), [False] * 4),
        (packed([2, 1, 3, 1]), [True] * 4),
    ],
)
def test_an_example_lacks_a_modality_that_is_none_or_empty_or_nothing_but_nan(text, expected):
    assert present(text) == expected


@pytest.mark.parametrize(
    "flags",
    [
        torch.tensor([1, 0, 1, 0]),
        torch.tensor([[True], [False], [True], [False]]),
        torch.tensor([0.5, 0.0, 2.0, NAN]),
        np.array([1, 0, 1, 0]),
        [True, False, 1, None],
    ],
)
def test_a_presence_leaf_tells_which_examples_have_the_modality(flags):
    assert present(floats(4, 2), Modality("text", present="has"), has=flags) == [True, False, True, False]


MASK = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 0]])
IDS = torch.tensor([[5, 6, 0], [0, 0, 0], [4, 3, 2], [7, 8, 9]])


def test_all_padding_is_no_content_but_a_mask_of_zeros_over_values_that_vary_says_nothing():
    assert present(IDS, ["text", "mask"], mask=MASK) == [True, False, True, True]
    assert present(IDS.float(), ["text", "mask"], mask=MASK) == [True, False, True, True]


def test_a_padding_mask_is_taken_as_it_is_said():
    modality = Modality("text", padding_mask="mask")
    assert present(IDS, modality, mask=MASK == 0) == [True, False, True, False]


def test_an_example_has_a_modality_of_several_leaves_if_one_holds_values_and_none_is_none():
    more = {"ids": torch.tensor([1, 2, 3, 4]), "names": ["a", "b", None, "c"]}
    assert present(ROWS, Modality("text", companions=["names"]), **more) == [True, False, False, False]
    assert present({"x": ROWS, "ids": more["ids"], "names": more["names"]}) == [True, True, False, True]


def test_a_whole_batch_lacks_a_modality_where_a_node_is_none_or_a_key_is_missing():
    modalities = parse_modalities({"image": "p.image", "text": Modality("q.text", mask="q.mask")})
    image, text, mask = floats(4, 3), IDS, MASK
    whole = {"p": {"image": image}, "q": {"text": text, "mask": mask}}
    assert gaps_of(modalities, nodes(whole)) == {}
    for q, at, missing in [
        ({"q": None}, ("q", "q"), False),
        ({}, ("q", "q"), True),
        ({"q": {}}, ("q.text", "q.mask"), True),
        ({"q": {"text": None, "mask": None}}, ("q.text", "q.mask"), False),
    ]:
        batch = {"p": {"image": image}, **q}
        expected = [Gap(path, end, missing) for path, end in zip(("q.text", "q.mask"), at, strict=True)]
        assert gaps_of(modalities, nodes(batch)) == {"text": expected}
        assert counted(modalities, nodes(batch)) == 4
        assert present_in_nodes(modalities, nodes(batch), 4).tolist() == [[True, False]] * 4
    partly = {"p": {"image": image}, "q": {"text": text}}
    assert gaps_of(modalities, nodes(partly)) == {"text": [Gap("q.mask", "q.mask", missing=True)]}
    assert counted(modalities, nodes({"p": None, "q": None})) == 0


def test_the_labels_count_the_examples_of_a_batch_before_anything_else():
    modalities = parse_modalities({"image": "image", "text": "text"})
    batch = {"image": floats(20, 3), "text": None, "labels": torch.zeros(4)}
    assert counted(modalities, nodes(batch), "labels") == 4


def test_leaves_that_are_not_all_there_hold_no_example_of_their_modality():
    batch = {"image": floats(4, 3), "text": ["a", None, "b", "c"]}
    schema = learn(batch)
    assert present_examples(schema, {"text": batch["text"]}).tolist() == [
        [False, True], [False, False], [False, True], [False, True]
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", [torch.zeros(0, 2), torch.zeros(0), torch.zeros(0, 2, dtype=torch.long), torch.zeros(0, 3, 2)]
)
def test_a_batch_may_hold_no_example(text):
    batch = {"image": floats(0, 3), "text": text, "has": torch.zeros(0), "mask": torch.zeros(0, 2)}
    schema = learn(batch, {"image": "image", "text": Modality("text", mask="mask", present="has")})
    assert present_examples(schema, schema.leaves(batch)).shape == (0, 2)
