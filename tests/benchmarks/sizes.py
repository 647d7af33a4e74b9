"""What the monitor takes at unusual sizes: rows, seconds, memory and bytes, each beside its bound.

    python tests/benchmarks/sizes.py [--case "30,000 classes"] [--keep FOLDER]

Every case is a training in a process of its own, and the same training without the monitor in another; what the first
takes more is printed. Seconds are those of one core, of the whole training. Memory is the largest resident memory above
that at the start. The exit code is 1 where a bound is passed; bounds hold on one core that other programs use too.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mviz_lightning import Modality, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    ExampleRanking,
    Explainer,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)

MEGABYTE = 2**20
WIDTH, VOCABULARY = 16, 1000
EDGE = 100
"""Number of validations at either end of a long training whose times are compared."""

IMAGE, TEXT, SMALL = {"image": (3, 32, 32)}, {"text": (8,)}, {"image": (6,), "text": (5,)}


class Lazy(Dataset[Any]):
    """Examples that are drawn when they are asked for, a batch at a time; none is kept.

    Args:
        count: Number of examples.
        shapes: Name -> shape of one example's input.
        classes: Number of classes.
    """

    def __init__(self, count: int, shapes: Mapping[str, tuple[int, ...]], classes: int) -> None:
        self._count, self._shapes, self._classes = count, dict(shapes), classes

    def __len__(self) -> int:
        return self._count

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(indices[0])
        batch = {name: _drawn((len(indices), *shape), generator) for name, shape in self._shapes.items()}
        seen = sum(2**place * (values.flatten(1)[:, 0] > 0).long() for place, values in enumerate(batch.values()))
        further = 2 ** len(batch) * torch.randint(self._classes, (len(indices),), generator=generator)
        named = {name: _words(values) if name == "text" else values for name, values in batch.items()}
        return named | {"label": (seen + further) % self._classes}


def _drawn(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)


def _words(values: Tensor) -> Tensor:
    """Return the ids of words whose numbers tell the sign of a value."""
    return (VOCABULARY * torch.special.ndtr(values)).long().clamp(1, VOCABULARY - 1)


class Fusion(LightningModule):
    """A small encoder for each modality, and a head on their sum and product.

    Args:
        shapes: Name -> shape of one example's input: an image, words (``text``) or a vector.
        classes: Number of classes.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({name: _encoder(name, shape) for name, shape in shapes.items()})
        self.head = nn.Linear(2 * WIDTH, classes)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        encoded = torch.stack([encoder(batch[name]).tanh() for name, encoder in self.encoders.items()])
        outputs: Tensor = self.head(torch.cat([encoded.sum(0), encoded.prod(0)], 1))
        return outputs

    def training_step(self, batch: Mapping[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self(batch), batch["label"])

    def validation_step(self, batch: Mapping[str, Tensor]) -> None:
        self.log("val_loss", self.training_step(batch), batch_size=len(batch["label"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


class Mean(nn.Module):
    """The mean over all places."""

    def forward(self, values: Tensor) -> Tensor:
        return values.flatten(2).mean(2) if values.dim() == 4 else values.mean(1)


def _encoder(name: str, shape: tuple[int, ...]) -> nn.Module:
    if len(shape) == 3:
        return nn.Sequential(nn.Conv2d(3, WIDTH, 8, stride=8), nn.ReLU(), Mean())
    if name == "text":
        return nn.Sequential(nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, WIDTH), nn.ReLU(), Mean())
    return nn.Linear(shape[0], WIDTH)


@dataclass(frozen=True)
class Measures:
    """What a training took.

    Attributes:
        rows: Most rows of a run.
        seconds: Seconds of one core, of the whole training.
        memory: Largest resident memory above that at the start, in MiB.
        checkpoint: Size of the checkpoint at the end, in MiB.
        files: Size of the files of the run, in MiB.
        keys: Number of logged values.
        growth: Median time from validation to validation of the last 100, over that of the first 100.
    """

    rows: float = 0.0
    seconds: float = 0.0
    memory: float = 0.0
    checkpoint: float = 0.0
    files: float = 0.0
    keys: float = 0.0
    growth: float = 1.0

    def less(self, without: "Measures") -> "Measures":
        """Return what this training took more than the one without the monitor."""
        amounts = ("seconds", "memory", "checkpoint", "files")
        return replace(self, **{name: getattr(self, name) - getattr(without, name) for name in amounts})

    def beyond(self, bounds: "Measures") -> list[str]:
        """Return the measures that pass their bound."""
        return [one.name for one in fields(self) if getattr(self, one.name) > getattr(bounds, one.name)]


@dataclass(frozen=True)
class Case:
    """One size, and its bounds.

    Attributes:
        bounds: Largest value of each measure.
        shapes: Name -> shape of one example's input.
        classes: Number of classes.
        examples: Number of validation examples.
        batch: Examples in a batch.
        validations: Number of validations.
        explainers: Methods.
        arguments: Further arguments of the monitor.
    """

    bounds: Measures
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: SMALL)
    classes: int = 4
    examples: int = 512
    batch: int = 64
    validations: int = 1
    explainers: Sequence[Explainer] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def monitor(self) -> MultimodalMonitor:
        """The monitor of this case."""
        named = {name: Modality(name, decode=_sentence) if name == "text" else name for name in self.shapes}
        return MultimodalMonitor(named, explainers=self.explainers, **self.arguments)


def _sentence(tokens: Sequence[int]) -> str:
    return " ".join(f"word{token}" for token in tokens)


def single(examples: int) -> tuple[Explainer, ...]:
    """Return the methods that explain single predictions, of this many examples."""
    methods = (DIME, UnimodalImportance, CrossModalInteraction)
    return tuple(make(num_examples=examples) for make in methods)


def stages() -> tuple[Explainer, ...]:
    """Return all methods at their defaults."""
    overviews = (MultimodalRepresentation(), MultimodalPrediction(), ErrorAnalysis(), ExampleRanking())
    return (DIME(), UnimodalImportance(), CrossModalInteraction(), *overviews)


class Watch(Callback):
    """Notes when each validation begins."""

    def __init__(self) -> None:
        self.starts = list[float]()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the time of this process, which other programs do not change."""
        if not trainer.sanity_checking:
            self.starts.append(time.process_time())

    @property
    def growth(self) -> float:
        """The median time of the last validations over that of the first."""
        times = [later - earlier for earlier, later in zip(self.starts, self.starts[1:], strict=False)]
        return statistics.median(times[-EDGE:]) / statistics.median(times[:EDGE]) if len(times) > EDGE else 1.0


def resident(kind: str) -> float:
    """Return ``VmRSS``, the resident memory of this process, or ``VmHWM``, the largest so far, in MiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(lines[kind].split()[0]) / 1024


def fitted(case: Case, folder: Path, *, watched: bool, logger: type[Any] = TensorBoardLogger) -> Measures:
    """Train once in this process.

    Args:
        case: The size.
        folder: Where files go.
        watched: Whether the monitor is attached.
        logger: Class of the logger.
    """
    torch.manual_seed(0)
    watch, monitor = Watch(), case.monitor if watched else None
    data = partial(DataLoader, batch_size=case.batch, collate_fn=_as_it_is)
    train = data(Lazy(case.batch, case.shapes, case.classes))
    validation = data(Lazy(case.examples, case.shapes, case.classes))
    module = Fusion(case.shapes, case.classes)
    memory, seconds = resident("VmRSS"), time.process_time()
    trainer = Trainer(
        default_root_dir=folder,
        max_epochs=case.validations,
        logger=logger(folder, version="0"),
        callbacks=[watch, *([monitor, UnimodalCollapse()] if monitor else [])],
        accelerator="cpu",
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(module, train, validation)
    memory, seconds = resident("VmHWM") - memory, time.process_time() - seconds
    trainer.save_checkpoint(folder / "last.ckpt")
    checkpoint = (folder / "last.ckpt").stat().st_size / MEGABYTE
    files = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / MEGABYTE - checkpoint
    taken = Measures(0, seconds, memory, checkpoint, files, 0, watch.growth)
    return taken if monitor is None else _with_rows(taken, monitor)


def _as_it_is(batch: Any) -> Any:
    return batch


def _with_rows(taken: Measures, monitor: MultimodalMonitor) -> Measures:
    runs = [run.values for run in monitor.history if run.values]
    if not runs:
        raise RuntimeError(f"no run gave values: {monitor.history}")
    return replace(taken, rows=max(run["rows"] for run in runs), keys=max(map(len, runs)))


PLAIN = Measures(2600, 10, 100, 1, 5, 40, 1.5)
"""Bounds of a run with shares alone."""

CASES = {
    "512 recombined examples": Case(replace(PLAIN, rows=8192 + 512), arguments={"num_examples": 512}, examples=2000),
    "grids of 512 x 512": Case(
        replace(PLAIN, rows=2 * 512**2 + 512, seconds=60, memory=700),
        arguments={"num_examples": 1024, "group_size": 512, "reference": 1024},
        examples=2000,
    ),
    "1,024 examples, budget of 4,096": Case(
        replace(PLAIN, rows=4096), arguments={"num_examples": 1024, "budget": 4096}, examples=2000
    ),
    "8 modalities": Case(
        Measures(60_000, 60, 300, 1, 15, 120, 1.5),
        shapes={f"sensor{place}": (6,) for place in range(8)},
        explainers=[DIME(), UnimodalImportance()],
    ),
    "3,129 classes": Case(
        Measures(32_000, 120, 900, 8, 20, 60, 1.5), IMAGE | TEXT, 3129, examples=2000, explainers=stages()
    ),
    "30,000 classes": Case(
        Measures(30_000, 240, 3500, 8, 20, 60, 1.5),
        IMAGE | TEXT,
        30_000,
        examples=2000,
        explainers=[DIME(), ErrorAnalysis()],
    ),
    "images of 512 x 512": Case(
        Measures(30_000, 200, 2500, 1, 30, 60, 1.5),
        {"image": (3, 512, 512)} | TEXT,
        batch=16,
        examples=256,
        explainers=single(4),
    ),
    "sequences of 4,096": Case(
        Measures(35_000, 100, 600, 32, 15, 60, 1.5),
        {"text": (4096,)} | {"table": (6,)},
        batch=16,
        explainers=single(4),
    ),
    "batch size 1": Case(Measures(25_000, 60, 200, 1, 10, 60, 1.5), batch=1, explainers=stages()),
    "40 validation examples": Case(Measures(15_000, 30, 200, 1, 10, 60, 1.5), examples=40, explainers=stages()),
    "1,000,000 validation examples": Case(replace(PLAIN, seconds=60), examples=1_000_000, batch=1000),
    "64 explained examples": Case(Measures(350_000, 150, 500, 8, 60, 60, 1.5), IMAGE | TEXT, explainers=single(64)),
    "1,000 validations": Case(
        Measures(10_000, 250, 250, 6, 120, 60, 1.5),
        examples=40,
        batch=40,
        validations=1000,
        explainers=[DIME(num_examples=2, every_n_validations=20)],
    ),
}


def apart(case: Case, folder: Path, *, watched: bool) -> Measures:
    """Train once in a process of its own."""
    context = multiprocessing.get_context("fork")
    given, taken = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(taken, case, folder), kwargs={"watched": watched})
    process.start()
    taken.close()
    try:
        found: Measures = given.recv()
    except EOFError:
        raise RuntimeError(f"the training failed; see {folder / 'log.txt'} with --keep FOLDER") from None
    process.join()
    return found


def _send(taken: Connection, case: Case, folder: Path, *, watched: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(log, stream)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    taken.send(fitted(case, folder, watched=watched))


def measured(case: Case, folder: Path) -> Measures:
    """Return what the monitor takes of a case: what the training with it takes more than the one without."""
    return apart(case, folder / "with", watched=True).less(apart(case, folder / "without", watched=False))


def lines(names: Sequence[str], folder: Path) -> Iterator[tuple[str, bool]]:
    """Yield the lines of the table, and whether all bounds hold."""
    yield "| | rows | seconds | memory, MiB | checkpoint, MiB | files, MiB | logged values | growth |", True
    yield f"|{'---|' * 8}", True
    for name in names:
        found = measured(CASES[name], folder / name.replace(" ", "_"))
        passed = found.beyond(CASES[name].bounds)
        cells = [f"{found.rows:,.0f}", f"{found.seconds:.1f}", f"{found.memory:,.0f}"]
        cells += [f"{found.checkpoint:.1f}", f"{found.files:.1f}", f"{found.keys:.0f}", f"{found.growth:.2f}"]
        told = f"  above its bound: {', '.join(passed)}" if passed else ""
        yield f"| {' | '.join([name, *cells])} |{told}", not passed


def main() -> int:
    """Print all cases; return 1 where a bound is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--keep", type=Path)
    given, held = parser.parse_args(), True
    with tempfile.TemporaryDirectory() as folder:
        for line, holds in lines(given.case or list(CASES), given.keep or Path(folder)):
            print(line, flush=True)
            held = held and holds
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
