"""Outputs with positions: shares over positions, one score over all of them, regions and maps."""

from functools import cache

import numpy as np
import pytest
from benchmarks.observation.pasting import offered
from helpers.toy import trainer
from outputs.heads import Model
from outputs.positions import (
    FAST,
    KINDS,
    PADDED,
    SMALL,
    PositionsKind,
    called,
    data,
    larger,
    loaders,
    pixels,
    unseen,
)
from outputs.truth import Maps, _split_components
from outputs.watching import Watched, attempted, names, watched
from reference import slow

from mviz_lightning import MultimodalMonitor
from mviz_lightning.functional.anova import half_splits

BOTH = KINDS | PADDED
SHARES = ("contribution/0", "contribution/1", "total/0", "total/1", "interaction")


@pytest.fixture(scope="module")
def of_kind(tmp_path_factory):
    return cache(lambda name: measured(name, tmp_path_factory.mktemp("kind")))


def measured(name, folder, **options):
    kind = BOTH[name]
    given = SMALL | dict(kind.options) | options
    return watched(Model(kind, kind.net), loaders(name in PADDED, kind.buckets), kind.modalities, folder, **given)


def truth(name, found, maps=None):
    kind, entries = BOTH[name], data(buckets=BOTH[name].buckets)
    first, second = (entries[one] for one in kind.inputs)
    lengths = entries["length"] if kind.inputs[0] == "words" else None
    task = kind.task if maps is None else kind.further_task or kind.task
    given = (first, second, entries[kind.labels], found.groups, task, kind.score, lengths)
    maps = Maps.of(lambda *inputs: (maps or kind.maps)(found.module.net, *inputs), *given)
    return maps.scaled() if kind.scaled else maps


def named(name, values, prefix=""):
    names = dict(zip("01", BOTH[name].modalities, strict=True))
    return {
        "/".join(filter(None, (prefix, key.partition("/")[0], names.get(key.partition("/")[2])))): value
        for key, value in values.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", names(BOTH, FAST))
def test_shares_are_those_of_a_loop_over_all_positions(name, of_kind):
    found, kind = of_kind(name), BOTH[name]
    right = named(name, truth(name, found).shares())
    for prefix, maps in kind.further.items():
        right |= named(name, truth(name, found, maps).shares(), prefix)
    assert {key: found.values[key] for key in right} == pytest.approx(right, rel=0, abs=kind.exact)


@pytest.mark.slow
@pytest.mark.parametrize("name", names(BOTH, FAST, lambda kind: kind.score))
def test_the_score_is_that_of_all_labelled_positions(name, of_kind):
    found, kind = of_kind(name), BOTH[name]
    entries = data(buckets=kind.buckets)
    first, second = (entries[one] for one in kind.inputs)
    given = (first, second, entries[kind.labels], found.groups, kind.task)
    maps = Maps.of(lambda *inputs: kind.maps(found.module.net, *inputs), *given)
    assert found.values["score"] == pytest.approx(maps.real_score(kind.score), abs=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("name", names(BOTH, FAST))
def test_the_training_is_the_same_and_nothing_is_warned_of(name, of_kind):
    found = of_kind(name)
    assert found.same
    assert found.steps == 2
    assert [text for text in found.warned if not (BOTH[name].expects and BOTH[name].expects in text)] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"predict": called}, {"target": "large"}], ids=["observed", "predict=", "target="]
)
def test_what_is_offered_for_maps_without_labels_works_when_it_is_pasted(options, tmp_path):
    kind = PositionsKind(unseen, larger, "large", forward=pixels)
    given = Model(kind, kind.net), loaders(), kind.modalities, tmp_path
    _, said = attempted(*given, **SMALL, **options)
    found, again = attempted(*given, **SMALL, **options | offered(said))
    assert again == ""
    assert found.monitor._fit_session.probe.schema.target == options.get("target", "kind")
    assert found.values["total/radar"] > 0


def test_components_of_the_truth_are_those_in_loops():
    grid, splits = np.random.default_rng(0).normal(size=(8, 8, 2)), half_splits(8, 3, 0).numpy()
    np.testing.assert_allclose(_split_components(grid, splits), slow.split_components(grid, splits), atol=1e-12)


def error_of_seed(name, seed, folder, **options):
    """Return how far the total effects are from those of all positions of the same groups."""
    kind = BOTH[name]
    monitor = MultimodalMonitor(kind.modalities, seed=seed, **SMALL, **options)
    module = Model(kind, kind.net)
    trainer(folder, monitor).validate(module, loaders(name in PADDED, kind.buckets)[1], verbose=False)
    session = monitor._run.session
    found = Watched(monitor, module, {}, [], same=True, steps=0, session=session)
    right = named(name, truth(name, found).shares(seed))
    return [monitor.history[-1].values[key] - value for key, value in right.items()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), [("two sensors", {"positions": 3}), ("with void", {}), ("ragged tokens", {})]
)
def test_a_sample_of_positions_is_unbiased_over_seeds(name, options, tmp_path):
    errors = np.array([error_of_seed(name, seed, tmp_path, **options) for seed in range(40)])
    bias, noise = errors.mean(0), errors.std(0, ddof=1) / np.sqrt(len(errors))
    assert (np.abs(bias) < 3 * noise + 1e-6).all(), (bias, noise)
