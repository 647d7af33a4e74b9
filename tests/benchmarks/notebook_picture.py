"""Picture of what a notebook shows of a history: the stored output of ``examples/quick_start.ipynb``.

    PYTHONPATH=tests python tests/benchmarks/notebook_picture.py [examples/pictures/notebook_history.png]

Needs Chromium and playwright.
"""

import json
import sys
from pathlib import Path

from helpers.browsers import chromium

ROOT = Path(__file__).parents[2]
PAGE = '<body style="margin: 12px; font-family: sans-serif">{}</body>'


def shown(source: str) -> str:
    """Return the stored HTML below the first cell whose last line is ``source``."""
    notebook = json.loads((ROOT / "examples" / "quick_start.ipynb").read_text("utf-8"))
    cell = next(cell for cell in notebook["cells"] if "".join(cell["source"]).splitlines()[-1:] == [source])
    return "".join(next(output["data"]["text/html"] for output in cell["outputs"] if "data" in output))


def main() -> None:
    place = sys.argv[1] if len(sys.argv) > 1 else "examples/pictures/notebook_history.png"
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 760, "height": 420})
        page.set_content(PAGE.format(shown("history")))
        page.screenshot(path=place, full_page=True)


if __name__ == "__main__":
    main()
