"""The explanations of a training, one entry for each run of an explainer, to draw them over the epochs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from mviz_lightning.checkpoint.saved import Saved, saved_bytes
from mviz_lightning.explainers import Explainer, Explanation, Result
from mviz_lightning.explainers.dime.result import Moment
from mviz_lightning.sinks.records import of_head

LARGEST = 4 * 2**20
"""Largest size of a method's explanations in a checkpoint, in bytes: 4 MiB.

That is 225 runs with 4 examples of 49 patches and 20 words each.
"""


@dataclass(frozen=True)
class Entry:
    """The explanations of one explainer at one moment.

    Attributes:
        explainer: Name of the explainer; for a further head, with the head's name in front: ``noun/dime``.
        phase: ``fit``, ``validate`` or ``test``; checkpoints keep it under the key ``stage``.
        epoch: Epoch of the training.
        step: Step at the x-axis of the loggers.
        explanations: The explained examples.
    """

    explainer: str
    phase: str = field(metadata={"key": "stage"})
    epoch: int
    step: int
    explanations: Sequence[Explanation]

    def state(self) -> dict[str, Any]:
        """Return plain types for checkpoints."""
        return {
            "explainer": self.explainer,
            "stage": self.phase,
            "epoch": self.epoch,
            "step": self.step,
            "explanations": [explanation.state() for explanation in self.explanations],
        }

    @cached_property
    def size(self) -> int:
        """Approximate size of the entry in a checkpoint, in bytes."""
        return saved_bytes(self.state())


@dataclass(frozen=True)
class TimedResult:
    """The result of one explainer, and the moment at which it was found.

    Attributes:
        explainer: The method.
        result: Its result.
        phase: ``fit``, ``validate`` or ``test``.
        epoch: Epoch of the training.
        step: Step at the x-axis of the loggers.
        head: The further head that was explained; ``""`` for the main one.
    """

    explainer: Explainer
    result: Result
    phase: str
    epoch: int
    step: int
    head: str = ""

    @property
    def name(self) -> str:
        """Name of the explainer, with the name of a further head in front."""
        return of_head(self.head, self.explainer.name)

    @property
    def when(self) -> str:
        """The moment as text."""
        return f"epoch {self.epoch} (step {self.step})" if self.phase == "fit" else self.phase


def _densest(places: Sequence[float]) -> int:
    """Return the index of the entry whose neighbours are nearest together; never the first or the last."""
    return min(range(1, len(places) - 1), key=lambda inner: places[inner + 1] - places[inner - 1])


@dataclass
class ExplanationHistory:
    """The explanations of a fit, oldest first; a long history is thinned out evenly, so that checkpoints stay small.

    Attributes:
        entries: One for each run of an explainer with ``over_epochs``.
    """

    entries: list[Entry] = field(default_factory=list)

    def add(self, found: TimedResult) -> None:
        """Add the examples of an explainer that is drawn over the epochs, if they are from a fit."""
        if found.phase == "fit" and found.explainer.over_epochs:
            explanations = cast("Sequence[Explanation]", found.result.examples)
            self.entries.append(Entry(found.name, found.phase, found.epoch, found.step, explanations))
            self._thin(found.name)

    def _thin(self, name: str) -> None:
        """Remove entries of a method until they fit into ``LARGEST`` bytes, always where they are nearest together."""
        own = [entry for entry in self.entries if entry.explainer == name]
        while len(own) > 2 and sum(entry.size for entry in own) > LARGEST:
            left_out = own.pop(_densest([entry.step for entry in own]))
            self.entries = [entry for entry in self.entries if entry is not left_out]

    def clear(self) -> None:
        """Remove all entries: the examples changed, or another training begins."""
        self.entries.clear()

    def moments_by_example(self) -> dict[tuple[str, int], list[Moment]]:
        """Return ``(name as in an entry, position of an example)`` -> its explanations in order."""
        epochs = [(entry.explainer, entry.epoch) for entry in self.entries]
        by_epoch = len(set(epochs)) == len(epochs)
        found: dict[tuple[str, int], list[Moment]] = {}
        for entry in self.entries:
            axis, place = ("epoch", entry.epoch) if by_epoch else ("step", entry.step)
            for explanation in entry.explanations:
                moments = found.setdefault((entry.explainer, explanation.position), [])
                moments.append(Moment(f"{axis} {place}", place, explanation))
        return found

    def state(self) -> list[dict[str, Any]]:
        """Return plain types for checkpoints."""
        return [entry.state() for entry in self.entries]

    def load(self, state: Sequence[Mapping[str, Any]] | Saved) -> None:
        """Replace the entries by those of a checkpoint."""
        self.entries = Saved.of(state).every(Entry)
        for name in {entry.explainer for entry in self.entries}:
            self._thin(name)
