"""Cross-modal interactions of segments, the second stage of MultiViz (Liang et al. 2023)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from mviz_lightning.engine.derivative import DerivativeRequest
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.errors.deprecations import renamed_arguments
from mviz_lightning.explainers.argument_checks import require_least, require_outputs
from mviz_lightning.explainers.base import Explainer, ProbeContext, Request, Responses, underivable
from mviz_lightning.explainers.cross_modal_interaction.kept import interaction_lines
from mviz_lightning.explainers.cross_modal_interaction.result import (
    CrossModalResult,
    ExampleInteractions,
    OutputInteractions,
    PairInteraction,
)
from mviz_lightning.explainers.predictions import Outcome, outcome
from mviz_lightning.functional.interactions import Corners, mixed_differences, pair_masks
from mviz_lightning.functional.outputs import largest_output
from mviz_lightning.functional.surrogate import rounding
from mviz_lightning.sinks.records import Record

if TYPE_CHECKING:
    from mviz_lightning.explainers.drawing import DrawingContext
    from mviz_lightning.explainers.kept import KeepingContext

How = Literal["difference", "second_order"]


@dataclass(frozen=True)
class _Pair:
    """Two modalities whose segments may interact."""

    probe_context: ProbeContext
    first: str
    second: str

    @property
    def obstacle(self) -> str:
        """Reason why there is no second derivative by the segments; empty if there may be one."""
        found = [underivable(self.probe_context.probe.segments[name]) for name in (self.first, self.second)]
        return "; ".join(dict.fromkeys(why for why in found if why))

    def counts(self, example: int) -> tuple[int, int]:
        """Return the number of segments of each modality of an example."""
        segments = self.probe_context.probe.segments
        return segments[self.first].count(example), segments[self.second].count(example)

    def masked(self, example: int, corners: Corners) -> Query:
        """Request the rows of an example for mixed differences."""
        kept = dict(zip((self.first, self.second), pair_masks(*self.counts(example), corners), strict=True))
        rows = torch.full((len(kept[self.first]),), example)
        return Query(Query.aligned(rows, len(self.probe_context.probe.schema.names)).sources, kept)


@renamed_arguments(units="segments", top_units="top_segments")
@dataclass(frozen=True, kw_only=True)
class CrossModalInteraction(Explainer):
    """Interactions of segments of two modalities in an example's output, for example of a word and its patches.

    For segments u of one modality and v of another:

    - ``"difference"``: ``f(x) - f(x without u) - f(x without v) + f(x without both)``, averaged over contexts of the
      other segments (``corners``). It works for every model, and approximates the Shapley interaction index.
    - ``"second_order"``: the second derivative ``(x_u - baseline) H (x_v - baseline)`` (MultiViz, section 3.2). Its
      sign is the sign of the output's change, not of u's importance, so the weight is symmetric in u and v. It
      describes infinitesimal changes of the inputs. The second derivatives of a piecewise-linear network (ReLU) are 0.
      For such a network, and for a modality without derivatives, the difference is used instead, and pictures give the
      reason.

    Both are equal for a bilinear model. In scenes with a question, the strongest patch of a word is on the word's
    object more often with the difference (``tests/benchmarks/pointing.py``).

    Number of rows, for each example and pair of modalities with U and V segments: ``corners * (1 + U) * (1 + V)``, with
    about ``2 * (U + V)`` encodings if encodings are reused; about ``min(U, V)`` for each output with second
    derivatives.

    It logs ``total/<a>+<b>``, the sum of absolute weights over all pairs of segments, averaged over the examples.

    Args:
        num_examples: Number of drawn examples; they are fixed during the training. With 0, only pinned examples are
            drawn.
        every_n_validations: It runs at the first validation, at every n-th, and at the end of the training.
        method: One of the methods above.
        corners: Number of contexts over which differences are averaged. 1: all other segments are present, as in the
            unmasked input. 2: also all other segments of both modalities masked; this ranks pairs of segments nearly
            like the exact index (``tests/benchmarks/segment_interactions.py``). 4: also the other segments of only one
            of the two modalities masked. Further modalities are never masked.
        segments: Modality -> names or numbers (from 0) of the segments whose maps are drawn, ``{"text": ["red"]}``. By
            default those with the strongest interactions.
        top_segments: Number of segments whose maps are drawn by default.
        outputs: Indices of the outputs to explain; the first one is used for the totals. By default the predicted
            class, the strongest label, or the first value.
        name: First part of the keys of its scalars and pictures.

    Raises:
        ConfigurationError: An argument has a value that is not allowed.
    """

    num_examples: int = 4
    every_n_validations: int = 5
    method: How = "difference"
    corners: Corners = 2
    segments: Mapping[str, Sequence[int | str]] | None = None
    top_segments: int = 2
    outputs: Sequence[int] | None = None
    name: str = "cross_modal"

    def __post_init__(self) -> None:
        require_least(self, {"num_examples": 0, "every_n_validations": 1, "top_segments": 1})
        for name, allowed in {"method": get_args(How), "corners": get_args(Corners)}.items():
            if getattr(self, name) not in allowed:
                raise ConfigurationError(
                    f"CrossModalInteraction({name}={getattr(self, name)!r}): choose one of "
                    f"{', '.join(map(str, allowed))}."
                )
        if self.outputs is not None and not self.outputs:
            raise ConfigurationError(
                "CrossModalInteraction(outputs=[]): name at least one output, or leave outputs= out to "
                "explain what was predicted."
            )

        strings = [name for name, segments in (self.segments or {}).items() if isinstance(segments, str)]
        if strings:
            name = strings[0]
            raise ConfigurationError(
                f"CrossModalInteraction(segments={dict(self.segments or {})}): give a list of names or numbers, "
                f"{{{name!r}: [{(self.segments or {})[name]!r}]}}."
            )

    def check(self, outputs: int) -> None:
        """Raise a ConfigurationError for an output that the model does not have."""
        require_outputs(self, self.outputs, outputs)

    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        """Request the unmasked examples, and masked rows or second derivatives for every pair of modalities."""
        if not examples:
            return Request()
        queries, attempts = [self._aligned(probe_context, examples)], []
        for pair in self._pairs(probe_context):
            masked = [pair.masked(example, self.corners) for example in examples]
            if self._derives(pair):
                attempts.append(self._attempt(pair, examples, masked))
            else:
                queries += masked
        return Request(queries, attempts)

    def explain(self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses) -> CrossModalResult:
        """Return the matrices of all pairs of modalities."""
        if not examples:
            return CrossModalResult()
        whole = [row.double() for row in responses.outputs[0]]
        found = dict(zip(examples, whole, strict=True))
        precision, answered = rounding(responses.outputs[0].dtype), self._answered(probe_context, examples, responses)
        evidence = [self._evidence(pair, found, precision, *response) for pair, response in answered]
        drawn = [self._of_example(probe_context, example, found[example], evidence) for example in examples]
        return CrossModalResult(
            values=_totals(drawn), examples=drawn, segments=self.segments or {}, top_segments=self.top_segments
        )

    def kept(self, result: CrossModalResult, context: "KeepingContext") -> Iterable[Mapping[str, Any]]:
        """Return a line for each explained output."""
        return interaction_lines(result, context)

    def draw(self, result: CrossModalResult, drawing: "DrawingContext", when: str) -> Sequence[Record]:
        """Draw a picture for every example and pair of modalities, and list the strongest interactions."""
        from mviz_lightning.explainers.cross_modal_interaction.figure import interaction_records

        return interaction_records(result, self.name, drawing, when)

    def _pairs(self, probe_context: ProbeContext) -> list[_Pair]:
        """Return all pairs of modalities.

        Raises:
            ConfigurationError: ``segments`` names a modality that does not exist.
        """
        unknown = sorted(set(self.segments or ()) - set(probe_context.probe.segments))
        if unknown:
            raise ConfigurationError(
                f"CrossModalInteraction(segments=...): there is no modality {unknown[0]!r}; name one of "
                f"{', '.join(probe_context.probe.segments)}."
            )
        return [_Pair(probe_context, *names) for names in combinations(probe_context.probe.segments, 2)]

    def _derives(self, pair: _Pair) -> bool:
        return self.method == "second_order" and not pair.obstacle

    @staticmethod
    def _aligned(probe_context: ProbeContext, examples: Sequence[int]) -> Query:
        return Query.aligned(torch.tensor(examples, dtype=torch.long), len(probe_context.probe.schema.names))

    def _attempt(self, pair: _Pair, examples: Sequence[int], instead: Sequence[Query]) -> DerivativeRequest:
        """Request the second derivatives of every output of every example."""
        count = len(set(self.outputs or (0,)))
        rows = [example for example in examples for _ in range(count)]

        def choose(outputs: Tensor) -> Tensor:
            chosen = [
                list(self._outcome(pair.probe_context, example, row).roles)[k % count]
                for k, (example, row) in enumerate(zip(rows, outputs, strict=True))
            ]
            return torch.tensor(chosen, dtype=torch.long)

        steps = max((min(pair.counts(example)) for example in examples), default=1)
        return DerivativeRequest(
            rows=self._aligned(pair.probe_context, rows),
            modality=pair.first,
            against=pair.second,
            steps=max(1, steps),
            choose=choose,
            instead=instead,
        )

    def _outcome(self, probe_context: ProbeContext, example: int, outputs: Tensor) -> Outcome:
        """Return the outcome of an example's outputs, ``(C,)``; its roles are the explained outputs."""
        found = outcome(outputs, probe_context.label(example), probe_context.task)
        if self.outputs is not None:
            return replace(found, roles=dict.fromkeys(self.outputs, "output"))
        return replace(found, roles=dict([list(found.roles.items())[-1]]))  # the last is the predicted output

    def _answered(
        self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses
    ) -> Iterator[tuple[_Pair, tuple[Sequence[Tensor], Tensor | None, str]]]:
        """Yield every pair with the outputs of its masks or its second derivatives, in the order of the requests."""
        masked, attempts = iter(responses.outputs[1:]), iter(enumerate(responses.derivatives))
        for pair in self._pairs(probe_context):
            if not self._derives(pair):
                reason = pair.obstacle if self.method == "second_order" else ""
                yield pair, ([next(masked) for _ in examples], None, reason)
                continue
            place, derived = next(attempts)
            failed = responses.instead.get(place)
            yield pair, ((), derived, "") if failed is None else (failed.outputs, None, failed.reason)

    def _evidence(
        self,
        pair: _Pair,
        whole: Mapping[int, Tensor],
        precision: float,
        masked: Sequence[Tensor],
        derived: Tensor | None,
        reason: str,
    ) -> dict[tuple[int, int], PairInteraction]:
        """Return (example, output) -> interactions of a pair's segments."""
        found = {}
        given = iter(()) if derived is None else iter(derived.double())
        for k, (example, outputs) in enumerate(whole.items()):
            counts = pair.counts(example)
            roles = list(self._outcome(pair.probe_context, example, outputs).roles)
            if derived is None:
                matrices = mixed_differences(masked[k][:, roles], *counts, self.corners).unbind(-1)
                floor = precision * largest_output(masked[k], pair.probe_context.task)
            else:
                matrices, floor = tuple(next(given)[: counts[0], : counts[1]] for _ in roles), 0.0
            how = "difference" if derived is None else self.method, self.corners
            for output, matrix in zip(roles, matrices, strict=True):
                found[example, output] = PairInteraction(pair.first, pair.second, matrix, *how, reason, floor)
        return found

    def _of_example(
        self,
        probe_context: ProbeContext,
        example: int,
        outputs: Tensor,
        evidence: Sequence[Mapping[tuple[int, int], PairInteraction]],
    ) -> ExampleInteractions:
        found = self._outcome(probe_context, example, outputs)
        explained = [
            OutputInteractions(output, role, float(outputs[output]), [pairs[example, output] for pairs in evidence])
            for output, role in found.roles.items()
        ]
        return ExampleInteractions(**vars(probe_context.prediction(example, found)), outputs=explained)


def _totals(examples: Sequence[ExampleInteractions]) -> dict[str, float]:
    """Return the sum of absolute interactions of each pair for the first output, averaged over examples.

    Pairs without effect count as 0, because the rounding of thousands of pairs of segments would add up.
    """
    sums: dict[str, list[float]] = {}
    for found in examples:
        for pair in found.outputs[0].pairs:
            total = float(pair.weights.abs().sum()) if pair.has_effect else 0.0
            sums.setdefault(f"total/{pair.first}+{pair.second}", []).append(total)
    return {name: sum(values) / len(values) for name, values in sums.items()}
