"""The files with a run's results as numbers: they can be shown later without the model, the data or the logger."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mviz_lightning.sinks.example_ids import ExampleIds
from mviz_lightning.sinks.files import append_lines, replace_file
from mviz_lightning.sinks.plain import plain_data

FORMAT = 1
"""Version of the file format. It is raised by a change that an older reader would misread, not by further fields."""

DIGITS = 6
"""Significant digits of numbers: more than a picture shows and than a 16-bit float holds."""

DESCRIPTION, HISTORY = "run.json", "history.jsonl"
EXAMPLES, EXPLANATIONS, ALERTS = "examples.jsonl", "explanations.jsonl", "alerts.jsonl"


class Archive:
    """Writes ``run.json``, and appends to ``examples.jsonl``, ``explanations.jsonl`` and ``alerts.jsonl``.

    Lines that could not be written, for example on a full disk, are written together with the next ones. Nothing is
    read or created before the first line.

    Args:
        folder: Folder of the run; created when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._unwritten: dict[str, list[str]] = {EXAMPLES: [], EXPLANATIONS: [], ALERTS: []}
        self._described = ""

    @cached_property
    def _ids(self) -> ExampleIds:
        """The ids of all examples, including those of the training that is resumed."""
        return ExampleIds.of(whole_lines(self.folder / EXAMPLES))

    def describe(self, description: Mapping[str, Any]) -> None:
        """Replace ``run.json``, in one step, if the description differs from the last one."""
        text = json.dumps({"format": FORMAT} | plain_data(description, DIGITS), indent=1)
        if text != self._described:
            replace_file(self.folder / DESCRIPTION, text.encode())
            self._described = text

    def add_example(self, line: Mapping[str, Any]) -> str:
        """Return the id of an example. It is stored once; modalities that are added later have their own line.

        Args:
            line: Position, stage, target and modalities of the example.
        """
        found = plain_data(line, DIGITS)
        name, new = self._ids.assign(found)
        if new:
            modalities = {one: found["modalities"][one] for one in new}
            self._add(EXAMPLES, {"id": name, **found, "modalities": modalities})
        return name

    def add_explanation(self, line: Mapping[str, Any]) -> None:
        """Store an explained output, feature or case."""
        self._add(EXPLANATIONS, plain_data(line, DIGITS))

    def add_alert(self, line: Mapping[str, Any]) -> None:
        """Store the text of an alarm, or of its end."""
        self._add(ALERTS, plain_data(line, DIGITS))

    def _add(self, file: str, line: Mapping[str, Any]) -> None:
        self._unwritten[file].append(json.dumps(line, allow_nan=False, separators=(",", ":")))

    def write(self) -> None:
        """Append all added lines to their files; examples come before the lines that refer to them."""
        for file, lines in self._unwritten.items():
            if lines:
                self.folder.mkdir(parents=True, exist_ok=True)
                append_lines(self.folder / file, lines)
                self._unwritten[file] = []


def whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file, one per line; other lines, such as an incomplete one, are skipped."""
    for line in read_lines(path):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):  # RecursionError: a damaged line with deeply nested lists
            continue
        if isinstance(found, dict):
            yield found


def read_lines(path: Path) -> Sequence[str]:
    """Return the lines of a file that are not empty; an empty list without a file."""
    if not path.is_file():
        return []
    return [line for line in path.read_text("utf-8", "replace").split("\n") if line.strip()]
