"""What a monitor found: the only place that reads its private parts."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mviz_lightning import MultimodalMonitor
from mviz_lightning.batch import Probe
from mviz_lightning.engine.query import Query

ASKING = re.compile(r"\b(predict|target|task)=|\bvalidation_step\b|def forward")
"""What a message that asks names: an argument to give, or the step to change."""


WAYS = {"forward": "forward", "call": "inner call", "replay": "replay"}
"""The package's words for the ways -> the table's."""


@dataclass(frozen=True)
class Found:
    """What the monitor measures with, after a run.

    Attributes:
        way: How the outputs are got: ``"forward"``, ``"inner call"``, ``"replay"`` or ``"guessed"``.
        task: What the outputs stand for.
        code: The outputs, in words or code.
        probe: The fixed examples.
        evaluate: ``(R, M)`` sources of rows -> ``(R, C)`` outputs.
        labels: ``(N, ...)`` labels of the probe, of outputs with positions ``(N, L)``; None without any.
        others: Number of further heads that the monitor named.
        places: ``(N, P)`` the positions at which rows that have an example's ``carrier`` are read; None without
            positions.
        carrier: Modality whose example a row's positions belong to.
    """

    way: str
    task: str
    code: str
    probe: Probe
    evaluate: Callable[[Tensor], Tensor]
    labels: Tensor | None
    others: int
    places: Tensor | None = None
    carrier: int = 0


def found(monitor: MultimodalMonitor) -> Found:
    """Return what the monitor found; it has made a run."""
    session: Any = monitor._run.session
    evaluator, probe = session._tried.evaluator, session.probe
    observed, by_position = session._tried.observed, probe.by_position
    return Found(
        "guessed" if observed is None else WAYS[observed.way.name],
        session.task,
        session.call,
        probe,
        lambda sources: evaluator(probe, [Query(sources)])[0],
        probe.target if by_position is None else by_position.labels,
        0 if observed is None else len(observed.further),
        session._places,
        0 if by_position is None else by_position.carrier or 0,
    )


def refusal(monitor: MultimodalMonitor) -> str:
    """Return why the monitor is off, or why its last run failed; ``""`` if it has measured."""
    rows = list(monitor.history)
    return monitor._run.disabled or ("" if rows and rows[-1].values else rows[-1].note if rows else "no run was made")


def asks(message: str) -> bool:
    """Tell whether a message asks for something that helps; else it refuses."""
    return ASKING.search(message) is not None
