"""Pictures of language models: cut along the tokens that a model makes of them, and drawn from their patches."""

import pytest

pytest.importorskip("transformers")

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import PIL.Image
import torch
from language_models.families import FAMILIES, Family, Item, Question
from language_models.rebuilding import probe_of, single_questions

from mviz_lightning.batch import Modality, Probe
from mviz_lightning.errors import MonitorWarning
from mviz_lightning.modalities.of_probe import modality_types_of
from mviz_lightning.modalities.pictures import Pictures

QWEN = [FAMILIES[name] for name in ("Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL")]


def image_of(probe: Probe) -> Any:
    """Return the pictures of a probe."""
    return modality_types_of(probe)["image"]


def smooth(height: int, width: int, seed: int) -> Item:
    """Return a picture whose neighbouring pixels are alike."""
    random = np.random.default_rng(seed)
    rows, columns = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    ends = random.uniform(0, 120, (2, 3))
    return (ends[0] * rows + ends[1] * columns).round().astype(np.uint8)


@pytest.mark.parametrize("family", QWEN, ids=lambda family: family.name)
def test_segments_are_tokens_and_not_their_patches(family: Family) -> None:
    probe = probe_of(family, single_questions(family))
    image = image_of(probe)
    sizes = [(height // 8, width // 8) for height, width in family.sizes]
    assert [image.segments.count(example) for example in range(4)] == [rows * columns for rows, columns in sizes]
    tokens = torch.arange(4).repeat_interleave(4)  # four patches of a token are neighbours in the leaf
    assert image.segments.index[2, :, 0].tolist() == tokens.tolist()
    assert image.names(3) == ["row 1, col 1", "row 2, col 1", "row 3, col 1"]


@pytest.mark.parametrize("family", QWEN[:1], ids=lambda family: family.name)
def test_patches_give_the_picture_back(family: Family) -> None:
    sizes = [(32, 48), (48, 32), (32, 32)]
    pictures = [smooth(*size, seed) for seed, size in enumerate(sizes)]
    probe = probe_of(family, [Question("{} what is this", [one], "red") for one in pictures])
    image = image_of(probe)
    shown = [image.pixels(example).astype(float) for example in range(3)]
    assert [one.shape for one in shown] == [(*size, 3) for size in sizes]
    for found, own in zip(shown, pictures, strict=True):
        for channel in range(3):
            assert np.corrcoef(found[..., channel].ravel(), own[..., channel].ravel())[0, 1] > 0.999


def test_more_tokens_than_segments_are_joined_whole() -> None:
    family = FAMILIES["Qwen2-VL"]
    probe = probe_of(family, [Question("{} what is this", [smooth(64, 64, seed)], "red") for seed in range(2)])
    image = image_of(probe)
    index = image.segments.index[0, :, 0].view(-1, 4)  # 8 x 8 tokens of 4 patches
    assert bool((index == index[:, :1]).all())
    cells = index[:, 0].view(8, 8)
    assert cells.tolist() == [[row // 2 * 4 + column // 2 for column in range(8)] for row in range(8)]


def test_two_pictures_of_an_example() -> None:
    family = FAMILIES["LLaVA"]
    items = [family.item(number) for number in range(3)]
    asked = [Question("{} is {} what is this", items[:2], "red"), Question("what {} is this", items[2:], "blue")]
    probe = probe_of(family, asked)
    image = image_of(probe)
    values, segments = probe.leaves["pixel_values"], image.segments
    assert image.names(0)[0] == "picture 1, row 1, col 1"
    assert image.names(1)[0] == "row 1, col 1"
    assert len(image.names(0)) == segments.count(0)
    kept = torch.ones(2, segments.count(0), dtype=torch.bool)
    kept[0, segments.count(0) // 2] = False  # the first cell of the second picture
    found = segments.mask(values, kept, torch.arange(2))
    real = torch.cat([values[0], values[1, :1]]).double()
    changed = (found != values).any(2)
    assert changed.nonzero()[:, :2].unique(dim=0).tolist() == [[0, 1]]
    cell = changed[0, 1]
    assert bool(cell[0, 0])
    torch.testing.assert_close(found[0, 1][:, cell], real.mean((0, 2, 3)).float()[:, None].expand(3, int(cell.sum())))
    assert not bool((segments.index[1, 1:] >= 0).any())


def blurred(height: int, width: int, seed: int) -> Item:
    """Return a picture of blurred squares of many colours, from 0 to 150."""
    squares = np.random.default_rng(seed).integers(0, 150, (5, 5, 3), dtype=np.uint8)
    return np.asarray(PIL.Image.fromarray(squares).resize((width, height), PIL.Image.Resampling.BILINEAR))


TILED = [FAMILIES[name] for name in ("LLaVA-NeXT", "SmolVLM", "InternVL")]
SIZES = [(32, 32), (32, 24), (24, 48), (48, 16)]
"""Heights and widths of pictures that are cut into several tiles; where tiles are padded, two lie between padding."""


FOUR = Modality("pixel_values", max_segments=4)


def in_four(probe: Probe) -> Pictures:
    """Return the pictures of a probe in up to four segments for each example."""
    named = probe.schema.modalities | {"image": FOUR}
    return image_of(replace(probe, schema=replace(probe.schema, modalities=named)))


def asked_about(pictures: Sequence[Item]) -> list[Question]:
    """Return a question about each picture."""
    return [Question("{} what is this", [one], "red") for one in pictures]


def brighter(picture: Item, image: Pictures, example: int, segment: int) -> Item:
    """Return the picture of an example, brighter where the name of a segment says, up to the next pixel of a tile."""
    places = [tuple(map(int, re.findall(r"\d+", name))) for name in image.names(example)]
    found, lines = picture.copy(), zip(places[segment], places[-1], picture.shape, strict=False)
    ends = [[-(-end * 8 // count) * side // 8 for end in (place - 1, place)] for place, count, side in lines]
    found[slice(*ends[0]), slice(*ends[1])] += 100
    return found


@pytest.mark.parametrize("family", TILED, ids=lambda family: family.name)
def test_a_part_is_masked_in_all_tiles_that_show_it(family: Family) -> None:
    pictures = [blurred(*size, seed) for seed, size in enumerate(SIZES)]
    probe = probe_of(family, asked_about(pictures))
    values, image = probe.leaves["pixel_values"], in_four(probe)
    for segment in range(3):
        marked = [brighter(one, image, example, segment) for example, one in enumerate(pictures)]
        change = (probe_of(family, asked_about(marked)).leaves["pixel_values"] - values).mean(-3)
        showing = change > change.max() / 2  # half of the pixel or more
        masked = image.segments.mask(values, torch.arange(4).expand(4, 4) != segment, torch.arange(4))
        assert torch.equal((masked != values).any(-3), showing)
        assert bool((masked.movedim(-3, -1)[showing] == image.segments.baseline.flatten()).all())


@pytest.mark.parametrize("family", TILED, ids=lambda family: family.name)
def test_tiles_give_the_picture_back(family: Family) -> None:
    pictures = [blurred(*size, seed) for seed, size in enumerate(SIZES)]
    image = image_of(probe_of(family, asked_about(pictures)))
    for example, picture in enumerate(pictures):
        shown = image.pixels(example)
        resized = np.asarray(PIL.Image.fromarray(picture).resize(shown.shape[1::-1], PIL.Image.Resampling.BICUBIC))
        assert max(shown.shape[:2]) >= 16
        for channel in range(3):
            assert np.corrcoef(shown[..., channel].ravel(), resized[..., channel].ravel())[0, 1] > 0.995


def test_pictures_of_one_size_are_put_together_too() -> None:
    probe = probe_of(FAMILIES["SmolVLM"], asked_about([blurred(16, 16, seed) for seed in range(3)]))
    assert in_four(probe).pixels(0).shape == (16, 16, 3)
    assert in_four(probe).names(0) == [f"row {row}, col {column}" for row in (1, 2) for column in (1, 2)]


@pytest.mark.parametrize("family", TILED, ids=lambda family: family.name)
def test_adjacent_pictures_are_told_apart(family: Family) -> None:
    pairs = [(SIZES[0], SIZES[3]), (SIZES[2], SIZES[2]), (SIZES[3], SIZES[0])]
    items = [[blurred(*size, 2 * seed + k) for k, size in enumerate(pair)] for seed, pair in enumerate(pairs)]
    image = image_of(probe_of(family, [Question("{} {} what is this", pair, "red") for pair in items]))
    for example, pair in enumerate(items):
        shapes = [one.shape[1:] for one in image.shown(example)]
        assert [np.sign(width - height) for height, width in shapes] == [
            np.sign(one.shape[1] - one.shape[0]) for one in pair
        ]
        numbers = [name.split(",")[0] for name in image.names(example)]
        assert numbers == sorted(numbers)
        assert set(numbers) == {"picture 1", "picture 2"}


@pytest.mark.parametrize("family", TILED, ids=lambda family: family.name)
def test_no_tile_becomes_zero_and_padding_stays(family: Family) -> None:
    probe = probe_of(family, single_questions(family))
    values, named = probe.leaves["pixel_values"], probe.schema.modalities
    zero = named | {"image": Modality("pixel_values", baseline="zero")}
    image = image_of(replace(probe, schema=replace(probe.schema, modalities=zero)))
    masked = image.segments.mask(values, torch.zeros(4, 49, dtype=torch.bool), torch.arange(4))
    real, still_real = (leaf.flatten(-3).any(-1) for leaf in (values, masked))
    assert torch.equal(real, still_real)
    assert not bool(real.all())
    assert float(masked[real].flatten(1).abs().median()) == pytest.approx(1e-6)


@pytest.mark.parametrize("family", [TILED[0], TILED[2]], ids=lambda family: family.name)
def test_tiles_without_the_whole_picture_are_not_explained(family: Family) -> None:
    probe = probe_of(family, single_questions(family))
    values = probe.leaves["pixel_values"]
    broken = replace(probe, leaves={**probe.leaves, "pixel_values": values.flip(-4)[..., 1:, :, :, :]})
    said = set[str]()
    with pytest.warns(MonitorWarning, match="image is not explained. 'pixel_values' has pictures in tiles that are"):
        assert list(modality_types_of(broken, said)) == ["text"]
    assert list(modality_types_of(broken, said)) == ["text"]  # said once: a second warning would be an error


def test_a_picture_of_one_tile_is_a_picture() -> None:
    family = FAMILIES["SmolVLM"]
    probe = probe_of(family, single_questions(family))
    whole = probe.leaves["pixel_values"][:, :, :1]
    single = replace(probe, leaves={**probe.leaves, "pixel_values": whole})
    image = image_of(single)
    assert image.segments.count(0) == 49
    kept = torch.ones(4, 49, dtype=torch.bool)
    kept[2, 0] = False
    found = image.segments.mask(whole, kept, torch.arange(4))
    mean = whole.double().mean((0, 1, 2, 4, 5)).float()
    assert found.shape == whole.shape
    torch.testing.assert_close(found[2, 0, 0, :, 0, 0], mean)
    assert torch.equal(found[:2], whole[:2])


def test_adjacent_pictures_without_tiles_are_told_apart() -> None:
    family = FAMILIES["PaliGemma"]  # whose token in front of the text follows its pictures
    asked = [Question("{} {} what is this", [family.item(number), family.item(number + 1)]) for number in range(3)]
    image = image_of(probe_of(family, asked))
    assert image.picture_counts == [2, 2, 2]
    assert image.names(0)[-1].startswith("picture 2")


def test_pixels_that_a_mask_tells_to_be_padding_are_never_masked() -> None:
    probe = probe_of(FAMILIES["SmolVLM"], asked_about([blurred(16, 16, seed) for seed in range(2)]))
    real = probe.leaves["pixel_attention_mask"].clone()
    real[1, ..., 6:, :] = 0  # the lower rows of all tiles
    image = image_of(replace(probe, leaves={**probe.leaves, "pixel_attention_mask": real}))
    assert torch.equal(image.segments.index.squeeze(3) >= 0, real > 0)
