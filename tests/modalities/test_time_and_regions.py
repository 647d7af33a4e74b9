"""Series, audio and regions: units along time, in bands, of boxes."""

from typing import Any

import pytest
import torch
from helpers.modality_checks import assert_cut, made
from torch import Tensor

from mviz_lightning.batch import Modality
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.modalities import Regions

HALVES = torch.tensor([[1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]])
"""A mask: padding at the end, on both sides, everywhere."""


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 6, 3), {}),
        ((2, 6, 1), {}),
        ((2, 3, 6), {"time_axis": 2}),
        ((2, 3, 6), {"time_axis": -1}),
        ((2, 6, 20), {}),
        ((2, 20, 6), {"time_axis": 2}),
        ((2, 6), {"kind": "series"}),
        ((2, 6, 3, 4, 4), {"kind": "series"}),
        ((2, 3, 6, 4, 4), {"kind": "series", "time_axis": 2}),
        ((2, 6, 3, 8, 8), {}),
        ((2, 3, 6, 8, 12), {}),
        ((2, 6, 8, 8, 1), {}),
        ((2, 3, 5, 8, 8), {"time_axis": 1}),
        ((2, 6), {"kind": "audio"}),
        ((2, 1, 6), {"kind": "audio"}),
        ((2, 10, 6), {"kind": "audio"}),
        ((2, 6, 10), {"kind": "audio", "time_axis": 1}),
        ((2, 1, 10, 6), {"kind": "audio"}),
        ((2, 1, 6, 10), {"kind": "audio", "time_axis": 2}),
        ((2, 6, 5), {"kind": "regions"}),
    ],
)
@pytest.mark.parametrize("segments", [1, 2, 7, 49])
def test_segments_cover_what_they_should(shape: tuple[int, ...], options: Any, segments: int) -> None:
    assert_cut(made(torch.rand(shape), max_segments=segments, **options))


@pytest.mark.parametrize(
    ("shape", "options"),
    [((3, 6, 3), {}), ((3, 20, 6), {"time_axis": 2}), ((3, 6), {"kind": "audio"})],
)
@pytest.mark.parametrize("segments", [1, 7, 49])
def test_padding_belongs_to_no_segment(shape: tuple[int, ...], options: Any, segments: int) -> None:
    modality_type = made(torch.rand(shape), mask="m", others={"m": HALVES}, max_segments=segments, **options)

    assert_cut(modality_type)
    assert modality_type.segments.count(2) == 0
    time = options.get("time_axis", 1)
    index = (
        modality_type.segments.index.movedim(time, 1).flatten(2)
        if len(shape) > 2
        else modality_type.segments.index[..., None]
    )
    assert torch.equal((index >= 0).any(2), HALVES.bool())


@pytest.mark.parametrize(("segments", "counts"), [(2, [2, 2, 0]), (49, [5, 3, 0])])
def test_padded_regions_are_no_segments(segments: int, counts: list[int]) -> None:
    modality_type = made(torch.rand(3, 6, 4), kind="regions", mask="m", others={"m": HALVES}, max_segments=segments)

    assert_cut(modality_type)
    assert [modality_type.segments.count(example) for example in range(3)] == counts
    assert not (modality_type.segments.index[..., 0] >= 0)[HALVES == 0].any()


def test_few_channels_are_masked_each_by_itself_and_many_together() -> None:
    assert made(torch.rand(2, 6, 2), max_segments=6).segments.index[0].T.tolist() == [
        [0, 0, 1, 1, 2, 2],
        [3, 3, 4, 4, 5, 5],
    ]
    assert made(torch.rand(2, 6, 9), max_segments=3).segments.index[0].flatten().tolist() == [0, 0, 1, 1, 2, 2]
    # As many channels as units can be: still one block for each.
    assert made(torch.rand(2, 6, 8), max_segments=8).segments.index[0, 0].tolist() == list(range(8))
    assert made(torch.rand(2, 6, 8), max_segments=7).segments.count(0) == 6


def test_time_has_up_to_24_blocks() -> None:
    assert made(torch.rand(2, 1000, 1)).segments.count(0) == 24
    assert made(torch.rand(2, 1000), kind="audio").segments.count(0) == 24
    assert made(torch.rand(2, 80, 1000), kind="audio").segments.count(0) == 48


def test_masked_steps_have_the_mean_of_their_channel_without_padding() -> None:
    values = torch.tensor([[[1.0, 10], [3, 30], [99, 99]], [[5, 50], [7, 70], [float("nan"), 110]]])
    modality_type = made(values, mask="m", others={"m": torch.tensor([[1, 1, 0], [1, 1, 1]])})

    masked = modality_type.segments.mask(values, torch.zeros(2, 6, dtype=torch.bool), torch.arange(2))
    assert masked[1].tolist() == [[4, 54]] * 3
    assert masked[0].tolist() == [[4, 54], [4, 54], [99, 99]]


def test_masked_sound_is_silence_and_masked_frequencies_have_their_mean() -> None:
    wave, frequencies = torch.ones(2, 6), torch.arange(4.0).view(1, 4, 1).expand(2, 4, 6)

    silent = made(wave, kind="audio")
    assert not silent.segments.mask(wave, torch.zeros(2, 6, dtype=torch.bool), torch.arange(2)).any()
    assert silent.baseline == "silence (0)"
    banded = made(frequencies, kind="audio")
    assert torch.equal(
        banded.segments.mask(frequencies, torch.zeros(2, 24, dtype=torch.bool), torch.arange(2)), frequencies
    )
    assert banded.baseline == "the examples' mean"


def test_names_tell_channel_and_time() -> None:
    values = torch.rand(2, 6, 2)
    assert made(values, max_segments=4).names(0) == [
        "channel 1, steps 1-3", "channel 1, steps 4-6", "channel 2, steps 1-3", "channel 2, steps 4-6",
    ]  # fmt: skip
    assert made(values, max_segments=2, feature_names=["x", "y"], rate=10).names(0) == ["x, 0-0.6 s", "y, 0-0.6 s"]
    assert made(values[..., :1], max_segments=6).names(0)[-1] == "step 6"
    assert made(values[..., :1], max_segments=2, mask="m", others={"m": HALVES[1:]}).names(0) == ["steps 3-4", "step 5"]


def test_names_tell_band_and_time() -> None:
    names = made(torch.rand(2, 8, 20), kind="audio", rate=10, max_segments=8).names(0)
    assert names[::2] == ["low, 0-1 s", "mid-low, 0-1 s", "mid-high, 0-1 s", "high, 0-1 s"]
    assert made(torch.rand(2, 20), kind="audio", max_segments=2).names(0) == ["steps 1-10", "steps 11-20"]


def test_low_frequencies_are_the_first_rows() -> None:
    modality_type = made(torch.rand(2, 8, 12), kind="audio")
    assert modality_type.segments.index[0, 0].tolist() == list(range(12))
    assert modality_type.names(0)[0] == "low, step 1"


@pytest.mark.parametrize(
    ("frequency", "rate"), [(1000, 8000), (3000, 8000), (0, 8000)], ids=["a tone", "a high tone", "a constant"]
)
def test_a_tone_is_a_line_at_its_frequency(frequency: int, rate: int) -> None:
    wave = torch.cos(2 * torch.pi * frequency * torch.arange(rate) / rate)

    table = made(wave[None], kind="audio", rate=rate).table(0)
    loudest = len(table) - 1 - table[:, table.shape[1] // 2].argmax()
    assert loudest / (len(table) - 1) == pytest.approx(2 * frequency / rate, abs=0.02)


@pytest.mark.parametrize("length", [1, 2, 3, 10, 100_000])
def test_sounds_of_any_length_and_silence_have_a_picture(length: int) -> None:
    table = made(torch.zeros(1, length), kind="audio").table(0)
    assert 1 <= table.shape[1] <= 600
    assert 0 <= table.min() <= table.max() <= 1


@pytest.mark.parametrize("axis", [0, 3, -4])
@pytest.mark.parametrize("modality_type", ["series", "audio"])
def test_an_axis_that_cannot_be_time_is_refused(axis: int, modality_type: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"time_axis={axis} of 'x': allowed are the axes 1 to 2 of \(2, 6, 9\)"
    ):
        made(torch.rand(2, 6, 9), time_axis=axis, kind=modality_type)


def regions(count: int = 3, *, boxes: Any = None, picture: Any = None, **options: Any) -> Regions:
    leaves = {"x": torch.rand(2, count, 4), "b": boxes, "p": picture}
    modality = Modality(
        "x", boxes=None if boxes is None else "b", picture=None if picture is None else "p", kind="regions", **options
    )
    return Regions(modality, {path: leaf for path, leaf in leaves.items() if leaf is not None}, "x")


def squares(*sides: float) -> Tensor:
    """Boxes in the corner, the same in two examples."""
    return torch.tensor([[[0, 0, side, side] for side in sides]] * 2)


def test_of_many_regions_those_with_the_largest_boxes_are_segments() -> None:
    modality_type = regions(4, boxes=squares(0.4, 0.1, 0.3, 0.2), max_segments=2)

    assert modality_type.segments.index[0].flatten().tolist() == [0, -1, 1, -1]
    assert modality_type.names(0) == ["region 1", "region 3"]
    assert regions(4, max_segments=2).names(0) == ["region 1", "region 2"]


def test_a_masked_region_has_the_mean_of_all_regions() -> None:
    modality_type = regions()
    values = modality_type.leaves["x"]
    masked = modality_type.segments.mask(values, torch.zeros(2, 3, dtype=torch.bool), torch.arange(2))
    assert torch.allclose(masked, values.mean((0, 1)).expand(2, 3, 4))


def test_boxes_are_fractions_of_the_image_or_pixels() -> None:
    picture = torch.rand(2, 3, 20, 40)
    assert regions(1, boxes=squares(0.5), picture=picture)._corners(0).tolist() == [[0, 0, 20, 10]]
    assert regions(1, boxes=squares(5.0), picture=picture)._corners(0).tolist() == [[0, 0, 5, 5]]
    assert regions(1, boxes=squares(5.0), picture=picture).aspect(0) == 0.5
    assert regions(2, boxes=squares(5.0, 80.0))._canvas == (80, 80)
    assert regions(1, boxes=squares(1.0))._canvas == (1, 1)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"boxes": torch.zeros(2, 3, 5)}, r"boxes='b' of 'x': expected \(2, 3, 4\), the corners .*; found \(2, 3, 5\)"),
        ({"boxes": torch.zeros(2, 2, 4)}, r"boxes='b' of 'x': expected \(2, 3, 4\)"),
    ],
)
def test_boxes_of_another_shape_are_refused(options: Any, error: str) -> None:
    with pytest.raises(ConfigurationError, match=error):
        regions(**options)


def test_a_picture_that_is_nowhere_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'nowhere', a leaf that the regions 'x' name, is missing; found x\."):
        made(torch.rand(2, 3, 4), kind="regions", picture="nowhere")
