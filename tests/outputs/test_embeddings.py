"""Embeddings under a contrastive loss: retrieval within groups, and the geometry of the embeddings."""

from functools import cache

import numpy as np
import pytest
import torch
from outputs.embeddings import FAST, KINDS, SMALL, THREE_TOWERS, Still
from outputs.heads import Model
from outputs.truth import Lookup, geometry
from outputs.watching import names, watched

GEOMETRY = ("modality_gap", "alignment", "uniformity", "effective_rank")
NEAR = {"CLIPModel": 1e-4, "SiglipModel": 1e-4}
"""Models that compute in float32."""


@pytest.fixture(scope="module")
def of_kind(tmp_path_factory):
    return cache(lambda name: measured(KINDS[name], tmp_path_factory.mktemp("kind")))


def measured(kind, folder, *more, **options):
    return watched(Model(kind, kind.net), kind.loaders(), kind.modalities, folder, *more, **(SMALL | options))


def embedded(kind, found):
    """Return the embeddings of both sides, each ``(N, D)``, of the model at the end."""
    data = kind.data()
    with torch.no_grad():
        return [tower(found.module.net, data).double().numpy() for tower in kind.towers.values()]


def looked_up(kind, found):
    inputs = tuple(kind.data()[path] for path in kind.modalities.values())
    return Lookup.of(*embedded(kind, found), found.groups, inputs)


def of_places(values):
    return {key.replace("/0", "/image").replace("/1", "/text"): value for key, value in values.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", names(KINDS, FAST))
def test_the_geometry_of_the_embeddings_is_that_of_the_definitions(name, of_kind):
    found = of_kind(name)
    right = of_places(geometry(*embedded(KINDS[name], found)))
    given = {key: value for key, value in found.values.items() if key.split("/")[0] in GEOMETRY}
    assert given == pytest.approx(right, rel=0, abs=NEAR.get(name, 1e-6))


@pytest.mark.slow
@pytest.mark.parametrize("name", names(KINDS, FAST))
def test_the_score_is_retrieval_within_groups(name, of_kind):
    found = of_kind(name)
    right = looked_up(KINDS[name], found)
    wanted = {"score": right.score(), "perceptual/image": right.perceptual(0), "perceptual/text": right.perceptual(1)}
    assert {key: found.values[key] for key in wanted} == pytest.approx(wanted, rel=0, abs=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("name", names(KINDS, FAST))
def test_the_training_is_the_same_and_nothing_is_warned_of(name, of_kind):
    found = of_kind(name)
    assert found.same
    assert found.steps == 4
    assert [text for text in found.warned if not (KINDS[name].expects and KINDS[name].expects in text)] == []


@pytest.mark.parametrize("name", names(KINDS, FAST, lambda kind: kind.net is not Still))
def test_shares_are_those_of_scalar_pairs(name, of_kind):
    values = of_kind(name).values
    assert {
        "total/image",
        "total/text",
        "contribution/image",
        "interaction",
        "emap_gap",
        "flips/image",
    } <= values.keys()
    assert np.isclose(values["contribution/image"] + values["contribution/text"] + values["interaction"], 1)


@pytest.mark.slow
def test_each_pair_of_three_towers_is_measured(tmp_path):
    found = measured(THREE_TOWERS, tmp_path, group_size=16)
    sides, data = dict(zip(THREE_TOWERS.towers, embedded(THREE_TOWERS, found), strict=True)), THREE_TOWERS.data()
    for prefix, one, other in (
        ("", "image", "text"),
        ("image_audio/", "image", "audio"),
        ("text_audio/", "text", "audio"),
    ):
        right = Lookup.of(sides[one], sides[other], found.groups, (data[one], data[other]))
        wanted = geometry(sides[one], sides[other]) | {"score": right.score()}
        wanted = {
            prefix + key.replace("/0", f"/{one}").replace("/1", f"/{other}"): value for key, value in wanted.items()
        }
        assert {key: found.values[key] for key in wanted} == pytest.approx(wanted, rel=0, abs=1e-6)
    assert found.same
    assert found.warned == []
