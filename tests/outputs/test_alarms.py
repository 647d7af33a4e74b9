"""An alarm is that of the head, or of the tower, that does not use a modality, and of no other."""

from functools import cache

import pytest
import torch
from helpers.batches import floats
from lightning.pytorch import LightningModule
from outputs.watching import names, watched
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import DataLoader, StackDataset

from mviz_lightning import UnimodalCollapse

NUMBER = 192
SMALL = {"num_examples": 128, "group_size": 16, "reference": NUMBER}
PAIR = {"image": "image", "text": "text"}


def entries(seed):
    """Return a kind and a colour, each of a number of the image and one of the text."""
    image, text = floats(NUMBER, 6, seed=seed), floats(NUMBER, 5, seed=seed + 1)
    kind = (image[:, 0] > 0).long() + (text[:, 0] > 0).long()
    shade = image[:, 1] + 0.7 * text[:, 1]
    colour = (shade > -0.5).long() + (shade > 0.5).long()
    return {"image": image, "text": text, "kind": kind, "colour": colour}


class Base(LightningModule):
    def validation_step(self, batch, batch_idx=0):
        return self.training_step(batch)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.02)


class TwoHeads(Base):
    """The head of the kind reads both modalities; that of the colour hardly hears the text, or has none of it."""

    def __init__(self, volume=1e-3):
        super().__init__()
        self.kind = nn.Sequential(nn.Linear(11, 16), nn.ReLU(), nn.Linear(16, 3))
        self.colour = nn.Sequential(nn.Linear(11, 16), nn.ReLU(), nn.Linear(16, 3))
        self.volume = volume

    def forward(self, image, text):
        heard = self.volume * text if self.volume else torch.zeros_like(text)
        return {"kind": self.kind(torch.cat([image, text], 1)), "colour": self.colour(torch.cat([image, heard], 1))}

    def training_step(self, batch, batch_idx=0):
        found = self(batch["image"], batch["text"])
        return cross_entropy(found["kind"], batch["kind"]) + cross_entropy(found["colour"], batch["colour"])


def meanings(seed, shift=0):
    """Return two views of the same eight numbers; the text may be that of another example."""
    meaning = floats(NUMBER, 8, seed=seed)
    image, text = (meaning + 0.2 * floats(NUMBER, 8, seed=seed + place) for place in (1, 2))
    return {"image": image, "text": text.roll(shift, 0)}


class TwoTowers(Base):
    """CLIP; the text's tower may be given a constant."""

    def __init__(self, still=False):
        super().__init__()
        self.image, self.text = (nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8)) for _ in range(2))
        self.still = still

    def forward(self, image, text):
        found = self.image(image), self.text(0 * text if self.still else text)
        return tuple(normalize(one, dim=1) for one in found)

    def training_step(self, batch, batch_idx=0):
        image, text = self(batch["image"], batch["text"])
        logits, labels = 8 * image @ text.T, torch.arange(len(image))
        return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2


def loaders(training, validation):
    return DataLoader(StackDataset(**training), 16), DataLoader(StackDataset(**validation), 16)


CASES = {
    "two heads": (TwoHeads, lambda: loaders(entries(100), entries(0))),
    "two heads, one without the text": (lambda: TwoHeads(volume=0), lambda: loaders(entries(100), entries(0))),
    "CLIP": (TwoTowers, lambda: loaders(meanings(100), meanings(0))),
    "CLIP, mixed up in training": (TwoTowers, lambda: loaders(meanings(100, shift=5), meanings(0))),
    "CLIP with a constant tower": (lambda: TwoTowers(still=True), lambda: loaders(meanings(100), meanings(0))),
}


@pytest.fixture(scope="module")
def of_case(tmp_path_factory):
    @cache
    def trained(name):
        torch.manual_seed(0)
        model, data = CASES[name]
        return watched(
            model(),
            data(),
            PAIR,
            tmp_path_factory.mktemp("case"),
            UnimodalCollapse(),
            epochs=3 if "heads" in name else 5,
            **SMALL,
        )

    return trained


def alarms(found):
    return {key: value for key, value in found.values.items() if "collapse" in key.split("/")}


def of_alarm(found):
    return [text for text in found.warned if "collapsed" in text]


@pytest.mark.slow
def test_only_the_head_that_does_not_hear_the_text_alarms(of_case):
    found = of_case("two heads")
    assert alarms(found) == {
        "collapse/image": 0, "collapse/text": 0, "colour/collapse/image": 0, "colour/collapse/text": 2
    }  # fmt: skip
    (said,) = of_alarm(found)
    assert "colour" in said
    assert "text" in said


@pytest.mark.slow
def test_a_head_that_has_no_text_by_construction_does_not_alarm(of_case):
    found = of_case("two heads, one without the text")
    assert alarms(found) == {
        "collapse/image": 0, "collapse/text": 0, "colour/collapse/image": 0, "colour/collapse/text": 1
    }  # fmt: skip
    assert of_alarm(found) == []


@pytest.mark.slow
def test_trained_towers_do_not_alarm(of_case):
    found = of_case("CLIP")
    assert found.values["score"] > 0.8
    assert alarms(found) == {"collapse/image": 0, "collapse/text": 0}
    assert found.warned == []


def test_a_constant_tower_alarms(of_case):
    found = of_case("CLIP with a constant tower")
    assert found.values["score"] == pytest.approx(1 / 16, abs=1e-6)
    assert alarms(found)["collapse/text"] == 2
    (said,) = of_alarm(found)
    assert "text" in said


@pytest.mark.slow
def test_towers_that_never_saw_pairs_are_at_chance(of_case):
    found = of_case("CLIP, mixed up in training")
    assert found.values["score"] < 0.25
    assert found.values["score"] < of_case("CLIP").values["score"] / 3


@pytest.mark.long
@pytest.mark.parametrize("name", names(CASES, {"two heads", "CLIP", "CLIP with a constant tower"}))
def test_the_training_is_the_same(name, of_case):
    assert of_case(name).same
