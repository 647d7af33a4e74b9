"""Pages of other forms: pictures beside them, hidden inputs, very long trainings, on paper, in both themes."""

import pytest
from helpers.exercised import exercise
from helpers.shown import said
from helpers.stored_stages import EXPLAINERS

from mviz_lightning.report import write_page

SMALL = {"epochs": 3, "examples": 3}
DECODED = 200
"""Milliseconds after which small pictures are loaded and decoded."""


def test_pictures_beside_the_page_are_shown(look, stored, tmp_path):
    page = look(write_page([stored(**SMALL)], tmp_path / "page.html", pictures="beside"))
    page.locator("#examples").scroll_into_view_if_needed()
    assert len(list((tmp_path / "page_pictures").glob("*.webp"))) == 3
    pictures = page.locator("#examples .thumbnail")
    pictures.first.wait_for()
    page.wait_for_timeout(DECODED)
    assert pictures.evaluate_all("(all) => all.map((one) => one.naturalWidth)") == [96] * 3
    assert '"webp":' not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_inputs_that_were_not_kept_are_not_on_the_page(look, page_of):
    path = page_of(**SMALL, show_inputs=False, explainers=list(EXPLAINERS))
    page = look(path)
    exercise(page, rounds=1)
    assert page.locator("img").count() == 0
    assert "show_inputs=False" in said(page.locator("#examples"))
    text = page.evaluate("document.body.textContent")
    assert "word 1" in text
    assert "orange" not in text + path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_theme_is_that_of_the_system_until_a_button_changes_it(look, page_of):
    ground = "getComputedStyle(document.body).backgroundColor"
    grounds = {scheme: look(page_of(**SMALL), color_scheme=scheme) for scheme in ("light", "dark")}
    light, dark = (page.evaluate(ground) for page in grounds.values())
    assert sum(map(int, light[4:-1].split(","))) > 700
    assert sum(map(int, dark[4:-1].split(","))) < 100
    page = grounds["light"]
    page.locator("#bar .theme").click()
    assert page.evaluate(ground) == dark
    page.locator("#bar .theme").click()
    assert page.evaluate(ground) == light


@pytest.mark.slow
def test_on_paper_there_are_no_controls(look, page_of):
    page = look(page_of(**SMALL))
    page.emulate_media(media="print")
    assert page.locator("#bar").is_hidden()
    assert page.locator("#verdict .tile").first.is_visible()
    assert page.pdf()[:5] == b"%PDF-"


@pytest.mark.slow
def test_a_page_of_a_hundred_epochs_is_small_and_quick(look, page_of):
    path = page_of(epochs=100, explainers=["dime"])
    assert path.stat().st_size < 5_000_000
    page = look(path)
    page.locator("figure.chart path.line").first.wait_for(state="attached")
    assert page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") < 5000


@pytest.mark.slow
def test_a_page_of_a_thousand_epochs_can_be_used(look, page_of):
    page = look(page_of(epochs=1000, explainers=["dime"]))
    assert exercise(page, rounds=1) > 0
    plot = page.locator("#use .plot")
    plot.focus()
    page.keyboard.press("End")
    assert plot.get_attribute("aria-valuetext").startswith("epoch 999")
