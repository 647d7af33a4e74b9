"""Apply methods of both sorts, and keep what they remember of the training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mviz_lightning.evaluation.evaluator import Evaluator
from mviz_lightning.explainers import Explanation, Finding, Method, Subject, Survey
from mviz_lightning.inquiry import Choice, Inquiry
from mviz_lightning.plain import Saved
from mviz_lightning.ranks import Ranks
from mviz_lightning.surveyor import Surveyor


@dataclass
class Past:
    """What methods keep through a training.

    Attributes:
        chosen: Name of a method -> its examples.
        remembered: Name of a survey -> what it remembers of its last time.
    """

    chosen: dict[str, Choice] = field(default_factory=dict)
    remembered: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """Return plain types, for checkpoints; nothing where there is nothing."""
        chosen = {name: vars(found) for name, found in self.chosen.items()}
        state = {"chosen": chosen, "remembered": dict(self.remembered)}
        return {name: found for name, found in state.items() if found}

    @classmethod
    def of(cls, state: Mapping[str, Any] | Saved) -> "Past":
        """Return the past of such a state."""
        saved, kinds = Saved.of(state), {"chosen": Choice, "remembered": dict[str, Any]}
        return cls(**{name: saved[name].named(kind) for name, kind in kinds.items() if saved.holds(name)})


@dataclass(frozen=True)
class Explained:
    """What one method found.

    Attributes:
        explanations: Of its examples.
        rows: Evaluated, over all processes.
        seconds: Wall time.
        notes: What went wrong, and what was left out.
        finding: What a survey found.
    """

    explanations: Sequence[Explanation]
    rows: int
    seconds: float = 0.0
    notes: Sequence[str] = ()
    finding: Finding | None = None


class Methods:
    """Applies explainers and surveys to the same examples.

    Args:
        subject: The fixed examples and how their outputs are read.
        evaluator: Asks the model.
        ranks: The processes that share the work.
        outputs: How many the model has.
        pin: Positions in the data set of examples that are explained in any case.
        past: Of the same training.
    """

    def __init__(
        self, subject: Subject, evaluator: Evaluator, ranks: Ranks, outputs: int, pin: Sequence[int], past: Past
    ) -> None:
        self._inquiry = Inquiry(subject, evaluator, ranks, pin, past.chosen)
        self._surveyor = Surveyor(subject, evaluator, ranks, outputs, past.remembered)

    def apply(
        self, method: Method, own: Tensor | None, budget: int | None = None, moment: tuple[int, int] = (0, 0)
    ) -> Explained:
        """Apply a method; all ranks get the same.

        Args:
            method: Which.
            own: ``(K, C)`` outputs of this process's share of the groups' examples, of which some are chosen.
            budget: Rows at the most.
            moment: Epoch and step of the training.
        """
        before = self._rows
        if isinstance(method, Survey):
            examples = self._inquiry.examples(method, own)
            finding, notes = self._surveyor.conduct(method, examples, budget, moment)
            return Explained([], self._rows - before, notes=notes, finding=finding)
        explanations, notes = self._inquiry.explain(method, own, budget)
        return Explained(explanations, self._rows - before, notes=notes)

    @property
    def _rows(self) -> int:
        """Rows evaluated so far, over all processes."""
        return (self._inquiry.evaluator.rows + self._surveyor.rows) * self._inquiry.ranks.count
