"""Every head of a model is measured under its name, with its own task, labels and score."""

from functools import cache

import pytest
from helpers.tally import Tally
from outputs.heads import FAST, KINDS, MODALITIES, NUMBER, SMALL, HeadsKind, Model, called, data, loaders, scores
from outputs.watching import attempted, names, watched

ESTIMATES = ("contribution", "total", "interaction", "score", "emap_score", "emap_gap", "perceptual", "flips")
NAMES = {"0": "image", "1": "text"}


@pytest.fixture(scope="module")
def of_kind(tmp_path_factory):
    return cache(lambda name: measured(name, tmp_path_factory.mktemp("kind")))


def measured(name, folder):
    kind = KINDS[name]
    return watched(Model(kind), loaders(), MODALITIES, folder, **SMALL, **kind.options)


def expected(kind, found):
    """Return the values of all heads, in loops over pairs of examples."""
    values = {}
    for prefix, head in kind.heads.items():
        grids = head.truth(found.module, data(), found.groups)
        for key, value in (grids.shares() | grids.decided()).items():
            place, _, modality = key.partition("/")
            values["/".join(filter(None, (prefix, place, NAMES.get(modality))))] = value
    return values


def estimates(values):
    """Return the values that are no bound of an interval and no alarm."""
    return {key: value for key, value in values.items() if any(part in ESTIMATES for part in key.split("/"))}


@pytest.mark.slow
@pytest.mark.parametrize("name", names(KINDS, FAST))
def test_every_head_has_the_values_of_loops_over_its_pairs(name, of_kind):
    found = of_kind(name)
    right = expected(KINDS[name], found)
    assert estimates(found.values).keys() == right.keys()
    assert estimates(found.values) == pytest.approx(right, rel=0, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", names(KINDS, FAST))
def test_the_training_is_the_same_and_nothing_is_warned_of(name, of_kind):
    found = of_kind(name)
    assert found.same
    assert found.steps == 3
    assert [text for text in found.warned if not (KINDS[name].expects and KINDS[name].expects in text)] == []


@pytest.mark.slow
def test_heads_that_read_one_modality_depend_on_it_alone(of_kind):
    values = of_kind("four heads").values
    assert values["colour/total/image"] == pytest.approx(1, abs=1e-9)
    assert values["colour/total/text"] == pytest.approx(0, abs=1e-9)
    assert values["size/total/text"] == pytest.approx(1, abs=1e-9)
    assert values["size/total/image"] == pytest.approx(0, abs=1e-9)
    assert min(values["total/image"], values["total/text"]) > 0.3


def test_every_head_has_the_keys_of_a_model_with_that_head_alone(of_kind):
    values = of_kind("four heads").values
    main = {key for key in values if not key.startswith(("colour/", "size/", "twist/"))}
    for name in ("colour", "twist"):
        assert {key.removeprefix(f"{name}/") for key in values if key.startswith(f"{name}/")} == main
    classified = {key for key in main if not key.startswith("flips/")}
    assert {key.removeprefix("size/") for key in values if key.startswith("size/")} == classified


@pytest.mark.slow
def test_one_evaluation_serves_all_heads(tmp_path):
    rows = Tally()

    def counted(net, image, text):
        rows.seen.append(len(image))
        return scores("kind", "colour", "size", "twist")(net, image, text)

    def chunks_of(step, folder):
        rows.seen.clear()
        found = watched(
            Model(HeadsKind(step, {}, forward=counted)), loaders(), MODALITIES, folder, **SMALL, reuse=False
        )
        assert found.monitor.history[-1].values["rows"] == 2 * 12 * 12
        return [count for count in rows.seen if count > NUMBER]  # without the few rows on which each head is tried

    one = chunks_of(called(lambda found: {"kind": found["kind"]}), tmp_path / "one")
    assert sum(one) > 2 * 12 * 11
    assert chunks_of(called(dict), tmp_path / "four") == one


def of_heads(heads, folder, name="four heads"):
    return watched(Model(KINDS[name]), loaders(), MODALITIES, folder, **SMALL, heads=heads)


def test_a_head_that_is_chosen_alone_is_the_main_one(tmp_path):
    found = of_heads(["colour"], tmp_path)
    right = expected(HeadsKind(KINDS["four heads"].step, {"": KINDS["four heads"].heads["colour"]}), found)
    assert estimates(found.values) == pytest.approx(right, rel=0, abs=1e-6)


@pytest.mark.slow
def test_of_chosen_heads_the_main_one_has_no_prefix(tmp_path, of_kind):
    found, everything = of_heads(["twist", "kind"], tmp_path), of_kind("four heads").values
    assert found.values == {key: value for key, value in everything.items() if not key.startswith(("size/", "colour/"))}


def test_a_chosen_head_that_does_not_exist_is_refused_with_the_names_there_are(tmp_path):
    _, ended = attempted(Model(KINDS["four heads"]), loaders(), MODALITIES, tmp_path, **SMALL, heads=["hue"])
    assert ended.startswith("ConfigurationError")
    for name in ("hue", "kind", "colour", "size", "twist"):
        assert name in ended


def said(caplog):
    return [one.message for one in caplog.records if "outputs: self" in one.message]


@pytest.mark.slow
def test_one_line_of_the_log_lists_all_heads(tmp_path, caplog):
    with caplog.at_level("INFO"):
        measured("four heads", tmp_path)
    (line,) = said(caplog)
    for part in ("colour", "size", "twist", "regression", "multiclass", 'batch["colour"]', 'batch["size"]'):
        assert part in line
    assert "not measured" not in line
