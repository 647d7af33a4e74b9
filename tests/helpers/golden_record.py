"""What a whole run leaves behind, as plain data, to compare two versions of the code.

``python tests/helpers/golden_record.py`` writes the records anew. Do that only when a change is meant to change what
users see.
"""

import csv
import json
import os
import platform
import re
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import wandb
from helpers.toy import trainer
from helpers.wandb_file import history
from lightning.pytorch import LightningModule, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mviz_lightning import Modality, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "tests" / "golden"

CLOCK = {"seconds", "overhead"}
"""Values that depend on the clock."""

SLOW = "runs in a row took more than"
"""Part of a warning that depends on the clock; the record does not count it."""

GRID = 8
"""A picture is summed up as so many rows and columns of mean grey levels."""

NUMBER = re.compile(r"-?(?:\d+\.\d+|\.\d+)(?:e-?\d+)?")
"""A decimal fraction inside a text."""

Found = dict[str, Any]


def machine() -> Found:
    """Return what the last digits of a float32 training depend on."""
    return {"torch": torch.__version__, "kernels": torch.backends.cpu.get_cpu_capability(), "cpu": _cpu()}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    told = info.read_text().partition("\n\n")[0] if info.exists() else ""
    return " ".join(re.findall(r"(?:model|cpu family|model name)\t*: (.+)", told)) or platform.processor()


def left_behind(folder: Path) -> Found:
    """Return what a run with TensorBoard and an offline W&B run left in a folder."""
    files = folder / "version_0" / "mviz"
    events = EventAccumulator(str(folder / "version_0"), size_guidance={"images": 0, "tensors": 0, "scalars": 0})
    events.Reload()
    tags = events.Tags()
    steps = {"scalars": events.Scalars, "images": events.Images, "audio": events.Audio, "tensors": events.Tensors}
    return {
        "rows": [_timeless(json.loads(line)) for line in (files / "history.jsonl").read_text().splitlines()],
        "files": sorted(str(path.relative_to(files)) for path in files.rglob("*") if path.is_file()),
        "tags": {
            sort: {tag: [e.step for e in read(tag)] for tag in sorted(tags[sort])} for sort, read in steps.items()
        },
        "wandb": [_kinds(row) for row in history(folder)],
        "tables": {
            str(path.relative_to(files)): list(csv.reader(path.read_text().splitlines()))
            for path in sorted(files.rglob("*.csv"))
        },
        "texts": {str(path.relative_to(files)): _without_clock(path) for path in sorted(files.rglob("*.md"))},
        "pictures": {str(path.relative_to(files)): _summary(path) for path in sorted(files.rglob("*.png"))},
    }


def _timeless(row: Found) -> Found:
    return row | {"values": {key: value for key, value in row["values"].items() if key not in CLOCK}}


def _kinds(row: Found) -> dict[str, str]:
    """Return what sort of value a row of W&B has under each of our keys."""
    ours = {key: value for key, value in row.items() if key.startswith("mviz/")}
    media = {key.removesuffix("._type"): value for key, value in ours.items() if key.endswith("._type")}
    return media | {key: "number" for key in ours if key.split(".")[0] not in media}


def _without_clock(path: Path) -> list[str]:
    """Return a text's lines; a history's last columns tell seconds."""
    return [re.sub(r"\s+\d+\.\d+ s\b.*$", "", line) for line in path.read_text().splitlines()]


def _summary(path: Path) -> Found:
    pixels = np.asarray(Image.open(path).convert("L"), dtype=float)
    cells = [np.array_split(band, GRID, 1) for band in np.array_split(pixels, GRID, 0)]
    return {"size": pixels.shape[::-1], "grey": [" ".join(f"{cell.mean():.1f}" for cell in row) for row in cells]}


class Scene(LightningModule):
    """A picture, a sentence and a table, with an interaction between the first two."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 8), nn.Tanh())
        self.words = nn.Embedding(20, 8)
        self.table = nn.Linear(4, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, picture: Tensor, words: Tensor, table: Tensor) -> Tensor:
        seen, read, known = self.picture(picture), self.words(words).mean(1), self.table(table)
        return self.head(torch.tanh(seen + read + known + seen * read))

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch["picture"], batch["words"], batch["table"]), batch["label"])

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        self.log("val_loss", self.training_step(batch, 0), batch_size=len(batch["label"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.2)


class Scenes(TensorDataset):
    """Scenes made by a seeded generator; the table tells nothing."""

    def __init__(self, count: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        bright = torch.randn(count, 1, 1, 1, generator=draw, dtype=torch.float64)
        picture = bright + torch.randn(count, 3, 8, 8, generator=draw, dtype=torch.float64)
        words = torch.randint(1, 20, (count, 5), generator=draw)
        table = torch.randn(count, 4, generator=draw, dtype=torch.float64)
        score = bright.flatten() + 3 * ((words > 10).double().mean(1) - 0.5)
        super().__init__(picture, words, table, (score > -0.5).long() + (score > 0.5).long())

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return dict(zip(("picture", "words", "table", "label"), super().__getitem__(index), strict=True))


def toy(folder: Path) -> Found:
    """Train a model of three modalities in float64 for three epochs with all stages and the alarm."""
    explainers = [
        DIME(num_examples=2, every_n_validations=2),
        UnimodalImportance(num_examples=2, every_n_validations=2),
        CrossModalInteraction(num_examples=2, every_n_validations=2),
        MultimodalRepresentation(every_n_validations=2),
        MultimodalPrediction(num_examples=2, every_n_validations=2),
        ErrorAnalysis(every_n_validations=2),
    ]
    modalities = {"picture": "picture", "words": Modality("words", kind="text"), "table": "table"}
    sizes = {"num_examples": 64, "group_size": 16, "reference": 96}
    monitor = MultimodalMonitor(modalities, target="label", explainers=explainers, pin=[5], **sizes)
    wandb.setup(wandb.Settings(mode="offline", silent=True))
    loggers = [TensorBoardLogger(folder, name=""), WandbLogger(project="toy", save_dir=folder, offline=True)]
    fitting = trainer(folder, monitor, UnimodalCollapse(), max_epochs=3, logger=loggers, precision="64-true")
    seed_everything(0, verbose=False)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fitting.fit(Scene(), DataLoader(Scenes(256, 0), batch_size=32), DataLoader(Scenes(96, 1), batch_size=32))
    wandb.finish()
    ours = [one.message for one in said if "mviz" in type(one.message).__module__ and SLOW not in str(one.message)]
    return left_behind(folder) | {"warnings": dict(Counter(type(message).__name__ for message in ours))}


def openmoji(folder: Path) -> Found:
    """Run the example of the README on one thread."""
    command = [sys.executable, str(ROOT / "examples" / "openmoji.py"), "--output", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=environment)
    return left_behind(folder) | {"warnings": sorted(set(re.findall(r"\b(\w+Warning)\b", ended.stderr)))}


def flat(found: Any, place: str = "") -> dict[str, Any]:
    """Return every leaf of a record under its place; an empty container is a leaf."""
    inside = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list | tuple) else ()
    leaves = [flat(value, f"{place}/{key}") for key, value in inside]
    return {place: found} if not leaves else {key: value for part in leaves for key, value in part.items()}


def differences(left: Any, right: Any, close: Callable[[float, float], bool]) -> Iterator[str]:
    """Say where two records differ; numbers, and fractions inside texts, differ where they are not close."""
    before, now = flat(left), flat(right)
    yield from (f"{place}: only in one" for place in sorted(before.keys() ^ now.keys()))
    for place in before.keys() & now.keys():
        if not _alike(before[place], now[place], close):
            yield f"{place}: {before[place]!r}, {now[place]!r} now"


def _alike(left: Any, right: Any, close: Callable[[float, float], bool]) -> bool:
    if isinstance(left, str) and isinstance(right, str) and left != right:
        same_words = NUMBER.sub("#", left) == NUMBER.sub("#", right)
        return same_words and all(map(close, *(map(float, NUMBER.findall(text)) for text in (left, right))))
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    return close(left, right) if numbers else bool(left == right)


def write(name: str, found: Found) -> None:
    """Keep a record."""
    (RECORDS / f"{name}.json").write_text(
        json.dumps({"machine": machine(), "found": found}, indent=1, sort_keys=True) + "\n"
    )


def read(name: str) -> tuple[Found, Found]:
    """Return the machine on which a record was made, and what was found."""
    kept = json.loads((RECORDS / f"{name}.json").read_text())
    return kept["machine"], kept["found"]


if __name__ == "__main__":
    import tempfile

    torch.set_num_threads(1)
    for name in sys.argv[1:] or ("toy", "openmoji"):
        with tempfile.TemporaryDirectory() as folder:
            write(name, globals()[name](Path(folder)))
