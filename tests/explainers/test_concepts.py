"""Planted attributes are named, and noise is not: the planted part of tests/benchmarks/concepts.py."""

import pytest
import torch
from benchmarks.concepts import Planted, attributes, batch_of, carriers, judged, plant, represented
from reference.scenes import Scenes

from mviz_lightning.explainers.multimodal_representation.concepts import Trait


@pytest.mark.long
@pytest.mark.parametrize("noise", [0.25, 0.5])
def test_planted_attributes_are_named_first_and_noise_gets_no_name(noise: float) -> None:
    found = plant(noise, 0)
    assert (found.planted, found.right) == (10, 10)
    assert found.false <= 1  # 5 % of all that is named


@pytest.mark.slow
def test_features_of_other_attributes_are_not_named_so() -> None:
    """The comparison can fail: features dealt out among the attributes get other names than these."""
    scenes = Scenes.draw(256, 0)
    model = Planted(scenes, 0.25, 0)
    shown = represented(model, scenes, len(model.traits)).shown
    dealt = [*model.traits[1:], model.traits[0]]
    assert not any(feature.concepts[0].trait == dealt[feature.number] for feature in shown)


def test_planted_features_are_what_they_are_called_whatever_rows_are_asked() -> None:
    scenes = Scenes.draw(64, 3)
    model = Planted(scenes, 0.0, 0)
    model.head.weight.data = torch.eye(2, model.head.in_features)
    model.head.bias.data.zero_()
    for rows in (torch.arange(64), torch.tensor([7, 3, 3])):
        outputs = model(scenes.image[rows], scenes.words[rows], scenes.mask[rows])
        expected = torch.stack([attributes(scenes)[trait][rows] for trait in model.traits[:2]], 1)
        assert torch.equal(outputs, expected.float())


def test_a_judge_knows_chance_from_certainty() -> None:
    scenes = Scenes.draw(500, 0)
    trait = Trait("value", "objects", 4)
    certain = carriers(trait, scenes).float()
    activations = torch.stack([certain, torch.rand(500, generator=torch.Generator().manual_seed(0))], 1)
    found = judged(activations, {0: trait, 1: trait}, scenes)
    assert found[0] == 1.0
    assert found[1] == pytest.approx(0.5, abs=0.1)
    assert torch.equal(carriers(Trait("class", "label", 1), scenes), batch_of(scenes)["label"] == 1)
