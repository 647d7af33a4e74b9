"""What the report page should write, from the files of a run alone, apart from the page's own code."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Locator


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the lines of a file of a run."""
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def percent(share: float) -> str:
    """Write a share as the page does: one decimal below 10 %."""
    size = abs(100 * share)
    return f"{100 * share:.{0 if size >= 9.95 or size < 0.05 else 1}f} %".replace("-", "\u2212")


def between(low: float, high: float) -> str:
    """Write the bounds of a share."""
    return f"{percent(low).removesuffix(' %')} to {percent(high)}"


def number(value: float, digits: int = 3) -> str:
    """Write a number with this many digits, never in exponents where the page's tests need it."""
    if value == 0:
        return "0"
    decimals = 0
    while decimals < 6 and abs(value) * 10**decimals < 10 ** (digits - 1):
        decimals += 1
    return f"{value:.{decimals}f}".replace("-", "\u2212")


def signed(value: float, digits: int = 3) -> str:
    """Write a number with its sign."""
    return ("+" if value > 0 else "") + number(value, digits)


def bounded(values: dict[str, float], kind: str, name: str) -> tuple[float, float, float]:
    """Return a share and its bounds."""
    return values[f"{kind}/{name}"], values[f"{kind}_low/{name}"], values[f"{kind}_high/{name}"]


def reading(values: dict[str, float], kind: str, name: str) -> str:
    """Write a share with its interval, as charts read it out."""
    value, low, high = bounded(values, kind, name)
    return f"{name} {percent(value)} ({between(low, high)})"


def said(found: "Locator | str") -> str:
    """Return the text of an element, or a text, with plain spaces."""
    return " ".join((found if isinstance(found, str) else found.inner_text()).split())
