"""Unimodal importance of segments, the first stage of MultiViz (Liang et al. 2023)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from mviz_lightning.engine.input_point import OTHERWISE
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers.argument_checks import require_least, require_outputs
from mviz_lightning.explainers.base import Explainer, ProbeContext, Request, Responses
from mviz_lightning.explainers.predictions import Outcome, outcome
from mviz_lightning.explainers.unimodal_importance.attribution import AttributionRequest, Outputs, Weights
from mviz_lightning.explainers.unimodal_importance.kept import importance_lines
from mviz_lightning.explainers.unimodal_importance.result import (
    ExampleImportance,
    ImportanceResult,
    OutputImportance,
    SegmentAttribution,
)
from mviz_lightning.functional.outputs import largest_output
from mviz_lightning.functional.surrogate import rounding
from mviz_lightning.sinks.records import Record

if TYPE_CHECKING:
    from mviz_lightning.explainers.drawing import DrawingContext
    from mviz_lightning.explainers.kept import KeepingContext

NUM_TOTALS = {"gradient": 64, "integrated_gradients": 32, "occlusion": 16, "lime": 8, "shap": 8}
"""Method -> default number of examples over which totals are averaged; fewer if an example needs more rows."""

LAST = -1
"""Index of the predicted class among an example's roles."""


@dataclass(frozen=True)
class _Evidence:
    """The weights of one modality, and their request."""

    request: AttributionRequest
    weights: Weights
    without: Outputs
    rounding: float

    def part(self, example: int, output: int, outputs: Tensor) -> SegmentAttribution:
        """Return the attribution of one of an example's ``(C,)`` outputs to the segments."""
        change = float(outputs[output] - self.without[example][output])
        found, floor = (
            self.weights[example, output],
            self.rounding * largest_output(outputs, self.request.probe_context.task),
        )
        r2 = None if found.r2 is None else float(found.r2)
        return SegmentAttribution(found.weights, change, self.request.method, self.request.reason, r2, floor)


@dataclass(frozen=True, kw_only=True)
class UnimodalImportance(Explainer):
    """Importance of each modality's segments for one output of an example, and of each modality overall.

    All methods explain ``f(x) - f(x with all segments of the modality masked)``. The other modalities are not masked.

    - ``"integrated_gradients"``: derivatives on the straight line between the two inputs (Sundararajan et al. 2017).
      The weights add up to the difference, up to the error of the steps. For tokens that an attention mask hides, the
      line ends at embeddings of 0, and the mask is not changed. In transformers this is not the masked input;
      ``gap/<m>`` shows the difference, and ``"shap"`` avoids it.
    - ``"gradient"``: the derivative at x times the length of that line; exact for a linear model.
    - ``"occlusion"``: the change when one segment is masked alone; 0 for each of two redundant segments.
    - ``"lime"``: weights of a linear surrogate on random masks (Ribeiro et al. 2016), as in DIME.
    - ``"shap"``: Shapley values (Lundberg and Lee 2017), exact if all masks are evaluated. They always add up.

    For images, methods with masks are better at finding the segments whose removal changes the output most, above all
    Shapley values (``tests/benchmarks/faithfulness.py``). They need more rows.

    Number of rows, for E examples with K outputs each and T examples for totals: ``steps * (E K + T)`` for each
    modality with gradients; otherwise, for each modality and example, U with occlusion, ``max(64, 4 U)`` with LIME and
    ``max(128, 16 U)`` with Shapley values. A modality without derivatives (texts as strings, tokens without an
    embedding layer, a detached encoder, segments in several leaves) is occluded instead.

    It logs for each modality ``total/<m>``, the sum of absolute weights for the predicted class, averaged over
    examples; ``share/<m>``, its fraction of all totals; and ``gap/<m>``, how far the weights are from adding up.

    Args:
        num_examples: Number of drawn examples; they are fixed during the training.
        every_n_validations: It runs at the first validation, at every n-th, and at the end of the training.
        method: One of the methods above.
        steps: Number of points on the line, for integrated gradients.
        samples: Number of masks for each example and modality, for LIME and Shapley values.
        outputs: Indices of the outputs to explain; the first one is used for the totals. By default the true and the
            predicted class; for labels the strongest one and the strongest true one; for values the first one.
        name: First part of the keys of its scalars and pictures.
        num_totals: Number of examples over which totals are averaged; 0 for no totals. By default 64 with the gradient,
            32 with integrated gradients, 16 with occlusion, 8 with LIME and Shapley values.

    Raises:
        ConfigurationError: An argument has a value that is not allowed.
    """

    num_examples: int = 4
    every_n_validations: int = 5
    method: Literal["gradient", "integrated_gradients", "occlusion", "lime", "shap"] = "integrated_gradients"
    steps: int = 16
    samples: int | None = None
    outputs: Sequence[int] | None = None
    name: str = "importance"
    num_totals: int | None = None

    def __post_init__(self) -> None:
        least = {"num_examples": 0, "every_n_validations": 1, "steps": 1, "samples": 2, "num_totals": 0}
        require_least(self, least)
        if self.method not in NUM_TOTALS:
            raise ConfigurationError(
                f"UnimodalImportance(method={self.method!r}): choose one of {', '.join(NUM_TOTALS)}."
            )
        if self.outputs is not None and not self.outputs:
            raise ConfigurationError(
                "UnimodalImportance(outputs=[]): name at least one output, or leave outputs= out to "
                "explain what was predicted."
            )

    def check(self, outputs: int) -> None:
        """Raise a ConfigurationError for an output that the model does not have."""
        require_outputs(self, self.outputs, outputs)

    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        """Request the unmasked examples, the examples without each modality, and derivatives or masked rows."""
        requests = self._requests(probe_context, examples)
        whole = self._whole(probe_context, requests)
        if not len(whole):
            return Request()
        queries, attempts = [whole, *(request.without(whole) for request in requests)], []
        for request in requests:
            if request.derives:
                attempts.append(request.attempt(self._occluding(request, examples).masked()))
            else:
                queries += request.masked()
        return Request(queries, attempts)

    def explain(self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses) -> ImportanceResult:
        """Return the weights of all segments, and their sums."""
        requests = self._requests(probe_context, examples)
        everyone = self._whole(probe_context, requests).sources[:, 0].tolist()
        if not everyone:
            return ImportanceResult()
        whole, *rest = (
            dict(zip(everyone, response.double(), strict=True)) for response in responses.outputs[: 1 + len(requests)]
        )
        evidence = dict(self._evidence(requests, examples, whole, rest, responses))
        found = [self._of_example(probe_context, example, whole[example], evidence) for example in examples]
        return ImportanceResult(values=self._values(probe_context, whole, evidence), examples=found)

    def kept(self, result: ImportanceResult, context: "KeepingContext") -> Iterable[Mapping[str, Any]]:
        """Return a line for each explained output."""
        return importance_lines(result, context)

    def draw(self, result: ImportanceResult, drawing: "DrawingContext", when: str) -> Sequence[Record]:
        """Draw a picture of every example, and list the most important segments."""
        from mviz_lightning.explainers.unimodal_importance.figure import importance_records

        return importance_records(result, self.name, drawing, when)

    def _requests(self, probe_context: ProbeContext, examples: Sequence[int]) -> list[AttributionRequest]:
        """Return the request for each modality."""

        def roles(example: int, outputs: Tensor) -> list[int]:
            return list(self._outcome(probe_context, example, outputs).roles)

        requests = []
        for name in probe_context.probe.segments:
            cases = self._cases(probe_context, examples, self.method)
            request = AttributionRequest(probe_context, name, self.method, cases, roles, self.steps, self.samples)
            obstacle = request.obstacle
            requests.append(self._occluding(request, examples, obstacle) if obstacle else request)
        return requests

    def _occluding(self, request: AttributionRequest, examples: Sequence[int], reason: str = "") -> AttributionRequest:
        return request.occluding(reason, self._cases(request.probe_context, examples, "occlusion"))

    def _totals(self, probe_context: ProbeContext, method: str) -> list[int]:
        """Return the examples of the totals' mean, from all groups in turn."""
        count = NUM_TOTALS[method] if self.num_totals is None else self.num_totals
        found: list[int] = probe_context.probe.groups.T.flatten()[:count].tolist()
        return found

    @property
    def _counted(self) -> int:
        """Position of the role that is used for totals."""
        return LAST if self.outputs is None else 0

    def _cases(self, probe_context: ProbeContext, examples: Sequence[int], method: str) -> list[tuple[int, int]]:
        """Return (example, role) pairs: one role of each example for totals, all roles of drawn examples."""
        two = probe_context.task in ("multiclass", "multilabel")
        roles = range(1 + two if self.outputs is None else len(self.outputs))
        totals = [(example, self._counted) for example in self._totals(probe_context, method)]
        return [*totals, *((example, role) for example in examples for role in roles)]

    def _whole(self, probe_context: ProbeContext, requests: Sequence[AttributionRequest]) -> Query:
        """Return the unmasked rows of all examples."""
        everyone = list(dict.fromkeys(example for request in requests for example in request.examples))
        return Query.aligned(torch.tensor(everyone, dtype=torch.long), len(probe_context.probe.schema.names))

    def _outcome(self, probe_context: ProbeContext, example: int, outputs: Tensor) -> Outcome:
        """Return the outcome of an example's outputs, ``(C,)``; its roles are the explained outputs."""
        found = outcome(outputs, probe_context.label(example), probe_context.task)
        return found if self.outputs is None else replace(found, roles=dict.fromkeys(self.outputs, "output"))

    def _evidence(
        self,
        requests: Sequence[AttributionRequest],
        examples: Sequence[int],
        whole: Outputs,
        rest: Sequence[Outputs],
        responses: Responses,
    ) -> Iterator[tuple[str, _Evidence]]:
        """Yield the weights of each modality from the responses, in the order of the requests."""
        masked, attempts = iter(responses.outputs[1 + len(requests) :]), iter(enumerate(responses.derivatives))
        for request, without in zip(requests, rest, strict=True):
            place, entries = next(attempts) if request.derives else (LAST, None)
            failed = responses.instead.get(place)
            used = request if failed is None else self._occluding(request, examples, _told(failed.reason))
            if entries is not None and failed is None:
                weights = used.of_entries(entries, whole)
            else:
                given = failed.outputs if failed else [next(masked) for _ in used.examples]
                weights = used.of_masks(given, whole, without)
            yield used.name, _Evidence(used, weights, without, rounding(responses.outputs[0].dtype))

    def _of_example(
        self, probe_context: ProbeContext, example: int, outputs: Tensor, evidence: Mapping[str, _Evidence]
    ) -> ExampleImportance:
        found = self._outcome(probe_context, example, outputs)
        explained = []
        for output, role in found.roles.items():
            parts = {name: known.part(example, output, outputs) for name, known in evidence.items()}
            explained.append(OutputImportance(output, role, float(outputs[output]), parts))
        return ExampleImportance(**vars(probe_context.prediction(example, found)), outputs=explained)

    def _values(
        self, probe_context: ProbeContext, whole: Outputs, evidence: Mapping[str, _Evidence]
    ) -> dict[str, float]:
        """Return totals, shares and gaps; empty without examples for totals."""
        totals, gaps = {}, {}
        for name, known in evidence.items():
            parts = []
            for example in self._totals(probe_context, known.request.method):
                output = list(self._outcome(probe_context, example, whole[example]).roles)[self._counted]
                parts.append(known.part(example, output, whole[example]))
            if parts:
                totals[name] = sum(float(part.weights.abs().sum()) for part in parts if part.has_effect) / len(parts)
                gaps[f"gap/{name}"] = sum(part.gap for part in parts) / len(parts)
        everything = sum(totals.values())
        shares = {f"share/{name}": total / everything if everything else 0.0 for name, total in totals.items()}
        return {f"total/{name}": total for name, total in totals.items()} | shares | gaps


def _told(error: str) -> str:
    """Return the reason for missing derivatives, without its advice, which is already followed."""
    return error.removesuffix(OTHERWISE).rstrip(" .")
