"""The stored data of a run: results as lines, examples with their inputs, and the description of the run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.explainers.kept import KeepingContext, ShownExample
from mviz_lightning.modalities import ModalityType
from mviz_lightning.session.explanation_history import TimedResult
from mviz_lightning.sinks.archive import DESCRIPTION, FORMAT, Archive
from mviz_lightning.sinks.records import Alert, RunRecord


@dataclass
class RunArchive:
    """Stores the results of a run in the files of its folder, each once, line by line.

    Attributes:
        archive: Writes the files.
    """

    archive: Archive
    _before: dict[str, Any] | None = None
    _ids: dict[str, tuple[Mapping[str, ModalityType], dict[int, str]]] = field(default_factory=dict)
    _failures: list[Exception] = field(default_factory=list)

    @classmethod
    def at(cls, folder: Path) -> "RunArchive":
        """Return the archive of a folder, which is created when something is written."""
        return cls(Archive(folder))

    @property
    def folder(self) -> Path:
        """Folder of the files."""
        return self.archive.folder

    @property
    def describes_training(self) -> bool:
        """Whether the folder holds the description of a training, written by a monitor."""
        configuration = _read(self.folder / DESCRIPTION).get("configuration")
        return isinstance(configuration, dict) and "monitor" in configuration

    def keep(self, found: TimedResult, drawing: DrawingContext) -> None:
        """Write the lines of a result, and the examples that they refer to.

        Raises:
            Exception: Something could not be kept; the rest is written.
        """
        common: dict[str, Any] = {"method": found.explainer.name, "result": "other", "stage": found.phase}
        common |= {"epoch": found.epoch, "step": found.step, "head": found.head, "example": None}

        def identify(shown: ShownExample) -> str:
            return self._id_of(shown, found, drawing)

        try:
            context = KeepingContext(drawing.labels, identify, drawing.show_inputs)
            for line in found.explainer.kept(found.result, context):
                self.archive.add_explanation(common | dict(line))
        except Exception as error:
            self._failures.append(error)
        self.archive.write()
        self._raise_first()

    def _raise_first(self) -> None:
        failures, self._failures = self._failures, []
        for failure in failures:
            raise failure

    def _id_of(self, shown: ShownExample, found: TimedResult, drawing: DrawingContext) -> str:
        """Return the id of an example; it is looked up once as long as its head has the same modality types."""
        types, ids = self._ids.get(found.head, ({}, {}))
        if types is not drawing.modality_types:
            ids = dict[int, str]()
            self._ids[found.head] = drawing.modality_types, ids
        if shown.example not in ids:
            ids[shown.example] = self.archive.add_example(self._example(shown, found, drawing))
        return ids[shown.example]

    def _example(self, shown: ShownExample, found: TimedResult, drawing: DrawingContext) -> dict[str, Any]:
        """Return the line of an example; its target is that of the main head."""
        target = None if found.head else shown.target
        return {
            "position": shown.position,
            "stage": found.phase,
            "target": target,
            "target_name": None if target is None else drawing.labels.outcome(target),
            **({} if drawing.show_inputs else {"inputs": False}),
            "modalities": {name: self._kept(name, shown.example, drawing) for name in drawing.modality_types},
        }

    def _kept(self, name: str, example: int, drawing: DrawingContext) -> dict[str, Any]:
        """Return the stored data of one modality of an example; if it has no view, only the names of its segments."""
        modality_type, inputs = drawing.modality_types[name], drawing.show_inputs
        try:
            view = modality_type.view(example, inputs=inputs)
        except Exception as error:
            self._failures.append(error)
            view = {"view": "list"}
        return {
            "kind": modality_type.name,
            "baseline": modality_type.baseline,
            "segments": modality_type.names(example, inputs=inputs),
            "view": view,
        }

    def alert(self, row: RunRecord, alerts: list[Alert]) -> None:
        """Store the texts of alarms that began or ended with a run."""
        when = {"stage": row.phase, "epoch": row.epoch, "step": row.step}
        for one in alerts:
            about = {"head": one.head, "modality": one.modality, "state": one.state}
            self.archive.add_alert(when | about | {"title": one.title, "text": one.text, "urgent": one.urgent})
        self.archive.write()

    def describe(self, description: Mapping[str, Any], *, finished: bool) -> None:
        """Write the description of the run; its start, and what was observed before a resumption, are kept.

        Args:
            description: The description without its times.
            finished: Whether the run is over.
        """
        if self._before is None:
            self._before = {"started": _now(), "observed": []} | _described(self.folder / DESCRIPTION)
        observed = list(dict.fromkeys([*self._before["observed"], *description["observed"]]))
        times = {"started": self._before["started"], "finished": _now() if finished else None}
        self.archive.describe({**description, **times, "observed": observed})


def _described(path: Path) -> dict[str, Any]:
    """Return start and observations of a run that is resumed, as far as they can be read."""
    found = _read(path)
    started, observed = found.get("started"), found.get("observed")
    return {
        **({"started": started} if isinstance(started, str) else {}),
        **({"observed": [str(line) for line in observed]} if isinstance(observed, list) else {}),
    }


def _read(path: Path) -> dict[str, Any]:
    """Return a description; an empty one where there is no file, a damaged one, or one of another version."""
    try:
        found = json.loads(path.read_text("utf-8", "replace"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.get("format") == FORMAT else {}


def _now() -> str:
    """Return the present time in ISO 8601, to the second, in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
