"""MM-SHAP: the share of every modality in the Shapley values of all segments (Parcalabescu & Frank 2023)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mviz_lightning.engine.query import Query
from mviz_lightning.explainers.base import Explainer, ProbeContext, Request, Responses
from mviz_lightning.explainers.found import Result
from mviz_lightning.functional.mm_shap import mm_shap
from mviz_lightning.functional.prediction_values import prediction_scores
from mviz_lightning.functional.segment_attribution import perturbation_attribution, perturbation_masks
from mviz_lightning.sinks.records import Record

if TYPE_CHECKING:
    from mviz_lightning.explainers.drawing import DrawingContext


@dataclass(frozen=True, kw_only=True)
class MMShap(Explainer):
    """The measure ``mm_shap``: the mean of :func:`mviz_lightning.functional.mm_shap` over some of the probe's examples.

    Players are the segments of all modalities of an example; masked segments get the baseline of their modality. The
    explained output is the softmax probability of the predicted class, the probability of the strongest label, or the
    first value of a regression. Number of rows for each example with U segments: ``max(128, 16 U) + 2``, or ``2^U`` if
    that is less.

    Args:
        num_totals: Number of examples of the mean.
        samples: Number of masks for each example.
        every_n_validations: It runs at the first validation, at every n-th, and at the end of the training.
        name: First part of the keys of its scalars.
    """

    num_totals: int = 8
    samples: int | None = None
    every_n_validations: int = 5
    name: str = "mm_shap"

    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        """Request each example unmasked, with all segments masked, and with some segments of all modalities masked."""
        return Request(
            [_masked(probe_context, one, self._masks(probe_context, one)) for one in self._of(probe_context)]
        )

    def explain(self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses) -> Result:
        """Return ``<m>``: the mean share of modality m."""
        chosen = zip(self._of(probe_context), responses.outputs, strict=True)
        shares = torch.stack([self._share(probe_context, example, outputs) for example, outputs in chosen]).mean(0)
        return Result(values=dict(zip(probe_context.probe.segments, shares.tolist(), strict=True)))

    def draw(self, result: Any, drawing: "DrawingContext", when: str) -> Sequence[Record]:
        """Draw nothing: the measure is a number for each modality."""
        return ()

    def _of(self, probe_context: ProbeContext) -> list[int]:
        """Return the examples of the mean, from all groups in turn."""
        found: list[int] = probe_context.probe.groups.T.flatten()[: self.num_totals].tolist()
        return found

    def _masks(self, probe_context: ProbeContext, example: int) -> Tensor:
        """Return ``(2 + S, U)``: all segments, none, and the masks of KernelSHAP."""
        segments = sum(_counts(probe_context, example))
        whole = torch.ones(1, segments, dtype=torch.bool)
        return torch.cat([whole, ~whole, perturbation_masks("shap", segments, self.samples, probe_context.seed)])

    def _share(self, probe_context: ProbeContext, example: int, outputs: Tensor) -> Tensor:
        """Return ``(M,)``: the shares of one example, from the outputs of its masks."""
        scores = prediction_scores(outputs, probe_context.task, probe_context.scale)
        explained = 0 if probe_context.task == "regression" else int(scores[0].argmax())
        whole, nothing, masked = scores[:, explained : explained + 1].tensor_split([1, 2])
        counts = _counts(probe_context, example)
        seed, segments = probe_context.seed, sum(counts)
        found = perturbation_attribution("shap", masked, whole[0], nothing[0], segments, self.samples, seed)
        return mm_shap(torch.split(found.of(0).weights, counts))


def _counts(probe_context: ProbeContext, example: int) -> list[int]:
    """Return the number of segments of each modality of an example."""
    return [segments.count(example) for segments in probe_context.probe.segments.values()]


def _masked(probe_context: ProbeContext, example: int, masks: Tensor) -> Query:
    """Request an example with ``(R, U)`` masks over the segments of all modalities."""
    names = probe_context.probe.segments
    kept = dict(zip(names, torch.split(masks, _counts(probe_context, example), 1), strict=True))
    return Query(Query.aligned(torch.full((len(masks),), example), len(names)).sources, kept)
