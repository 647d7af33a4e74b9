"""The LightningCLI of the command explain: it builds model, data and trainer, and writes no files itself."""

import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mviz_lightning.callbacks.lightning_packages import is_installed
from mviz_lightning.cli.configuration import Configuration, as_text, with_callbacks
from mviz_lightning.cli.spoken import say
from mviz_lightning.errors import ConfigurationError

OF_COMMANDS = frozenset({"ckpt_path", "weights_only", "verbose", "return_predictions"})
"""Arguments of LightningCLI's commands, which it saves together with the keys of the training."""

DEVICES = ("devices", "num_nodes", "strategy")
"""Arguments of the trainer for the number of devices; without them, the command runs on one device."""


if TYPE_CHECKING:
    from lightning.pytorch.cli import LightningCLI
else:
    LightningCLI = object  # the class of the model's package is added later


class Unwritten:
    """Replaces the training's loggers: it logs nothing, and other files of the model go to ``folder``.

    Args:
        folder: Folder of the files.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = str(folder)

    @property
    def save_dir(self) -> str:
        """Folder of the files."""
        return self._folder

    @property
    def log_dir(self) -> str:
        """Folder of the files."""
        return self._folder


@dataclass(frozen=True)
class Setup:
    """The settings for LightningCLI.

    Attributes:
        configuration: The content of the files.
        folder: Folder for the output files.
        others: Arguments of LightningCLI from the command line.
        logger: Function from a folder to its logger.
    """

    configuration: Configuration
    folder: Path
    others: Sequence[str]
    logger: Callable[[Path], Any]

    def sets(self, *names: str) -> bool:
        """Return whether the command line sets one of these arguments of the trainer."""
        return any(other.partition("=")[0] == f"--trainer.{name}" for other in self.others for name in names)

    @property
    def forced(self) -> dict[str, Any]:
        """Arguments of the trainer that replace those of the training."""
        found: dict[str, Any] = {"fast_dev_run": False, "inference_mode": False}
        found |= {} if self.sets("logger") else {"logger": self.logger(self.folder)}
        return found if self.sets(*DEVICES) else found | {"devices": 1, "num_nodes": 1, "strategy": "auto"}


class ExplainingCLI(LightningCLI):
    """Builds model, data and trainer of a training from its configuration.

    Args:
        setup: Its settings.
        **named: Arguments of LightningCLI.
    """

    def __init__(self, setup: Setup, **named: Any) -> None:
        self.setup = setup
        quiet: dict[str, Any] = {"run": False, "save_config_callback": None, "parser_kwargs": {"exit_on_error": False}}
        super().__init__(**quiet, **named)

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Read the configurations without the keys that this parser does not know."""
        known = {key.partition(".")[0] for key in parser.get_defaults().keys()}  # noqa: SIM118 no dict
        parts, replaced = with_callbacks(self.setup.configuration.parts, self.setup.configuration.callbacks)
        _say_what_differs([key for part in parts for key in part if key not in known | OF_COMMANDS], replaced)
        texts = [as_text({key: value for key, value in part.items() if key in known}) for part in parts]
        self.config = parser.parse_args([*(f"--config={text}" for text in texts), *self.setup.others])

    def before_instantiate_classes(self) -> None:
        """Prevent the creation of the training's loggers: some create a run at once."""
        super().before_instantiate_classes()
        if not self.setup.sets("logger"):
            self.config["trainer"]["logger"] = False

    def instantiate_trainer(self, **named: Any) -> Any:
        """Return the trainer of the configuration, on one device and without its loggers."""
        return super().instantiate_trainer(**{**named, **self.setup.forced})


def _say_what_differs(unknown: Sequence[str], replaced: Sequence[str]) -> None:
    if unknown:
        say(
            f"explain: without {', '.join(dict.fromkeys(unknown))}, which LightningCLI does not know; if your script "
            "has a LightningCLI of its own, name it: --cli project.train.MyCLI"
        )
    if replaced:
        say(f"explain: --monitor replaces {', '.join(replaced)} of --config")


def built(configuration: Configuration, folder: Path, given: Any) -> LightningCLI:
    """Return LightningCLI with model, data and trainer.

    Args:
        configuration: The content of the files.
        folder: Folder for the output files.
        given: The arguments of the command.

    Raises:
        ConfigurationError: The configuration names no model, or does not build one.
    """
    classes: dict[str, Any] = {}
    for name, argument in (("model", "model_class"), ("data", "datamodule_class")):
        path = getattr(given, name)
        _require_class(configuration, name, path)
        if path is not None and configuration.is_named(name):
            configuration = configuration.with_class(name, path)
        elif path is not None:
            classes[argument] = _class(f"--{name}", path)
    package = _package(configuration, classes)
    base = _class("--cli", given.cli or f"{package}.cli.LightningCLI")
    kind: Any = type("ExplainingCLI", (ExplainingCLI, base), {})
    logger: Any = type("UnwrittenLogger", (Unwritten, _class("--cli", f"{package}.loggers.logger.DummyLogger")), {})
    setup = Setup(configuration, folder, given.others, logger)
    with _failures_told(configuration):
        found: LightningCLI = kind(setup, **classes)
    return found


def _package(configuration: Configuration, classes: Mapping[str, Any]) -> str:
    """Return the Lightning package of the model's class; each of the two copies refuses classes of the other."""
    section = configuration.section("model")
    path = section.get("class_path") if isinstance(section, Mapping) else section
    model = classes.get("model_class")
    with suppress(Exception):  # LightningCLI gives the error message
        model = model or pkgutil.resolve_name(str(path))
    known = {base.__module__.partition(".")[0] for base in getattr(model, "__mro__", ())}
    return "pytorch_lightning" if "pytorch_lightning" in known or not is_installed("lightning") else "lightning.pytorch"


def _require_class(configuration: Configuration, name: str, path: str | None) -> None:
    """Check that the class of a section is known; the section data may be missing, because a model may load data."""
    if path is not None or configuration.is_named(name):
        return
    files, section = " ".join(configuration.files), configuration.section(name)
    if section is not None:
        raise ConfigurationError(
            f"--config {files}: the section {name}: names no class_path, since the script of the training names the "
            f"class; name it here: --{name} project.{name.title()}"
        )
    if name == "model":
        raise ConfigurationError(f"--config {files} has no section model: name the class here: --model project.Model")


def _class(option: str, path: str) -> Any:
    try:
        return pkgutil.resolve_name(path)
    except Exception as error:
        raise ConfigurationError(
            f"{option} {path} cannot be imported: {error}; give module and class, as in {option} project.train.Name, "
            "and start the command in the folder in which project lies"
        ) from error


@contextmanager
def _failures_told(configuration: Configuration) -> Iterator[None]:
    """Raise errors of the block with the file and with advice."""
    try:
        yield
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:
        if not isinstance(error, ValueError | SystemExit) and not is_of_arguments(error):
            raise
        files, said = " ".join(configuration.files), str(error)
        blamed = "" if "unrecognized" in said else f"--config {files}: "
        raise ConfigurationError(f"{blamed}{said}{_advice(said)}") from error


def is_of_arguments(error: BaseException) -> bool:
    """Return whether an error is about arguments, and raised by Lightning or its parser."""
    return type(error).__name__ in {"ArgumentError", "MisconfigurationException"}


def _advice(said: str) -> str:
    if "__main__" in said:
        return "\nThe file names classes of a script that ran; name their module: --model train.Model --data train.Data"
    if "unrecognized" in said:
        return "; python -m mviz_lightning explain --help lists what there is beside the options of LightningCLI"
    if "accelerator" in said.lower() or "backend" in said:
        return "\nOn another machine than that of the training: --trainer.accelerator cpu"
    return ""
