"""The interface of all methods: plan rows for the model, explain its responses, draw the result."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mviz_lightning.batch import JointSegments, Probe, Segmentation, Segments, WordSegments
from mviz_lightning.engine.explained_maps import ExplainedMaps
from mviz_lightning.engine.query import Derivative, Query
from mviz_lightning.errors.arguments import enumerated
from mviz_lightning.explainers.found import Result
from mviz_lightning.explainers.predictions import Outcome
from mviz_lightning.functional import Design, Task, decomposable
from mviz_lightning.functional.outputs import centred
from mviz_lightning.functional.targets import decided, labelled
from mviz_lightning.sinks.records import PredictionRecord, Record

if TYPE_CHECKING:
    from mviz_lightning.explainers.dime.result import Moment
    from mviz_lightning.explainers.drawing import DrawingContext
    from mviz_lightning.explainers.kept import KeepingContext


def underivable(segments: Segmentation) -> str:
    """Return why derivatives by a modality's segments do not exist, as text for pictures; empty if they exist."""
    if isinstance(segments, Segments):
        return ""
    if isinstance(segments, JointSegments):
        leaves = enumerated([part.leaf for part in segments.parts])
        return f"its parts lie in {leaves}, and derivatives need a single leaf"
    if isinstance(segments, WordSegments):
        return "strings have no derivatives"
    return "its parts are not entries of a tensor"


@dataclass(frozen=True)
class ProbeContext:
    """The fixed examples, and how their outputs are read.

    Attributes:
        probe: The examples, with the segments of every modality.
        task: Meaning of the outputs.
        design: The recombinations inside a group.
        positions: ``(N,)`` indices of the examples in the validation set.
        scale: ``(C,)`` factors that make several regression outputs comparable; None if the outputs are not scaled.
        seed: Seed of all random draws.
        left_out: ``(C,)`` bool: the classes that are masked in some row; None if there are none.
        maps: For outputs with positions: the region of each example, whose mean output is explained. None if an example
            has one row of outputs.
        called: Name of the source of the outputs in messages: the model, or one of its heads.
    """

    probe: Probe
    task: Task
    design: Design
    positions: Sequence[int]
    scale: Tensor | None = None
    seed: int = 0
    left_out: Tensor | None = None
    maps: ExplainedMaps | None = None
    called: str = "the model"

    @property
    def regions_read(self) -> int:
        """Number of regions per row for a method with ``needs_regions``: the size of a group; 1 without maps."""
        return 1 if self.maps is None else self.design.size

    def reading(self, query: Query, example: int) -> Query:
        """Return a query whose rows all read the region of one example, if outputs have positions."""
        return query if self.maps is None else replace(query, read=torch.full((len(query),), example))

    def group(self, example: int) -> tuple[Tensor, int]:
        """Return the ``(g,)`` group of an example, whose members are its donors, and its position in the group.

        An example of the reference set belongs to no group. It replaces the first member of a group of its kind.

        Raises:
            RuntimeError: There is no group of its kind.
        """
        groups, kinds = self.probe.groups, self.probe.kinds
        found = (groups == example).nonzero()
        if len(found):
            return groups[found[0, 0]], int(found[0, 1])
        fitting = groups[kinds[groups[:, 0]] == kinds[example]]
        if not len(fitting):
            raise RuntimeError(f"no recombined example has as many pictures or sounds as example {example}.")
        substitute = fitting[example % len(fitting)].clone()
        substitute[0] = example
        return substitute, 0

    def decomposable(self, outputs: Tensor) -> Tensor:
        """Return ``(..., C)`` outputs in float64, on the scale for decomposition."""
        if self.task == "multiclass" and self.left_out is not None:
            return centred(outputs, self.left_out)
        return decomposable(outputs, self.task, self.scale)

    @cached_property
    def target(self) -> Tensor | None:
        """``(N, ...)`` classes, labels or values as :func:`decided` returns them; None if no example has a label."""
        target = self.probe.target
        return None if target is None or not bool(labelled(target, self.task).any()) else decided(target, self.task)

    def label(self, example: int) -> Tensor | None:
        """Return an example's label, or None if it has no label."""
        if self.target is None or not bool(labelled(self.target[[example]], self.task)):
            return None
        return self.target[example]

    def unit(self, output: int) -> float:
        """Return the factor from the decomposed scale to the output's own unit."""
        return 1.0 if self.scale is None else float(self.scale[output])

    def prediction(self, example: int, outcome: Outcome) -> PredictionRecord:
        """Return an example's prediction and label as plain data."""
        position = self.positions[example]
        return PredictionRecord(example, position, outcome.predicted, outcome.target, outcome.probability)


@dataclass(frozen=True)
class Request:
    """The rows and derivatives that an explainer requests from the model.

    Attributes:
        queries: Rows to evaluate.
        derivatives: Derivatives to compute.
        second_round_rows: Largest number of rows that :meth:`Explainer.plan_second_round` will request.
    """

    queries: Sequence[Query] = ()
    derivatives: Sequence[Derivative] = ()
    second_round_rows: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is requested."""
        return not (self.queries or self.derivatives)


@dataclass(frozen=True)
class Fallback:
    """The replacement of a derivative that the model does not have.

    Attributes:
        reason: Why there is no derivative.
        outputs: ``(R, C)`` outputs of each query in ``DerivativeRequest.instead``.
    """

    reason: str
    outputs: Sequence[Tensor]


@dataclass(frozen=True)
class Responses:
    """The model's responses to a request.

    All values are finite and on the CPU, except for explainers with ``one_by_one``: these get the outputs as the model
    returned them.

    Attributes:
        outputs: ``(R, C)`` outputs of each query.
        features: ``(R, F)`` features of each query; empty without ``needs_features``.
        derivatives: ``(R, ...)`` of each derivative, in the shape of the input; ``(R, 0)`` for one that failed.
        memory: The ``memory`` of this explainer's previous result in the same training; empty at the first run.
        instead: Index of a derivative that failed -> its fallback.
        memories: Name of each explainer of the same training -> its latest ``memory``.
        moment: Epoch and step of the training.
    """

    outputs: Sequence[Tensor]
    features: Sequence[Tensor] = ()
    derivatives: Sequence[Tensor] = ()
    memory: Mapping[str, Any] = field(default_factory=dict)
    instead: Mapping[int, Fallback] = field(default_factory=dict)
    memories: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    moment: tuple[int, int] = (0, 0)


class Explainer(ABC):
    """A method: it plans rows, explains their outputs, and draws the result.

    To add a method, write one class with ``plan``, ``explain`` and ``draw``, and pass an object of it in
    ``explainers=``.

    Attributes:
        name: First part of the keys of its scalars, pictures and tables.
        num_examples: Number of shown examples; they are fixed during the training.
        every_n_validations: The method runs at the first validation, at every n-th and at the end of the training.
        needs_features: Whether it also gets the fused features of every row.
        needs_positions: Whether it gets the outputs at a lattice of positions, ``(R, P * C)``, instead of the
            outputs of a region.
        needs_regions: Whether, if outputs have positions, it gets the outputs ``(R, g * C)`` of the regions of all
            members of a row's group, instead of the region of one example.
        layer: Name of the submodule whose input is the features; None for the last linear layer.
        one_by_one: Whether single examples are planned and explained independently. Then each process explains its
            share of the examples, ``plan`` and ``explain`` get one example at a time, a budget reduces the number of
            examples, and a RuntimeError skips only its own example. Such a method has no derivatives and no second
            round. Otherwise the method gets all examples at once, on every process.
        over_epochs: Whether its examples are stored during the training and drawn by :meth:`draw_over_epochs`. They
            must be :class:`~mviz_lightning.explainers.Explanation` objects.
    """

    name: str
    num_examples: int = 0
    every_n_validations: int = 1
    needs_features: bool = False
    needs_positions: bool = False
    needs_regions: bool = False
    layer: str | None = None
    one_by_one: bool = False
    over_epochs: bool = False

    @abstractmethod
    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        """Return the rows and derivatives that the method needs.

        Args:
            probe_context: The fixed examples and how their outputs are read.
            examples: Indices of the examples to show; one index with ``one_by_one``.

        Raises:
            ConfigurationError: The method cannot explain this model or these data.
        """

    @abstractmethod
    def explain(self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses) -> Result:
        """Compute the result from the model's responses.

        Args:
            probe_context: The fixed examples and how their outputs are read.
            examples: Indices of the examples, as for :meth:`plan`.
            responses: The model's responses to :meth:`plan`.

        Raises:
            RuntimeError: The responses do not allow a result.
        """

    @abstractmethod
    def draw(self, result: Any, drawing: "DrawingContext", when: str) -> Sequence[Record]:
        """Return the pictures, tables and texts of a result; their keys begin with ``<name>/``.

        Args:
            result: The result of :meth:`explain`.
            drawing: Modality types, names of the classes, and whether inputs may be shown.
            when: Time in the training, in words, ``epoch 3 (step 120)``; empty outside a training.
        """

    def kept(self, result: Any, context: "KeepingContext") -> Iterable[Mapping[str, Any]]:
        """Return the lines of ``explanations.jsonl`` for a result; by default one with all its fields.

        Args:
            result: The result of :meth:`explain`.
            context: Names of classes, and ids of examples.
        """
        from mviz_lightning.explainers.kept import lines_of_fields

        return lines_of_fields(result, context)

    def plan_second_round(self, probe_context: ProbeContext, result: Result) -> Request:
        """Return the rows of a second round, after :meth:`explain`; none by default."""
        return Request()

    def refine(self, probe_context: ProbeContext, result: Result, responses: Responses) -> Result:
        """Update the result with the responses to :meth:`plan_second_round`; not called if nothing was requested."""
        return result

    def join(self, results: Sequence[Result]) -> Result:
        """Return the results of single examples as one (``one_by_one``): all examples, and the mean of each scalar."""
        found: dict[str, list[float]] = {}
        for result in results:
            for name, value in result.values.items():
                found.setdefault(name, []).append(value)
        memory = {name: value for result in results for name, value in result.memory.items()}
        means = {name: sum(values) / len(values) for name, values in found.items()}
        return Result(values=means, memory=memory, examples=[one for result in results for one in result.examples])

    def draw_over_epochs(self, moments: Sequence["Moment"], drawing: "DrawingContext") -> Sequence[Record]:
        """Return pictures of how one example's explanation changed during the training; none by default."""
        return ()

    def check(self, outputs: int) -> None:  # noqa: B027 - most methods have nothing to check
        """Raise a ConfigurationError if the method cannot explain a model with this number of outputs."""
