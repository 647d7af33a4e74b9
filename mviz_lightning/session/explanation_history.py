"""The explanations of a training, one entry each time they are made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mviz_lightning.checkpoint.saved import Saved
from mviz_lightning.explainers import Explanation, Result
from mviz_lightning.explainers.dime.over_epochs import Moment


@dataclass(frozen=True)
class Entry:
    """What one method found at one moment.

    Attributes:
        explainer: Its name.
        stage: ``fit``, ``validate`` or ``test``.
        epoch: Of the training.
        step: At the x-axis of the loggers.
        explanations: Of its examples.
        result: What a survey found.
    """

    explainer: str
    stage: str
    epoch: int
    step: int
    explanations: Sequence[Explanation]
    result: Result | None = None

    @property
    def when(self) -> str:
        """The moment in words."""
        return f"epoch {self.epoch} (step {self.step})" if self.stage == "fit" else self.stage

    def state(self) -> dict[str, Any]:
        """Return plain types, for checkpoints; what a survey has to remember it says itself."""
        kept = {name: value for name, value in vars(self).items() if name != "finding"}
        return kept | {"explanations": [explanation.state() for explanation in self.explanations]}


@dataclass
class ExplanationHistory:
    """The entries of a fit, oldest first."""

    entries: list[Entry] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        """Keep examples that were explained during fit; a validation by itself is no part of the curve."""
        if entry.stage == "fit" and entry.result is None:
            self.entries.append(entry)

    def clear(self) -> None:
        """Forget all entries: other examples, or another training."""
        self.entries.clear()

    def films(self) -> dict[tuple[str, int], list[Moment]]:
        """Return, for each method and each example's position, its moments in order."""
        epochs = [(entry.explainer, entry.epoch) for entry in self.entries]
        by_epoch = len(set(epochs)) == len(epochs)
        found: dict[tuple[str, int], list[Moment]] = {}
        for entry in self.entries:
            unit, place = ("epoch", entry.epoch) if by_epoch else ("step", entry.step)
            for explanation in entry.explanations:
                moments = found.setdefault((entry.explainer, explanation.position), [])
                moments.append(Moment(f"{unit} {place}", place, explanation))
        return found

    def state(self) -> list[dict[str, Any]]:
        """Return plain types, for checkpoints."""
        return [entry.state() for entry in self.entries]

    def load(self, state: Sequence[Mapping[str, Any]] | Saved) -> None:
        """Take the entries of a checkpoint."""
        self.entries = Saved.of(state).every(Entry)
