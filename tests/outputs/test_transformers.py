"""Shares of models of transformers that tag words and pixels: those of a slow loop over all pairs of examples."""

from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from benchmarks.observation.harness import enter
from benchmarks.observation.hub_positions import CASES
from lightning.pytorch.utilities.seed import isolate_rng
from outputs.truth import Maps

from mviz_lightning import MultimodalMonitor

BY_NAME = {case.name: case for case in CASES}
SLOTS = 60
"""A multiple of all numbers of tagged words in a sentence, so that each has its share of the slots."""

SMALL = {"num_examples": 16, "group_size": 8, "reference": 16, "positions": 256}

NEAR = {"CLIPSeg, a phrase's pixels": 1e-6}
"""Models of which every pixel has a label, so that nothing is sampled; others are read at a sample."""

pytestmark = pytest.mark.slow


@cache
def trained(name):
    """Return a monitor after an epoch, and the module."""
    case = BY_NAME[name]
    with isolate_rng():
        torch.manual_seed(0)
        module, monitor = case.module(), MultimodalMonitor(case.modalities, **SMALL)
        enter(case, module, case.batches(), [monitor])
    return monitor, module.eval()


def maps_of(case, module, probe):
    """Return the scores and the labels of all positions, each pair of two examples evaluated alone."""
    own = torch.arange(probe.size).unsqueeze(1).expand(-1, 2)
    labels = case.target(probe.batch(own, {})).flatten(1).double()
    carrier = probe.schema.names.index("text") if case.style == "hub words" else None
    found, told = [], []
    for group in probe.groups.tolist():
        pairs = [scores_of(case, module, probe, pair, labels, carrier) for pair in product(group, repeat=2)]
        found.append(np.array(pairs).reshape(len(group), len(group), *pairs[0].shape))
        told.append([at_slots(labels[i], labels[i], carrier).numpy() for i in group])
    return Maps(np.array(found), np.array(told), case.task)


def scores_of(case, module, probe, pair, labels, carrier):
    """Return ``(P, C)`` of the first modality of one example with the second of another."""
    with torch.no_grad():
        scores = case.scores(module, probe.batch(torch.tensor([pair]), {}))[0]
    read = None if carrier is None else labels[pair[carrier]]
    return at_slots(scores.flatten(1).T.double(), read, carrier).numpy()


def at_slots(values, labels, carrier):
    """Return the values of words at equal distances along the tagged ones of their sentence; all of a picture."""
    if carrier is None:
        return values
    tagged = (labels != -100).nonzero().flatten()
    return values[tagged[((torch.arange(SLOTS) + 0.5) / SLOTS * len(tagged)).long()]]


@pytest.mark.parametrize("name", BY_NAME)
def test_shares_are_those_of_a_loop_over_all_pairs_and_positions(name):
    (monitor, module), case = trained(name), BY_NAME[name]
    probe = monitor._fit_session.probe
    right = maps_of(case, module, probe).shares()
    names = dict(zip("01", probe.schema.names, strict=True))
    given = {key: "/".join([key.split("/")[0], *(names[m] for m in key.split("/")[1:])]) for key in right}
    assert {key: monitor.history[-1].values[given[key]] for key in right} == pytest.approx(
        right, rel=0, abs=NEAR.get(name, 0.02)
    )
