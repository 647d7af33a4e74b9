"""The verdict, the curves and the alarms of a page show what the files hold."""

import pytest
from helpers.shown import between, bounded, lines, number, percent, reading, said

PLAIN = {"least_from": 3, "alarm": (7, None), "examples": 2}
ENDED = {"alarm": (3, 6), "examples": 2}
NAMES = ("image", "text")


def checks(folder):
    return [line for line in lines(folder, "history") if line["stage"] == "fit"]


def plot_of(page):
    return page.locator("#use .plot")


def places(page):
    """Return x and y of the first line's dots, in pixels of the window."""
    dots = page.locator("#use .plot svg g[clip-path] > g").first.locator("circle").all()
    boxes = [dot.bounding_box() for dot in dots]
    return [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes]


def ticks(page):
    return page.locator("#use .plot text.tick[text-anchor=middle]").all_text_contents()


def test_the_sentence_says_what_is_used_least_and_since_when(look, page_of, stored):
    page, history = look(page_of(**PLAIN)), checks(stored(**PLAIN))
    least = [min(NAMES, key=lambda name: line["values"][f"total/{name}"]) for line in history]
    first = max(k for k in range(12) if k == 0 or least[k - 1] != least[k])
    value, low, high = bounded(history[-1]["values"], "total", least[-1])
    assert (least[-1], first) == ("image", 3)
    sentence = said(page.locator("#verdict .sentence"))
    for part in ("The model uses image least", f"since epoch 3 (step {4 * 38})", percent(value), between(low, high)):
        assert part in sentence
    assert f"check of epoch 7 (step {8 * 38}) found image collapsed: swapping it changes" in sentence


def test_tiles_show_the_last_figures_and_states(look, page_of, stored):
    page, values = look(page_of(**PLAIN)), checks(stored(**PLAIN))[-1]["values"]
    tiles = {tile.locator("h3").inner_text(): said(tile) for tile in page.locator(".tile").all()}
    assert list(tiles) == ["image", "text", "interaction", "score"]
    for name, state in zip(NAMES, ("collapsed found at epoch 7", "used at every check"), strict=True):
        value, low, high = bounded(values, "total", name)
        for part in (percent(value), between(low, high), state, percent(values[f"flips/{name}"])):
            assert part in tiles[name]
    assert percent(values["interaction"]) in tiles["interaction"]
    assert number(values["score"]) in tiles["score"]
    assert number(values["emap_score"]) in tiles["score"]


@pytest.mark.slow
def test_the_choice_of_curves_changes_what_is_read_out(look, page_of, stored):
    page, values = look(page_of(**PLAIN)), checks(stored(**PLAIN))[-1]["values"]
    for choice, kind in (("Total effect", "total"), ("Alone", "contribution")):
        page.get_by_label(choice, exact=True).check(force=True)
        read_out = said(plot_of(page).get_attribute("aria-valuetext"))
        assert read_out.startswith("epoch 11 (step 456): ")
        assert all(reading(values, kind, name) in read_out for name in NAMES)
    page.get_by_label("Score", exact=True).check(force=True)
    assert f"score {number(values['score'])}" in plot_of(page).get_attribute("aria-valuetext")
    page.get_by_label("Step", exact=True).check(force=True)
    assert int(ticks(page)[-1]) > 300


@pytest.mark.slow
def test_hovering_shows_the_values_with_their_intervals(look, page_of, stored):
    page, history = look(page_of(**PLAIN)), checks(stored(**PLAIN))
    plot_of(page).scroll_into_view_if_needed()
    for epoch in (2, 9):
        page.mouse.move(*places(page)[epoch])
        tip = said(page.locator("#use .tip"))
        assert tip.startswith(f"epoch {epoch} (step {(epoch + 1) * 38})")
        for name in NAMES:
            value, low, high = bounded(history[epoch]["values"], "total", name)
            assert f"{name} {percent(value)} {between(low, high)}" in tip
    page.mouse.move(5, 5)
    assert page.locator("#use .tip").is_hidden()


def test_a_drag_zooms_and_escape_double_click_and_a_button_go_back(look, page_of):
    page = look(page_of(**PLAIN))
    plot, back = plot_of(page), page.locator("#use").get_by_role("button", name="Show all")
    plot.scroll_into_view_if_needed()
    whole = ticks(page)
    ways = (lambda: page.keyboard.press("Escape"), lambda: page.mouse.dblclick(x, y), back.click)
    for reset in ways:
        x, y = places(page)[3]
        page.mouse.move(x - 6, y)
        page.mouse.down()
        page.mouse.move(places(page)[6][0] + 6, y + 40, steps=4)
        page.mouse.up()
        assert [int(tick) for tick in ticks(page) if tick.isdigit()] == [3, 4, 5, 6]
        assert back.is_visible()
        plot.focus()
        reset()
        assert ticks(page) == whole
        assert back.is_hidden()


@pytest.mark.slow
def test_arrows_move_from_check_to_check(look, page_of):
    page = look(page_of(**PLAIN))
    plot_of(page).focus()
    moved = []
    for key in ("Home", "ArrowRight", "ArrowRight", "End", "ArrowLeft", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
        moved.append(plot_of(page).get_attribute("aria-valuetext").partition(" (")[0])
    assert moved == [f"epoch {epoch}" for epoch in (0, 1, 2, 11, 10, 11, 11)]
    assert plot_of(page).get_attribute("aria-valuenow") == "11"


def test_an_alarm_stands_on_the_axis_with_its_whole_text(look, page_of, stored):
    page, alerts = look(page_of(**ENDED)), lines(stored(**ENDED), "alerts")
    plot_of(page).scroll_into_view_if_needed()
    markers = page.locator("#use .marker")
    markers.first.wait_for()
    assert markers.count() == len(alerts) == 2
    for number_of, alert in enumerate(alerts):
        marker = markers.nth(number_of)
        assert f"{alert['title']}, epoch {alert['epoch']}" in marker.get_attribute("aria-label")
        box, (x, _) = marker.bounding_box(), places(page)[alert["epoch"]]
        assert abs(box["x"] + box["width"] / 2 - x) < 1.5
        marker.click()
        text = said(page.locator("#use .alarm-text"))
        for line in alert["text"].splitlines():
            assert line.strip().removeprefix("- ").removesuffix(":") in text


@pytest.mark.slow
def test_the_curves_are_a_table_too(look, page_of, stored):
    page, history = look(page_of(**PLAIN)), checks(stored(**PLAIN))
    page.locator("#use summary", has_text="table").click()
    rows = page.locator("#use .figures tbody tr").all_inner_texts()
    assert len(rows) == 12
    value, low, high = bounded(history[5]["values"], "total", "text")
    assert f"{percent(value)} ({between(low, high)})" in said(rows[5])
