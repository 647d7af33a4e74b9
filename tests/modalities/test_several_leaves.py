"""Modalities with several content leaves: every leaf is masked, by segments with one numbering."""

from typing import Any

import pytest
import torch
from helpers.batches import floats, integers, probe_of
from helpers.modality_checks import drawn
from torch import Tensor
from torch.testing import assert_close

from mviz_lightning import ConfigurationError, Modality
from mviz_lightning.batch import JointSegments, Probe, Segments
from mviz_lightning.modalities.base import ModalityType, modality_type_of
from mviz_lightning.modalities.of_probe import modality_types_of

COUNT, STEPS = 8, 6


def typed(leaves: dict[str, Any], **options: Any) -> tuple[ModalityType, Probe]:
    """Return the modality of some leaves, the first of which holds its values, and a probe that masks it."""
    values, *companions = leaves
    batch = {**leaves, "other": floats(COUNT, 2)}
    if options.get("mask") in companions:
        companions.remove(options["mask"])
    probe = probe_of(batch, {"m": Modality(values, companions=companions, **options), "other": "other"})
    types = modality_types_of(probe)
    cut = {name: modality_type.segments for name, modality_type in types.items()}
    return types["m"], Probe(probe.schema, probe.leaves, probe.groups, cut)


def masked(probe: Probe, example: int, gone: int) -> dict[str, Tensor]:
    """Return the example with one segment of the modality masked."""
    kept = torch.arange(probe.segments["m"].count(example))[None] != gone
    return {name: leaf[0] for name, leaf in probe.batch(torch.tensor([[example, example]]), {"m": kept}).items()}


TABLE = {
    "cont": floats(COUNT, 3),
    "cat": torch.tensor([[0, 2], [1, 2], [1, 2], [1, 0], [3, 2], [0, 2], [2, 2], [1, 1]]),
    "age": floats(COUNT, seed=1),
    "flag": torch.tensor([True, True, False, True, True, False, True, True]),
}
COLUMNS = [("cont", 0), ("cont", 1), ("cont", 2), ("cat", 0), ("cat", 1), ("age", None), ("flag", None)]


def test_every_column_of_every_leaf_is_a_segment_with_its_own_baseline() -> None:
    modality_type, probe = typed(TABLE)
    common = {"cat": torch.tensor([1, 2]), "flag": torch.tensor(True)}
    assert [modality_type.segments.count(example) for example in range(COUNT)] == [7] * COUNT
    for example in range(COUNT):
        for segment, (path, column) in enumerate(COLUMNS):
            found, expected = masked(probe, example, segment), {p: leaf[example].clone() for p, leaf in TABLE.items()}
            filling = common[path] if path in common else TABLE[path].mean(0)
            if column is None:
                expected[path] = filling
            else:
                expected[path][column] = filling[column]
            for name, values in expected.items():
                assert found[name].dtype == TABLE[name].dtype
                assert_close(found[name], values)


def test_columns_are_named_leaf_after_leaf() -> None:
    assert typed(TABLE)[0].names(0) == ["cont 1", "cont 2", "cont 3", "cat 1", "cat 2", "age", "flag"]
    names = list("abcdefg")
    assert typed(TABLE, feature_names=names)[0].names(0) == names
    assert typed(TABLE, feature_names=[*"abc"])[0].names(0) == ["a", "b", "c", "cat 1", "cat 2", "age", "flag"]
    with pytest.raises(ConfigurationError, match=r"has 4 names, the leaf has 3 columns in 'cont' and 2 .* give 7"):
        typed(TABLE, feature_names=[*"abcd"])


def test_max_segments_counts_the_columns_of_all_leaves() -> None:
    modality_type, probe = typed(TABLE, max_segments=3)
    assert modality_type.names(0) == ["cont 1 to cont 3", "cat 1 to cat 2", "age to flag"]
    assert modality_type.segments.count(0) == 3
    found = masked(probe, 4, 1)
    assert found["cat"].tolist() == [1, 2]
    assert torch.equal(found["cont"], TABLE["cont"][4])


def test_a_baseline_of_the_users_own_holds_for_real_numbers() -> None:
    modality_type, probe = typed(TABLE, baseline="zero")
    assert modality_type.baseline == "0, of integers the most frequent value"
    assert masked(probe, 4, 0)["cont"][0] == 0
    assert masked(probe, 4, 3)["cat"][0] == 1


def test_a_single_leaf_has_plain_segments_as_before() -> None:
    assert isinstance(typed({"cont": TABLE["cont"]})[0].segments, Segments)
    assert isinstance(typed({"cont": TABLE["cont"], "mask": torch.ones(COUNT, 3)}, mask="mask")[0].segments, Segments)
    assert isinstance(typed(TABLE)[0].segments, JointSegments)


def test_a_container_of_columns_is_masked_in_all_of_its_leaves() -> None:
    batch = {"table": {"cont": TABLE["cont"], "cat": TABLE["cat"]}, "other": floats(COUNT, 2)}
    found = modality_types_of(probe_of(batch, {"table": "table", "other": "other"}))["table"]
    assert found.names(0) == ["table.cont 1", "table.cont 2", "table.cont 3", "table.cat 1", "table.cat 2"]


def test_the_values_of_all_columns_are_drawn() -> None:
    one, _ = typed(TABLE)
    two, _ = typed({**TABLE, "cat": TABLE["cat"] + 1})
    assert (drawn(one) != drawn(two)).any()
    assert (drawn(one, [0, 0, 0, 1, 0, 0, 0]) != drawn(one, [0.0] * 7)).any()


@pytest.mark.parametrize(
    ("further", "name"),
    [
        ({"cont": floats(COUNT, 5)}, "tabular"),
        ({"age": floats(COUNT)}, "tabular"),
        ({"cont": floats(COUNT, 3)}, "text"),
        ({"types": integers(2, COUNT, 3)}, "text"),
        ({"mask": torch.ones(COUNT, 3), "age": floats(COUNT)}, "text"),
        ({}, "text"),
    ],
    ids=["table", "number", "number for each token", "types", "mask and number", "alone"],
)
def test_integers_in_front_of_real_columns_are_categories(further: dict[str, Tensor], name: str) -> None:
    leaves = {"cat": integers(4, COUNT, 3), **further}
    assert typed(leaves, mask="mask" if "mask" in leaves else None)[0].name == name
    assert modality_type_of(Modality("cat", decode=str), leaves["cat"], list(further.values())).name == "text"


def series(**more: Tensor) -> dict[str, Tensor]:
    return {"known": floats(COUNT, STEPS, 2), "observed": floats(COUNT, STEPS, 3, seed=1), **more}


def test_steps_of_two_series_are_lanes_of_one() -> None:
    leaves = series()
    modality_type, probe = typed(leaves, max_segments=10)
    assert modality_type.names(0)[:3] == ["known 1, steps 1-3", "known 1, steps 4-6", "known 2, steps 1-3"]
    assert len(modality_type.names(0)) == 10
    for segment in range(10):
        channel, block = divmod(segment, 2)
        path, place = ("known", channel) if channel < 2 else ("observed", channel - 2)
        found, steps = masked(probe, 5, segment), slice(3 * block, 3 * block + 3)
        expected = {name: leaf[5].clone() for name, leaf in leaves.items()}
        expected[path][steps, place] = leaves[path][..., place].mean()
        for name, values in expected.items():
            assert_close(found[name], values)


def test_where_channels_share_a_lane_a_block_of_time_masks_all_leaves() -> None:
    leaves = series(more=floats(COUNT, STEPS, 5, seed=2), category=integers(3, COUNT, STEPS, seed=3))
    modality_type, probe = typed(leaves, max_segments=3)
    assert modality_type.names(0) == ["steps 1-2", "steps 3-4", "steps 5-6"]
    found = masked(probe, 2, 1)
    for name in ("known", "observed", "more"):
        expected = leaves[name][2].clone()
        expected[2:4] = leaves[name].mean((0, 1))
        assert_close(found[name], expected)
    common = leaves["category"].flatten().mode().values
    assert found["category"].tolist() == [
        int(common) if 2 <= step < 4 else int(value) for step, value in enumerate(leaves["category"][2])
    ]


def test_padding_of_a_joint_series_is_in_no_segment_and_no_baseline() -> None:
    lengths = torch.tensor([6, 4, 2, 5, 6, 3, 6, 1])
    real = torch.arange(STEPS) < lengths[:, None]
    leaves = {name: leaf.masked_fill(~real[..., None], 99.0) for name, leaf in series().items()}
    category = integers(3, COUNT, STEPS, seed=3).masked_fill(~real, 7)
    modality_type, probe = typed({**leaves, "category": category, "real": real.long()}, mask="real", max_segments=18)
    assert modality_type.segments.count(1) == 6 * 3
    everything = masked_whole(probe, 1)
    assert_close(everything["known"], torch.where(real[1, :, None], leaves["known"][real].mean(0), 99.0))
    assert everything["category"].tolist() == [int(category[real].mode().values)] * 4 + [7] * 2


def masked_whole(probe: Probe, example: int) -> dict[str, Tensor]:
    kept = torch.zeros(1, probe.segments["m"].count(example), dtype=torch.bool)
    return {name: leaf[0] for name, leaf in probe.batch(torch.tensor([[example, example]]), {"m": kept}).items()}


@pytest.mark.parametrize(
    "leaf",
    [
        torch.arange(STEPS).expand(COUNT, STEPS).clone(),
        torch.arange(STEPS).clamp(max=3).expand(COUNT, STEPS).clone(),
        floats(COUNT, STEPS) > 0,
        floats(COUNT, 4),
        floats(COUNT),
    ],
    ids=["positions", "positions before padding", "mask", "static", "one number"],
)
def test_what_says_where_things_are_and_what_has_no_steps_stays(leaf: Tensor) -> None:
    modality_type, _ = typed({**series(), "leaf": leaf})
    assert modality_type.content == ["known", "observed"]


def test_a_category_that_repeats_is_no_position() -> None:
    constant = integers(3, COUNT, 1).expand(COUNT, STEPS).clone()
    assert typed({**series(), "leaf": constant})[0].content == ["known", "observed", "leaf"]


@pytest.mark.parametrize("hidden", [True, False])
def test_numbers_beside_tokens_are_masked_with_their_word_and_types_stay(hidden: bool) -> None:
    real = torch.arange(STEPS) < torch.tensor([6, 4, 2, 5, 6, 3, 6, 1])[:, None]
    leaves = {
        "ids": (integers(20, COUNT, STEPS) + 1) * real,
        "doses": floats(COUNT, STEPS) * real,
        "types": (floats(COUNT, STEPS, seed=4) > 0).long(),
        **({"mask": real.long()} if hidden else {}),
    }
    modality_type, probe = typed(leaves, **({"mask": "mask"} if hidden else {"pad_value": 0}))
    assert modality_type.content == ["ids", "doses"]
    found = masked(probe, 1, 2)
    expected = leaves["doses"][1].clone()
    expected[2] = leaves["doses"][real].mean()
    assert_close(found["doses"], expected)
    assert torch.equal(found["types"], leaves["types"][1])
    changed = "mask" if hidden else "ids"
    assert (found[changed] != leaves[changed][1]).nonzero().flatten().tolist() == [2]


def test_scores_and_classes_of_regions_are_masked_with_them_and_boxes_stay() -> None:
    corners = torch.rand(COUNT, 3, 2, generator=torch.Generator().manual_seed(0))
    leaves = {
        "features": floats(COUNT, 3, 4),
        "score": floats(COUNT, 3, seed=1),
        "class": integers(5, COUNT, 3, seed=2),
        "boxes": torch.cat([corners, corners + 1], 2),
    }
    batch = {**leaves, "other": floats(COUNT, 2)}
    given = Modality("features", companions=["score", "class"], boxes="boxes")
    probe = probe_of(batch, {"m": given, "other": "other"})
    found = modality_types_of(probe)["m"]
    assert found.content == ["features", "score", "class"]
    gone = masked(Probe(probe.schema, probe.leaves, probe.groups, {"m": found.segments}), 3, 1)
    assert_close(gone["features"][1], leaves["features"].mean((0, 1)))
    assert_close(gone["score"][1], leaves["score"].mean())
    assert gone["class"][1] == leaves["class"].flatten().mode().values
    for name in leaves:
        assert torch.equal(gone[name][[0, 2]], leaves[name][3][[0, 2]])
    assert torch.equal(gone["boxes"], leaves["boxes"][3])
