"""Kinds: which one a leaf is, images, tables, kinds of the user's own."""

from typing import Any

import pytest
import torch
from helpers.modality_checks import assert_cut, made
from torch import Tensor

from mviz_lightning.batch import Modality, Segments
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.modalities import Image, ModalityType, Tabular, base, blocks, modality_type_of, typical_values


@pytest.fixture
def _restored_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds that a test makes are gone after it."""
    monkeypatch.setattr(base, "REGISTRY", dict(base.REGISTRY))


@pytest.mark.parametrize(
    ("leaf", "name"),
    [
        (torch.zeros(2, 3, 4, 4), "image"),
        (torch.zeros(2, 4, 4, 3, dtype=torch.uint8), "image"),
        (torch.zeros(2, 5, dtype=torch.long), "text"),
        (torch.zeros(2, 5, dtype=torch.int32), "text"),
        (["a b", "c"], "text"),
        (("a b", "c"), "text"),
        (torch.zeros(2, 5), "tabular"),
        (torch.zeros(2, 5, dtype=torch.float16), "tabular"),
        (torch.zeros(2), "tabular"),
        (torch.zeros(2, dtype=torch.long), "tabular"),
        (torch.zeros(2, dtype=torch.bool), "tabular"),
        (torch.zeros(2, 5, dtype=torch.bool), "tabular"),
        (torch.zeros(2, 5, 3), "series"),
        (torch.zeros(2, 5, 3, 4, 4), "video"),
        (torch.zeros(2, 5, 3, 4, 4, dtype=torch.uint8), "video"),
    ],
)
def test_a_leaf_looks_like_one_modality_type_only(leaf: Any, name: str) -> None:
    assert modality_type_of(Modality("x"), leaf).name == name
    assert [modality_type.name for modality_type in base.REGISTRY.values() if modality_type.fits(leaf)] == [name]


@pytest.mark.parametrize(
    ("shape", "options", "name"),
    [
        ((2, 1, 5), {}, "tabular"),
        ((2, 1, 5), {"time_axis": 2}, "series"),
        ((2, 1, 5), {"rate": 9}, "series"),
        ((2, 2, 5), {}, "series"),
    ],
)
def test_a_row_for_each_example_is_a_table_unless_it_has_a_time_axis(
    shape: tuple[int, ...], options: Any, name: str
) -> None:
    assert modality_type_of(Modality("x", **options), torch.zeros(shape)).name == name


@pytest.mark.parametrize(
    ("leaf", "described"),
    [
        (torch.zeros(2, 3, 4, 5, 6, 7), r"a Tensor \(2, 3, 4, 5, 6, 7\) of torch.float32"),
        (torch.zeros(2, 3, 4, dtype=torch.long), r"a Tensor \(2, 3, 4\) of torch.int64"),
        ([b"a"], "a list"),
        ([], "a list"),
    ],
)
def test_a_leaf_that_looks_like_no_modality_type_is_refused(leaf: Any, described: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"kind of 'x': {described} looks like none of image, "):
        modality_type_of(Modality("x"), leaf)


def test_what_has_boxes_is_regions_unless_the_user_says_otherwise() -> None:
    leaf = torch.zeros(2, 3, 4)
    assert modality_type_of(Modality("x", boxes="b"), leaf).name == "regions"
    assert modality_type_of(Modality("x", boxes="b", kind="series"), leaf).name == "series"


@pytest.mark.parametrize("name", ["nonsense", "no.such.Kind", "torch.Tensor"])
def test_an_unknown_modality_type_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"kind='{name}': choose one of image, .*, or give the dotted path"):
        modality_type_of(Modality("x", kind=name), torch.zeros(2))


@pytest.mark.usefixtures("_restored_registry")
def test_a_modality_type_of_the_user_is_tried_first() -> None:
    class Graph(ModalityType):
        name = "graph"

        @classmethod
        def fits(cls, values: Any) -> bool:
            return isinstance(values, Tensor) and values.dim() == 3

        def cut(self) -> Segments:
            return Segments(self.path, blocks(self.values.shape[1], self.modality.max_segments).view(1, -1, 1))

        def draw(self, axes: Any, example: int) -> None: ...

        def paint(self, axes: Any, example: int, weights: Any, colours: Any, *, inputs: bool = True) -> None: ...

    modality_type = made(torch.ones(2, 6, 3), max_segments=3)
    assert isinstance(modality_type, Graph)
    assert modality_type_of(Modality("x", kind="graph"), torch.ones(2)) is Graph
    assert modality_type.names(0) == ["segment 1", "segment 2", "segment 3"]
    assert_cut(modality_type)


@pytest.mark.parametrize("shape", [(2, 1, 8, 6), (2, 4, 8, 6), (2, 12, 8, 6), (2, 8, 6, 3), (2, 8, 6, 1), (2, 3, 5, 5)])
@pytest.mark.parametrize("segments", [1, 4, 7, 49])
def test_images_are_cut_into_patches(shape: tuple[int, ...], segments: int) -> None:
    modality_type = made(torch.rand(shape), max_segments=segments)
    assert_cut(modality_type)
    assert modality_type.pixels(1).shape == ((8, 6, 3) if 8 in shape else (5, 5, 3))


def test_images_without_channels_are_cut_when_the_user_says_so() -> None:
    assert_cut(made(torch.rand(2, 8, 6), kind="image", max_segments=12))


def test_patches_are_squares_counted_from_the_top_left() -> None:
    modality_type = made(torch.rand(1, 3, 4, 6), max_segments=6)

    assert modality_type.segments.index[0, 0].tolist() == [[0, 0, 1, 1, 2, 2]] * 2 + [[3, 3, 4, 4, 5, 5]] * 2
    assert modality_type.names(0)[3] == "row 2, col 1"


def test_normalisation_is_undone_to_the_pixel() -> None:
    pixels = torch.randint(256, (2, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.48, 0.46, 0.41]), torch.tensor([0.27, 0.26, 0.28])
    normalised = (pixels / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)

    shown = made(normalised, mean=mean.tolist(), std=std.tolist()).pixels(1)
    assert torch.equal(torch.from_numpy(shown), pixels[1].permute(1, 2, 0))
    assert torch.equal(torch.from_numpy(made(pixels).pixels(1)), pixels[1].permute(1, 2, 0))
    assert torch.equal(torch.from_numpy(made(pixels.movedim(1, 3)).pixels(1)), pixels[1].permute(1, 2, 0))


def test_what_normalisation_was_is_not_guessed_contrast_is_stretched() -> None:
    shown = made(torch.tensor([-3.0, 1.0, 5.0]).view(1, 1, 1, 3)).pixels(0)
    assert shown[0, :, 0].tolist() == [0, 128, 255]


def test_an_image_that_leaves_0_to_1_by_rounding_keeps_its_contrast() -> None:
    shown = made(torch.tensor([0.25, 0.5, 1 + 1.2e-7]).view(1, 1, 1, 3)).pixels(0)
    assert shown[0, :, 0].tolist() == [64, 128, 255]


@pytest.mark.parametrize("masked", [False, True])
def test_a_mean_of_large_examples_is_that_of_all_at_once(monkeypatch: pytest.MonkeyPatch, *, masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(7, 3, 4, generator=generator)
    values[2, 1] = torch.nan
    mask = torch.rand(7, 1, 4, generator=generator) > 0.5 if masked else None
    sizes, seen = list[int](), typical_values._sum_and_count
    monkeypatch.setattr(typical_values, "SUMMED_AT_ONCE", 2 * 3 * 4)
    monkeypatch.setattr(
        typical_values, "_sum_and_count", lambda part, *given: sizes.append(len(part)) or seen(part, *given)
    )
    found = typical_values.mean_over(values, [0, 2], mask)
    known = values.where(mask.expand_as(values), torch.nan) if masked else values
    torch.testing.assert_close(found, known.nanmean((0, 2), keepdim=True))
    assert sizes == [2, 2, 2, 1]


def test_a_mean_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"has 2 values, the images have 3 channels"):
        made(torch.zeros(1, 3, 4, 4), mean=[0.5, 0.5]).pixels(0)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_masked_patch_has_the_channels_mean_or_the_given_baseline(*, channels_last: bool) -> None:
    values = torch.stack([torch.full((2, 8, 8), float(channel)) for channel in range(3)], 3 if channels_last else 1)

    def masked(**options: Any) -> Tensor:
        modality_type = made(values, max_segments=1, **options)
        found: Tensor = modality_type.segments.mask(values, torch.zeros(2, 1, dtype=torch.bool), torch.arange(2))
        return found

    assert torch.equal(masked(), values)
    assert masked(baseline="zero").unique().tolist() == [0]
    assert masked(baseline=-2).unique().tolist() == [-2]


def test_blur_keeps_each_images_own_colours() -> None:
    values = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.1
    values[1] += 0.9
    modality_type = made(values, baseline="blur", max_segments=4)

    masked = modality_type.segments.mask(values, torch.zeros(2, 4, dtype=torch.bool), torch.arange(2))
    assert masked.std(dim=(2, 3)).max() < 0.5 * values.std(dim=(2, 3)).min()
    assert torch.allclose(masked.mean((2, 3)), values.mean((2, 3)), atol=0.01)
    assert modality_type.baseline == "blurred"


def test_superpixels_follow_the_image() -> None:
    pytest.importorskip("skimage")
    values = torch.zeros(2, 3, 32, 32)
    values[..., 16:] = 1
    modality_type = made(values, superpixels=True, max_segments=8)

    assert_cut(modality_type)
    index = modality_type.segments.index[0, 0]
    assert not set(index[:, :16].unique().tolist()) & set(index[:, 16:].unique().tolist())
    assert modality_type.names(0)[0] == "superpixel 1"


def test_superpixels_follow_a_disc_in_noise() -> None:
    """Without smoothing, SLIC puts 0.4 or more of the disc into segments of its ground; here it is less than 0.25."""
    step = torch.arange(42.0)
    disc = (step - 15) ** 2 + (step[:, None] - 25) ** 2 < 64
    values = torch.where(disc, torch.tensor([0.1, 0.9, 0.1])[:, None, None], torch.tensor(0.35))
    noisy = (values + 0.05 * torch.randn(3, 42, 42, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    index = made(noisy[None], superpixels=True, max_segments=36).segments.index[0].squeeze()
    mixed = sum(min(int((disc & (index == one)).sum()), int((~disc & (index == one)).sum())) for one in index.unique())
    assert mixed < 0.25 * int(disc.sum()), mixed / int(disc.sum())


@pytest.mark.parametrize("values", [torch.zeros(2, 5), ["a"]])
@pytest.mark.parametrize("modality_type", ["image", "tabular", "series", "audio", "regions"])
def test_a_leaf_that_does_not_fit_its_modality_type_is_refused(values: Any, modality_type: str) -> None:
    if isinstance(values, Tensor) and modality_type in {"tabular", "series", "audio"}:
        return
    with pytest.raises(ConfigurationError, match=rf"kind='{modality_type}' of 'x': expected .*found"):
        made(values, kind=modality_type)


@pytest.mark.parametrize("modality_type", [Image, Tabular])
def test_a_baseline_that_a_modality_type_does_not_have_is_refused(modality_type: type[ModalityType]) -> None:
    with pytest.raises(ConfigurationError, match=r"baseline='noise' of 'x': give 'zero', 'mean' or a number"):
        made(torch.zeros(2, 3, 4, 4) if modality_type is Image else torch.zeros(2, 3), baseline="noise")


@pytest.mark.parametrize(
    "values", [torch.rand(3, 5), torch.rand(3), torch.arange(3), torch.rand(3, 5) > 0.5, torch.rand(3, 1, 5)]
)
@pytest.mark.parametrize("segments", [1, 3, 49])
def test_tables_are_cut_into_columns(values: Tensor, segments: int) -> None:
    assert_cut(made(values, max_segments=segments))


def test_masked_columns_have_the_mean_of_numbers_that_are_there() -> None:
    values = torch.tensor([[1.0, 10.0], [3.0, float("nan")], [5.0, 30.0]])
    modality_type = made(values)

    masked = modality_type.segments.mask(
        values, torch.tensor([[False, True], [True, False], [False, False]]), torch.arange(3)
    )
    assert masked.tolist() == [[3, 10], [3, 20], [3, 20]]
    assert modality_type.baseline == "the examples' mean"


@pytest.mark.parametrize(
    ("values", "options", "masked", "words"),
    [
        (torch.tensor([2, 7, 7]), {}, 7, "the most frequent value"),
        (torch.tensor([True, False, True]), {}, True, "the most frequent value"),
        (torch.tensor([2, 7, 7]), {"baseline": 5}, 5, "5"),
        (torch.tensor([2.0, 7.0, 9.0]), {}, 6, "the examples' mean"),
        (torch.tensor([2.0, 7.0, 9.0]), {"baseline": "zero"}, 0, "0"),
    ],
)
def test_a_masked_column_has_a_value_of_its_type(values: Tensor, options: Any, masked: float, words: str) -> None:
    modality_type = made(values, **options)

    found = modality_type.segments.mask(values[[0]], torch.zeros(1, 1, dtype=torch.bool), torch.tensor([0]))
    assert found.dtype == values.dtype
    assert found.tolist() == [masked]
    assert modality_type.baseline == words


def test_columns_have_their_names_and_runs_those_of_their_ends() -> None:
    assert made(torch.rand(2, 3), feature_names=["age", "sex", "bmi"]).names(0, inputs=False) == ["age", "sex", "bmi"]
    assert made(torch.rand(2, 4), feature_names=[*"abcd"], max_segments=2).names(0) == ["a to b", "c to d"]
    assert made(torch.rand(2, 3), max_segments=2).names(0) == ["columns 1-2", "column 3"]


@pytest.mark.parametrize("values", [torch.rand(2, 3), torch.rand(2, 4, 3)])
def test_names_of_another_number_are_refused(values: Tensor) -> None:
    with pytest.raises(ConfigurationError, match=r"feature_names of 'x' has 2 names, the leaf has 3 (column|channel)s"):
        made(values, feature_names=["a", "b"])
