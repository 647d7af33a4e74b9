"""The system's Chromium, driven by playwright, and pages that are watched: what they say, throw and ask for."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage", "--force-color-profile=srgb")
"""Chromium refuses its sandbox to root; containers have little shared memory; colours are those of the style sheet."""

LOCAL = ("file:", "data:", "about:")
"""Starts of addresses that need no network."""


def executable() -> str | None:
    """Return the path of the first browser that is there."""
    return next(filter(None, map(shutil.which, EXECUTABLES)), None)


@contextmanager
def chromium() -> "Iterator[Browser]":
    """Start a browser; without one, or without playwright, the test is skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = executable()
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(EXECUTABLES)} is on the PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Watch:
    """What a page did that a report must never do."""

    def __init__(self, page: "Page", path: Path) -> None:
        self.complaints: list[str] = []
        self._own = path.as_uri()
        page.on("console", self._told)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", self._asked)
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}") or dialog.dismiss())
        page.on("popup", lambda popup: self.complaints.append(f"window: {popup.url}"))

    def _told(self, message: "ConsoleMessage") -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    def _asked(self, request: "Request") -> None:
        beside = request.url.startswith(self._own.rpartition("/")[0])
        if not (beside or request.url.startswith("data:")):
            self.complaints.append(f"request: {request.url}")


@contextmanager
def watched(browser: "Browser", path: Path, **context: Any) -> "Iterator[Page]":
    """Open a page in a fresh profile; at the end it must not have complained, thrown, or asked for anything.

    Args:
        browser: The browser.
        path: The page.
        context: Arguments of playwright's ``new_context``, for example ``color_scheme="dark"``.

    Raises:
        AssertionError: The page wrote an error or a warning to the console, threw, asked for another address, or opened
            a dialog or a window.
    """
    profile = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **context})
    try:
        page = profile.new_page()
        page.set_default_timeout(30_000)  # on a busy machine
        watch = Watch(page, path)
        page.goto(path.as_uri())
        yield page
        if not page.is_closed():
            page.wait_for_timeout(20)
            if page.evaluate("window.hacked !== undefined"):
                watch.complaints.append("a text was run as a script")
        if watch.complaints:
            raise AssertionError("\n".join(watch.complaints))
    finally:
        profile.close()


def violations(page: "Page", axe: str) -> list[str]:
    """Return the rules of axe-core that the page breaks, each with the elements."""
    page.evaluate(axe)  # through the debugger, since the page's policy allows no other script
    found = page.evaluate("axe.run(document, {resultTypes: ['violations', 'incomplete']})")
    return [
        f"{rule['id']}: {node['target']} {node.get('failureSummary', '')}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
