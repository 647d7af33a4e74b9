"""The sections of the stages show, at every check and by every way of asking, what the files of the run hold."""

import json
from collections import Counter

import numpy as np
import pytest
from helpers.shown import lines, percent, said, signed

pytest.importorskip("playwright")

RUN = {
    "epochs": 4,
    "examples": 6,
    "explainers": ["importance", "cross_modal", "representation", "prediction", "errors"],
}
LAST = 3
"""The last epoch of the training, which every section shows first."""


def stage_lines(folder, result, epoch=LAST):
    return [
        line
        for line in lines(folder, "explanations")
        if (line["result"], line["stage"], line["epoch"]) == (result, "fit", epoch)
    ]


def first_example(found):
    named = [line for line in found if line.get("example") is not None]
    return [line for line in named if line["example"] == named[0]["example"]]


@pytest.fixture
def opened(look, page_of, stored):
    def section(name):
        page = look(page_of(**RUN))
        found = page.locator(f"#{name}")
        found.scroll_into_view_if_needed()
        found.locator(".stage > div").wait_for()
        return found, stored(**RUN)

    return section


def slide(section, place):
    section.locator("input[type=range]").first.evaluate(
        "(one, at) => { one.value = at; one.dispatchEvent(new Event('input', { bubbles: true })); }", place
    )


def strongest_pairs(line):
    """Return the pair of modalities, and row, column and weight of its eight strongest pairs of parts."""
    (pair,) = line["pairs"]
    weights = np.array(pair["weights"])
    order = sorted(np.ndindex(*weights.shape), key=lambda at: -abs(weights[at]))[:8]
    return pair, [(row, column, weights[row, column]) for row, column in order]


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [LAST, 1])
def test_modalities_share_the_importance_as_the_absolute_weights_do(opened, epoch):
    section, folder = opened("importance")
    slide(section, epoch)
    line = first_example(stage_lines(folder, "importance", epoch))[0]
    sizes = {name: np.abs(part["weights"]).sum() for name, part in line["weights"].items()}
    legend = said(section.locator(".stacked-shares .legend").first)
    for name, size in sizes.items():
        assert f"{name} {percent(size / sum(sizes.values()))}" in legend
    assert f"epoch {epoch} (step" in said(section.locator(".moment"))
    assert f"Example {line['example']}: predicted {line['predicted_name']}" in said(section.locator(".headline"))


def test_the_strongest_pairs_are_sorted_and_named(opened):
    section, folder = opened("interactions")
    line = first_example(stage_lines(folder, "cross_modal"))[0]
    (example,) = [one for one in lines(folder, "examples") if one["id"] == line["example"]]
    pair, expected = strongest_pairs(line)
    parts = [example["modalities"][pair[side]]["segments"] for side in ("first", "second")]
    shown = [said(one) for one in section.locator(".pair").all()]
    assert len(shown) == len(expected)
    for words, (row, column, weight) in zip(shown, expected, strict=True):
        assert parts[0][row] in words
        assert parts[1][column] in words
        assert words.endswith(signed(weight, 2))


@pytest.mark.slow
def test_arrow_keys_read_the_matrix(opened):
    section, folder = opened("interactions")
    line = first_example(stage_lines(folder, "cross_modal"))[0]
    (pair,) = line["pairs"]
    weights = np.array(pair["weights"])
    weights = weights if weights.shape[1] >= weights.shape[0] else weights.T
    matrix = section.locator(".matrix")
    matrix.focus()
    matrix.press("Home")
    for _ in range(len(weights)):
        matrix.press("ArrowUp")
    assert said(section.locator(".matrix-said")).endswith(signed(weights[0, 0], 2))
    matrix.press("ArrowRight")
    matrix.press("ArrowDown")
    assert said(section.locator(".matrix-said")).endswith(signed(weights[1, 1], 2))


@pytest.mark.slow
def test_features_are_counted_by_what_moves_them(opened):
    section, folder = opened("features")
    (overview,) = [line for line in stage_lines(folder, "representation") if line["feature"] is None]
    sentence = said(section.locator(".headline"))
    for kind, count in overview["counts"].items():
        words = {"constant": "never change", "multimodal": "follow several modalities"}.get(
            kind, f"follow {kind} alone"
        )
        assert f"{count} {words}" in sentence
    shown = [line for line in stage_lines(folder, "representation") if line["feature"] is not None]
    assert section.locator(".feature-card").count() == len(shown)


@pytest.mark.slow
def test_effects_of_features_add_up_below_the_waterfall(opened):
    section, folder = opened("prediction")
    line = first_example(stage_lines(folder, "prediction"))[0]
    rows = [said(one) for one in section.locator(".waterfall tbody tr").all()]
    assert [row.split()[1] for row in rows[:-1]] == [str(one["feature"]) for one in line["effects"]]
    assert rows[-1].endswith(signed(sum(one["effect"] for one in line["effects"]), 2))


@pytest.mark.slow
def test_errors_are_counted_by_class_and_in_all(opened):
    section, folder = opened("errors")
    (summary,) = [line for line in stage_lines(folder, "errors") if line.get("example") is None]
    wrong = sum(summary["counts"][name] for name in ("spoiled", "unrepaired", "misled"))
    assert f"{wrong} of {sum(summary['counts'].values())} decisions are wrong" in said(section.locator(".headline"))
    rows = {said(row.locator("th")): said(row) for row in section.locator(".classes tbody tr").all()}
    assert Counter(rows.keys()) == Counter(one["name"] for one in summary["classes"])
    for one in summary["classes"]:
        counts = [str(one["counts"][name]) for name in ("rescued", "spoiled", "unrepaired", "misled")]
        assert rows[one["name"]].split()[-5:-1] == counts


@pytest.mark.slow
def test_bars_choose_the_moment_by_key(opened):
    section, folder = opened("errors")
    bars = section.locator(".count-bars")
    bars.focus()
    bars.press("Home")
    (summary,) = [line for line in stage_lines(folder, "errors", 0) if line.get("example") is None]
    wrong = sum(summary["counts"][name] for name in ("spoiled", "unrepaired", "misled"))
    assert said(section.locator(".headline")).startswith(f"{wrong} of ")
    assert "epoch 0" in said(section.locator(".moment"))


@pytest.mark.slow
def test_sections_without_lines_are_absent_from_the_page_and_its_navigation(look, page_of):
    page = look(page_of(**RUN | {"explainers": ["errors"]}))
    assert page.locator("#errors").count() == 1
    assert page.locator("#importance, #interactions, #features, #prediction").count() == 0
    assert "Importance" not in said(page.locator("nav"))


@pytest.mark.slow
def test_the_configuration_is_copied_without_a_network(look, page_of, stored):
    page = look(page_of(**RUN), permissions=["clipboard-read", "clipboard-write"])
    button = page.locator("#configuration button")
    button.click()
    button.get_by_text("Copied").wait_for()
    description = json.loads((stored(**RUN) / "run.json").read_text(encoding="utf-8"))
    assert json.loads(page.evaluate("navigator.clipboard.readText()")) == description


@pytest.mark.slow
def test_the_cost_is_that_of_all_checks(look, page_of, stored):
    page = look(page_of(**RUN))
    rows = sum(line["values"].get("rows", 0) for line in lines(stored(**RUN), "history"))
    assert f"{rows:,.0f}" in said(page.locator("#cost"))
