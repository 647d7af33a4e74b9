"""What others would watch instead: numbers of a run at an epoch, low where a modality is not used."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Record = Mapping[str, Any]
Indicator = Callable[[Record, int, str], float | None]
"""Of a run, an epoch and a modality; None where it cannot be had."""


def value(name: str) -> Indicator:
    """Return one of the monitor's values as an indicator."""
    return lambda record, epoch, modality: record["epochs"][epoch]["values"].get(f"{name}/{modality}")


def skill_drop(record: Record, epoch: int, modality: str) -> float | None:
    """Return the skill lost when a modality is swapped."""
    chance, perfect = record["yardstick"]["chance"], record["yardstick"]["perfect"]
    return record["epochs"][epoch]["values"][f"perceptual/{modality}"] / (perfect - chance)


def gradient_ratio(record: Record, epoch: int, modality: str) -> float | None:
    """Return the modality's share of the encoders' gradient norms."""
    norms = record["epochs"][epoch]["signals"]["grad_norm"]
    return norms[modality] / max(1e-12, sum(norms.values()))


def update_ratio(record: Record, epoch: int, modality: str) -> float | None:
    """Return the modality's share of the encoders' relative updates."""
    norms = record["epochs"][epoch]["signals"]["update_norm"]
    return norms[modality] / max(1e-12, sum(norms.values())) if epoch else None


def discrepancy(record: Record, epoch: int, modality: str) -> float | None:
    """Return OGM-GE's ratio; a linear fusion alone has one."""
    return record["epochs"][epoch]["signals"]["ogm"]


def emap_gap(record: Record, epoch: int, modality: str) -> float | None:
    """Return the EMAP gap, which knows no modality."""
    return record["epochs"][epoch]["values"]["emap_gap"]


def from_peak(record: Record, epoch: int, modality: str) -> float | None:
    """Return how the score stands to its own best so far: validation accuracy alone."""
    scores = [found["truth"]["score"] for found in record["epochs"][: epoch + 1]]
    return scores[-1] - max(scores)


INDICATORS: dict[str, Indicator] = {
    "total effect, logits": value("total"),
    "total effect, decisions (flips)": value("flips"),
    "skill drop": skill_drop,
    "first-order share": value("contribution"),
    "EMAP gap": emap_gap,
    "gradient-norm share": gradient_ratio,
    "update-norm share": update_ratio,
    "OGM-GE discrepancy": discrepancy,
    "validation score, from its peak": from_peak,
}


def with_twins(runs: Sequence[Record]) -> Indicator:
    """Return the score less that of healthy runs on the same data at the same epoch: what a user rarely has."""

    def twin_of(run: Record) -> tuple[Any, ...]:
        return run["family"], run["task"], tuple(sorted(run["views"])), run["noise"], len(run["epochs"])

    scores: dict[tuple[Any, ...], list[list[float]]] = {}
    for run in runs:
        if run["outcome"] == "used" and run["recipe"] in ("plain", "dropout"):
            scores.setdefault(twin_of(run), []).append([found["truth"]["score"] for found in run["epochs"]])

    def indicator(record: Record, epoch: int, modality: str) -> float | None:
        twins = scores.get(twin_of(record))
        return None if twins is None else record["epochs"][epoch]["truth"]["score"] - float(np.mean(twins, 0)[epoch])

    return indicator
