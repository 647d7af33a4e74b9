"""What the monitor costs on an accelerator, and whether it keeps its promises there.

    PYTHONPATH=.:tests python3 tests/benchmarks/device.py --output device.md       one GPU, less than six minutes
    PYTHONPATH=.:tests python3 tests/benchmarks/device.py --device cpu --tiny      every part on a CPU, four minutes

Needs torch, lightning and what the package itself imports; no pytest, no network and no data. Where some of these are
missing and nothing can be fetched, bring their wheels along in a folder, and run both lines as one command:

    python3 -m pip install -q --no-index --no-deps --target .site wheels/*.whl &&
    PYTHONPATH=.:tests:.site python3 tests/benchmarks/device.py --output device.md

Prints three tables, and writes them as Markdown after each line: the cost of the monitor in a training of a ResNet-50
beside a BERT-base (random weights, bf16), the time of its rows against other ways to the same, and the checks of
``tests/accelerators``. What fails costs its line; what would begin after ``--seconds`` is left out.
"""

import argparse
import platform
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerators.checks import CHECKS, Unavailable
from helpers.toy import trainer
from lightning.pytorch import Callback, LightningModule, seed_everything
from timing import Action, paired
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mviz_lightning import MultimodalMonitor
from mviz_lightning.batch import BatchSchema, Probe, parse_modalities
from mviz_lightning.engine.call_choice import choose_call
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Query
from mviz_lightning.explainers import DIME
from mviz_lightning.functional import design

EPOCH, VALIDATION = 50_000, 2_000
"""Examples of the epoch and of the validation set for which costs are computed."""

ALLOWED = 0.01
"""Share of an epoch that the shares may take at every validation."""

CLASSES, CHUNK, SINGLE = 100, 128, 32
"""Outputs of the model, rows of a plain forward, and rows that are timed one by one, as long as the rest each."""


@dataclass(frozen=True)
class Size:
    """Sizes of the model and its data.

    Attributes:
        blocks: Residual blocks of the four stages of the CNN.
        width: Channels of its first stage.
        side: Pixels along a side of a picture.
        layers: Layers of the transformer.
        hidden: Its width.
        heads: Its attention heads.
        words: Size of its vocabulary.
        length: Tokens of a text.
        batch: Examples of a batch.
        steps: Training steps from one validation to the next.
    """

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    side: int = 224
    layers: int = 12
    hidden: int = 768
    heads: int = 12
    words: int = 30_522
    length: int = 64
    batch: int = 64
    steps: int = 12


TINY = Size((1, 1, 1, 1), width=4, side=32, layers=2, hidden=32, heads=2, words=100, length=8, batch=32, steps=3)


class Bottleneck(nn.Module):
    """Three convolutions around a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.body = nn.Sequential(
            *(nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)),
        )
        shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if inputs == outputs and stride == 1 else nn.Sequential(*shortcut)

    def forward(self, image: Tensor) -> Tensor:
        return (self.body(image) + self.shortcut(image)).relu()


class ResNet(nn.Module):
    """ResNet-50 at the full size: 25.6 million parameters."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width = size.width
        stem = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        stages, inputs = [], width
        for stage, blocks in enumerate(size.blocks):
            for block in range(blocks):
                stages.append(Bottleneck(inputs, width * 2**stage, 2 if stage and not block else 1))
                inputs = 4 * width * 2**stage
        self.features = nn.Sequential(*stem, *stages)
        self.head = nn.Linear(inputs, 1000)

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.head(self.features(image).mean((2, 3)))
        return found


class TextEncoder(nn.Module):
    """BERT-base at the full size: 109 million parameters."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(size.words, size.hidden), nn.Embedding(512, size.hidden)
        layer = nn.TransformerEncoderLayer(
            size.hidden, size.heads, 4 * size.hidden, activation="gelu", batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, size.layers, enable_nested_tensor=False)

    def forward(self, text: Tensor) -> Tensor:
        places = torch.arange(text.shape[1], device=text.device)
        found: Tensor = self.layers(self.words(text) + self.places(places)).mean(1)
        return found


class Sized(LightningModule):
    """Both encoders, and a head on both."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.image, self.text = ResNet(size), TextEncoder(size)
        self.head = nn.Sequential(nn.Linear(1000 + size.hidden, 512), nn.ReLU(), nn.Linear(512, CLASSES))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        outputs: Tensor = self.head(torch.cat([self.image(image), self.text(text)], 1))
        return outputs

    def training_step(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self(batch["image"], batch["text"]), batch["label"])

    def validation_step(self, batch: Any) -> None:
        self.log("val_loss", self.training_step(batch), batch_size=len(batch["label"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


def drawn(size: Size, batches: int, seed: int) -> list[dict[str, Tensor]]:
    """Return batches of random pictures and texts."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (size.batch, 3, size.side, size.side), (size.batch, size.length), (size.batch,)
    return [
        {
            "image": torch.randn(shapes[0], generator=generator),
            "text": torch.randint(1, size.words, shapes[1], generator=generator),
            "label": torch.randint(CLASSES, shapes[2], generator=generator),
        }
        for _ in range(batches)
    ]


class Report:
    """Prints lines of Markdown, and writes all of them so far to a file.

    Args:
        output: The file; None for none.
        seconds: Time after which nothing begins any more.
    """

    def __init__(self, output: Path | None, seconds: float) -> None:
        self._output, self._lines, self._began, self._seconds = output, list[str](), time.perf_counter(), seconds

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._began

    def say(self, *lines: str) -> None:
        """Print lines."""
        self._lines += lines
        print("\n".join(lines), flush=True)
        if self._output is not None:
            self._output.write_text("\n".join(self._lines) + "\n")

    def table(self, title: str, *columns: str) -> None:
        """Begin a table."""
        self.say("", f"## {title}", "", self._row(columns), self._row(["---"] * len(columns)))

    def row(self, *cells: str) -> None:
        """Print a row of the table."""
        self.say(self._row(cells))

    def guarded(self, name: str, action: Callable[[], None]) -> None:
        """Call what prints rows; what it raises becomes a row."""
        if self.elapsed > self._seconds:
            self.row(name, f"left out: {self._seconds:.0f} s are over")
            return
        try:
            action()
        except Exception as error:
            traceback.print_exc()
            said = str(error).strip().partition("\n")[0]
            self.row(name, f"FAILED: {type(error).__name__}: {said}")

    def _row(self, cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


class Clock(Callback):
    """Seconds of training steps and of validation steps, each to the end of the device's work; loading is left out."""

    def __init__(self, settle: Action) -> None:
        self.steps, self.validations, self._settle, self._began = list[float](), list[float](), settle, 0.0

    def _begin(self) -> None:
        self._settle()
        self._began = time.perf_counter()

    def _end(self, times: list[float]) -> None:
        self._settle()
        times.append(time.perf_counter() - self._began)

    def on_train_batch_start(self, *_: Any) -> None:
        self._begin()

    def on_train_batch_end(self, *_: Any) -> None:
        self._end(self.steps)

    def on_validation_batch_start(self, *_: Any) -> None:
        self._begin()

    def on_validation_batch_end(self, *_: Any) -> None:
        self._end(self.validations)


@dataclass(frozen=True)
class Bench:
    """The device and the sizes."""

    device: torch.device
    size: Size
    report: Report
    precision: str = "bf16-mixed"

    def settle(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def autocast(self) -> torch.autocast:
        """Return the context in which the trainer calls the model."""
        return torch.autocast(self.device.type, torch.bfloat16)

    def cost(self) -> None:
        """Print what the monitor takes of an epoch."""
        columns = "monitor", "step", "first validation", "later ones", "of an epoch", "peak memory"
        self.report.table(f"Cost in a training, batches of {self.size.batch}, bf16-mixed", *columns)
        settings: dict[str, list[Any]] = {"none": [], "shares": [[]], "shares and DIME": [[DIME()]]}
        for name, explainers in settings.items():
            self.report.guarded(name, partial(self._trained, name, *explainers))

    def _trained(self, name: str, explainers: Any = None) -> None:
        seed_everything(0, verbose=False)
        monitor = partial(MultimodalMonitor, ["image", "text"], target="label")
        watch = [] if explainers is None else [monitor(explainers=explainers)]
        clock, module = Clock(self.settle), Sized(self.size)
        batches = (drawn(self.size, count, seed) for count, seed in ((self.size.steps, 1), (8, 2)))
        train, validation = (DataLoader(given, batch_size=None) for given in batches)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        with tempfile.TemporaryDirectory() as folder:
            # In front of the monitor, which measures at the end of the last validation step.
            settings = {"accelerator": self.device.type, "max_epochs": 4, "precision": self.precision}
            trainer(Path(folder), clock, *watch, **settings).fit(module, train, validation)
        self._tell(name, clock, watch[0] if watch else None, module)

    def _tell(self, name: str, clock: Clock, watch: MultimodalMonitor | None, module: nn.Module) -> None:
        step = statistics.median(clock.steps[self.size.steps :])
        peak = f"{torch.cuda.max_memory_allocated(self.device) / 2**30:.2f} GiB" if self.device.type == "cuda" else "-"
        if watch is None:
            size = f"{sum(one.numel() for one in module.parameters()) / 1e6:.1f} million parameters"
            self.report.row(f"{name} ({size})", f"{step * 1e3:.1f} ms", "-", "-", "-", peak)
            return
        first, *later = [row.values["seconds"] for row in watch.history]
        validation = statistics.median(clock.validations[-7:]) * VALIDATION / self.size.batch
        epoch = step * EPOCH / self.size.batch + validation
        share = statistics.median(later) / (epoch + statistics.median(later))
        met = "" if name != "shares" else f" ({'at most' if share <= ALLOWED else 'MORE THAN'} {ALLOWED:.0%})"
        cells = f"{step * 1e3:.1f} ms", f"{first:.2f} s", f"{statistics.median(later):.2f} s"
        self.report.row(name, *cells, f"{share:.2%} of {epoch:.0f} s{met}", peak)

    def rows(self) -> None:
        """Print the time of the rows of a run, and of what one would write by hand."""
        self.report.table("2,048 rows of 128 pictures and 128 texts, bf16", "way", "time", "of plain forwards")
        self.report.guarded("rows", self._ways)

    def _ways(self) -> None:
        torch.manual_seed(0)
        module = Sized(self.size).to(self.device).eval()
        few = drawn(self.size, 128 // self.size.batch, 3)
        batch = {key: torch.cat([one[key] for one in few]) for key in ("image", "text")}
        schema = BatchSchema.learn(batch, parse_modalities(["image", "text"]))
        probe = Probe(schema, schema.leaves(batch), torch.arange(128).view(-1, 16))
        rows = Query(probe.groups[:, design(2, 16).tuples].flatten(0, 1))
        reusing, plain = (self._evaluator(module, probe, reuse=reuse) for reuse in (True, False))
        ways = {
            "plain forwards": lambda: plain.plain(probe, rows),
            "the package": lambda: reusing(probe, [rows]),
            "by hand: encodings once, a head on all pairs": lambda: self._by_hand(module, batch, rows),
            f"by hand: each modality of {VALIDATION:,} examples permuted": lambda: self._permuted(module, batch),
            f"one row at a time ({SINGLE} timed)": lambda: self._singly(module, batch, rows),
        }
        times = dict(zip(ways, paired(list(ways.values()), 4, self.settle), strict=True))
        medians = {way: statistics.median(found[1:]) for way, found in times.items()}  # the first warms up
        medians[next(reversed(ways))] *= len(rows) / SINGLE
        given_up = "" if reusing.reuse else " (reuse GIVEN UP)"
        for way, found in medians.items():
            said = way + given_up * (way == "the package")
            self.report.row(said, f"{found * 1e3:,.1f} ms", f"{found / medians['plain forwards']:.3f}")

    def _evaluator(self, module: nn.Module, probe: Probe, *, reuse: bool) -> Evaluator:
        """Return an evaluator that has been used, so that what it finds out once is known."""
        first = Query.aligned(torch.arange(8), 2)
        with self.autocast():
            call = choose_call(module, probe.schema, probe.batch(first.sources, {}, self.device), None)
        made = Evaluator(module, call.predict, CHUNK, precision=self.autocast, reuse=reuse)
        made(probe, [Query(torch.cartesian_prod(torch.arange(8), torch.arange(8)))])
        return made

    def _by_hand(self, module: Any, batch: dict[str, Tensor], rows: Query) -> Tensor:
        with torch.no_grad(), self.autocast():
            image, text = module.image(batch["image"].to(self.device)), module.text(batch["text"].to(self.device))
            pictures, texts = rows.sources.to(self.device).T
            found: Tensor = module.head(torch.cat([image[pictures], text[texts]], 1))
        return found

    def _permuted(self, module: Any, batch: dict[str, Tensor]) -> list[Tensor]:
        image, text = batch["image"].to(self.device), batch["text"].to(self.device)
        orders = torch.stack([torch.randperm(128) for _ in range(2 * VALIDATION // 128)]).to(self.device)
        with torch.no_grad(), self.autocast():
            return [module(image, text[order]) for order in orders]

    def _singly(self, module: Any, batch: dict[str, Tensor], rows: Query) -> list[Tensor]:
        image, text = batch["image"].to(self.device), batch["text"].to(self.device)
        some = rows.sources[:: len(rows) // SINGLE].tolist()
        with torch.no_grad(), self.autocast():
            return [module(image[i : i + 1], text[j : j + 1]) for i, j in some]

    def checks(self, only: str) -> None:
        """Print the checks."""
        self.report.table("Checks", "check", "seen", "seconds")
        for name, check in CHECKS.items():
            if only in name:
                self.report.guarded(name, partial(self._checked, name, check))

    def _checked(self, name: str, check: Callable[[torch.device, Path], str]) -> None:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                said = check(self.device, Path(folder))
            except Unavailable as reason:
                said = f"not run: {reason}"
        self.report.row(name, said, f"{time.perf_counter() - started:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true", help="a model of a few thousand weights")
    parser.add_argument("--only", default="", help="part of the names of the checks to run")
    parser.add_argument("--seconds", type=float, default=330.0, help="nothing begins after this time")
    parser.add_argument("--output", type=Path, help="file for the tables, as Markdown")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    device, report = torch.device(given.device), Report(given.output, given.seconds)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.processor() or 'a CPU'}"
    report.say(f"# {card}", "", f"torch {torch.__version__}, Python {sys.version.split()[0]}")
    bench = Bench(device, TINY if given.tiny else Size(), report)
    if not given.only:
        bench.cost()
        bench.rows()
    bench.checks(given.only)
    report.say("", f"{report.elapsed:.0f} s in all.")


if __name__ == "__main__":
    main()
