"""Size of a report's page, and how long it takes to write and to open; beside them, its maps as PNG pictures.

    python tests/benchmarks/report_page.py [--epochs 12 100 1000]

Runs are drawn from a seed, with DIME of 16 examples at every epoch. Opening is timed in a headless Chromium, the median
of five: until the document is there (DOMContentLoaded), and until the first charts are on the screen.
"""

import argparse
import gzip
import logging
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gallery import Task
from helpers.browsers import chromium
from helpers.stored_runs import write_run

from mviz_lightning.explainers import DIME
from mviz_lightning.report import write_page

REPEATS = 5
DRAWN = """() => new Promise((done) => {
  const wait = () => document.querySelector("figure.chart svg path.line")
    ? requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))) : setTimeout(wait, 1);
  wait();
})"""
"""Milliseconds from the start of the navigation until the first chart was painted."""

READY = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"


@dataclass(frozen=True)
class Opened:
    """How long a page took to open, in milliseconds."""

    ready: float
    drawn: float


def opened(path: Path) -> Opened:
    """Open a page several times, each in a fresh profile."""
    times = []
    with chromium() as browser:
        for _ in range(REPEATS):
            profile = browser.new_context(viewport={"width": 1200, "height": 900})
            page = profile.new_page()
            page.goto(path.as_uri(), wait_until="commit")
            drawn_at = page.evaluate(DRAWN)
            times.append(Opened(page.evaluate(READY), drawn_at))
            profile.close()
    return Opened(*(statistics.median(each) for each in zip(*((one.ready, one.drawn) for one in times), strict=True)))


def picture_size(folder: Path) -> float:
    """Return the mean bytes of DIME's PNG pictures of a small model of image and text."""
    task = Task.of(["image", "text"])
    task.train(90)
    task.report(DIME(num_examples=4)).save(folder)
    return statistics.mean(file.stat().st_size for file in folder.rglob("example_*.png"))


def cases(epochs: list[int], folder: Path) -> Iterator[tuple[str, list[Path], int]]:
    """Yield a name, the folders of the runs, and how often each of 16 examples is explained."""
    for count in epochs:
        plain = write_run(folder / str(count), epochs=count, explainers=["dime"])
        yield f"{count:,} epochs x 16 examples", [plain], count
    full = {"explainers": ["dime", "importance", "cross_modal", "representation", "prediction", "errors", "ranking"]}
    both = [write_run(folder / name, epochs=12, seed=seed, name=name, **full) for seed, name in enumerate("ab")]
    yield "two runs, 12 epochs, all explainers", both, 24


def main() -> None:
    """Print a line a case."""
    parser = argparse.ArgumentParser(description="Sizes and load times of the report page.")
    parser.add_argument("--epochs", type=int, nargs="*", default=[12, 100, 1000])
    given = parser.parse_args()
    logging.getLogger("mviz_lightning").setLevel(logging.ERROR)  # of the small model of the pictures
    print(f"{'run':38} {'page':>9} {'gzipped':>9} {'written':>9} {'document':>9} {'charts':>9} {'as PNG':>10}")
    with tempfile.TemporaryDirectory() as folder:
        picture = picture_size(Path(folder) / "pictures")
        for name, runs, times_explained in cases(given.epochs, Path(folder)):
            start = time.perf_counter()
            path = write_page(runs, Path(folder) / "page.html")
            written, data, times = time.perf_counter() - start, path.read_bytes(), opened(path)
            print(
                f"{name:38} {len(data) / 1e6:6.2f} MB {len(gzip.compress(data)) / 1e6:6.2f} MB {written:7.2f} s "
                f"{times.ready:6.0f} ms {times.drawn:6.0f} ms {16 * times_explained * picture / 1e6:7.1f} MB"
            )


if __name__ == "__main__":
    main()
