"""When the monitor's work is due: counted in validations, never by the clock."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mviz_lightning.checkpoint.saved import Saved
from mviz_lightning.errors import at_least
from mviz_lightning.explainers import Explainer

NEVER_RAN = (
    "the monitor never ran, because no validation came by; look at limit_val_batches, check_val_every_n_epoch, the "
    "validation loader and validation_step."
)


@dataclass(frozen=True)
class Counted:
    """What checkpoints hold of a schedule.

    Attributes:
        validations: How many have begun to be measured.
        overdue: Whether the run that was due last was put off.
        explained: Name of a method -> the validation of its last turn.
        steps: Name of a method -> the step of its last turn.
    """

    validations: int = 0
    overdue: bool = False
    explained: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Schedule:
    """The validations of a training, and what is due at each.

    Attributes:
        every_n_validations: From one run to the next.
        pictures_every_n_validations: From one drawing of the curves to the next.
        explainers: Each with its own cadence.
        validations: How many have begun to be measured, the present one among them.
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
        """Count a validation of the fit; tell whether the model is due to be measured, in its turn or overdue."""
        self.validations += 1
        overdue, self.overdue = self.overdue, False
        return overdue or (self.validations - 1) % self.every_n_validations == 0

    @property
    def draws(self) -> bool:
        """Whether the curves are drawn at the present validation."""
        return (self.validations - 1) % self.pictures_every_n_validations == 0

    def due(self) -> list[Explainer]:
        """Return the methods whose turn it is: at the first validation and every n-th, or overdue since then.

        A method whose turn fell on a validation that was not measured comes with the next one that is.
        """
        return [explainer for explainer in self.explainers if self._turn(explainer) > self._turns_done(explainer)]

    def _turn(self, explainer: Explainer) -> int:
        return 1 + (self.validations - 1) // explainer.every_n_validations

    def _turns_done(self, explainer: Explainer) -> int:
        done = self._explained.get(explainer.name, 0)
        return 1 + (done - 1) // explainer.every_n_validations if done else 0

    def explained(self, names: Iterable[str], step: int) -> None:
        """Note that methods have had their turn."""
        names = list(names)
        self._explained |= dict.fromkeys(names, self.validations)
        self._steps |= dict.fromkeys(names, step)

    def unfinished(self, step: int) -> list[Explainer]:
        """Return the methods that have not seen the model as it is at the end."""
        return [explainer for explainer in self.explainers if self._steps.get(explainer.name) != step]

    def clear(self) -> None:
        """Another training begins."""
        self._take(Counted())

    def state(self) -> dict[str, object]:
        """Return plain types, for checkpoints."""
        counted = {"validations": self.validations, "overdue": self.overdue}
        return counted | {"explained": dict(self._explained), "steps": dict(self._steps)}

    def load(self, state: Mapping[str, Any] | Saved) -> None:
        """Go on where a checkpoint was written; anew where its counts are damaged, which mean nothing apart."""
        self._take(Saved.of(state).read(Counted, Counted()))

    def _take(self, counted: "Counted") -> None:
        self.validations, self.overdue = counted.validations, counted.overdue
        self._explained, self._steps = dict(counted.explained), dict(counted.steps)
