"""The schedule of the monitor's work, counted in validations and not in time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mviz_lightning.checkpoint.saved import Saved
from mviz_lightning.errors.arguments import at_least
from mviz_lightning.explainers import Explainer

NEVER_RAN = (
    "the monitor never ran, because there was no validation; check limit_val_batches, check_val_every_n_epoch, the "
    "validation loader and validation_step."
)


@dataclass(frozen=True)
class Counted:
    """State of a schedule in a checkpoint.

    Attributes:
        validations: Number of validations so far.
        overdue: Whether the last run that was due was put off.
        explained: Name of a method -> number of the last validation at which it was applied.
        steps: Name of a method -> last step at which it was applied.
    """

    validations: int = 0
    overdue: bool = False
    explained: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Schedule:
    """The validations of a training, and the work that is due at each.

    Attributes:
        every_n_validations: Number of validations from one run to the next.
        pictures_every_n_validations: Number of validations from one drawing of the curves to the next.
        explainers: The methods, each with its own ``every_n_validations``.
        validations: Number of validations so far, the present one included.
        overdue: Whether the run that was due last was put off.
    """

    every_n_validations: int
    pictures_every_n_validations: int
    explainers: Sequence[Explainer]
    validations: int = 0
    overdue: bool = False
    _explained: dict[str, int] = field(default_factory=dict)
    _steps: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("every_n_validations", "pictures_every_n_validations"):
            at_least(1, name, getattr(self, name))

    def count(self) -> bool:
        """Count a validation of the fit; return whether a run is due at it, or overdue."""
        self.validations += 1
        overdue, self.overdue = self.overdue, False
        return overdue or (self.validations - 1) % self.every_n_validations == 0

    def put_off(self) -> None:
        """Note that there was no time for the due run: it is overdue at the next validation."""
        self.overdue = True

    @property
    def draws(self) -> bool:
        """Whether the curves are drawn at the present validation."""
        return (self.validations - 1) % self.pictures_every_n_validations == 0

    def due(self) -> list[Explainer]:
        """Return the methods that are due: at the first validation and every n-th after it.

        A method that was due at a validation without a run is due at the next one with a run.
        """
        return [explainer for explainer in self.explainers if self._turn(explainer) > self._turns_done(explainer)]

    def _turn(self, explainer: Explainer) -> int:
        return 1 + (self.validations - 1) // explainer.every_n_validations

    def _turns_done(self, explainer: Explainer) -> int:
        done = self._explained.get(explainer.name, 0)
        return 1 + (done - 1) // explainer.every_n_validations if done else 0

    def explained(self, names: Iterable[str], step: int) -> None:
        """Note that methods were applied at this validation and step."""
        names = list(names)
        self._explained |= dict.fromkeys(names, self.validations)
        self._steps |= dict.fromkeys(names, step)

    def unfinished(self, step: int) -> list[Explainer]:
        """Return the methods that were not yet applied to the model of this last step."""
        return [explainer for explainer in self.explainers if self._steps.get(explainer.name) != step]

    def clear(self) -> None:
        """Reset all counts, because another training begins."""
        self._take(Counted())

    def state(self) -> dict[str, object]:
        """Return plain types, for checkpoints."""
        counted = {"validations": self.validations, "overdue": self.overdue}
        return counted | {"explained": dict(self._explained), "steps": dict(self._steps)}

    def load(self, state: Mapping[str, Any] | Saved) -> None:
        """Continue from a checkpoint; if one of its counts is damaged, reset all, because they belong together."""
        self._take(Saved.of(state).read(Counted, Counted()))

    def _take(self, counted: Counted) -> None:
        self.validations, self.overdue = counted.validations, counted.overdue
        self._explained, self._steps = dict(counted.explained), dict(counted.steps)
