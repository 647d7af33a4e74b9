"""Apply methods of both sorts, and keep what they remember of the training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mviz_lightning.checkpoint.saved import Saved
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.ranks import Ranks
from mviz_lightning.explainers import Explanation, Method, ProbeContext, Result, Survey
from mviz_lightning.session.example_selection import ExampleSelection, SelectedExamples
from mviz_lightning.session.surveyor import Surveyor


@dataclass
class ExplainerState:
    """What methods keep through a training.

    Attributes:
        chosen: Name of a method -> its examples.
        remembered: Name of a survey -> what it remembers of its last time.
    """

    chosen: dict[str, SelectedExamples] = field(default_factory=dict)
    remembered: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """Return plain types, for checkpoints; nothing where there is nothing."""
        chosen = {name: vars(found) for name, found in self.chosen.items()}
        state = {"chosen": chosen, "remembered": dict(self.remembered)}
        return {name: found for name, found in state.items() if found}

    @classmethod
    def of(cls, state: Mapping[str, Any] | Saved) -> "ExplainerState":
        """Return the past of such a state."""
        saved, kinds = Saved.of(state), {"chosen": SelectedExamples, "remembered": dict[str, Any]}
        return cls(**{name: saved[name].named(kind) for name, kind in kinds.items() if saved.holds(name)})


@dataclass(frozen=True)
class Explained:
    """What one method found.

    Attributes:
        explanations: Of its examples.
        rows: Evaluated, over all processes.
        seconds: Wall time.
        notes: What went wrong, and what was left out.
        result: What a survey found.
    """

    explanations: Sequence[Explanation]
    rows: int
    seconds: float = 0.0
    notes: Sequence[str] = ()
    result: Result | None = None


class Methods:
    """Applies explainers and surveys to the same examples.

    Args:
        probe_context: The fixed examples and how their outputs are read.
        evaluator: Asks the model.
        ranks: The processes that share the work.
        outputs: How many the model has.
        pin: Positions in the data set of examples that are explained in any case.
        past: Of the same training.
    """

    def __init__(
        self,
        probe_context: ProbeContext,
        evaluator: Evaluator,
        ranks: Ranks,
        outputs: int,
        pin: Sequence[int],
        past: ExplainerState,
    ) -> None:
        self._selection = ExampleSelection(probe_context, evaluator, ranks, pin, past.chosen)
        self._runner = Surveyor(probe_context, evaluator, ranks, outputs, past.remembered)

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
            examples = self._selection.examples(method, own)
            result, notes = self._runner.conduct(method, examples, budget, moment)
            return Explained([], self._rows - before, notes=notes, result=result)
        explanations, notes = self._selection.explain(method, own, budget)
        return Explained(explanations, self._rows - before, notes=notes)

    @property
    def _rows(self) -> int:
        """Rows evaluated so far, over all processes."""
        return (self._selection.evaluator.rows + self._runner.rows) * self._selection.ranks.count
