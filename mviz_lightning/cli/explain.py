"""``python -m mviz_lightning explain``: the results of the callback, for checkpoints of a finished training."""

import argparse
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mviz_lightning.cli.configuration import Configuration
from mviz_lightning.cli.output import new_folder
from mviz_lightning.cli.spoken import say
from mviz_lightning.errors import ConfigurationError

DESCRIPTION = """\
Measure checkpoints of a training with MultimodalMonitor, as the callback would have done at their steps. Model, data
and trainer are those of a configuration of LightningCLI. Nothing is trained, and no file of the training is changed.
"""

EPILOG = """\
examples:
  python -m mviz_lightning explain --config lightning_logs/version_3/config.yaml --ckpt last.ckpt
      one checkpoint: the report page, the pictures and the files, in a new folder explained/version_0
  python -m mviz_lightning explain --config config.yaml --monitor mviz.yaml --ckpt checkpoints/*.ckpt
      several become a film, ordered by step; the monitor is that of mviz.yaml
  python -m mviz_lightning explain --config config.yaml --model project.Net --data project.Data --ckpt last.ckpt
      the model and the data of a script that calls LightningCLI(Net, Data)
  python -m mviz_lightning explain --config config.yaml --ckpt last.ckpt --trainer.accelerator cpu --data.batch_size 8
      all other options are LightningCLI's

mviz.yaml:
  modalities:
    image: pixel_values
    text: input_ids
  explainers:
    - class_path: mviz_lightning.explainers.DIME
"""


def add_explain(commands: Any) -> None:
    """Add the command to the program.

    Args:
        commands: What ``ArgumentParser.add_subparsers`` returned.
    """
    command = commands.add_parser(
        "explain",
        help="explain checkpoints of a training, from its configuration of LightningCLI",
        usage="%(prog)s --config FILE --ckpt FILE [FILE ...] [--monitor FILE] [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    config = "configuration of LightningCLI, as a training saves it: config.yaml; later ones win"
    command.add_argument("--config", "-c", metavar="FILE", action="append", default=[], help=config)
    command.add_argument("--ckpt", nargs="+", metavar="FILE", default=[], help="checkpoints; several become a film")
    monitor = "arguments of MultimodalMonitor, or a list of callbacks; by default those of the configuration"
    command.add_argument("--monitor", metavar="FILE", help=monitor)
    output = "folder for all files, which holds no run yet; by default explained/version_<n>"
    command.add_argument("--output", metavar="FOLDER", type=Path, help=output)
    stage = "whose batches are measured: those of validation (default), or of the test"
    command.add_argument("--stage", choices=["validate", "test"], default="validate", help=stage)
    for name, noun in (("model", "LightningModule"), ("data", "LightningDataModule"), ("cli", "LightningCLI")):
        command.add_argument(f"--{name}", metavar="CLASS", help=f"{noun} of your script, as package.module.Class")
    command.add_argument("--open", action="store_true", help="show the page in the browser")
    command.set_defaults(run=run_explain, others_allowed=True)


def run_explain(given: argparse.Namespace) -> None:
    """Explain the checkpoints, and print the path of the result.

    Args:
        given: The arguments of the command; ``others`` are those of LightningCLI.

    Raises:
        ConfigurationError: Something is missing, or the checkpoint does not fit the model.
        OSError: A file cannot be read or written.
    """
    _require_files(given)
    _require_jsonargparse()
    # Python does this for scripts; here, it lets both names of the program find the classes of the project.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    from mviz_lightning.cli.explained_run import ExplainedRun

    configuration = Configuration.read(given.config, given.monitor)
    run = ExplainedRun.of(configuration, new_folder(given.output), given)
    pages = run.explain(given.ckpt)
    if given.open and not all(webbrowser.open(page.as_uri()) for page in pages):
        say("no browser could be started; open the file by hand")


def _require_files(given: argparse.Namespace) -> None:
    if not given.config:
        raise ConfigurationError(
            "--config is missing: give the configuration of the training. LightningCLI saves it in the folder of the "
            "run: --config lightning_logs/version_0/config.yaml"
        )
    if not given.ckpt:
        raise ConfigurationError(
            "--ckpt is missing: give one checkpoint or several: --ckpt lightning_logs/version_0/checkpoints/*.ckpt"
        )
    for option, files in (("--config", given.config), ("--ckpt", given.ckpt), ("--monitor", [given.monitor])):
        _require_each(option, [Path(file) for file in files if file is not None])


def _require_each(option: str, files: Sequence[Path]) -> None:
    for file in files:
        if not file.exists():
            near = sorted(str(one) for one in file.parent.glob(f"[!.]*{file.suffix}")) if file.suffix else []
            instead = f"; there are {', '.join(near[:3])}" if near else ""
            raise ConfigurationError(f"{option} {file}: there is no such file{instead}.")
        if file.is_dir() and option != "--ckpt":
            raise ConfigurationError(f"{option} {file} is a folder; give a file: {option} {file / 'config.yaml'}")


def _require_jsonargparse() -> None:
    try:
        import jsonargparse  # noqa: F401 - whether it is there
        import typeshed_client  # noqa: F401 - what [signatures] adds
    except ImportError as error:
        raise ConfigurationError(
            f"LightningCLI needs jsonargparse, and {error.name} is not installed: "
            'pip install "jsonargparse[signatures]"'
        ) from error
