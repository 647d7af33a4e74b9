"""Batches of every kind give the numbers of plain batches with the same examples."""

import pytest
import torch
from batches.kinds import KINDS
from batches.measuring import of_kind, twin
from batches.twins import TWINS
from helpers.few import spread

SHARES = ("contribution/", "interaction", "total/", "total_low/", "total_high/", "score", "emap_score", "flips/")


def shares(values):
    return {key: value for key, value in values.items() if key.startswith(SHARES)}


@pytest.mark.slow
@pytest.mark.parametrize("name", spread(KINDS, 3))
def test_shares_score_and_weights_of_dime_are_those_of_plain_batches(name):
    plain, found = twin(KINDS[name].twin), of_kind(name)
    expected = shares(plain.values)
    assert len(expected) >= 10
    assert shares(found.values) == pytest.approx(expected, rel=0, abs=1e-6)
    if KINDS[name].drawn:
        assert len({place for place, *_ in plain.weights}) == 2
        assert found.weights.keys() == plain.weights.keys()
        for key, weights in plain.weights.items():
            torch.testing.assert_close(found.weights[key], weights, rtol=0, atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("name", TWINS)
def test_both_modalities_of_the_plain_batches_matter(name):
    values = twin(name).values
    assert min(value for key, value in values.items() if key.startswith("total/")) > 0.05
    assert values["interaction"] > 0.01


def test_there_are_at_least_36_kinds_and_each_has_a_plain_twin():
    assert len(KINDS) >= 36
    assert {kind.twin for kind in KINDS.values()} <= TWINS.keys()
