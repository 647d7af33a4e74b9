"""What every method that explains single predictions has in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.engine.query import Query
from mviz_lightning.explainers.dime.result import Explanation
from mviz_lightning.functional import Design, Task, decomposable
from mviz_lightning.functional.targets import decided, labelled


@dataclass(frozen=True)
class ProbeContext:
    """The fixed examples and how their outputs are read.

    Attributes:
        probe: The examples, with the units of every modality.
        task: What the outputs stand for.
        design: The recombinations inside a group.
        positions: ``(N,)`` of the examples in the validation set.
        scale: ``(C,)`` what makes several regression outputs comparable.
        seed: Of everything that is drawn.
    """

    probe: Probe
    task: Task
    design: Design
    positions: Sequence[int]
    scale: Tensor | None = None
    seed: int = 0

    def group(self, example: int) -> tuple[Tensor, int]:
        """Return the ``(g,)`` group whose members stand in for an example, and its place there.

        An example of the reference set, which no group holds, takes the first place of one.
        """
        groups = self.probe.groups
        found = (groups == example).nonzero()
        if len(found):
            return groups[found[0, 0]], int(found[0, 1])
        substitute = groups[example % len(groups)].clone()
        substitute[0] = example
        return substitute, 0

    def decomposable(self, outputs: Tensor) -> Tensor:
        """Return ``(..., C)`` outputs in float64 on the scale on which they are decomposed."""
        return decomposable(outputs, self.task, self.scale)

    @cached_property
    def target(self) -> Tensor | None:
        """``(N, ...)`` classes, labels or values, as of :func:`decided`; None where no example has any."""
        target = self.probe.target
        return None if target is None or not bool(labelled(target, self.task).any()) else decided(target, self.task)

    def label(self, example: int) -> Tensor | None:
        """Return an example's label; None where it has none."""
        if self.target is None or not bool(labelled(self.target[[example]], self.task)):
            return None
        return self.target[example]

    def unit(self, output: int) -> float:
        """Return what 1 on that scale is in the output's own unit."""
        return 1.0 if self.scale is None else float(self.scale[output])


class Explainer(ABC):
    """A method that explains single predictions: which rows to ask for, and what their outputs say.

    Attributes:
        name: Of its pictures' keys.
        num_examples: Examples it explains; they stay the same through the training.
        every_n_validations: How often: at the first validation, every n-th and at the end of the training.
    """

    name: str
    num_examples: int
    every_n_validations: int

    @abstractmethod
    def plan(self, probe_context: ProbeContext, example: int) -> list[Query]:
        """Return the rows that explaining one example takes."""

    @abstractmethod
    def explain(self, probe_context: ProbeContext, example: int, responses: Sequence[Tensor]) -> Explanation:
        """Return what the rows' outputs say of the example.

        Args:
            probe_context: As for :meth:`plan`.
            example: As for :meth:`plan`.
            responses: For each query ``(R, C)`` outputs as the model gave them, finite or not.

        Raises:
            RuntimeError: Too few of the outputs are finite.
        """

    def check(self, outputs: int) -> None:  # noqa: B027 - most have nothing to check
        """Raise a ConfigurationError where the method cannot explain a model of so many outputs."""
