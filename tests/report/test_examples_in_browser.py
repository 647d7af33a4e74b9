"""The browser of examples shows, at every check, the numbers and the maps that the files hold."""

import re
from collections import defaultdict

import numpy as np
import pytest
from helpers.shown import lines, number, said, signed

expect = pytest.importorskip("playwright.sync_api").expect
PLAIN = {"examples": 6, "explainers": ["dime", "errors"]}
DRAWN = 40
"""Milliseconds after which a picture in the page is decoded and drawn."""


def explained(folder):
    """Return example -> epoch -> the explained outputs of the training, in order."""
    found = defaultdict(lambda: defaultdict(list))
    for line in lines(folder, "explanations"):
        if line["result"] == "dime" and line["stage"] == "fit":
            found[line["example"]][line["epoch"]].append(line)
    return found


@pytest.fixture
def opened(look, page_of, stored):
    page = look(page_of(**PLAIN))
    page.locator("#examples").scroll_into_view_if_needed()
    return page, explained(stored(**PLAIN))


def choose(page, example):
    page.locator("#examples .card", has_text=re.compile(rf"^{example} ")).locator("input").check(force=True)


def slide(page, epoch):
    page.locator("#examples .slider").evaluate(
        "(one, at) => { one.value = at; one.dispatchEvent(new Event('input', { bubbles: true })); }", epoch
    )


def chips(page, column):
    """Return the words with their weights in one of the maps of the text."""
    return [said(chip) for chip in page.locator("#examples .words.weighed").nth(column).locator("li").all()]


def predicted(found):
    return next(line for line in found if "predicted" in line["role"])


def followed(truth, example, epoch):
    """Return the output that the page shows at an epoch: of the role that the last prediction has."""
    role = predicted(truth[example][11])["role"].split(" and ")[0]
    return next(line for line in truth[example][epoch] if role in line["role"].split(" and "))


def test_choosing_and_sliding_shows_the_numbers_of_the_files(opened):
    page, truth = opened
    for example in list(truth)[:3]:
        choose(page, example)
        assert f"Example {example}" in said(page.locator("#examples .example-title"))
        for epoch in (0, 5, 11):
            slide(page, epoch)
            line = followed(truth, example, epoch)
            assert f"epoch {epoch} (step {line['step']})" in said(page.locator("#examples .player"))
            values = [float(text.replace("\u2212", "-")) for text in re.findall(r"[\u2212]?\d+[.]\d+", sum_of(page))]
            expected = [line["value"], line["uc"], abs(line["mi"]), 1.96 * line["error"]]
            assert (" \u2212 " in sum_of(page)) is (line["mi"] < 0)
            assert np.allclose(values, expected, rtol=0.006, atol=0.006)
            text = line["weights"]["text"]
            trust = said(page.locator("#examples .maps"))
            for r2 in (text["uc_r2"], text["mi_r2"], line["weights"]["image"]["uc_r2"]):
                assert f"R² {r2:.2f}" in trust


def sum_of(page):
    return said(page.locator("#examples .sum"))


@pytest.mark.slow
def test_words_carry_their_weights(opened):
    page, truth = opened
    example = list(truth)[1]
    choose(page, example)
    segments = [chip.rpartition(" ")[0] for chip in chips(page, 0)]
    assert len(segments) == len(followed(truth, example, 11)["weights"]["text"]["uc"])
    for epoch in (11, 2):
        slide(page, epoch)
        weights = followed(truth, example, epoch)["weights"]["text"]
        for column, kind in enumerate(("uc", "mi")):
            assert chips(page, column) == [f"{w} {signed(x, 2)}" for w, x in zip(segments, weights[kind], strict=True)]


@pytest.mark.slow
def test_the_curve_holds_output_uc_and_mi_and_moves_the_slider(opened):
    page, truth = opened
    example = next(iter(truth))
    choose(page, example)
    plot = page.locator("#examples .plot")
    plot.scroll_into_view_if_needed()
    plot.focus()
    for key, epoch in (("Home", 0), ("ArrowRight", 1), ("End", 11)):
        page.keyboard.press(key)
        line = followed(truth, example, epoch)
        read_out = plot.get_attribute("aria-valuetext")
        for name, value in (("output", line["value"]), ("alone (UC)", line["uc"]), ("together (MI)", line["mi"])):
            assert f"{name} {number(value)}" in read_out
        assert page.locator("#examples .slider").input_value() == str(epoch)
        assert number(line["mi"]) in sum_of(page) or number(line["mi"], 2) in sum_of(page)


COLOURS = """([canvas, rows, columns]) => {
  const { width, height } = canvas, all = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  return Array.from({ length: rows * columns }, (_, cell) => {
    const x = Math.floor((cell % columns + 0.04) * width / columns);
    const y = Math.floor((Math.floor(cell / columns) + 0.04) * height / rows);
    return [...all.slice(4 * (y * width + x), 4 * (y * width + x) + 3)];
  });
}"""
"""The colours near the upper left corner of each cell of a canvas, row by row."""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_cells_of_a_map_have_the_colours_of_their_weights(look, page_of, stored, scheme):
    hidden = PLAIN | {"show_inputs": False}
    page, truth = look(page_of(**hidden), color_scheme=scheme), explained(stored(**hidden))
    example = next(iter(truth))
    choose(page, example)
    page.wait_for_timeout(DRAWN)
    weights = np.array(followed(truth, example, 11)["weights"]["image"]["uc"])
    canvas = page.locator("#examples canvas").first.element_handle()
    colours = np.array(page.evaluate(COLOURS, [canvas, 6, 6]), dtype=float)
    strong = np.abs(weights) > 0.2 * np.abs(weights).max()
    assert {True, False} <= set((weights[np.abs(weights) > 0.01] > 0).tolist())
    redness = colours[:, 0] - colours[:, 2]
    assert (np.sign(redness[strong]) == np.sign(weights[strong])).all()
    order = np.argsort(weights)
    assert (np.diff(redness[order]) >= -12).all()  # bytes: what the steps of a palette and rounding take
    assert redness[order[-1]] > 25


@pytest.mark.slow
def test_a_map_lies_on_its_picture(opened):
    page, _ = opened
    choose(page, next(iter(explained_ids(page))))
    page.wait_for_timeout(DRAWN)
    shown = page.locator("#examples canvas").first.element_handle()
    colours = np.array(page.evaluate(COLOURS, [shown, 12, 12]), dtype=float)
    assert len(np.unique(colours.round(-1), axis=0)) > 3


def explained_ids(page):
    return [said(card).split()[0] for card in page.locator("#examples .card").all()]


@pytest.mark.slow
def test_the_colours_are_those_of_the_training_or_of_one_check(opened):
    page, truth = opened
    example = next(iter(truth))
    choose(page, example)
    slide(page, 0)
    both = {
        "training": [line for found in truth[example].values() for line in found],
        "check": truth[example][0],
    }
    limits = {}
    for which, label in (("training", "Colours of the training"), ("check", "of this check")):
        page.get_by_label(label, exact=True).check(force=True)
        role = predicted(truth[example][11])["role"].split(" and ")[0]
        parts = [line["weights"]["image"] for line in both[which] if role in line["role"].split(" and ")]
        limits[which] = max(abs(value) for part in parts for value in (*part["uc"], *part["mi"]))
        assert f"+{number(limits[which], 2)}" in said(page.locator("#examples .colour-bar").first)
    assert limits["check"] < limits["training"]


@pytest.mark.slow
def test_filters_and_orders(opened):
    page, truth = opened
    last = {example: predicted(found[11]) for example, found in truth.items()}
    assert explained_ids(page) == list(last)
    wrong = [example for example, line in last.items() if line["predicted"] != line["target"]]
    page.locator("#examples .radio", has_text="Wrong").locator("input").check(force=True)
    assert explained_ids(page) == wrong
    page.locator("#examples .radio", has_text="By interaction").locator("input").check(force=True)
    mostly = [example for example, line in last.items() if abs(line["mi"]) > abs(line["uc"])]
    assert mostly
    assert set(mostly) <= set(explained_ids(page))
    page.locator("#examples .radio", has_text="All").locator("input").check(force=True)
    page.locator("#examples select").first.select_option("most interaction")
    share = {example: abs(line["mi"]) / (abs(line["mi"]) + abs(line["uc"])) for example, line in last.items()}
    sure = {example: x * (abs(last[example]["mi"]) >= 1.96 * last[example]["error"]) for example, x in share.items()}
    assert explained_ids(page) == sorted(sure, key=lambda example: -sure[example])


@pytest.mark.slow
def test_playing_goes_through_the_checks_and_stops(opened):
    page, _ = opened
    slider, play = page.locator("#examples .slider"), page.locator("#examples .player button").first
    slide(page, 9)
    assert play.get_attribute("aria-label") == "Play the training"
    play.click()
    expect(slider).to_have_value("11")
    expect(play).to_have_attribute("aria-label", "Play the training")


@pytest.mark.slow
def test_less_motion_means_no_playing(look, page_of):
    page = look(page_of(**PLAIN), reduced_motion="reduce")
    assert page.get_by_label("Play the training").count() == 0 or page.get_by_label("Play the training").is_hidden()
    assert page.get_by_label("Next check").is_visible()


def test_everything_is_done_with_the_keyboard_alone(look, page_of, stored):
    page, truth = look(page_of(**PLAIN)), explained(stored(**PLAIN))
    page.keyboard.press("Tab")
    assert said(page.locator(":focus")) == "Skip to the content"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        found = page.evaluate(
            "(() => { const one = document.activeElement, choice = one.closest('.card') ? 'card' : '';"
            " return choice || one.className || one.getAttribute('type') || one.tagName; })()"
        )
        reached.add(found)
        if found == "card":
            page.keyboard.press("ArrowDown")
            second = list(truth)[1]
            assert f"Example {second}" in said(page.locator("#examples .example-title"))
        if found == "slider":
            page.keyboard.press("ArrowLeft")
            assert "epoch 10 " in said(page.locator("#examples .player"))
            break
    assert {"card", "slider", "plot"} <= reached
