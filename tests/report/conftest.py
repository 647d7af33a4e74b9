"""One browser a worker, and the pages of stored runs, each written once."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.browsers import chromium, watched
from helpers.stored_runs import write_run

from mviz_lightning.report import write_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """The browser of this worker.

    Yields:
        A running Chromium.
    """
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a run with these arguments of ``StoredRun``, once; and return its folder."""
    folders: dict[str, Path] = {}

    def write(**options: Any) -> Path:
        key = repr(sorted(options.items()))
        if key not in folders:
            folders[key] = write_run(tmp_path_factory.mktemp("run") / "mviz", **options)
        return folders[key]

    return write


@pytest.fixture(scope="session")
def page_of(stored: Callable[..., Path]) -> Callable[..., Path]:
    """Write the page of a run with these arguments, once; and return its path."""
    pages: dict[Path, Path] = {}

    def write(**options: Any) -> Path:
        folder = stored(**options)
        if folder not in pages:
            pages[folder] = write_page([folder])
        return pages[folder]

    return write


@pytest.fixture
def look(browser: "Browser") -> "Iterator[Callable[..., Page]]":
    """Open pages; when the test ends, none of them may have complained, thrown, or asked for another address.

    Yields:
        From a path and the arguments of a playwright context to the page.
    """
    with ExitStack() as stack:
        yield lambda path, **context: stack.enter_context(watched(browser, path, **context))


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core, which looks for what hinders people with screen readers, keyboards or weak eyes."""
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
