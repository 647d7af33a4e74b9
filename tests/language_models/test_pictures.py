"""Pictures of language models: cut along the tokens that a model makes of them, and drawn from their patches."""

import pytest

pytest.importorskip("transformers")

from dataclasses import replace

import numpy as np
import torch
from language_models.families import FAMILIES, Family, Item, Question
from language_models.rebuilding import probe_of, single_questions

from mviz_lightning.batch import Probe
from mviz_lightning.errors import MonitorWarning
from mviz_lightning.modalities import ModalityType
from mviz_lightning.modalities.base import modality_types_of

QWEN = [FAMILIES[name] for name in ("Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL")]


def image_of(probe: Probe) -> ModalityType:
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


@pytest.mark.parametrize("name", ["LLaVA-NeXT", "SmolVLM", "InternVL"])
def test_pictures_in_tiles_are_not_explained(name: str) -> None:
    probe = probe_of(FAMILIES[name], single_questions(FAMILIES[name]))
    with pytest.warns(MonitorWarning, match="image is not explained. 'pixel_values' holds pictures in tiles"):
        assert list(modality_types_of(probe)) == ["text"]


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
