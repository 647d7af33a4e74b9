"""Compare runs with the first one: differences with their 95 % intervals, states, and configurations."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

from mviz_lightning.functional.differences import ShareDifference, share_differences
from mviz_lightning.report.comparison_words import in_words, run_letter
from mviz_lightning.report.payload import Plain
from mviz_lightning.sinks.records import RunRecord, State

LONGEST = 400
"""Largest number of letters that are shown of a configured value."""

NOT_CONFIGURED = ("format", "name", "run", "started", "finished", "heads", "modalities", "observed")
"""Entries of a description that differ between any two runs, or that are compared separately."""


class Described(Protocol):
    """The attributes of a run that a comparison reads."""

    @property
    def description(self) -> Mapping[str, Any]:
        """The content of ``run.json``; empty for a run without this file."""

    @property
    def history(self) -> Sequence[RunRecord]:
        """The runs of the monitor, oldest first."""


@dataclass(frozen=True)
class HeadComparison:
    """One head of two runs at one moment.

    Attributes:
        head: Name of the head; ``""`` is the main head.
        first: Values of the first run, by their names without prefix.
        second: Values of the second run.
    """

    head: str
    first: Mapping[str, float]
    second: Mapping[str, float]

    @property
    def differences(self) -> dict[str, ShareDifference]:
        """Name of a share or score that both runs have -> the second run's value less the first run's."""
        return share_differences(self.second, self.first)

    @property
    def states(self) -> dict[str, tuple[State | None, State | None]]:
        """Modality -> its state in both runs; None if no alarm judged it."""
        names = dict.fromkeys(
            name.partition("/")[2] for name in chain(self.first, self.second) if name.startswith("collapse/")
        )
        return {name: (_state(self.first, name), _state(self.second, name)) for name in names}

    def state(self, letters: tuple[str, str]) -> Plain:
        """Return plain types; ``letters`` are the names of both runs in sentences."""
        values = [
            {
                "key": name,
                "first": _finite(self.first[name]),
                "second": _finite(self.second[name]),
                "difference": _finite(found.value),
                "low": _finite(found.low),
                "high": _finite(found.high),
                "clear": found.is_clear,
            }
            for name, found in self.differences.items()
        ]
        states = [
            {"modality": name, "first": _word(first), "second": _word(second)}
            for name, (first, second) in self.states.items()
        ]
        sentences = in_words(self.differences, self.states, letters)
        return {"head": self.head, "values": values, "states": states, "sentences": sentences}


@dataclass(frozen=True)
class RunMoment:
    """Two runs at one moment of their trainings.

    Attributes:
        label: The moment in words.
        first: The record of the first run.
        second: The record of the second run.
    """

    label: str
    first: RunRecord
    second: RunRecord

    @property
    def heads(self) -> list[HeadComparison]:
        """The main head, and each further head that both runs have."""
        names = ["", *(head for head in self.first.heads if head in self.second.heads)]
        both = ((head, self.first.of_head(head).values, self.second.of_head(head).values) for head in names)
        return [HeadComparison(*one) for one in both]

    def state(self, letters: tuple[str, str]) -> Plain:
        """Return plain types."""
        places = [{"epoch": one.epoch, "step": one.step} for one in (self.first, self.second)]
        heads = [head.state(letters) for head in self.heads]
        return {"label": self.label, "first": places[0], "second": places[1], "heads": heads}


def compared_runs(runs: Sequence[Described]) -> Plain | None:
    """Compare every run with the first one, as plain types for the page.

    Args:
        runs: Two runs or more.

    Returns:
        ``{"pairs": [...]}`` with a pair for each run but the first: ``first`` and ``second`` (positions in ``runs``),
        ``moments`` (the last epoch that both measured, and the last record of each run if it is another one), and
        ``configuration`` (the differences). None for a single run.
    """
    return {"pairs": [_pair(runs, place) for place in range(1, len(runs))]} if len(runs) > 1 else None


def run_moments(first: Sequence[RunRecord], second: Sequence[RunRecord]) -> list[RunMoment]:
    """Return the moments at which two histories can be compared.

    Returns:
        The last epoch that both runs measured; then the last record of each run, if a run continued after this epoch.
        Without a common epoch, only the last records. An empty list if a run has no values.
    """
    if not (_measured(first) and _measured(second)):
        return []
    last = RunMoment("the last measurement of each run", _measured(first)[-1], _measured(second)[-1])
    by_epoch = [{record.epoch: record for record in _measured(history)} for history in (first, second)]
    common = sorted(by_epoch[0].keys() & by_epoch[1].keys())
    if not common or last.first.phase != last.second.phase:
        return [last]
    epoch = common[-1]
    shared = RunMoment(f"epoch {epoch}, the last in both", by_epoch[0][epoch], by_epoch[1][epoch])
    return [shared] if (shared.first, shared.second) == (last.first, last.second) else [shared, last]


def configured_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Plain]:
    """Return the differences of two descriptions, ``[{"name", "first", "second"}]``; None for a missing entry.

    Args:
        first: The content of ``run.json`` of the first run.
        second: The content of ``run.json`` of the second run.
    """
    before, after = (dict(_entries(_configured(description))) for description in (first, second))
    before |= _observed_alone(first, second)
    after |= _observed_alone(second, first)
    names = dict.fromkeys((*before, *after))
    return [
        {"name": name, "first": before.get(name), "second": after.get(name)}
        for name in names
        if before.get(name) != after.get(name)
    ]


def _observed_alone(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, str]:
    """Return the observations of one model that the other one lacks, one line each."""
    lines = [str(line) for line in one.get("observed") or [] if line not in (other.get("observed") or [])]
    return {"observed": _short("\n".join(lines))} if lines else {}


def _pair(runs: Sequence[Described], place: int) -> Plain:
    first, second = runs[0], runs[place]
    letters = (run_letter(0), run_letter(place))
    return {
        "first": 0,
        "second": place,
        "moments": [moment.state(letters) for moment in run_moments(first.history, second.history)],
        "configuration": configured_differences(first.description, second.description),
    }


def _measured(history: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the records with values from the training; if there are none, those of other stages."""
    valued = [record for record in history if record.values]
    return [record for record in valued if record.phase == "fit"] or valued


def _state(values: Mapping[str, float], modality: str) -> State | None:
    name = f"collapse/{modality}"
    return State(int(values[name])) if name in values else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _word(state: State | None) -> str | None:
    return None if state is None else state.name.lower()


def _configured(description: Mapping[str, Any]) -> Plain:
    """Return the compared entries of a description; heads and modalities are found by name, not by index."""
    plain = {name: value for name, value in description.items() if name not in NOT_CONFIGURED}
    for group in ("modalities", "heads"):
        named = {str(one.get("called") or one.get("name")): one for one in description.get(group) or []}
        plain[group] = {name: {key: one[key] for key in one if key != "name"} for name, one in named.items()}
    return plain


def _entries(found: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each entry that is not None; a list is one entry."""
    if isinstance(found, Mapping) and found:
        for name, value in found.items():
            yield from _entries(value, f"{path}.{name}" if path else str(name))
    elif path and found is not None and found != {}:
        yield path, _short(found if isinstance(found, str) else json.dumps(found, ensure_ascii=False))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
