"""The files of a run as plain data, without damaged lines, which are counted, and without repeated lines."""

import json
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.sinks.archive import ALERTS, DESCRIPTION, EXAMPLES, EXPLANATIONS, FORMAT, HISTORY, read_lines

StoredLine: TypeAlias = dict[str, Any]
"""A line of a file, or the description of a run."""

REPEATED = ("fit", "explain")
"""Stages with one line for each moment: a resumed training, or a report that is saved again, repeats lines."""

TEXTS, NUMBERS = (str,), (int, float)

REQUIRED: dict[str, dict[str, tuple[type, ...]]] = {
    HISTORY: {"stage": TEXTS, "epoch": (int,), "step": (int,), "values": (dict,)},
    EXAMPLES: {"id": TEXTS, "position": (int,), "modalities": (dict,)},
    EXPLANATIONS: {"method": TEXTS, "result": TEXTS, "stage": TEXTS, "epoch": (int,), "step": (int,)},
    ALERTS: {"stage": TEXTS, "epoch": (int,), "step": (int,), "title": TEXTS, "text": TEXTS},
}
"""File -> required fields of its lines, and their types."""

DESCRIBED: dict[str, tuple[type, ...]] = {
    "run": TEXTS,
    "versions": (dict,),
    "model": (dict,),
    "modalities": (list,),
    "heads": (list,),
    "configuration": (dict,),
    "observed": (list,),
    "examples": (dict,),
}
"""Entry of a description -> its type; an entry of another type is left out."""

ENTRIES = ("modalities", "heads")
"""Entries of a description that are lists of dicts."""

TOO_NEW = (
    "{path} was written by a newer version of mviz-lightning (format {found}; this version reads up to {known}); "
    "upgrade with: pip install --upgrade mviz-lightning"
)


@dataclass(frozen=True)
class StoredLines:
    """The content of a run's files, as plain data.

    Attributes:
        description: ``run.json``; empty for a run of an older version.
        history: The runs of the monitor; ``values`` has numbers, and None for numbers that were not finite.
        alerts: Alarms and all-clears.
        examples: Id -> the example with all its modalities.
        explanations: Explained outputs, features and cases.
        remarks: Texts about everything that was left out.
    """

    description: StoredLine
    history: list[StoredLine]
    alerts: list[StoredLine]
    examples: dict[str, StoredLine]
    explanations: list[StoredLine]
    remarks: list[str]


def stored_lines(folder: Path) -> StoredLines:
    """Read the files of a run; damaged parts are left out, with a remark.

    Args:
        folder: The monitor's folder.

    Raises:
        ConfigurationError: A newer version wrote the files in another format.
    """
    remarks: list[str] = []
    description = _description(folder / DESCRIPTION, remarks)
    history, alerts, examples, explanations = (
        _lines(folder / name, remarks) for name in (HISTORY, ALERTS, EXAMPLES, EXPLANATIONS)
    )
    return StoredLines(
        description,
        _last_of_each(history, _place_of_run),
        _last_of_each(alerts, _place_of_alert),
        _merged(examples),
        _last_batches(explanations),
        remarks,
    )


def _description(path: Path, remarks: list[str]) -> StoredLine:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8", "replace"))
    except (ValueError, RecursionError):
        found = None
    written = found.get("format") if isinstance(found, dict) else None
    if not isinstance(written, int):
        remarks.append(f"{path.name}: damaged, and left out")
        return {}
    if written > FORMAT:
        raise ConfigurationError(TOO_NEW.format(path=path, found=written, known=FORMAT))
    wrong = [name for name, kinds in DESCRIBED.items() if not _is_described(name, found.get(name), kinds)]
    if wrong:
        remarks.append(f"{path.name}: {', '.join(wrong)} damaged, and left out")
    return {name: value for name, value in found.items() if name not in wrong}


def _is_described(name: str, value: Any, kinds: tuple[type, ...]) -> bool:
    """Return whether an entry of a description has the right type, or is missing."""
    entries = value if name in ENTRIES and isinstance(value, list) else []
    return value is None or (isinstance(value, kinds) and all(isinstance(one, dict) for one in entries))


def _lines(path: Path, remarks: list[str]) -> list[StoredLine]:
    """Return the undamaged lines of a file, each a dict with all required fields."""
    texts = read_lines(path)
    found = [line for line in map(_read, texts) if line is not None and _is_whole(line, REQUIRED[path.name])]
    if lost := len(texts) - len(found):
        remarks.append(f"{path.name}: {lost} of {len(texts)} lines are damaged, and left out")
    return found


def _read(text: str) -> StoredLine | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_whole(line: StoredLine, required: Mapping[str, tuple[type, ...]]) -> bool:
    typed = all(isinstance(line.get(name), kinds) for name, kinds in required.items())
    values = line.get("values") if "values" in required else {}
    return typed and all(one is None or isinstance(one, NUMBERS) for one in (values or {}).values())


def _last_of_each(lines: Iterable[StoredLine], place: Callable[[StoredLine], Hashable]) -> list[StoredLine]:
    """Return the lines in order; if several have the same moment, only the last one."""
    found: dict[Hashable, StoredLine] = {}
    for number, line in enumerate(lines):
        key = place(line) if line["stage"] in REPEATED else number
        found.pop(key, None)
        found[key] = line
    return list(found.values())


def _place_of_run(line: StoredLine) -> Hashable:
    return line["stage"], line["epoch"], line["step"]


def _place_of_alert(line: StoredLine) -> Hashable:
    return (
        line["stage"],
        line["epoch"],
        line["step"],
        str(line.get("head", "")),
        str(line.get("modality", "")),
        line["title"],
    )


def _merged(lines: Iterable[StoredLine]) -> dict[str, StoredLine]:
    """Return each example once; its modalities may be in several lines."""
    found: dict[str, StoredLine] = {}
    for line in lines:
        modalities = {name: one for name, one in line["modalities"].items() if _is_modality(one)}
        before = found.get(line["id"], line | {"modalities": {}})
        found[line["id"]] = before | {"modalities": before["modalities"] | modalities}
    return found


def _is_modality(found: Any) -> bool:
    """Return whether a stored modality can be shown: it has names of segments and a view."""
    return isinstance(found, dict) and isinstance(found.get("segments"), list) and isinstance(found.get("view"), dict)


def _last_batches(lines: Iterable[StoredLine]) -> list[StoredLine]:
    """Return the lines of explanations; if a resumed training wrote a result again, only the last version."""
    batches: dict[Hashable, dict[Hashable, StoredLine]] = {}
    latest: Hashable = None
    for number, line in enumerate(lines):
        moment = (line["stage"], line["epoch"], line["step"]) if line["stage"] in REPEATED else number
        key = moment, line["method"], str(line.get("head", ""))
        what = json.dumps([line.get(name) for name in ("example", "output", "role", "feature", "list")])
        if key in batches and (key != latest or what in batches[key]):
            del batches[key]
        batches.setdefault(key, {})[what] = line
        latest = key
    return [line for batch in batches.values() for line in batch.values()]
