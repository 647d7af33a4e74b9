"""What the segments of one modality add to chosen outputs, by masks or by derivatives: requests and their weights."""

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
"""Example and output -> what its segments add."""

Outputs: TypeAlias = Mapping[int, Tensor]
"""Example -> ``(C,)`` outputs, in float64."""


@dataclass(frozen=True)
class AttributionRequest:
    """One modality, the examples whose segments are requested, and the method.

    Attributes:
        probe_context: The fixed examples.
        name: Name of the modality.
        method: ``gradient``, ``integrated_gradients``, or one that masks.
        cases: Examples, each with the place of an output among its roles, the last one if it has fewer.
        roles: From an example and its outputs to those that are explained.
        steps: Points on the way of integrated gradients.
        samples: Masks for each example.
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
        """Why nothing can be derived by the segments; empty if derivatives are possible, or not requested."""
        return underivable(self.probe_context.probe.segments[self.name]) if self.derives else ""

    def occluding(self, reason: str, cases: Sequence[tuple[int, int]]) -> "AttributionRequest":
        """Return the request that replaces derivatives where there are none."""
        return replace(self, method="occlusion", reason=reason, cases=cases)

    def count(self, example: int) -> int:
        """Return how many segments an example has."""
        return self.probe_context.probe.segments[self.name].count(example)

    def without(self, whole: Query) -> Query:
        """Ask for rows with all segments of the modality masked."""
        most = max(map(self.count, whole.sources[:, 0].tolist()))
        return Query(whole.sources, {self.name: torch.zeros(len(whole), most, dtype=torch.bool)})

    @property
    def examples(self) -> list[int]:
        """The examples of all cases, each once."""
        return list(dict.fromkeys(example for example, _ in self.cases))

    def masked(self) -> list[Query]:
        """Ask for the masks of every example, a query each."""
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
        """Read the responses to :meth:`masked`, ``(S, C)`` each."""
        weights: dict[tuple[int, int], SegmentWeights] = {}
        for example, response in zip(self.examples, responses, strict=True):
            roles = list(self.roles(example, whole[example]))
            given = response[:, roles].double(), whole[example][roles], without[example][roles]
            settings = self.count(example), self.samples, self.probe_context.seed
            found = perturbation_attribution(self._perturbation, *given, *settings)
            weights |= {(example, output): found.of(k) for k, output in enumerate(roles)}
        return weights

    def attempt(self, instead: Sequence[Query]) -> DerivativeRequest:
        """Ask for the derivatives of all cases."""
        rows = Query.aligned(
            torch.tensor([example for example, _ in self.cases]), len(self.probe_context.probe.schema.names)
        )
        steps = 1 if self.method == "gradient" else self.steps
        return DerivativeRequest(rows=rows, modality=self.name, steps=steps, choose=self._choose, instead=instead)

    def _choose(self, outputs: Tensor) -> Tensor:
        """Return ``(R,)`` which output each case is about, from ``(R, C)``."""
        chosen = []
        for (example, place), row in zip(self.cases, outputs.double(), strict=True):
            roles = self.roles(example, row)
            chosen.append(roles[min(place, len(roles) - 1)])
        return torch.tensor(chosen)

    def of_entries(self, entries: Tensor, whole: Outputs) -> Weights:
        """Read the response to :meth:`attempt`, ``(R, ...)``."""
        examples = [example for example, _ in self.cases]
        chosen = self._choose(torch.stack([whole[example] for example in examples])).tolist()
        index = cast("Segments", self.probe_context.probe.segments[self.name]).index
        own = index[examples] if len(index) > 1 else index
        sums = segment_sums(entries, own, max(map(self.count, examples)))
        return {
            (example, output): SegmentWeights(row[: self.count(example)])
            for example, output, row in zip(examples, chosen, sums, strict=True)
        }
