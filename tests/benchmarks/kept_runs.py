"""Size of the files that a run keeps, and the time to write them: 100 epochs, 16 examples of 224 x 224 and 20 words.

    python tests/benchmarks/kept_runs.py

Measured on 2 cores: see the last lines of the output; DIME explains two outputs of each example.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from mviz_lightning.batch import Modality
from mviz_lightning.explainers import DIME, Attribution, Explanation, OutputExplanation
from mviz_lightning.explainers.dime.result import DIMEResult
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.modalities import Image, ModalityType, Text
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.session.explanation_history import TimedResult
from mviz_lightning.session.run_archive import RunArchive

WORDS = ("red", "question", "mark", "under", "bridge", "morning", "people", "walking")


def inputs(examples: int) -> dict[str, ModalityType]:
    """Return images as detailed as photographs, and texts of 20 words."""
    random = np.random.default_rng(0)
    noise = random.random((examples, 3, 224, 224))
    smooth = sum(gaussian_filter(noise, (0, 0, size, size)) * size for size in (1, 3, 9, 27))
    images = torch.from_numpy((smooth - smooth.min()) / np.ptp(smooth)).float()
    texts = [" ".join(random.choice(WORDS, 20)) for _ in range(examples)]
    leaves: dict[str, Any] = {"image": images, "text": texts}
    kinds = {"image": Image, "text": Text}
    return {name: kind(Modality(name), leaves, name) for name, kind in kinds.items()}


def result(types: dict[str, ModalityType], examples: int) -> DIMEResult:
    def part(name: str, example: int) -> Attribution:
        unimodal, interaction = torch.randn(2, types[name].segments.count(example), dtype=torch.float64)
        return Attribution(unimodal, interaction, 0.8, 0.6)

    def output(example: int, role: str) -> OutputExplanation:
        parts = {name: part(name, example) for name in types}
        return OutputExplanation(example % 8, role, 1.234567, 1.0, 0.234567, parts, 0.01)

    return DIMEResult(
        examples=[
            Explanation(k, 10 * k, k % 8, (k + 1) % 8, 0.5, [output(k, "true"), output(k, "predicted")])
            for k in range(examples)
        ]
    )


def main() -> None:
    """Write the files of a long training; print their sizes and the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--examples", type=int, default=16)
    given = parser.parse_args()
    types = inputs(given.examples)
    drawing = DrawingContext(types, Labels("multiclass", [f"class {k}" for k in range(8)]))
    with tempfile.TemporaryDirectory() as folder:
        archive, seconds = RunArchive.at(Path(folder)), []
        for epoch in range(given.epochs):
            found = TimedResult(DIME(), result(types, given.examples), "fit", epoch, 38 * epoch)
            started = time.perf_counter()
            archive.keep(found, drawing)
            seconds.append(time.perf_counter() - started)
        sizes = {path.name: path.stat().st_size for path in sorted(Path(folder).iterdir())}
    outputs = 2 * given.examples
    told = [f"{name}: {size / 1e6:.2f} MB" for name, size in sizes.items()]
    told.append(f"first run, with the inputs: {1e3 * seconds[0]:.0f} ms, {1e3 * seconds[0] / outputs:.2f} ms an output")
    later = float(np.median(seconds[1:]))
    told.append(f"a later run: {1e3 * later:.0f} ms, {1e3 * later / outputs:.2f} ms an output")
    sys.stdout.write("\n".join([*told, ""]))


if __name__ == "__main__":
    main()
