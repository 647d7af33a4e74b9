"""The fixed examples: padded once, drawn in proportion to their labels, recombined and masked."""

import sys
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from helpers.batches import floats, integers, learn, packed, pair_batch, probe_of, same
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mviz_lightning import Modality
from mviz_lightning.batch import BatchSchema, Probe, Reservoir, Segments
from mviz_lightning.batch.groups import draw_groups
from mviz_lightning.batch.padding import collate, own_bounds
from mviz_lightning.batch.probe import NO_GROUPS, as_labels, fingerprint
from mviz_lightning.batch.reservoir import Example
from mviz_lightning.batch.rows import leaf_bytes


def text_batch(lengths: Sequence[int], width: int, pad: int) -> dict[str, Tensor]:
    """Return token ids 1, 2, ... of several lengths, padded to a width, their mask and token types."""
    position = torch.arange(width)
    mask = (position < torch.tensor(lengths).unsqueeze(1)).long()
    return {
        "ids": torch.where(mask == 1, position + 1, pad),
        "attention_mask": mask,
        "types": mask,
        "image": floats(len(lengths), 2),
    }


def collated(batches: Sequence[dict[str, object]], modalities: object) -> dict[str, object]:
    return collate(*sampled(batches, modalities))


def sampled(batches: Sequence[dict[str, object]], modalities: object) -> tuple[BatchSchema, list[Example]]:
    schema = learn(batches[0], modalities)
    reservoir = Reservoir(100)
    for number, batch in enumerate(batches):
        count = schema.size(schema.leaves(batch))
        reservoir.add(schema, schema.leaves(batch), range(10 * number, 10 * number + count))
    positions = reservoir.positions()
    rows = reservoir.rows(positions)
    return schema, [rows[position] for position in positions]


MASKED = {"text": ["ids", "attention_mask", "types"], "image": "image"}


@pytest.mark.parametrize("pad", [0, 1, 50257])
def test_ragged_rows_are_padded_with_what_stands_behind_the_mask(pad: int) -> None:
    leaves = collated([text_batch([3, 2], 3, pad), text_batch([5, 1], 5, pad)], MASKED)
    assert leaves["ids"].tolist() == [
        [1, 2, 3, pad, pad],
        [1, 2, pad, pad, pad],
        [1, 2, 3, 4, 5],
        [1, pad, pad, pad, pad],
    ]
    assert leaves["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]


def test_rows_that_are_padded_in_front_stay_so() -> None:
    """Decoders read the last position, and a batch's longest row bears no padding at all."""
    batches = [text_batch([1, 3], 3, 9), text_batch([5, 2], 5, 9)]
    turned = [{k: leaf if k == "image" else leaf.flip(1) for k, leaf in batch.items()} for batch in batches]
    modalities = {"text": Modality("ids", mask="attention_mask", companions=["types"]), "image": "image"}
    joined = collated(turned, modalities)
    assert joined["ids"].tolist() == [[9, 9, 9, 9, 1], [9, 9, 3, 2, 1], [5, 4, 3, 2, 1], [9, 9, 9, 2, 1]]
    assert joined["attention_mask"].tolist() == [[0, 0, 0, 0, 1], [0, 0, 1, 1, 1], [1] * 5, [0, 0, 0, 1, 1]]
    assert torch.equal(joined["types"], joined["attention_mask"])


def test_companions_are_padded_with_what_stands_behind_the_mask_in_them() -> None:
    leaves = collated([text_batch([3, 2], 3, pad=7), text_batch([5, 1], 5, pad=7)], MASKED)
    assert leaves["types"].tolist() == leaves["attention_mask"].tolist()


def test_the_pad_value_given_is_that_of_the_values_not_of_their_companions() -> None:
    text = Modality("ids", mask="attention_mask", companions=["types"], pad_value=7)
    leaves = collated([text_batch([3, 2], 3, pad=7), text_batch([5, 1], 5, pad=7)], {"text": text, "image": "image"})
    assert leaves["ids"][0].tolist() == [1, 2, 3, 7, 7]
    assert leaves["types"].tolist() == leaves["attention_mask"].tolist()


def test_masked_rows_that_were_never_padded_are_padded_with_zero() -> None:
    leaves = collated([text_batch([3], 3, pad=9), text_batch([5], 5, pad=9)], MASKED)
    assert leaves["ids"][0].tolist() == [1, 2, 3, 0, 0]


def test_images_of_several_sizes_follow_their_pixel_mask() -> None:
    def images(height: int, width: int) -> dict[str, Tensor]:
        return {
            "pixels": torch.ones(1, 3, height, width),
            "pixel_mask": torch.ones(1, height, width),
            "t": floats(1, 2),
        }

    leaves = collated([images(2, 5), images(4, 3)], {"image": ["pixels", "pixel_mask"], "text": "t"})
    assert leaves["pixels"].shape == (2, 3, 4, 5)
    assert torch.equal(leaves["pixels"][:, 0], leaves["pixel_mask"])
    assert leaves["pixel_mask"].sum((1, 2)).tolist() == [10, 12]


def test_ragged_rows_without_a_mask_are_padded_with_zero() -> None:
    """Without a warning: whether that changes the outputs is found out, and said, when the model runs."""
    batches = [{"audio": torch.ones(2, width), "text": floats(2, 3)} for width in (2, 3)]
    assert collated(batches, ["audio", "text"])["audio"].tolist() == [[1, 1, 0]] * 2 + [[1, 1, 1]] * 2


def test_a_pad_value_that_is_given_is_taken() -> None:
    batches = [{"audio": torch.ones(2, width), "text": floats(2, 3)} for width in (2, 3)]
    leaves = collated(batches, {"audio": Modality("audio", pad_value=-5), "text": "text"})
    assert leaves["audio"][0].tolist() == [1, 1, -5]


def test_ragged_leaves_in_no_modality_are_padded() -> None:
    batches = [{**pair_batch(2), "regions": torch.ones(2, width)} for width in (2, 3)]
    assert collated(batches, ["image", "text"])["regions"][0].tolist() == [1, 1, 0]


def test_rows_of_one_shape_are_not_padded() -> None:
    batches = [pair_batch(3), pair_batch(2, seed=5)]
    leaves = collated(batches, ["image", "text"])
    assert torch.equal(leaves["image"], torch.cat([batch["image"] for batch in batches]))


def test_lists_and_packed_sequences_keep_their_lengths() -> None:
    batches = [
        {"audio": packed([2, 4]), "images": [floats(3, 1), floats(3, 2)], "raw": ["a", "b"]},
        {"audio": packed([7]), "images": [floats(3, 5)], "raw": ["c"]},
    ]
    schema, rows = sampled(batches, {"audio": "audio", "image": ["raw", "images"]})
    probe = Probe(schema, collate(schema, rows), NO_GROUPS, bounds=own_bounds(schema, rows))
    assert probe.leaves["raw"] == ["a", "b", "c"]
    assert probe.leaves["images"].shape == (3, 3, 5)
    made = probe.batch(torch.tensor([[0, 2], [1, 0]]), {})
    assert made["audio"].batch_sizes.tolist() == [2, 2, 1, 1]
    taken = made["images"]
    assert [tuple(image.shape) for image in taken] == [(3, 5), (3, 1)]
    assert torch.equal(taken[0], batches[1]["images"][0])


def test_arrays_of_several_widths_are_padded_like_tensors() -> None:
    batches = [{"audio": np.ones((2, width)), "text": floats(2, 3)} for width in (2, 3)]
    leaves = collated(batches, {"text": "text", "audio": Modality("audio", pad_value=0)})
    assert leaves["audio"].shape == (4, 3)


def drawn(target: Tensor | None, count: int, examples: int = 64, size: int = 16, seed: int = 0) -> Tensor:
    return draw_groups(target, count, examples, size, seed)


@settings(max_examples=50, deadline=None)
@given(count=st.integers(8, 90), size=st.integers(2, 8), examples=st.integers(8, 100), seed=st.integers(0, 999))
def test_groups_never_hold_an_example_twice(count: int, size: int, examples: int, seed: int) -> None:
    groups = draw_groups(integers(3, count, seed=seed), count, examples, size, seed)
    assert groups.shape == (min(count, examples) // size, size)
    assert len(set(groups.flatten().tolist())) == groups.numel()
    assert groups.min() >= 0
    assert groups.max() < count


def test_labels_are_drawn_in_proportion() -> None:
    target = torch.tensor([0] * 120 + [1] * 60 + [2] * 20)[
        torch.randperm(200, generator=torch.Generator().manual_seed(3))
    ]
    for seed in range(20):
        counts = target[drawn(target, 200, examples=100, size=10, seed=seed)].flatten().bincount(minlength=3)
        assert (counts - torch.tensor([60, 30, 10])).abs().max() <= 1


def test_labels_are_dealt_out_evenly_over_the_groups() -> None:
    target = torch.tensor([0] * 100 + [1] * 100)
    for seed in range(20):
        per_group = (target[drawn(target, 200, seed=seed)] == 1).sum(1)
        assert per_group.sum() in (31, 32, 33)
        assert per_group.max() - per_group.min() <= 2


def test_plain_random_groups_would_not_be_dealt_out_as_evenly() -> None:
    target = torch.tensor([0] * 100 + [1] * 100)
    spreads = []
    for seed in range(20):
        per_group = (target[drawn(None, 200, seed=seed)] == 1).sum(1)
        spreads.append(int(per_group.max() - per_group.min()))
    assert max(spreads) > 2


def test_real_targets_are_drawn_over_their_whole_range() -> None:
    target = torch.linspace(-3, 5, 200)
    groups = drawn(target, 200)
    means = target[groups].mean(1)
    assert (means - target.mean()).abs().max() < 0.3
    assert (target[groups].flatten().sort().values.diff() < 0.2).all()


def test_several_targets_an_example_are_drawn_too() -> None:
    assert drawn(floats(200, 5), 200).shape == (4, 16)
    assert drawn(torch.full((200,), float("nan")), 200).shape == (4, 16)


def test_the_order_in_the_groups_is_random() -> None:
    target = torch.tensor([0] * 100 + [1] * 100)
    first = [float(target[drawn(target, 200, seed=seed)][:, 0].double().mean()) for seed in range(40)]
    assert 0.35 < sum(first) / 40 < 0.65


def test_groups_depend_on_the_seed_alone() -> None:
    target = integers(3, 100)
    state = torch.get_rng_state()
    assert torch.equal(drawn(target, 100), drawn(target, 100))
    assert not torch.equal(drawn(target, 100), drawn(target, 100, seed=1))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_probe_gives_recombined_batches_of_the_users_structure() -> None:
    batch = {**pair_batch(6), "scale": 2.0}
    probe = probe_of(batch, target="labels")
    rows = probe.batch(torch.tensor([[0, 5], [3, 3]]), {})
    assert same(
        rows,
        {
            "image": batch["image"][[0, 3]],
            "text": batch["text"][[5, 3]],
            "labels": batch["labels"][[0, 3]],
            "scale": 2.0,
        },
    )
    assert probe.size == 6
    assert torch.equal(probe.target, batch["labels"])


def test_a_probe_without_a_target_has_none() -> None:
    assert probe_of(pair_batch(4)).target is None


def masked_probe(segments: Segments) -> Probe:
    probe = probe_of(pair_batch(4))
    return Probe(probe.schema, probe.leaves, probe.groups, {"image": segments})


def test_masked_units_turn_into_their_baseline() -> None:
    probe = masked_probe(Segments("image", torch.tensor([[0, 0, 1, -1]]), baseline=9.0))
    rows = probe.batch(torch.tensor([[1, 2], [3, 0]]), {"image": torch.tensor([[True, False], [False, True]])})
    expected = probe.leaves["image"][[1, 3]].clone()
    expected[0, 2] = expected[1, 0] = expected[1, 1] = 9.0
    assert torch.equal(rows["image"], expected)
    assert torch.equal(rows["text"], probe.leaves["text"][[2, 0]])


def test_units_may_differ_from_example_to_example() -> None:
    index = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1], [-1, -1, 0, 1], [1, 1, 1, 0]])
    probe = masked_probe(Segments("image", index))
    kept = torch.tensor([[True, False]] * 2)
    rows = probe.batch(torch.tensor([[1, 0], [3, 0]]), {"image": kept})
    expected = probe.leaves["image"][[1, 3]] * torch.tensor([[1, 0, 0, 0], [0, 0, 0, 1]])
    assert torch.equal(rows["image"], expected)


def test_masking_never_changes_the_probe() -> None:
    probe = masked_probe(Segments("image", torch.tensor([[0, 0, 1, 1]])))
    before = probe.leaves["image"].clone()
    probe.batch(torch.zeros(2, 2, dtype=torch.long), {"image": torch.zeros(2, 2, dtype=torch.bool)})
    assert torch.equal(probe.leaves["image"], before)


def test_tokens_are_masked_with_an_integer_baseline() -> None:
    batch = {"image": integers(90, 3, 4) + 1, "text": floats(3, 2)}
    probe = probe_of(batch)
    segments = Segments("image", torch.arange(4).unsqueeze(0), baseline=103)
    values = segments.mask(batch["image"], torch.tensor([[True, False, True, True]] * 3), torch.arange(3))
    assert values.dtype == torch.int64
    assert values[:, 1].tolist() == [103] * 3
    assert torch.equal(values[:, 0], probe.leaves["image"][:, 0])


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        (torch.tensor([1, 2]), torch.tensor([1, 2])),
        ([1, 0, 2], torch.tensor([1, 0, 2])),
        (np.array([0.5, 1.5]), torch.tensor([0.5, 1.5], dtype=torch.float64)),
        ([torch.tensor(1), torch.tensor(2)], torch.tensor([1, 2])),
        (["dog", "cat", "dog"], torch.tensor([1, 0, 1])),
        (np.array(["dog", "cat"]), torch.tensor([1, 0])),
        (["dog", 1], None),
        ([{"boxes": 1}], None),
    ],
    ids=["tensor", "list", "array", "list of scalars", "strings", "array of strings", "mixed", "dicts"],
)
def test_labels_are_numbers_or_nothing(leaf, expected) -> None:
    assert same(as_labels(leaf), expected)


def changed_in_the_middle(leaf):
    if isinstance(leaf, list):
        return [*leaf[:1], changed_in_the_middle(leaf[1]), *leaf[2:]]
    other = leaf.copy() if isinstance(leaf, np.ndarray) else leaf.clone()
    other.reshape(-1)[len(other.reshape(-1)) // 2] += 1
    return other


LARGE = {
    "floats": floats(64, 100),
    "bfloat16": floats(8, 100).bfloat16(),
    "integers": integers(100, 2000),
    "array": np.zeros((64, 100)),
    "list of tensors": [floats(2), floats(5000), floats(3)],
}


@pytest.mark.parametrize("leaf", LARGE.values(), ids=LARGE.keys())
def test_a_fingerprint_changes_with_any_value(leaf) -> None:
    assert fingerprint({"a": leaf}) != fingerprint({"a": changed_in_the_middle(leaf)})


def test_a_fingerprint_reads_tensors_without_a_copy() -> None:
    leaf = torch.arange(12).view(3, 4)
    (content,) = leaf_bytes(leaf)
    assert bytes(content) == leaf.numpy().tobytes()
    leaf[0, 0] = 7
    assert bytes(content)[:8] == (7).to_bytes(8, sys.byteorder)


def test_a_fingerprint_changes_with_any_step_of_a_packed_sequence() -> None:
    first, second = packed([3000, 2000]), packed([3000, 2000])
    second.data[2500] += 1
    assert fingerprint({"a": first}) != fingerprint({"a": second})


def test_equal_examples_have_equal_fingerprints() -> None:
    leaves = {"a": floats(3, 2), "b": ["x", "y", "z"], "c": torch.tensor([True, False, True])}
    again = {name: leaf.clone() if isinstance(leaf, Tensor) else list(leaf) for name, leaf in reversed(leaves.items())}
    assert fingerprint(leaves) == fingerprint(again)


@pytest.mark.parametrize("other", [{"b": ["x", "y"]}, {"a": ["x", "z"]}, {"a": ["x", "y"], "b": ["x"]}])
def test_fingerprints_tell_paths_and_strings_apart(other) -> None:
    assert fingerprint({"a": ["x", "y"]}) != fingerprint(other)


def test_a_probe_can_be_drawn_from_a_learned_schema_without_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schema: BatchSchema = learn(pair_batch(4), target="labels")
        collate(schema, [{path: leaf[:1] for path, leaf in pair_batch(4).items()}])
