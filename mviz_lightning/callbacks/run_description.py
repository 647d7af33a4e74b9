"""What a run was: model, modalities, heads, versions and configuration, as plain data for ``run.json``."""

import platform
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mviz_lightning.callbacks import trainer_facts
from mviz_lightning.callbacks.alarm_pairing import Alarm, Monitor
from mviz_lightning.session.session import Session
from mviz_lightning.sinks.records import RunRecord

PACKAGES = {"torch": "torch", "lightning": "lightning", "numpy": "numpy", "mviz_lightning": "mviz-lightning"}
"""Name in ``run.json`` -> name of the installed package."""

GROUPS = "recombined", "group_size"
"""What is told of the recombined examples: their number, and that of a group."""

MOST_ENTRIES = 16
"""Largest number of entries of an argument that is written out."""

APART = {"class_names", "modalities", "explainers", "by_head", "of_one_head", "predict"}
"""Fields of the session's configuration that have a place of their own, or are not given by the user as they are."""


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of packages that results depend on; None where one is not installed."""
    return {"python": platform.python_version()} | {name: _version(package) for name, package in PACKAGES.items()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@dataclass
class RunDescription:
    """Describes a run; what the heads are is read after a run with values alone, and kept."""

    _heads: list[dict[str, Any]] = field(default_factory=list)

    def of(
        self, trainer: Any, folder: Path, name: str, session: Session, alarm: Alarm | None, row: RunRecord | None
    ) -> dict[str, Any]:
        """Return the description of a run without its times.

        Args:
            trainer: The trainer whose callback the monitor is.
            folder: Folder of the monitor's files.
            name: Name of the monitor.
            session: What is measured.
            alarm: The alarm that reads the monitor; None without one.
            row: The run that was just measured; None if none was.
        """
        if row is not None and row.values:  # without values, reading the heads may wait for other processes
            self._heads = described_heads(session)
        monitor = next(one for one in trainer.callbacks if isinstance(one, Monitor) and one.name == name)
        shown, probe = vars(monitor), session.probe
        sizes = () if probe is None else (probe.groups.numel(), probe.groups.shape[1])
        configuration = {
            "monitor": _monitor_arguments(session, shown),
            "explainers": {one.name: _arguments(one) for one in session.config.explainers},
            "alarm": None if alarm is None else _alarm_arguments(alarm),
        }
        return {
            "name": name,
            "run": trainer_facts.run_name(trainer, folder),
            "versions": versions(),
            "model": model_of(trainer.lightning_module),
            "modalities": _modalities(session),
            "heads": self._heads,
            "show_inputs": shown["show_inputs"],
            "configuration": configuration,
            "observed": list(session.remarks.told),
            "examples": dict(zip(GROUPS, sizes, strict=True)) if sizes else None,
        }


def model_of(module: Any) -> dict[str, Any]:
    """Return class and number of parameters of a model; None of a lazy one that has not run yet."""
    try:
        count = sum(one.numel() for one in module.parameters())
    except ValueError:  # a lazy layer has no shape yet
        count = None
    return {"class": type(module).__name__, "parameters": count}


def described_heads(session: Session) -> list[dict[str, Any]]:
    """Return name, task, classes and score of each head; only after a run, when they have been read."""
    return [
        {
            "name": head,
            "called": one.called,
            "task": one.task,
            "class_names": None if one.class_names is None else list(one.class_names),
            "score": one.score_name,
        }
        for head, one in {"": session, **session.heads}.items()
    ]


def _modalities(session: Session) -> list[dict[str, Any]]:
    """Return the modalities in declared order; the kind is None as long as nothing was explained."""
    types = session.modality_types
    return [
        {
            "name": name,
            "leaves": list(modality.leaves),
            "kind": types[name].name if name in types else modality.kind,
            "arguments": _arguments(modality),
        }
        for name, modality in session.config.modalities.items()
    ]


def _monitor_arguments(session: Session, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the monitor, those of single heads by the head's name."""
    config = session.config
    given = {one.name: _short(getattr(config, one.name)) for one in fields(config) if one.name not in APART}
    by_head = {name: found for name, found in config.by_head.items() if found}
    own = {
        name: value for name, value in shown.items() if isinstance(value, bool | int | float | str) and name[0] != "_"
    }
    predict = {} if config.predict is None else {"predict": config.predict}
    return {**given, **by_head, **own, **predict}


def _alarm_arguments(alarm: Alarm) -> dict[str, Any]:
    shown = {name: value for name, value in vars(alarm).items() if name in {"action", "monitor", "kin"}}
    return {**shown, **_arguments(getattr(alarm, "rule", None))}


def _arguments(one: Any) -> dict[str, Any]:
    """Return the arguments of an explainer, a rule or a modality: its public attributes that are not None."""
    found = vars(one) if hasattr(one, "__dict__") else {}
    return {name: _short(value) for name, value in found.items() if not name.startswith("_") and value is not None}


def _short(value: Any) -> Any:
    """Return an argument; of a long list, such as a vocabulary, how long it is."""
    long = isinstance(value, Sized) and not isinstance(value, str) and len(value) > MOST_ENTRIES
    return f"{len(value)} entries" if long else value
