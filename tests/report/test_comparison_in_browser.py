"""Two runs on one page: values, differences and their intervals are those of the files."""

import math
import re

import pytest
from helpers.browsers import violations
from helpers.shown import lines, percent, said

from mviz_lightning.report import write_page

FIRST = {"epochs": 6, "examples": 3, "name": "healthy", "explainers": ["dime"]}
SECOND = FIRST | {"name": "mixed-up", "alarm": (1, None), "seed": 7, "epochs": 5}
NAMES = {
    "total/image": "image: lost without it",
    "total/text": "text: lost without it",
    "contribution/image": "image: alone",
    "interaction": "interaction",
}


@pytest.fixture(scope="module")
def both(stored, tmp_path_factory):
    folders = [stored(**FIRST), stored(**SECOND)]
    return folders, write_page(folders, tmp_path_factory.mktemp("both") / "both.html")


def at_epoch(folder, epoch):
    return next(line["values"] for line in lines(folder, "history") if line["epoch"] == epoch)


def reference(first, second, key):
    """Return the second value less the first, and its bounds: squares of half-widths of independent intervals add."""
    kind, _, of = key.partition("/")
    low, high = (f"{kind}_{side}" + (of and f"/{of}") for side in ("low", "high"))
    variance = sum(((values[high] - values[low]) / 2 / 1.96) ** 2 for values in (first, second))
    value = second[key] - first[key]
    return value, value - 1.96 * math.sqrt(variance), value + 1.96 * math.sqrt(variance)


def numbers_in(text):
    return [
        float(found.replace("\u2212", "-").replace("+", "")) for found in re.findall(r"[\u2212+]?\d+(?:[.]\d+)?", text)
    ]


def test_differences_and_intervals_equal_a_slow_reference(look, both):
    (first, second), path = both
    page = look(path)
    rows = {said(row.locator("th")): row for row in page.locator("#comparison tbody tr").all()}
    values = [at_epoch(folder, 4) for folder in (first, second)]  # the last epoch that both have
    for key, name in NAMES.items():
        cells = [said(cell).replace("95 %", "") for cell in rows[name].locator("td").all()]
        assert cells[:2] == [percent(one[key]) for one in values]
        wanted = [100 * value for value in reference(*values, key)]
        assert numbers_in(cells[2]) == pytest.approx(wanted, rel=0.06, abs=0.051)
        clear = wanted[1] > 0 or wanted[2] < 0
        assert ("not clear" in cells[-1]) is not clear


def test_sentences_name_what_differs_and_the_state(look, both):
    (first, second), path = both
    text = said(look(path).locator("#comparison"))
    value, *_ = reference(at_epoch(first, 4), at_epoch(second, 4), "total/image")
    assert f"In run B the image is used {abs(100 * value):.0f} points less than in run A" in text
    assert "The image is used in run A and collapsed in run B." in text
    assert "epoch 4" in text


@pytest.mark.slow
def test_the_run_that_is_shown_can_be_chosen(look, both):
    page = look(both[1])
    sentence = page.locator("#verdict .sentence")
    assert "collapsed" not in said(sentence)
    assert said(page.locator("#verdict .run-shown")) == "A healthy"
    page.get_by_label("mixed-up", exact=True).first.check(force=True)
    assert said(page.locator("#verdict .run-shown")) == "B mixed-up"
    assert "The model uses image least" in said(sentence)
    assert "found image collapsed" in said(sentence)
    assert page.locator("h1").inner_text() == "healthy and mixed-up"


@pytest.mark.slow
def test_the_same_example_of_both_runs_stands_side_by_side(look, both):
    page = look(both[1])
    assert page.locator("#comparison canvas").count() >= 2


@pytest.mark.slow
def test_curves_of_both_runs_are_read_out_together(look, both):
    (first, second), path = both
    plot = look(path).locator("#comparison .plot").first
    plot.scroll_into_view_if_needed()
    plot.focus()
    plot.page.keyboard.press("Home")
    read_out = said(plot.get_attribute("aria-valuetext"))
    for letter, folder in (("A", first), ("B", second)):
        assert f"{letter}: text {percent(at_epoch(folder, 0)['total/text'])}" in read_out


@pytest.mark.slow
def test_three_runs_on_a_small_telephone(look, stored, tmp_path, axe):

    third = stored(
        **FIRST | {"name": "a name of many letters " * 8, "modalities": {"image": "image", "sound": "lines"}}
    )
    path = write_page([stored(**FIRST), stored(**SECOND), third], tmp_path / "three.html")
    page = look(path, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 360
    assert violations(page, axe) == []
