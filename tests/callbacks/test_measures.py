"""Measures of other papers in a training: what is logged, what it costs, and what is refused."""

from itertools import product

import pytest
import torch
from helpers.toy import Toy, fit, loader, monitor, trainer

from mviz_lightning import ConfigurationError, explain
from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.testing import Additive, Product

MEASURES = ["shapley", "intershap", "mm_shap"]
NINE = {"group_size": 36, "num_examples": 72}
THREE = {"modalities": dict(zip(("image", "text", "audio"), "012", strict=True)), "target": "3", "group_size": 12}


def batch(*sizes: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(256, size, generator=generator) for size in sizes)


def report(model, *sizes, **settings):
    """Explain a model of modalities ``a``, ``b``, and so on, with known answers."""
    names = dict(zip("abcdefghi", map(str, range(len(sizes))), strict=False))
    return explain(model, [batch(*sizes)], modalities=names, task="regression", **settings)


def fit_three(folder, watch, **settings):
    sizes = (4, 3, 2)
    torch.manual_seed(0)
    chosen = trainer(folder, watch, **settings)
    chosen.fit(Toy(sizes), loader(shuffle=True, sizes=sizes), loader(seed=1, sizes=sizes))
    return chosen


def keys(*names):
    shares = [f"shapley/{name}" for name in names] + ["intershap"]
    bounds = {bound_name(key, side) for key, side in product(shares, ("low", "high"))}
    return {*shares, *bounds, *(f"mm_shap/{name}" for name in names)}


def without_cost(values, names=()):
    return {k: v for k, v in values.items() if k not in {"seconds", "rows", "overhead", *keys(*names)}}


@pytest.mark.slow
def test_a_training_logs_them_beside_the_same_shares(tmp_path):
    plain, watch = monitor(), monitor(measures=MEASURES)
    fit(tmp_path / "plain", plain)
    logged = fit(tmp_path / "measured", watch).callback_metrics
    assert {f"mviz/{key}" for key in keys("image", "text")} <= set(logged)
    for row, expected in zip(watch.history, plain.history, strict=True):
        assert without_cost(row.values, ("image", "text")) == without_cost(expected.values)
        assert sum(row.values[f"shapley/{name}"] for name in ("image", "text")) == pytest.approx(1)
    assert sum(watch.history[0].values[f"mm_shap/{name}"] for name in ("image", "text")) == pytest.approx(1)


def test_by_default_there_are_none(tmp_path):
    watch = monitor()
    fit(tmp_path, watch, max_epochs=1)
    assert not keys("image", "text") & set(watch.history[0].values)
    assert "SHAP" not in str(watch.history)


def test_the_history_and_the_summary_show_them(tmp_path):
    watch = monitor(measures=["intershap", "shapley"])
    fit(tmp_path, watch, max_epochs=1)
    header, line = str(watch.history).splitlines()[:2]  # then the advice on num_examples
    for title in ("InterSHAP", "image Shapley", "text Shapley"):
        assert title in header
    assert f"{watch.history[0].values['intershap']:.3f}" in line
    assert "InterSHAP" in (tmp_path / "mviz" / "version_0" / "summary.md").read_text()


def test_a_report_shows_them():
    found = report(Product(), 3, 3, measures=MEASURES)
    lines = str(found).splitlines()
    assert [line.partition(":")[0] for line in lines[4:7]] == ["Shapley", "InterSHAP", "MM-SHAP"]
    assert keys("a", "b") <= set(found.values)


@pytest.mark.long
@pytest.mark.parametrize("sizes", [(3, 3), (3, 3, 3), (3, 3, 3, 3, 3)])
def test_known_answers_come_through(sizes):
    names = "abcde"[: len(sizes)]
    torch.manual_seed(0)
    additive = report(Additive(sizes), *sizes, measures=["intershap", "shapley"]).values
    assert additive["interaction"] == pytest.approx(0, abs=1e-6)
    assert additive["intershap"] == pytest.approx(0, abs=1e-5)
    interacting = report(Product(), *sizes, measures=["shapley"]).values
    for name in names:
        assert interacting[f"shapley/{name}"] == pytest.approx(1 / len(sizes), abs=0.13)


# -- Cost --------------------------------------------------------------------------------------------------------------


def test_two_modalities_take_no_further_rows():
    sizes = (3, 3)
    assert report(Product(), *sizes, measures=["intershap", "shapley"]).rows == report(Product(), *sizes).rows


@pytest.mark.slow
def test_three_take_further_rows_which_are_counted(tmp_path):
    few, more = (
        fit_three_rows(tmp_path / name, **said) for name, said in (("few", {}), ("more", {"measures": ["shapley"]}))
    )
    # 24 examples: up to 28 rows each, less those that the shares evaluate too.
    assert few < more <= few + 24 * 28


def fit_three_rows(folder, **settings):
    watch = monitor(**THREE | settings, num_examples=24)
    fit_three(folder, watch, max_epochs=1)
    return watch.history[0].values["rows"]


def test_a_budget_counts_them_and_takes_fewer_groups():
    rows = report(Product(), 3, 3, 3, measures=["shapley"]).rows
    half = report(Product(), 3, 3, 3, measures=["shapley"], budget=rows // 2)
    assert half.examples == 64
    assert half.rows == rows // 2


def test_a_budget_without_room_for_mm_shap_leaves_it_out():
    found = report(Product(), 3, 3, measures=["mm_shap"], budget=2048)
    assert "mm_shap was left out: it takes" in found.notes
    assert "mm_shap/a" not in found.values


# -- What is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"measures": ["intershapp"]},
            r"measures=\['intershapp'\]: there is no 'intershapp'; choose from \['shapley', ",
        ),
        ({"measures": "shapley"}, r"measures='shapley': give a list, measures=\['shapley'\]\.$"),
        ({"measures": [3]}, r"measures=\[3\]: there is no 3; choose from"),
        (
            {"measures": ["shapley"], "budget": 400, **THREE},
            r"budget=400 rows: two groups of 12 take \d+; raise the budget",
        ),
        (
            {"measures": ["intershap"], "modalities": {str(k): str(k) for k in range(9)}, **NINE},
            r"'intershap' evaluates all 2\^M coalitions, for up to 8 modalities, and there are 9; choose 'shapley'",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_at_construction(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        monitor(**settings)


def test_a_name_counts_once():
    assert monitor(measures=["shapley", "shapley"]).config.measures == ("shapley",)
