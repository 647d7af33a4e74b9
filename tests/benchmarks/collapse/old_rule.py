"""The rule of three states that came before, kept to be compared with: used, unused, collapsed."""

from collections.abc import Mapping
from typing import Any

from mviz_lightning.sinks.records import State

MAX_TOTAL, MAX_FLIPS, MAX_DROP, MIN_SKILL, MIN_ALONE, SURE, PATIENCE = 0.05, 0.1, 0.05, 0.1, 0.05, 3.0, 2


def old_states(record: Mapping[str, Any]) -> dict[str, list[State]]:
    """Return what the old rule says of every modality after every check of a run."""
    return {name: _followed(record, name) for name in record["views"]}


def _followed(record: Mapping[str, Any], name: str) -> list[State]:
    proof = record["yardstick"]["alone"].get(name)
    told = proof is not None and proof["explained"] > max(MIN_ALONE, SURE * proof["error"])
    silent, states = 0, []
    for found in record["epochs"]:
        if _skill(record, found["values"]["score"]) > MIN_SKILL:
            silent = silent + 1 if _silent(record, name, found["values"]) else 0
        alarm = State.COLLAPSED if told else State.UNUSED
        states.append(alarm if silent >= PATIENCE else State.USED)
    return states


def _silent(record: Mapping[str, Any], name: str, values: Mapping[str, float]) -> bool:
    limit, total = MAX_TOTAL * 2 / len(record["views"]), values[f"total/{name}"]
    little = total < limit or (total < 2 * limit and values.get(f"flips/{name}", 1.0) < MAX_FLIPS)
    swapped = values["score"] - values[f"perceptual/{name}"]
    return little and _skill(record, values["score"]) - _skill(record, swapped) < MAX_DROP


def _skill(record: Mapping[str, Any], score: float) -> float:
    chance, perfect = record["yardstick"]["chance"], record["yardstick"]["perfect"]
    return (score - chance) / (perfect - chance)
