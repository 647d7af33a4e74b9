"""Unimodal importance, the first stage of MultiViz (Liang et al. 2023): which units of each modality matter."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from mviz_lightning.engine.input_point import OTHERWISE
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers.attribution import STRINGS, AttributionRequest, Outputs, Weights
from mviz_lightning.explainers.base import ProbeContext
from mviz_lightning.explainers.checks import require_least, require_outputs
from mviz_lightning.explainers.dime.result import Explanation
from mviz_lightning.explainers.outcome import Outcome, outcome
from mviz_lightning.explainers.survey import Request, Responses, Survey
from mviz_lightning.explainers.unimodal_importance.result import (
    ExampleImportance,
    ImportanceResult,
    OutputImportance,
    SegmentAttribution,
)
from mviz_lightning.functional.outputs import largest_output
from mviz_lightning.functional.surrogate import rounding

NUM_TOTALS = {"gradient": 64, "integrated_gradients": 32, "occlusion": 16, "lime": 8, "shap": 8}
"""Method -> examples of which totals are the mean, by default: the dearer an example, the fewer."""

LAST = -1
"""Of an example's roles: the predicted class."""


@dataclass(frozen=True)
class _Evidence:
    """What is known of one modality, and how."""

    asking: AttributionRequest
    weights: Weights
    without: Outputs
    rounding: float

    def part(self, example: int, output: int, outputs: Tensor) -> SegmentAttribution:
        """Return what the units add to one of an example's ``(C,)`` outputs."""
        change = float(outputs[output] - self.without[example][output])
        found, floor = (
            self.weights[example, output],
            self.rounding * largest_output(outputs, self.asking.probe_context.task),
        )
        r2 = None if found.r2 is None else float(found.r2)
        return SegmentAttribution(found.weights, change, self.asking.method, self.asking.reason, r2, floor)


@dataclass(frozen=True, kw_only=True)
class UnimodalImportance(Survey):
    """Which units of each modality matter for one logit of an example, and how much each modality matters on the whole.

    All methods explain ``f(x) - f(x with all units of the modality masked)``, the other modalities as they are:

    - ``"integrated_gradients"``: derivatives on the straight way between the two (Sundararajan et al. 2017); they add
      up to it but for the steps' error. Of tokens that an attention mask hides the way leads to embeddings of 0, the
      mask as it is: where that is something else (transformers), ``gap/<m>`` says so; take Shapley values there.
    - ``"gradient"``: the derivative at x times the way; exact for what is linear.
    - ``"occlusion"``: what is lost where a unit is masked alone; nothing where two units say the same.
    - ``"lime"``: the weights of a linear surrogate on random masks (Ribeiro et al. 2016), as in DIME.
    - ``"shap"``: Shapley values (Lundberg and Lee 2017), exact where all masks are evaluated; they always add up.

    In images, the parts that methods with masks name change the output more when they go, Shapley values most
    (``tests/benchmarks/faithfulness.py``); they ask for more rows.

    Rows it asks for, of E examples with K outputs each and T for totals: gradient methods ``steps * (E K + T)`` for
    each modality, the others one for each mask and example: U, ``max(64, 4 U)``, ``max(128, 16 U)``. A modality that
    cannot be derived (texts as strings, tokens without an embedding layer, a detached encoder) is occluded instead.

    It logs for each modality ``total/<m>``, the sum over units of absolute weights for the predicted class, averaged
    over examples; ``share/<m>``, its part of all totals; and ``gap/<m>``, how far weights are from adding up.

    Args:
        num_examples: Examples that are drawn, the same through the training.
        every_n_validations: How often: at the first validation, every n-th, and at the end of the training.
        method: One of the above.
        steps: Points on the way, for integrated gradients.
        samples: Masks for each example and modality, for LIME and Shapley values.
        outputs: Indices of the outputs to explain, the first of which counts for the totals; by default the true and
            the predicted class, the strongest label and the strongest true one, or the first value.
        name: Of its scalars and pictures.
        num_totals: Examples of which totals are the mean: 64 for the gradient, 32 for integrated gradients, 16 for
            occlusion and 8 for LIME and Shapley values by default; 0 for no totals.

    Raises:
        ConfigurationError: An argument is impossible.
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
            raise ConfigurationError(f"UnimodalImportance(method={self.method!r}): say one of {', '.join(NUM_TOTALS)}.")
        if self.outputs is not None and not self.outputs:
            raise ConfigurationError(
                "UnimodalImportance(outputs=[]): name outputs, or leave it out to explain what was predicted."
            )

    def check(self, outputs: int) -> None:
        """Raise a ConfigurationError for an output that the model does not have."""
        require_outputs(self, self.outputs, outputs)

    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        """Ask for the examples as they are and without each modality, then for derivatives or for masks."""
        askings = self._askings(probe_context, examples)
        whole = self._whole(probe_context, askings)
        if not len(whole):
            return Request()
        queries, attempts = [whole, *(asking.without(whole) for asking in askings)], []
        for asking in askings:
            if asking.derives:
                attempts.append(asking.attempt(self._occluding(asking, examples).masked()))
            else:
                queries += asking.masked()
        return Request(queries, attempts)

    def explain(self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses) -> ImportanceResult:
        """Bring all answers to units, and sum them up."""
        askings = self._askings(probe_context, examples)
        everyone = self._whole(probe_context, askings).sources[:, 0].tolist()
        if not everyone:
            return ImportanceResult()
        whole, *rest = (
            dict(zip(everyone, response.double(), strict=True)) for response in responses.outputs[: 1 + len(askings)]
        )
        evidence = dict(self._evidence(askings, examples, whole, rest, responses))
        found = [self._of_example(probe_context, example, whole[example], evidence) for example in examples]
        return ImportanceResult(values=self._values(probe_context, whole, evidence), examples=found)

    def _askings(self, probe_context: ProbeContext, examples: Sequence[int]) -> list[AttributionRequest]:
        """Return what is asked of every modality."""

        def roles(example: int, outputs: Tensor) -> list[int]:
            return list(self._outcome(probe_context, example, outputs).roles)

        askings = []
        for name in probe_context.probe.segments:
            cases = self._cases(probe_context, examples, self.method)
            asking = AttributionRequest(probe_context, name, self.method, cases, roles, self.steps, self.samples)
            strings = asking.derives and not asking.has_entries
            askings.append(self._occluding(asking, examples, STRINGS) if strings else asking)
        return askings

    def _occluding(self, asking: AttributionRequest, examples: Sequence[int], reason: str = "") -> AttributionRequest:
        return asking.occluding(reason, self._cases(asking.probe_context, examples, "occlusion"))

    def _totals(self, probe_context: ProbeContext, method: str) -> list[int]:
        """Return the examples that totals are the mean of: from all groups in turn, which are alike."""
        count = NUM_TOTALS[method] if self.num_totals is None else self.num_totals
        found: list[int] = probe_context.probe.groups.T.flatten()[:count].tolist()
        return found

    @property
    def _counted(self) -> int:
        """Place of the role that counts for totals."""
        return LAST if self.outputs is None else 0

    def _cases(self, probe_context: ProbeContext, examples: Sequence[int], method: str) -> list[tuple[int, int]]:
        """Return examples with one of their roles each: for totals one, of those to look at closer all."""
        two = probe_context.task in ("multiclass", "multilabel")
        roles = range(1 + two if self.outputs is None else len(self.outputs))
        totals = [(example, self._counted) for example in self._totals(probe_context, method)]
        return [*totals, *((example, role) for example in examples for role in roles)]

    def _whole(self, probe_context: ProbeContext, askings: Sequence[AttributionRequest]) -> Query:
        """Ask for everyone as they are."""
        everyone = list(dict.fromkeys(example for asking in askings for example in asking.examples))
        return Query.aligned(torch.tensor(everyone, dtype=torch.long), len(probe_context.probe.layout.names))

    def _outcome(self, probe_context: ProbeContext, example: int, outputs: Tensor) -> Outcome:
        """Read an example's outputs, ``(C,)``; its roles are the outputs that are explained."""
        found = outcome(outputs, probe_context.label(example), probe_context.task)
        return found if self.outputs is None else replace(found, roles=dict.fromkeys(self.outputs, "output"))

    def _evidence(
        self,
        askings: Sequence[AttributionRequest],
        examples: Sequence[int],
        whole: Outputs,
        rest: Sequence[Outputs],
        responses: Responses,
    ) -> Iterator[tuple[str, _Evidence]]:
        """Read the answers in the order in which they were asked for."""
        masked, attempts = iter(responses.outputs[1 + len(askings) :]), iter(enumerate(responses.derivatives))
        for asking, without in zip(askings, rest, strict=True):
            place, entries = next(attempts) if asking.derives else (LAST, None)
            failed = responses.instead.get(place)
            used = asking if failed is None else self._occluding(asking, examples, _told(failed.reason))
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
        about = Explanation(
            example, probe_context.positions[example], found.predicted, found.target, found.probability, []
        )
        explained = []
        for output, role in found.roles.items():
            parts = {name: known.part(example, output, outputs) for name, known in evidence.items()}
            explained.append(OutputImportance(output, role, float(outputs[output]), parts))
        return ExampleImportance(about, explained)

    def _values(
        self, probe_context: ProbeContext, whole: Outputs, evidence: Mapping[str, _Evidence]
    ) -> dict[str, float]:
        """Return totals, shares and gaps; nothing without examples for them."""
        totals, gaps = {}, {}
        for name, known in evidence.items():
            parts = []
            for example in self._totals(probe_context, known.asking.method):
                output = list(self._outcome(probe_context, example, whole[example]).roles)[self._counted]
                parts.append(known.part(example, output, whole[example]))
            if parts:
                totals[name] = sum(float(part.weights.abs().sum()) for part in parts if part.has_effect) / len(parts)
                gaps[f"gap/{name}"] = sum(part.gap for part in parts) / len(parts)
        everything = sum(totals.values())
        shares = {f"share/{name}": total / everything if everything else 0.0 for name, total in totals.items()}
        return {f"total/{name}": total for name, total in totals.items()} | shares | gaps


def _told(error: str) -> str:
    """Return why nothing could be derived, without the advice that was followed."""
    return error.removesuffix(OTHERWISE).rstrip(" .")
