"""Attribution of chosen outputs to the segments of one modality, by masks or derivatives: requests and weights."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import torch
from torch import Tensor

from mviz_lightning.batch import Segments
from mviz_lightning.engine.derivative import DerivativeRequest
from mviz_lightning.engine.query import Query
from mviz_lightning.explainers.base import ProbeContext, underivable
from mviz_lightning.functional.segment_attribution import (
    PERTURBATIONS,
    Perturbation,
    SegmentWeights,
    perturbation_attribution,
    perturbation_masks,
    segment_sums,
)

Weights: TypeAlias = Mapping[tuple[int, int], SegmentWeights]
"""Example and output -> weights of its segments."""

Outputs: TypeAlias = Mapping[int, Tensor]
"""Example -> ``(C,)`` outputs, in float64."""


@dataclass(frozen=True)
class AttributionRequest:
    """One modality, the examples whose segments are requested, and the method.

    Attributes:
        probe_context: The fixed examples.
        name: Name of the modality.
        method: ``gradient``, ``integrated_gradients``, or one that masks.
        cases: Examples, each with the position of an output among its roles; the last role if it has fewer.
        roles: Function from an example and its outputs to the explained outputs.
        steps: Number of points on the path of integrated gradients.
        samples: Number of masks for each example.
        reason: Why the method is not the requested one.
    """

    probe_context: ProbeContext
    name: str
    method: str
    cases: Sequence[tuple[int, int]]
    roles: Callable[[int, Tensor], Sequence[int]]
    steps: int = 1
    samples: int | None = None
    reason: str = ""

    @property
    def derives(self) -> bool:
        """Whether derivatives are requested."""
        return self.method not in PERTURBATIONS

    @property
    def obstacle(self) -> str:
        """Reason why there are no derivatives by the segments; empty if they are possible, or not requested."""
        return underivable(self.probe_context.probe.segments[self.name]) if self.derives else ""

    def occluding(self, reason: str, cases: Sequence[tuple[int, int]]) -> "AttributionRequest":
        """Return the request that replaces impossible derivatives."""
        return replace(self, method="occlusion", reason=reason, cases=cases)

    def count(self, example: int) -> int:
        """Return the number of segments of an example."""
        return self.probe_context.probe.segments[self.name].count(example)

    def without(self, whole: Query) -> Query:
        """Request rows with all segments of the modality masked."""
        most = max(map(self.count, whole.sources[:, 0].tolist()))
        return Query(whole.sources, {self.name: torch.zeros(len(whole), most, dtype=torch.bool)})

    @property
    def examples(self) -> list[int]:
        """The examples of all cases, each once."""
        return list(dict.fromkeys(example for example, _ in self.cases))

    def masked(self) -> list[Query]:
        """Request the masked rows of every example, one query per example."""
        queries = []
        for example in self.examples:
            masks = perturbation_masks(self._perturbation, self.count(example), self.samples, self.probe_context.seed)
            rows = Query.aligned(torch.full((len(masks),), example), len(self.probe_context.probe.schema.names))
            queries.append(Query(rows.sources, {self.name: masks}))
        return queries

    @property
    def _perturbation(self) -> Perturbation:
        return cast("Perturbation", self.method)

    def of_masks(self, responses: Iterable[Tensor], whole: Outputs, without: Outputs) -> Weights:
        """Return the weights from the responses to :meth:`masked`, ``(S, C)`` each."""
        weights: dict[tuple[int, int], SegmentWeights] = {}
        for example, response in zip(self.examples, responses, strict=True):
            roles = list(self.roles(example, whole[example]))
            given = response[:, roles].double(), whole[example][roles], without[example][roles]
            settings = self.count(example), self.samples, self.probe_context.seed
            found = perturbation_attribution(self._perturbation, *given, *settings)
            weights |= {(example, output): found.of(k) for k, output in enumerate(roles)}
        return weights

    def attempt(self, instead: Sequence[Query]) -> DerivativeRequest:
        """Request the derivatives of all cases."""
        rows = Query.aligned(
            torch.tensor([example for example, _ in self.cases]), len(self.probe_context.probe.schema.names)
        )
        steps = 1 if self.method == "gradient" else self.steps
        return DerivativeRequest(rows=rows, modality=self.name, steps=steps, choose=self._choose, instead=instead)

    def _choose(self, outputs: Tensor) -> Tensor:
        """Return ``(R,)``: the output of each case, from ``(R, C)`` outputs."""
        chosen = []
        for (example, place), row in zip(self.cases, outputs.double(), strict=True):
            roles = self.roles(example, row)
            chosen.append(roles[min(place, len(roles) - 1)])
        return torch.tensor(chosen)

    def of_entries(self, entries: Tensor, whole: Outputs) -> Weights:
        """Return the weights from the response to :meth:`attempt`, ``(R, ...)``."""
        examples = [example for example, _ in self.cases]
        chosen = self._choose(torch.stack([whole[example] for example in examples])).tolist()
        index = cast("Segments", self.probe_context.probe.segments[self.name]).index
        own = index[examples] if len(index) > 1 else index
        sums = segment_sums(entries, own, max(map(self.count, examples)))
        return {
            (example, output): SegmentWeights(row[: self.count(example)])
            for example, output, row in zip(examples, chosen, sums, strict=True)
        }
