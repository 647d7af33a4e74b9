"""The description of a trainer's run for ``run.json``: session, callbacks and loggers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mviz_lightning.callbacks import trainer_facts
from mviz_lightning.callbacks.alarm_pairing import Alarm, Monitor
from mviz_lightning.session.run_description import (
    arguments_of,
    described_heads,
    described_run,
    explainer_arguments,
    session_arguments,
)
from mviz_lightning.session.session import Session
from mviz_lightning.sinks.records import RunRecord


@dataclass
class RunDescription:
    """Describes a run. The heads are read only after a run with values, and stored."""

    _heads: list[dict[str, Any]] = field(default_factory=list)

    def of(
        self, trainer: Any, folder: Path, name: str, session: Session, alarm: Alarm | None, row: RunRecord | None
    ) -> dict[str, Any]:
        """Return the description of a run without its times.

        Args:
            trainer: The trainer whose callback the monitor is.
            folder: Folder of the monitor's files.
            name: Name of the monitor.
            session: The session that measures.
            alarm: The alarm that reads the monitor; None without one.
            row: The run that was just measured; None if none was.
        """
        if row is not None and row.values:  # without values, reading the heads may wait for other processes
            self._heads = described_heads(session)
        monitor = next(one for one in trainer.callbacks if isinstance(one, Monitor) and one.name == name)
        shown = vars(monitor)
        configuration = {
            "monitor": session_arguments(session.config) | _own_arguments(shown),
            "explainers": explainer_arguments(session.config),
            "alarm": None if alarm is None else _alarm_arguments(alarm),
        }
        return {
            "name": name,
            "run": trainer_facts.run_name(trainer, folder),
            **described_run(session, trainer.lightning_module, self._heads),
            "show_inputs": shown["show_inputs"],
            "configuration": configuration,
        }


def _own_arguments(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that the monitor itself stores."""
    plain = {name: value for name, value in shown.items() if isinstance(value, bool | int | float | str)}
    return {name: value for name, value in plain.items() if not name.startswith("_")}


def _alarm_arguments(alarm: Alarm) -> dict[str, Any]:
    shown = {name: value for name, value in vars(alarm).items() if name in {"action", "monitor", "kin"}}
    return {**shown, **arguments_of(getattr(alarm, "rule", None))}
