"""What the monitor takes at unusual sizes: rows, seconds, memory and bytes, each beside its bound.

    python tests/benchmarks/sizes.py [--case NAME] [--keep FOLDER]

Every case is a training in a process of its own, and the same training without the monitor in another. Memory is the
largest resident memory of the first less that of the second. The exit code is 1 where a bound is passed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
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
        named = {
            name: _words(values) if name == "text" and values.dim() == 2 else values for name, values in batch.items()
        }
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
class Case:
    """One size, and its bounds.

    Attributes:
        shapes: Name -> shape of one example's input.
        classes: Number of classes.
        examples: Number of validation examples.
        batch: Examples in a batch.
        validations: Number of validations.
        explainers: Methods.
        arguments: Further arguments of the monitor.
        bounds: Largest value of each measure; see :class:`Measures`.
    """

    bounds: Mapping[str, float]
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
        named = {name: Modality(name, decode=_word) if name == "text" else name for name in self.shapes}
        return MultimodalMonitor(named, explainers=self.explainers, **self.arguments)


def _word(token: int) -> str:
    return f"word{token}"


def stages(examples: int) -> tuple[Explainer, ...]:
    """Return all methods, each with this many examples."""
    single = (DIME, UnimodalImportance, CrossModalInteraction)
    return (
        *(make(num_examples=examples) for make in single),
        MultimodalRepresentation(),
        MultimodalPrediction(),
        ErrorAnalysis(),
        ExampleRanking(),
    )


@dataclass
class Measures:
    """What a training took.

    Attributes:
        rows: Most rows of a run.
        seconds: Longest run, with all explanations.
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


class Watch(Callback):
    """Notes when each validation begins."""

    def __init__(self) -> None:
        self.starts = list[float]()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.starts.append(time.perf_counter())

    @property
    def growth(self) -> float:
        """The median time of the last validations over that of the first."""
        times = [later - earlier for earlier, later in zip(self.starts, self.starts[1:], strict=False)]
        return statistics.median(times[-EDGE:]) / statistics.median(times[:EDGE]) if len(times) > EDGE else 1.0


def resident(kind: str) -> float:
    """Return ``VmRSS``, the resident memory of this process, or ``VmHWM``, the largest so far, in MiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(lines[kind].split()[0]) / 1024


def fitted(case: Case, folder: Path, *, watched: bool) -> Measures:
    """Train once in this process.

    Args:
        case: The size.
        folder: Where files go.
        watched: Whether the monitor is attached.
    """
    torch.manual_seed(0)
    watch, monitor = Watch(), case.monitor if watched else None
    data = partial(DataLoader, batch_size=case.batch, collate_fn=_as_it_is)
    train = data(Lazy(case.batch, case.shapes, case.classes))
    validation = data(Lazy(case.examples, case.shapes, case.classes))
    module = Fusion(case.shapes, case.classes)
    started = resident("VmRSS")
    trainer = Trainer(
        default_root_dir=folder,
        max_epochs=case.validations,
        logger=TensorBoardLogger(folder, version="0"),
        callbacks=[watch, *([monitor, UnimodalCollapse()] if monitor else [])],
        accelerator="cpu",
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(module, train, validation)
    memory = resident("VmHWM") - started
    trainer.save_checkpoint(folder / "last.ckpt")
    return _measures(monitor, folder, memory, watch.growth)


def _as_it_is(batch: Any) -> Any:
    return batch


def _measures(monitor: MultimodalMonitor | None, folder: Path, memory: float, growth: float) -> Measures:
    checkpoint = (folder / "last.ckpt").stat().st_size / MEGABYTE
    files = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / MEGABYTE - checkpoint
    rows = [] if monitor is None else [run.values for run in monitor.history if run.values]
    if monitor is not None and not rows:
        raise RuntimeError(f"no run gave values: {monitor.history}")
    return Measures(
        max((row["rows"] for row in rows), default=0.0),
        max((row["seconds"] for row in rows), default=0.0),
        memory,
        checkpoint,
        files,
        max(map(len, rows), default=0),
        growth,
    )


DEFAULT_BOUNDS = {"keys": 120.0, "checkpoint": 40.0, "growth": 1.5}

CASES = {
    "512 recombined examples": Case({}, arguments={"num_examples": 512}, examples=2000),
    "512 x 512 grid": Case({}, arguments={"num_examples": 1024, "group_size": 512}, examples=2000),
    "512 x 512 grid, budget": Case({}, arguments={"num_examples": 1024, "budget": 4096}, examples=2000),
    "8 modalities": Case({}, shapes={f"sensor{place}": (6,) for place in range(8)}, explainers=stages(4)[:2]),
    "3,129 classes": Case({}, shapes=IMAGE | TEXT, classes=3129, explainers=stages(4), examples=2000),
    "30,000 classes": Case({}, shapes=IMAGE | TEXT, classes=30000, explainers=stages(4), examples=2000),
    "images of 512 x 512": Case(
        {}, shapes={"image": (3, 512, 512)} | TEXT, batch=16, examples=256, explainers=stages(4)[:3]
    ),
    "4,096 tokens": Case({}, shapes={"text": (4096,)} | {"table": (6,)}, batch=16, explainers=stages(4)[:3]),
    "batch size 1": Case({}, batch=1, explainers=stages(4)),
    "40 validation examples": Case({}, examples=40, explainers=stages(4)),
    "1,000,000 validation examples": Case({}, examples=1_000_000, batch=1000),
    "explanations of 64 examples": Case({}, shapes=IMAGE | TEXT, explainers=stages(64)[:3]),
    "1,000 validations": Case({}, examples=40, batch=40, validations=1000, explainers=[DIME()]),
}


def apart(name: str, folder: Path, *, watched: bool) -> Measures:
    """Train once in a process of its own."""
    asked = [sys.executable, __file__, "--case", name, "--in", str(folder), *(["--watched"] if watched else [])]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-3000:]}")
    return Measures(**json.loads(done.stdout.splitlines()[-1]))


def measured(name: str, folder: Path) -> Measures:
    """Return what the monitor takes of a case: what the training with it takes more than the one without."""
    with_it, without = (apart(name, folder / part, watched=part == "with") for part in ("with", "without"))
    for measure in ("memory", "checkpoint", "files"):
        setattr(with_it, measure, getattr(with_it, measure) - getattr(without, measure))
    return with_it


def main() -> None:
    """Print all cases; end with 1 where a bound is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--watched", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder:
        warnings.filterwarnings("ignore")
        given.folder.mkdir(parents=True, exist_ok=True)
        print(json.dumps(asdict(fitted(CASES[given.case[0]], given.folder, watched=given.watched))))
        return
    for name in given.case or CASES:
        with tempfile.TemporaryDirectory() as folder:
            kept = Path(given.keep or folder) / name.replace(" ", "_")
            t = time.time()
            try:
                print(
                    name,
                    {k: round(v, 2) for k, v in asdict(measured(name, kept)).items()},
                    round(time.time() - t, 1),
                    flush=True,
                )
            except RuntimeError as error:
                print("FAILED", error, flush=True)


if __name__ == "__main__":
    main()
