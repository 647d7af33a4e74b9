"""What is kept of a run as numbers, so that it can be shown later without the model, the data or the logger."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mviz_lightning.sinks.example_ids import ExampleIds
from mviz_lightning.sinks.files import append_lines, replace_file
from mviz_lightning.sinks.plain_data import plain_data

FORMAT = 1
"""Version of the files. A change that an older reader would misread raises it; further fields do not."""

DESCRIPTION, HISTORY = "run.json", "history.jsonl"
EXAMPLES, EXPLANATIONS, ALERTS = "examples.jsonl", "explanations.jsonl", "alerts.jsonl"


class Archive:
    """Writes ``run.json``, and appends to ``examples.jsonl``, ``explanations.jsonl`` and ``alerts.jsonl``.

    Lines that could not be written, as on a full disk, are written with the next ones. Nothing is read or created
    before the first line.

    Args:
        folder: Folder of the run; created when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._unwritten: dict[str, list[str]] = {EXAMPLES: [], EXPLANATIONS: [], ALERTS: []}
        self._described = ""

    @cached_property
    def _ids(self) -> ExampleIds:
        """The ids of all examples, those of the training that is resumed too."""
        return ExampleIds.of(whole_lines(self.folder / EXAMPLES))

    def describe(self, description: Mapping[str, Any]) -> None:
        """Write ``run.json`` anew, in one step, if the description differs from the last one."""
        text = json.dumps({"format": FORMAT} | plain_data(description), indent=1)
        if text != self._described:
            replace_file(self.folder / DESCRIPTION, text.encode())
            self._described = text

    def add_example(self, line: Mapping[str, Any]) -> str:
        """Return the id of an example, which is kept once; modalities that come later have a line of their own.

        Args:
            line: Position, stage, target and modalities of the example.
        """
        found = plain_data(line)
        name, new = self._ids.assign(found)
        if new:
            modalities = {one: found["modalities"][one] for one in new}
            self._add(EXAMPLES, {"id": name, **found, "modalities": modalities})
        return name

    def add_explanation(self, line: Mapping[str, Any]) -> None:
        """Keep an explained output, feature or case."""
        self._add(EXPLANATIONS, plain_data(line))

    def add_alert(self, line: Mapping[str, Any]) -> None:
        """Keep the text of an alarm, or of its end."""
        self._add(ALERTS, plain_data(line))

    def _add(self, file: str, line: Mapping[str, Any]) -> None:
        self._unwritten[file].append(json.dumps(line, allow_nan=False, separators=(",", ":")))

    def write(self) -> None:
        """Append all lines that were added to their files; examples come before what refers to them."""
        for file, lines in self._unwritten.items():
            if lines:
                self.folder.mkdir(parents=True, exist_ok=True)
                append_lines(self.folder / file, lines)
                self._unwritten[file] = []


def whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file of lines; lines that are no JSON object, such as a half one, are skipped."""
    for line in read_lines(path):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):  # of lists in lists, which a damaged line may hold
            continue
        if isinstance(found, dict):
            yield found


def read_lines(path: Path) -> Sequence[str]:
    """Return the lines of a file that are not empty; none where there is no file."""
    if not path.is_file():
        return []
    return [line for line in path.read_text("utf-8", "replace").split("\n") if line.strip()]
