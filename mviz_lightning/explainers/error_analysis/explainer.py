"""Error analysis: which part of a wrong prediction is wrong, modalities alone or their interaction (MultiViz)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional

from mviz_lightning.engine.query import Query
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers.argument_checks import require_least
from mviz_lightning.explainers.base import Explainer, ProbeContext, Request, Responses
from mviz_lightning.explainers.error_analysis.kept import error_lines
from mviz_lightning.explainers.error_analysis.result import Case, ClassErrors, ErrorResult
from mviz_lightning.explainers.predictions import outcome
from mviz_lightning.explainers.recombinations import Recombinations
from mviz_lightning.functional import Task, donor_error
from mviz_lightning.functional.failures import (
    FAILED,
    GAINED,
    decision_margins,
    failure_categories,
    failure_category_names,
)
from mviz_lightning.functional.outputs import largest_output
from mviz_lightning.functional.rounding import ROUNDED
from mviz_lightning.functional.targets import labelled
from mviz_lightning.functional.uc_and_mi import INTERVAL
from mviz_lightning.sinks.records import Record

if TYPE_CHECKING:
    from mviz_lightning.explainers.drawing import DrawingContext
    from mviz_lightning.explainers.kept import KeepingContext

QUARTERS = 4
"""Number of quantile groups into which the targets of a single value are divided."""

LONGEST = 200
"""Largest number of runs in the history; beyond it, every second run is dropped, but not the first or the last."""

CANDIDATES = 8
"""Number of decisions with a computed standard error of the gain, per shown decision."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ErrorAnalysis(Explainer):
    """Finds which part of a wrong prediction is wrong: modalities alone, or their interaction (MultiViz).

    The outputs of a model are the sum of unimodal contributions (UC) and multimodal interactions (MI). The explainer
    compares the decision of the model with the decision of UC alone, for the recombined examples:

    - ``spoiled``: UC alone is right, the model is wrong;
    - ``misled``: both are wrong, and MI lowers the margin of the truth by 10 % or more of UC's margin;
    - ``unrepaired``: both are wrong, and MI helps too little or not at all;
    - ``rescued``: UC alone is wrong, the model is right.

    All other decisions are right with and without interaction. The margin of the true class is its logit less the
    largest other logit; the margin of a label is its logit with the sign of the truth. Every scalar is a share of all
    decisions; the first three add up to the share of errors. With several labels per example, each label is a decision.
    Regression values are not right or wrong: their scalars are ``lowered`` and ``raised``, the shares of outputs for
    which MI changes the absolute error of UC by 10 % or more.

    UC is estimated from the recombinations of the example's group, so close decisions of UC are uncertain. The scalars
    are corrected for this, like ``emap_gap``: twice the share, less the share with UC from half of the donors or draws.
    Pictures and tables use uncorrected decisions, and show the standard error of single ones. It evaluates as many rows
    as contribution shares, and needs labels. For outputs with positions, the mean over a region of each example is a
    decision, with the label of the region.

    Args:
        num_examples: Number of mistakes (largest loss first), and of rescued decisions (largest lower bound of the 95 %
            interval of the gain first), that are shown with their inputs. They change with the model.
        every_n_validations: It runs at the first validation, at every n-th, and at the end of the training.
        name: First part of the keys of its scalars and pictures. Give each one a different name.

    Raises:
        ConfigurationError: An argument has a value that is not allowed.
    """

    num_examples: int = 6
    every_n_validations: int = 5
    name: str = "errors"
    needs_regions = True

    def __post_init__(self) -> None:
        require_least(self, {"num_examples": 0, "every_n_validations": 1})

    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        """Request the recombinations of all groups.

        Raises:
            ConfigurationError: There are no labels.
        """
        if probe_context.target is None or not bool(
            labelled(probe_context.target, probe_context.task)[probe_context.probe.groups].any()
        ):
            what = "target=None" if probe_context.probe.target is None else "no example that is recombined has a label"
            raise ConfigurationError(
                f"ErrorAnalysis: {what}, but error analysis needs labels. Give target= with the path of the labels, or "
                "remove ErrorAnalysis from the explainers."
            )
        return Request([Query(probe_context.probe.groups[:, probe_context.design.tuples].flatten(0, 1))])

    def explain(self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses) -> ErrorResult:
        """Sort all decisions into categories."""
        found = Decisions.of(probe_context, responses.outputs[0])
        names = failure_category_names(probe_context.task)
        counts = _counted(found.category, names)
        history = thinned_history([*responses.memory.get("history", ()), (*responses.moment, counts)])
        worst, rescued = (
            [_case(probe_context, found, place) for place in places]
            for places in (found.worst(self.num_examples), found.rescued(self.num_examples))
        )
        return ErrorResult(
            values={name: found.share(place) for place, name in enumerate(names) if place},
            memory={"history": history},
            counts=counts,
            classes=_classes(found, names),
            worst=worst,
            rescued=rescued,
            history=history,
            examples=[*worst, *rescued],
        )

    def kept(self, result: ErrorResult, context: "KeepingContext") -> Iterable[Mapping[str, Any]]:
        """Return a line for each shown case, and one about all decisions."""
        return error_lines(result, context)

    def draw(self, result: ErrorResult, drawing: "DrawingContext", when: str) -> Sequence[Record]:
        """Draw and list errors: by class, over the training, and single cases."""
        from mviz_lightning.explainers.error_analysis.figure import error_records

        return error_records(result, self.name, drawing, when)


def thinned_history(history: Sequence[T]) -> Sequence[T]:
    """Return a history, without every second run if it has more than ``LONGEST``."""
    return history if len(history) <= LONGEST else [*history[:-1:2], history[-1]]


@dataclass(frozen=True)
class Decisions:
    """All decisions, ``(N, K)``: one per example, or one for each of its labels or values.

    Attributes:
        task: Type of the prediction task.
        examples: ``(N,)`` indices of the examples.
        outputs: ``(N, C)`` outputs of the model, in float64.
        value: ``(N, C)`` outputs on the scale for decomposition.
        unimodal: ``(N, C)`` UC.
        truth: ``(N, K)`` true class, labels, or values on the scale for decomposition.
        category: ``(N, K)`` long, positions in :func:`failure_category_names`.
        of_halves: ``(H, N, K)`` categories with UC from half of the donors or draws.
        without_donors: Row -> ``(g - 1, C)``: UC without each of its donors in turn.
    """

    task: Task
    examples: Tensor
    outputs: Tensor
    value: Tensor
    unimodal: Tensor
    truth: Tensor
    category: Tensor
    of_halves: Tensor
    without_donors: Callable[[int], Tensor]

    @classmethod
    def of(cls, probe_context: ProbeContext, responses: Tensor) -> "Decisions":
        """Compute the decisions from the ``(G * T, K * C)`` outputs of the recombinations of all groups."""
        task, target, size = probe_context.task, cast("Tensor", probe_context.target), probe_context.design.size
        rows, examples = Recombinations.of(probe_context, responses), probe_context.probe.groups.flatten()
        known = labelled(target, task)[examples]
        examples = examples[known]
        outputs, value, unimodal = (
            part.flatten(0, 1)[known] for part in (rows.own.double(), rows.value, rows.unimodal)
        )
        truth = target[examples].view(len(examples), -1)
        truth = probe_context.decomposable(truth) if task == "regression" else truth
        rounded = rows.scaled if task == "regression" else rows.raw  # centring removes an offset but not its rounding
        floor = ROUNDED * torch.finfo(responses.dtype).eps * largest_output(rounded, task)

        def category(unimodal: Tensor) -> Tensor:
            return failure_categories(value, unimodal, truth, task, floor)

        halves = [category(half.flatten(0, 1)[known]) for half in rows.unimodal_halves.unbind(1)]
        of_halves = torch.stack(halves) if halves else category(unimodal).unsqueeze(0)
        places = known.nonzero().flatten().tolist()

        def without_donors(row: int) -> Tensor:
            return rows.unimodal_without_donors(*divmod(places[row], size))

        return cls(task, examples, outputs, value, unimodal, truth, category(unimodal), of_halves, without_donors)

    def share(self, place: int) -> float:
        """Return the share of decisions in a category, extrapolated to unimodal contributions without noise."""
        whole, half = ((found == place).double().mean() for found in (self.category, self.of_halves))
        return float(2 * whole - half)

    def error(self, row: int, column: int) -> float:
        """Return the standard error of UC of one output."""
        return float(donor_error(self.without_donors(row)[:, [column]]))

    def _gain_error(self, row: int, column: int) -> float:
        """Return the standard error of MI's gain in the margin of one decision."""
        left_out = self.without_donors(row)
        margins = decision_margins(left_out, self.truth[[row]].expand(len(left_out), -1), self.task)
        return float(donor_error(margins[:, [column]]))

    @property
    def loss(self) -> Tensor:
        """``(N, K)``: cross-entropy, or the absolute error on the decomposed scale."""
        if self.task == "multiclass":
            return functional.cross_entropy(self.outputs, self.truth[:, 0], reduction="none").unsqueeze(1)
        if self.task == "regression":
            return (self.value - self.truth).abs()
        return functional.binary_cross_entropy_with_logits(self.outputs, self.truth.double(), reduction="none")

    def worst(self, count: int) -> list[tuple[int, int]]:
        """Return ``(row, column)`` of the wrong decisions with the largest loss; in a regression, of all values."""
        wrong = self.category >= (0 if self.task == "regression" else FAILED)
        return self._first(wrong, self.loss, count)

    def rescued(self, count: int) -> list[tuple[int, int]]:
        """Return ``(row, column)`` of the decisions that MI corrected, or whose error it lowered.

        They are sorted by the lower bound of the gain's 95 % interval, among the largest ``8 * count`` gains.
        """
        before, after = (decision_margins(part, self.truth, self.task) for part in (self.unimodal, self.value))
        gain = after - before
        largest = self._first(self.category == GAINED, gain, CANDIDATES * count)
        certain = {place: float(gain[place]) - INTERVAL * self._gain_error(*place) for place in largest}
        return sorted(largest, key=lambda place: -certain[place])[:count]

    def _first(self, among: Tensor, key: Tensor, count: int) -> list[tuple[int, int]]:
        order = torch.where(among, key, -torch.inf).flatten().argsort(descending=True, stable=True)
        places = order[: min(count, int(among.sum()))].tolist()
        return [divmod(place, self.truth.shape[1]) for place in places]


def _counted(category: Tensor, names: Sequence[str]) -> dict[str, int]:
    return {name: int((category == place).sum()) for place, name in enumerate(names)}


def _classes(found: Decisions, names: Sequence[str]) -> list[ClassErrors]:
    """Count the decisions of every true class, or of every output; for a single value, of its quarters."""
    if found.task == "regression" and found.truth.shape[1] == 1:
        return _quarters(found, names)
    if found.truth.shape[1] > 1:
        return [ClassErrors(k, _counted(found.category[:, k], names)) for k in range(found.truth.shape[1])]
    return [
        ClassErrors(k, _counted(found.category[found.truth == k], names))
        for k in sorted(set(found.truth[:, 0].tolist()))
    ]


def _quarters(found: Decisions, names: Sequence[str]) -> list[ClassErrors]:
    parts = found.truth[:, 0].argsort(stable=True).tensor_split(QUARTERS)
    bounds = [found.truth[part, 0].aminmax() for part in parts]
    return [
        ClassErrors(k, _counted(found.category[part], names), (float(low), float(high)))
        for k, (part, (low, high)) in enumerate(zip(parts, bounds, strict=True))
    ]


def _case(probe_context: ProbeContext, found: Decisions, place: tuple[int, int]) -> Case:
    """Return one decision, with values in the target's own unit."""
    row, column = place
    example, task = int(found.examples[row]), probe_context.task
    output = int(found.truth[row, 0]) if task == "multiclass" else column
    scale = torch.ones(found.value.shape[1]) if probe_context.scale is None else probe_context.scale.cpu()
    said = outcome(found.outputs[row], probe_context.label(example), task)
    value, unimodal = found.value[row] * scale, found.unimodal[row] * scale
    return Case(
        **vars(probe_context.prediction(example, said)),
        alone=outcome(unimodal, None, task).predicted,
        output=output,
        value=float(value[output]),
        unimodal=float(unimodal[output]),
        interaction=float(value[output] - unimodal[output]),
        error=found.error(row, output) * float(scale[output]),
        category=failure_category_names(task)[int(found.category[row, column])],
        loss=float(found.loss[row, column] * (scale[column] if task == "regression" else 1)),
    )
