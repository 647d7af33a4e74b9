"""What the stages of MultiViz have in common: they look at all fixed examples, and closer at some of them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mviz_lightning.engine.query import Derivative, Query
from mviz_lightning.explainers.base import ProbeContext


@dataclass(frozen=True)
class Request:
    """What a survey asks of the model.

    Attributes:
        queries: Rows whose outputs are wanted, and their features if the survey asks for features.
        derivatives: What is wanted of the model's derivatives.
        closer: Rows at the most that :meth:`Survey.closer` will ask for.
    """

    queries: Sequence[Query] = ()
    derivatives: Sequence[Derivative] = ()
    closer: int = 0


@dataclass(frozen=True)
class Fallback:
    """What stands for a derivative that the model does not allow.

    Attributes:
        reason: Why not.
        outputs: For each query that the attempt names ``(R, C)``.
    """

    reason: str
    outputs: Sequence[Tensor]


@dataclass(frozen=True)
class Responses:
    """What the model said, all of it finite and on the CPU.

    Attributes:
        outputs: For each query ``(R, C)`` outputs as the model gave them.
        features: For each query ``(R, F)``; nothing where the survey asks for no features.
        derivatives: For each derivative ``(R, ...)``, of the shape of what is derived by; of an attempt that failed,
            ``(R, 0)``.
        memory: What the survey before remembered, in the same training; empty for the first.
        instead: Place of an attempt that failed -> why, and what was asked for instead of it.
        memories: Name of every survey of the same training -> what it remembered last.
        moment: Epoch and step of the training.
    """

    outputs: Sequence[Tensor]
    features: Sequence[Tensor] = ()
    derivatives: Sequence[Tensor] = ()
    memory: Mapping[str, Any] = field(default_factory=dict)
    instead: Mapping[int, Fallback] = field(default_factory=dict)
    memories: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    moment: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a survey found at one moment of the training; each survey adds what is drawn of it.

    Attributes:
        values: Scalars by name; the monitor logs them under its own name and that of the survey.
        memory: What the next survey of the same training is told of this one, in plain types that checkpoints take.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)


class Survey(ABC):
    """A method that looks at all fixed examples at once: what to ask for, and what the answers say.

    Attributes:
        name: Of its scalars and pictures.
        every_n_validations: How often: at the first validation, every n-th and at the end of the training.
        num_examples: Examples that it looks at closer; they stay the same through the training.
        needs_features: Whether it asks for the fused features of every row too.
        layer: Name of the submodule whose input is taken for the features; the last linear layer by default.
    """

    name: str
    every_n_validations: int
    num_examples: int = 0
    needs_features: bool = False
    layer: str | None = None

    @abstractmethod
    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        """Return what is asked of the model.

        Args:
            probe_context: The fixed examples and how their outputs are read.
            examples: Those to look at closer.
        """

    @abstractmethod
    def explain(self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses) -> Result:
        """Return what the answers say; arguments as for :meth:`plan`.

        Raises:
            RuntimeError: It cannot be told from these examples.
        """

    def closer(self, probe_context: ProbeContext, result: Result) -> Sequence[Query]:
        """Return rows that a closer look at what was found takes; none by default."""
        return ()

    def refine(self, probe_context: ProbeContext, result: Result, responses: Responses) -> Result:
        """Return the finding with what the answers to :meth:`closer` say; it is not called where nothing was asked."""
        return result

    def check(self, outputs: int) -> None:  # noqa: B027 - most have nothing to check
        """Raise a ConfigurationError where the method cannot explain a model of so many outputs."""
