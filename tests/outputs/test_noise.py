"""Models that draw random numbers: their noise is no interaction, and no training ends because of it."""

from functools import cache

import pytest
import torch
from outputs.heads import Model, loaders
from outputs.noise import FAST, KINDS, MODALITIES, REFUSED, SMALL, Noisy, data
from outputs.truth import Grids
from outputs.watching import names, watched

NAMES = {"0": "image", "1": "text"}


@pytest.fixture(scope="module")
def of_kind(tmp_path_factory):
    return cache(lambda name: measured((KINDS | REFUSED)[name], tmp_path_factory.mktemp("kind")))


def measured(kind, folder, **options):
    module = Model(kind, Noisy)
    return watched(module, loaders(), MODALITIES, folder, **(SMALL | dict(kind.options) | options))


def truth(kind, found):
    entries = data()
    given = entries["image"], entries["text"], entries[kind.labels], found.groups, kind.task
    shares = Grids.of(lambda *inputs: kind.still(found.module.net, *inputs), *given).shares()
    return {key.replace("/0", "/image").replace("/1", "/text"): value for key, value in shares.items()}


@pytest.mark.long
@pytest.mark.parametrize("name", names(KINDS, FAST))
def test_noise_is_no_interaction(name, of_kind):
    values, kind = of_kind(name).values, KINDS[name]
    assert values["interaction"] == pytest.approx(0, abs=max(kind.near, 1e-6))
    assert min(values["total/image"], values["total/text"]) > 0.01


@pytest.mark.parametrize("name", names(KINDS, FAST, lambda kind: kind.still))
def test_shares_are_those_without_noise(name, of_kind):
    found, kind = of_kind(name), KINDS[name]
    right = truth(kind, found)
    assert {key: found.values[key] for key in right} == pytest.approx(right, rel=0, abs=kind.near)


@pytest.mark.parametrize("name", names(KINDS, FAST))
def test_the_training_is_the_same_and_nothing_is_warned_of(name, of_kind):
    found = of_kind(name)
    assert found.same
    assert found.steps == 3
    assert [text for text in found.warned if not (KINDS[name].expects and KINDS[name].expects in text)] == []


@pytest.mark.parametrize("name", names(REFUSED, FAST))
def test_what_still_varies_costs_the_monitor_alone(name, of_kind):
    found = of_kind(name)
    assert found.same
    assert found.steps == 3
    assert found.values == {}
    (said,) = found.warned
    assert any(character.isdigit() for character in said)  # the measured spread


def test_a_second_run_gives_the_same_numbers(tmp_path, of_kind):
    again = measured(KINDS["MC dropout"], tmp_path)
    assert again.values == of_kind("MC dropout").values


def test_the_generator_of_the_model_goes_on_as_it_did(tmp_path):
    found = measured(KINDS["added noise"], tmp_path)
    assert torch.equal(found.module.net.own.get_state(), torch.Generator().manual_seed(5).get_state())
