"""Sounds of language models: cut into blocks of time and bands, without padding, several an example in a row."""

import pytest

pytest.importorskip("transformers")

import re
from dataclasses import replace

import torch
from language_models.families import FAMILIES, Question
from language_models.rebuilding import ASKED, probe_of
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Query
from mviz_lightning.modalities.base import ModalityType
from mviz_lightning.modalities.of_probe import modality_types_of
from mviz_lightning.session.answer_scores import answers_of
from mviz_lightning.session.config import SessionConfig

FAMILY = FAMILIES["Qwen2-Audio"]
QUESTIONS = [
    Question(ASKED[0][0].replace("{}", "{} {}"), [FAMILY.item(0), FAMILY.item(1)], "red"),
    Question(ASKED[1][0].replace("{}", "{} {}"), [FAMILY.item(3), FAMILY.item(2)], "blue"),
    Question(ASKED[0][0], [FAMILY.item(1)], "red"),
]
"""Two sounds beside one another, whose lengths differ, and one."""

BANDS = {"low": slice(0, 2), "mid-low": slice(2, 4), "mid-high": slice(4, 6), "high": slice(6, 8)}
"""Band -> its of the eight frequencies."""


@pytest.fixture(scope="module")
def probe() -> Probe:
    """Return the questions."""
    return probe_of(FAMILY, QUESTIONS)


@pytest.fixture(scope="module")
def sounds(probe: Probe) -> ModalityType:
    """Return the sounds."""
    return modality_types_of(probe)["audio"]


def named(sounds: ModalityType, example: int, segment: int) -> tuple[slice, Tensor]:
    """Return the frequencies and the steps that the name of a segment tells, from 0 on."""
    band, steps = sounds.names(example)[segment].split(", ")
    first, *rest = map(int, re.findall(r"\d+", steps))
    return BANDS[band], torch.arange(first - 1, (rest or [first])[-1])


def test_segments_are_what_is_no_padding(probe: Probe, sounds: ModalityType) -> None:
    real = probe.leaves["feature_attention_mask"] > 0
    assert sounds.name == "sounds"
    assert torch.equal(sounds.segments.index >= 0, real.unsqueeze(2).expand(-1, -1, 8, -1))
    assert [sounds.table(example).shape[1] for example in range(3)] == real.flatten(1).sum(1).tolist()
    assert [sounds.segments.count(example) for example in range(3)] == [len(sounds.names(e)) for e in range(3)]


@torch.no_grad()
def test_masked_sounds_equal_those_of_a_slow_loop(probe: Probe, sounds: ModalityType) -> None:
    answers = answers_of(FAMILY.own_model(), probe, SessionConfig(probe.schema.modalities))
    prompts = replace(answers.prompted(probe), segments={"audio": sounds.segments})
    examples, segments = torch.tensor([0, 0, 1]), [3, sounds.segments.count(0) - 1, 7]
    kept = torch.ones(3, max(map(sounds.segments.count, range(2))), dtype=torch.bool)
    kept[torch.arange(3), segments] = False
    found = Evaluator(FAMILY.own_model(), answers.predict).plain(
        prompts, Query(examples[:, None].expand(-1, 2), {"audio": kept})
    )

    everything, real = FAMILY.batch(QUESTIONS), FAMILY.batch(QUESTIONS)["feature_attention_mask"].bool()
    mean = everything["input_features"].movedim(1, 2)[real].double().mean(0).float()
    for row, (example, segment) in enumerate(zip(examples.tolist(), segments, strict=True)):
        batch = FAMILY.batch([replace(QUESTIONS[example], answer="")])
        features, (band, steps) = batch["input_features"].clone(), named(sounds, example, segment)
        for step in steps.tolist():
            number, place = divmod(step, features.shape[2])
            if batch["feature_attention_mask"][number, place]:
                features[number, band, place] = mean[band]
        assert not torch.equal(features, batch["input_features"])
        wanted = FAMILY.own_model()(**batch | {"input_features": features}).logits[0, -1]
        torch.testing.assert_close(found[row], wanted, rtol=1e-4, atol=2e-6)
