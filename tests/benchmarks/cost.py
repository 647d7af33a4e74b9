"""What the monitor with DIME costs on the OpenMoji example: whole trainings with and without it, in turn.

    python tests/benchmarks/cost.py [--repeats 3] [--epochs 6]

Prints the wall time of `trainer.fit` with and without, the ratio of each pair and its median.
"""

import argparse
import importlib.util
import statistics
import tempfile
import time
from pathlib import Path
from types import ModuleType

from lightning.pytorch import Trainer, seed_everything
from torch.utils.data import DataLoader

EXAMPLE = Path(__file__).parents[2] / "examples" / "openmoji.py"


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("openmoji", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fit_seconds(example: ModuleType, epochs: int, *, watched: bool) -> tuple[float, str]:
    """Return the seconds of one training, and what the monitor says of its own cost."""
    seed_everything(0, verbose=False)
    data = example.load_data()
    module = example.OpenMojiClassifier(len(data.vocabulary.words), len(data.class_names))
    train, validation = DataLoader(data.train, batch_size=32, shuffle=True), DataLoader(data.validation, batch_size=128)
    monitor = example.make_monitor(data)
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
        started = time.perf_counter()
        trainer.fit(module, train, validation)
        seconds = time.perf_counter() - started
    runs = [row.values["seconds"] for row in monitor.history]
    return seconds, f"{statistics.median(runs):.2f} s a run" if runs else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    arguments = parser.parse_args()
    example = load_example()
    example.quiet_console()
    ratios = []
    for _ in range(arguments.repeats):
        plain, _ = fit_seconds(example, arguments.epochs, watched=False)
        watched, note = fit_seconds(example, arguments.epochs, watched=True)
        ratios.append(watched / plain)
        print(f"without {plain:6.2f} s   with {watched:6.2f} s   ratio {ratios[-1]:.3f}   {note}")
    print(f"median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
