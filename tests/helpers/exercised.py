"""A reader who tries everything on a page: opens, chooses, types, and scrolls."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

EVERYTHING = """async (rounds) => {
  const soon = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const all = (which) => [...document.querySelectorAll(which)];
  let done = 0;
  for (let round = 0; round < rounds; round++) {
    for (const fold of all("details")) { fold.open = true; }
    await soon();
    for (const one of all("main section, main figure, main canvas")) { one.scrollIntoView(); }
    await soon();
    for (const choice of all("input[type=radio], input[type=checkbox]").slice(0, 60)) {
      if (choice.isConnected && !choice.disabled) { choice.click(); done++; }
    }
    await soon();
    for (const list of all("select")) {
      for (const value of [...list.options].slice(0, 4)) {
        if (!list.isConnected) break;
        list.selectedIndex = value.index;
        list.dispatchEvent(new Event("change", { bubbles: true }));
        done++;
      }
    }
    await soon();
    for (const range of all("input[type=range]")) {
      for (const value of [range.min, range.max]) {
        range.value = value;
        range.dispatchEvent(new Event("input", { bubbles: true }));
        done++;
      }
    }
    for (const button of all("main button, header button, #bar button").slice(0, 80)) {
      if (button.isConnected && !button.disabled) { button.click(); done++; }
    }
    await soon();
    for (const plot of all("[role=slider]")) {
      for (const key of ["Home", "ArrowRight", "ArrowLeft", "End", "+", "Escape"]) {
        plot.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
        done++;
      }
    }
    await soon();
  }
  return done;
}"""


def exercise(page: "Page", rounds: int = 2) -> int:
    """Open all folds, choose all options, press all buttons and keys; return how many things were done."""
    return int(page.evaluate(EVERYTHING, rounds))


ODD = """() => [
  ...[...document.querySelectorAll("iframe, object, embed, form, base, audio, video, style + style")],
  ...[...document.querySelectorAll("script")].filter((one) => one.id !== "data").slice(1),
  ...[...document.querySelectorAll("img")].filter((one) => !/^data:image[/]webp|^[^:]*$/.test(one.getAttribute("src"))),
  ...[...document.querySelectorAll("a")].filter((one) => !one.getAttribute("href").startsWith("#")),
  ...[...document.querySelectorAll("*")].filter((one) => [...one.attributes].some(({ name }) => name.startsWith("on"))),
].map((one) => one.outerHTML.slice(0, 200))"""


def odd_elements(page: "Page") -> list[str]:
    """Return the elements that no report has: they came from a text."""
    return list(page.evaluate(ODD))
