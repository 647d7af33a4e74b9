"""Volumes: effects in the slice through the region, and pictures that show this slice and name it."""

import pytest
import torch
from helpers.mapped import NotingRanking, drawn
from torch import nn
from torch.nn.functional import cross_entropy

from mviz_lightning import explain
from mviz_lightning.explainers import PositionEffects

DEEP, SIZE, COUNT = 6, 5, 16


class Spots(nn.Module):
    """Scores of two classes of each voxel: of PET, and of a product with CT."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, ct, pet):
        seen = pet[:, 0] + ct[:, 0] * pet[:, 0]
        return torch.stack([-self.scale * seen, self.scale * seen], 1)


def step(module, batch):
    return cross_entropy(module(batch["ct"], batch["pet"]), batch["organ"])


@pytest.fixture(scope="module")
def scans():
    generator = torch.Generator().manual_seed(0)
    ct, pet = torch.randn(2, COUNT, 1, DEEP, SIZE, SIZE, generator=generator)
    return {"ct": ct, "pet": pet, "organ": (pet[:, 0] > 1).long()}


@pytest.fixture(scope="module")
def report(scans):
    noting = NotingRanking()
    names = {"ct": "ct", "pet": "pet"}
    given = {"step": step, "num_examples": COUNT, "group_size": 8, "class_names": ["air", "bone"]}
    return noting, explain(
        Spots(), [scans], modalities=names, explainers=[PositionEffects(), noting], region=1, **given
    )


def middle(organ):
    """Return the middle of the slices in which the voxels of class 1 lie, one for each voxel."""
    slices = sorted(int(z) for z, _, _ in (organ == 1).nonzero())
    return slices[(len(slices) - 1) // 2]


def test_effects_are_those_of_loops_in_the_slice_through_the_region(scans, report):
    noting, found = report
    for one in found.results["position_effects"].effects:
        at = middle(scans["organ"][one.position])
        (group,) = (group for group in noting.groups if one.position in group)
        assert torch.allclose(one.effects, slow_effects(scans, one.position, group, at), atol=1e-6)
        assert torch.equal(one.labels, scans["organ"][one.position, at])


def slow_effects(scans, example, group, at):
    def outputs(ct, pet):
        with torch.no_grad():
            logits = Spots()(scans["ct"][[ct]], scans["pet"][[pet]])[0, :, at].double()
        return logits - logits.mean(0)

    variance = torch.stack([outputs(i, i) for i in group]).var(0).sum(0).mean()
    own, others = outputs(example, example), [i for i in group if i != example]
    both = ([outputs(j, example) for j in others], [outputs(example, j) for j in others])
    found = [sum((one - own).square().sum(0) for one in swapped) / len(others) / 2 for swapped in both]
    return torch.stack(found) / variance


class Panel:
    """Keeps what is drawn."""

    images = ()

    def imshow(self, picture, **_):
        self.picture = picture


def test_pictures_show_the_slice_and_name_it(scans, report):
    found = report[1]
    drawing = found._drawing
    captions, _ = drawn(found, PositionEffects())
    for one in found.results["position_effects"].effects:
        at, panel = middle(scans["organ"][one.position]), Panel()
        drawing.draw_slice(panel, "pet", one.example)
        grey = scans["pet"][one.position, 0, at]
        expected = (grey - grey.min()) / (grey.max() - grey.min()) * 255
        assert torch.equal(torch.from_numpy(panel.picture)[..., 0], expected.round().byte())
        assert f", slice {at + 1} of {DEEP}: where" in captions[f"position_effects/example_{one.position}"]
        assert drawing.labels.region(one.example).endswith(f"positions, slice {at + 1} of {DEEP}")
