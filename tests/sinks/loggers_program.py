"""Writes every kind of record to real loggers, offline, and trains with all of them at once: a process of its own.

Trackers change the standard output, hooks and threads of their process, so the tests only read what this leaves:
``python loggers_program.py FOLDER LOGGER...``
"""

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from helpers.read_loggers import RATE, WORDS, pixels_of, samples_of, value_of
from helpers.toy import fit, monitor
from lightning.pytorch.loggers import CometLogger, CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger

from mviz_lightning.explainers import DIME
from mviz_lightning.sinks import register, sinks_for
from mviz_lightning.sinks.records import Alert, Dashboard, FileRecord, MarkdownText, Picture, Record, Sound, Table

STEP = 7
"""Step of the records that are written without a training."""


def tensorboard(folder: Path) -> Any:
    return TensorBoardLogger(folder, name="", version="")


def wandb(folder: Path) -> Any:
    return WandbLogger(save_dir=folder, offline=True, project="t")


def mlflow(folder: Path) -> Any:
    return MLFlowLogger(tracking_uri=f"sqlite:///{folder}/mlflow.db", artifact_location=str(folder / "artifacts"))


def comet(folder: Path) -> Any:
    import comet_ml

    # The logger goes on with it.
    comet_ml.OfflineExperiment(offline_directory=str(folder), display_summary_level=0, auto_output_logging=False)
    return CometLogger()


def trackio(folder: Path) -> Any:
    from mviz_lightning.loggers import TrackioLogger

    return TrackioLogger("t", auto_log_cpu=False, auto_log_gpu=False)


def swanlab(folder: Path) -> Any:
    from swanlab.integration.pytorch_lightning import SwanLabLogger

    return SwanLabLogger(project="t", mode="offline", log_dir=str(folder))


MAKERS: dict[str, Callable[[Path], Any]] = {
    one.__name__: one for one in (tensorboard, wandb, mlflow, comet, trackio, swanlab)
}


class BrokenLogger(CSVLogger):
    """A logger whose sink raises at every call."""


class BrokenSink:
    """A sink that raises at every call."""

    def __init__(self, logger: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        raise ConnectionError(f"no {name}")


def all_kinds(folder: Path) -> list[Record]:
    """Return records of every kind under two names that an adapter must not mix up."""
    found: list[Record] = []
    for name, word in WORDS.items():
        page = folder / "mviz" / "file" / f"{name}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(word)
        found += [
            Picture(f"mviz/picture/{name}", pixels_of(name), f"caption {word}"),
            Table(f"mviz/table/{name}", ["when", "cell", "picture"], [[1, word, pixels_of(name)]]),
            MarkdownText(f"mviz/text/{name}", f"# {word}"),
            Alert(f"mviz/alert/{name}", f"title {word}", f"text {word}"),
            Sound(f"mviz/sound/{name}", samples_of(name), RATE),
            FileRecord(f"mviz/file/{name}", page),
        ]
    return found


def write(loggers: list[Any], folder: Path) -> None:
    """Write every record to every logger, as the monitor does, and the scalars, as the trainer does."""
    folder.mkdir()
    for sink, logger in zip(sinks_for(loggers, folder)[1:], loggers, strict=True):
        sink.open(Dashboard("mviz", []))
        sink.write([record for record in all_kinds(folder) if isinstance(record, sink.takes)], STEP)
        logger.log_metrics({f"mviz/scalar/{name}": value_of(name) for name in WORDS}, STEP)
        sink.close()


def end(names: list[str]) -> None:
    """End the runs that outlive a training; the last one first, since some stand between the others and the output."""
    if "swanlab" in names:
        import swanlab

        swanlab.finish()
    if "comet" in names:
        import comet_ml

        comet_ml.end()
    if "wandb" in names:
        import wandb

        wandb.finish()
        wandb.teardown()


def main(folder: Path, names: list[str]) -> None:
    """Write, train, and leave the seconds that each took and what was warned of."""
    os.chdir(folder)
    times = [time.monotonic()]
    loggers = []
    for name in names:
        (folder / name).mkdir()
        loggers.append(MAKERS[name](folder / name))
        _ = loggers[-1].experiment
    times.append(time.monotonic())
    write(loggers, folder / "kinds")
    times.append(time.monotonic())
    register("BrokenLogger", BrokenSink)
    watch = monitor(explainers=[DIME(num_examples=1, every_n_validations=5)], pairs=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(folder, watch, logger=[BrokenLogger(folder / "csv"), *loggers])
    times.append(time.monotonic())
    end(names)
    times.append(time.monotonic())
    about = [str(one.message) for one in caught if "MLFlow" in str(one.message) or "mviz" in one.category.__module__]
    notes = [row.note for row in watch.history]
    seconds = np.diff(times).round(1).tolist()
    (folder / "told.json").write_text(json.dumps({"seconds": seconds, "warned": about, "notes": notes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
