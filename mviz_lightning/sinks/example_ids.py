"""The ids of examples in the files of a run: equal inputs at one position are one example."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

TARGET, STAGE = "\0target", "\0stage"
"""Names for target and stage among an example's modalities; no modality can have these names."""


@dataclass
class ExampleIds:
    """The ids that were assigned so far.

    An id is the example's position in the validation set, ``"378"``. If another example has this position, because the
    loader shuffles or a test set is measured, the id is ``"378 (2)"``.
    """

    _known: dict[int, dict[str, dict[str, str]]] = field(default_factory=dict)

    @classmethod
    def of(cls, lines: Iterable[Mapping[str, Any]]) -> "ExampleIds":
        """Return the ids in lines that an earlier process wrote; damaged lines are skipped."""
        found = cls()
        for line in lines:
            name, position, modalities = (line.get(key) for key in ("id", "position", "modalities"))
            if isinstance(name, str) and isinstance(position, int) and isinstance(modalities, dict):
                found._add(position, name, _digests(line))
        return found

    def _add(self, position: int, name: str, digests: Mapping[str, str]) -> None:
        self._known.setdefault(position, {}).setdefault(name, {}).update(digests)

    def assign(self, line: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Return the id of an example, and the names of its modalities that no line contains yet.

        Args:
            line: The example's line as plain data, without an id.
        """
        position, digests = line["position"], _digests(line)
        known = self._known.get(position, {})
        fresh = f"{position} ({len(known) + 1})" if known else str(position)
        alike = (name for name, before in known.items() if digests.items() <= (digests | before).items())
        name = next(alike, fresh)
        new = [one for one in line["modalities"] if one not in known.get(name, {})]
        self._add(position, name, digests)
        return name, new


def _digests(line: Mapping[str, Any]) -> dict[str, str]:
    """Return a digest of each modality and of the target; also of the stage, if inputs are not stored."""
    told = dict(line["modalities"])
    told |= {} if line.get("target") is None else {TARGET: line["target"]}
    told |= {} if line.get("inputs", True) else {STAGE: line.get("stage")}
    return {name: hashlib.blake2b(json.dumps(one).encode(), digest_size=8).hexdigest() for name, one in told.items()}
