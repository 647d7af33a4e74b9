"""Screenshots of the report page: two trainings of the OpenMoji example, one of them with mixed-up pictures.

    python tests/benchmarks/report_screenshots.py [--runs FOLDER] [--output examples/pictures]

Trains for two minutes on two cores, unless ``--runs`` holds the runs of an earlier call. Needs Chromium and playwright.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.browsers import chromium, watched
from PIL import Image

from mviz_lightning import report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
RUNS = {"healthy": [], "mixed-up": ["--mix-up-pictures"]}
"""Name of the run -> arguments of the example."""

LARGEST = 250_000
"""Largest size of a screenshot in bytes."""


@dataclass(frozen=True)
class Shot:
    """One picture.

    Attributes:
        name: Name of the file.
        runs: Names of the runs on the page.
        section: Id of the section that it begins with; ``""`` is the top of the page.
        context: Arguments of the browser's context.
    """

    name: str
    runs: tuple[str, ...]
    section: str
    context: dict[str, Any]


WIDE, TALL, NARROW = {"width": 1200, "height": 900}, {"width": 1200, "height": 1500}, {"width": 390, "height": 844}

SHOTS = (
    Shot("report_light", ("healthy",), "", {"viewport": WIDE}),
    Shot("report_dark", ("healthy",), "examples", {"viewport": WIDE, "color_scheme": "dark"}),
    Shot("report_narrow", ("healthy",), "", {"viewport": NARROW, "device_scale_factor": 2}),
    Shot("report_comparison", ("healthy", "mixed-up"), "comparison", {"viewport": WIDE}),
    Shot("report_alarm", ("mixed-up",), "", {"viewport": TALL}),
)


def train(folder: Path) -> None:
    """Run the example once for each run that the folder lacks."""
    for name, arguments in RUNS.items():
        if not (folder / name).exists():
            command = [sys.executable, str(ROOT / "examples/openmoji.py"), "--output", str(folder / name), *arguments]
            subprocess.run(command, check=True)


def page_of(folder: Path, names: tuple[str, ...]) -> Path:
    """Write the page of some runs."""
    runs = [found for name in names for found in report.find_runs(folder / name)]
    return report.write_page(runs, folder / f"{'-'.join(names)}.html")


@contextmanager
def shown(browser: "Browser", folder: Path, shot: Shot) -> "Iterator[Page]":
    """Open a page at the section of a picture."""
    with watched(browser, page_of(folder, shot.runs), **shot.context) as page:
        if shot.section:
            page.evaluate("id => document.getElementById(id).scrollIntoView()", shot.section)
        page.wait_for_timeout(500)
        yield page


def save(pixels: bytes, path: Path) -> int:
    """Write a picture with a palette of 256 colours, and return its size in bytes."""
    picture = Image.open(BytesIO(pixels)).convert("RGB")
    picture.quantize(256, Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)
    return path.stat().st_size


def main() -> None:
    """Train, write the pages, and take the pictures."""
    parser = argparse.ArgumentParser(description="Take screenshots of the report page.")
    parser.add_argument("--runs", type=Path, help="folder of the trainings; they are kept there")
    parser.add_argument("--output", type=Path, default=ROOT / "examples/pictures")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, chromium() as browser:
        folder = given.runs or Path(temporary)
        train(folder)
        for shot in SHOTS:
            with shown(browser, folder, shot) as page:
                size = save(page.screenshot(), given.output / f"{shot.name}.png")
            print(f"{shot.name}.png: {size / 1e3:.0f} kB")
            if size > LARGEST:
                sys.exit(f"{shot.name}.png is larger than {LARGEST / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
