"""The configuration of a training, and the file of the monitor, as users write them in YAML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from mviz_lightning.errors import ConfigurationError

MONITOR = "mviz_lightning.MultimodalMonitor"

SUBCOMMANDS = ("fit", "validate", "test", "predict")
"""Keys of a configuration with settings for several commands."""

PASTED = """\
modalities:
  image: pixel_values
  text: input_ids
explainers:
  - class_path: mviz_lightning.explainers.DIME"""
"""Example of a file for ``--monitor``, to copy from a message."""


@dataclass(frozen=True)
class Configuration:
    """The content of the files.

    Attributes:
        files: Names of the configurations of LightningCLI.
        parts: Their contents, in order; later ones take precedence.
        callbacks: Callbacks of the file for ``--monitor``, each as ``class_path`` and ``init_args``; empty without one.
    """

    files: Sequence[str]
    parts: Sequence[Mapping[str, Any]]
    callbacks: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def read(cls, files: Sequence[str], monitor: str | None) -> "Configuration":
        """Read the files.

        Args:
            files: Configurations of LightningCLI.
            monitor: File of the monitor; None without one.

        Raises:
            ConfigurationError: A file is not YAML of the expected form.
        """
        parts = [_of_command(_mapping("--config", file)) for file in files]
        return cls(files, parts, [] if monitor is None else _callbacks(monitor))

    def section(self, name: str) -> Any:
        """Return a section, such as ``model``, of the last file that has it; None if no file has it."""
        return next((part[name] for part in reversed(self.parts) if part.get(name) is not None), None)

    def is_named(self, name: str) -> bool:
        """Return whether a section names its class: the training chose it by ``class_path``."""
        section = self.section(name)
        return isinstance(section, str) or (isinstance(section, Mapping) and "class_path" in section)

    def with_class(self, name: str, path: str) -> "Configuration":
        """Return the same with another class of a section: the file of a script names ``__main__.Model``."""
        return replace(
            self, parts=[{**part, name: _of_class(part[name], path)} if part.get(name) else part for part in self.parts]
        )


def _of_class(section: Any, path: str) -> dict[str, Any]:
    return {**(section if isinstance(section, Mapping) else {}), "class_path": path}


def as_text(part: Mapping[str, Any]) -> str:
    """Return a part of a configuration as YAML."""
    return str(yaml.safe_dump(dict(part), sort_keys=False))


def _of_command(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of the training; in some files they are below the name of a command."""
    below = next((part[name] for name in SUBCOMMANDS if isinstance(part.get(name), Mapping)), None)
    return part if below is None or "trainer" in part else below


def _content(option: str, file: str) -> Any:
    try:
        return yaml.safe_load(Path(file).read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{option} {file} is not YAML: {error}") from error


def _mapping(option: str, file: str) -> Mapping[str, Any]:
    found = _content(option, file)
    if not isinstance(found, Mapping):
        raise ConfigurationError(
            f"{option} {file} holds a {type(found).__name__}, not the keys trainer, model and data; give the "
            "config.yaml that LightningCLI saved in the folder of the run."
        )
    return found


def _callbacks(file: str) -> list[Mapping[str, Any]]:
    """Return the callbacks of a file for ``--monitor``: one or a list, at the top or below ``trainer.callbacks``."""
    found = _content("--monitor", file)
    for key in ("trainer", "callbacks"):
        found = found[key] if isinstance(found, Mapping) and key in found else found
    listed = found if isinstance(found, list) else [found]
    callbacks = [_callback(file, one) for one in listed]
    names = [str(one.get("init_args", {}).get("name", "mviz")) for one in callbacks if _is_monitor(one)]
    if not names:
        raise ConfigurationError(f"--monitor {file} holds no MultimodalMonitor. This is such a file:\n{PASTED}")
    if len(set(names)) < len(names):
        raise ConfigurationError(
            f"--monitor {file} holds {len(names)} monitors with the names {', '.join(names)}; keep one, or give each "
            "a name: of its own."
        )
    return callbacks


def _is_monitor(callback: Mapping[str, Any]) -> bool:
    return _class_name(callback) == "MultimodalMonitor"


def _callback(file: str, given: Any) -> Mapping[str, Any]:
    """Return a callback as ``class_path`` and ``init_args``; without a class, the arguments belong to the monitor."""
    if isinstance(given, str):
        given = {"class_path": given}
    if not isinstance(given, Mapping) or not ("class_path" in given or "modalities" in given):
        raise ConfigurationError(f"--monitor {file} names no modalities. This is such a file:\n{PASTED}")
    return given if "class_path" in given else {"class_path": MONITOR, "init_args": dict(given)}


def with_callbacks(
    parts: Sequence[Mapping[str, Any]], callbacks: Sequence[Mapping[str, Any]]
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Return configurations with further callbacks, and the names of the classes that these replace.

    Args:
        parts: Configurations of LightningCLI; the last list of callbacks takes precedence.
        callbacks: The further callbacks.
    """
    if not callbacks:
        return list(parts), []
    before = next((found for part in reversed(parts) if (found := _callbacks_of(part)) is not None), [])
    names = {_class_name(one) for one in callbacks}
    replaced = [_class_name(one) for one in before if _class_name(one) in names]
    kept = [one for one in before if _class_name(one) not in names]
    return [*parts, {"trainer": {"callbacks": [*kept, *callbacks]}}], list(dict.fromkeys(replaced))


def _callbacks_of(part: Mapping[str, Any]) -> list[Any] | None:
    trainer = part.get("trainer")
    found = trainer.get("callbacks") if isinstance(trainer, Mapping) else None
    return found if found is None or isinstance(found, list) else [found]


def _class_name(callback: Any) -> str:
    path = callback.get("class_path", "") if isinstance(callback, Mapping) else callback
    return str(path).rpartition(".")[2]
