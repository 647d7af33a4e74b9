"""What the monitor with DIME costs: whole trainings with and without it, in turn.

    python tests/benchmarks/cost.py [--repeats 3] [--epochs 12]    the OpenMoji example, a toy
    python tests/benchmarks/cost.py --large [--epochs 2]           50,000 examples an epoch, 5.3 million parameters

Prints the wall time of `trainer.fit` with and without, the ratio of each pair and its median, and where the monitor's
seconds go.
"""

import argparse
import importlib.util
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias
from unittest.mock import patch

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mviz_lightning import MultimodalMonitor
from mviz_lightning.callbacks.reporter import Reporter
from mviz_lightning.explainers import DIME
from mviz_lightning.session.session import Session

CLASSES, BATCH = 20, 100
Setting: TypeAlias = Callable[[], tuple[LightningModule, Any, Any, MultimodalMonitor]]
PARTS = {
    "preparing": [(Session, "dry_run"), (Session, "complete")],
    "shares": [(Session, "run")],
    "DIME": [(Session, "explain")],
    "drawing": [(Reporter, "show"), (Reporter, "draw"), (Reporter, "finish")],
}
EXAMPLE = Path(__file__).parents[2] / "examples" / "openmoji.py"


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("openmoji", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Large(LightningModule):
    """Two encoders of a few million weights each on pictures and words, a head on both."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Flatten(), nn.Linear(768, 1792), nn.ReLU(), nn.Linear(1792, 1024), nn.ReLU())
        self.words = nn.EmbeddingBag(1000, 512)
        self.text = nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU())
        self.head = nn.Linear(2048, CLASSES)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        outputs: Tensor = self.head(torch.cat([self.image(image), self.text(self.words(text))], 1))
        return outputs

    def training_step(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self(batch["image"], batch["text"]), batch["label"])

    def validation_step(self, batch: Any) -> None:
        self.log("val_loss", self.training_step(batch), batch_size=len(batch["label"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class Drawn(Dataset[dict[str, Tensor]]):
    """Pictures and words that say the class together; batches are drawn whole."""

    def __init__(self, batches: int, seed: int) -> None:
        self._batches, self._seed = batches, seed
        self._means = torch.randn(CLASSES, 3, 16, 16, generator=torch.Generator().manual_seed(0)) / 4

    def __len__(self) -> int:
        return self._batches

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(1_000_000 * self._seed + index)
        label = torch.randint(CLASSES, (BATCH,), generator=generator)
        seen = (label + torch.randint(2, (BATCH,), generator=generator)) % CLASSES
        words = torch.randint(1000 - CLASSES, (BATCH, 12), generator=generator) + CLASSES
        words[:, 0] = (label - seen) % CLASSES
        noise = torch.randn(BATCH, 3, 16, 16, generator=generator)
        return {"image": self._means[seen] + noise, "text": words, "label": label}


def toy() -> tuple[LightningModule, Any, Any, MultimodalMonitor]:
    """Return the OpenMoji example's model, loaders and monitor."""
    example = load_example()
    example.quiet_console()
    data = example.load_data()
    module = example.OpenMojiClassifier(len(data.vocabulary.words), len(data.class_names))
    train, validation = DataLoader(data.train, batch_size=32, shuffle=True), DataLoader(data.validation, batch_size=128)
    return module, train, validation, example.make_monitor(data, [DIME()])


def large() -> tuple[LightningModule, Any, Any, MultimodalMonitor]:
    """Return a model, loaders of 50,000 and 2,000 examples, and a monitor with DIME at the defaults."""
    train, validation = (DataLoader(Drawn(batches, seed), batch_size=None) for batches, seed in ((500, 1), (20, 2)))
    monitor = MultimodalMonitor(["image", "text"], target="label", explainers=[DIME()])
    return Large(), train, validation, monitor


@contextmanager
def timed_parts() -> Iterator[dict[str, float]]:
    """Yield the seconds that the monitor's parts take; those that call one another are of the same part."""
    spent = dict.fromkeys(PARTS, 0.0)
    open_parts: list[str] = []

    def timed(call: Callable[..., Any], part: str) -> Callable[..., Any]:
        def wrapped(*given: Any, **settings: Any) -> Any:
            outer, started = bool(open_parts), time.perf_counter()
            open_parts.append(part)
            try:
                return call(*given, **settings)
            finally:
                open_parts.pop()
                spent[part] += 0.0 if outer else time.perf_counter() - started

        return wrapped

    with ExitStack() as stack:
        for part, methods in PARTS.items():
            for owner, name in methods:
                stack.enter_context(patch.object(owner, name, timed(getattr(owner, name), part)))
        yield spent


def fit_seconds(setting: Setting, epochs: int, *, watched: bool) -> tuple[float, str]:
    """Return the seconds of one training, and where those of the monitor went."""
    seed_everything(0, verbose=False)
    module, train, validation, monitor = setting()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            default_root_dir=folder,
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            callbacks=[monitor] if watched else [],
        )
        with timed_parts() as parts:
            started = time.perf_counter()
            trainer.fit(module, train, validation)
            seconds = time.perf_counter() - started
    return seconds, ", ".join(f"{name} {spent:.2f} s" for name, spent in parts.items()) if watched else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--large", action="store_true")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    setting, epochs = (large, arguments.epochs or 2) if arguments.large else (toy, arguments.epochs or 12)
    print(f"{sum(parameter.numel() for parameter in setting()[0].parameters()):,} parameters, {epochs} epochs")
    ratios = []
    for _ in range(arguments.repeats):
        plain, _ = fit_seconds(setting, epochs, watched=False)
        watched, note = fit_seconds(setting, epochs, watched=True)
        ratios.append(watched / plain)
        print(f"without {plain:6.2f} s   with {watched:6.2f} s   ratio {ratios[-1]:.3f}   {note}")
    print(f"median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
