"""Second derivatives of a model's outputs with respect to a segment of one modality and a segment of another."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mviz_lightning.batch import Probe, Segments
from mviz_lightning.engine.derivative import derivable, input_point_of, refuse_inference_tensors
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.input_point import InputPoint
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.query import Derivative
from mviz_lightning.engine.row_tokens import RowTokens


def second_derivatives(evaluator: Evaluator, probe: Probe, derivative: Derivative) -> Tensor:
    """Compute second derivatives with respect to the segments of two modalities.

    Every segment gets a scale: 0 is the masked segment, 1 the segment itself. The derivative is taken where all scales
    are 1. It equals the sum of ``(x - baseline) H (x' - baseline')`` over the entries x and x' of both segments, where
    H is the mixed part of the Hessian.

    It takes one backward pass per segment of the modality with fewer segments. Attention uses PyTorch's mathematical
    implementation and recurrent layers run without cuDNN, since the faster kernels have no second derivative.

    Args:
        evaluator: Runs the model, whose state is the same before and after.
        probe: The examples that the rows refer to, with segments of both modalities.
        derivative: The rows, their outputs and the two modalities.

    Returns:
        ``(R, S, T)`` in float32 on the CPU, for S segments of ``modality`` and T of ``against``; 0 for segments that an
        example does not have.

    Raises:
        ConfigurationError: A modality is neither real numbers nor tokens of an ``nn.Embedding``.
        RuntimeError: No gradient reaches one of the two, or the model has no second derivative.
    """
    refuse_inference_tensors(evaluator.module)
    evaluator.count_rows(len(derivative.rows) * derivative.steps)
    return evaluator.averaged(lambda: _derived(evaluator, probe, derivative))


def _derived(evaluator: Evaluator, probe: Probe, derivative: Derivative) -> Tensor:
    with isolated(evaluator.module, seed=evaluator.seed), derivable(evaluator.module), evaluator.precision():
        names = (derivative.modality, derivative.against)
        points = [input_point_of(evaluator, probe, derivative.rows, name) for name in names]
        derivation = _SecondDerivation(evaluator, probe, derivative, points)
        return evaluator.by_shape(probe.shapes_of(derivative.rows.sources), derivation.at)


@dataclass(frozen=True)
class _SecondDerivation:
    """Computes the second derivatives of rows."""

    evaluator: Evaluator
    probe: Probe
    derivative: Derivative
    input_points: list[InputPoint]

    def at(self, places: Tensor) -> Tensor:
        """Return ``(R, S, T)``. A single row is doubled: a model that squeezes would lose its batch dimension."""
        twice = places[torch.arange(max(len(places), 2)).clamp(max=len(places) - 1)]
        rows, evaluator = self.derivative.rows[twice], self.evaluator
        counts = [self._largest_count(point.modality) for point in self.input_points]
        scales = [torch.ones(len(twice), count, requires_grad=True) for count in counts]
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            with self._entered(rows.sources, scales) as batch:
                outputs = evaluator.reader(evaluator.predict(evaluator.module, batch), rows)
            chosen = outputs.gather(1, self.derivative.outputs[twice].to(outputs.device).unsqueeze(1))
            first, second = scales
            fewer, more = (first, second) if first.shape[1] <= second.shape[1] else (second, first)
            found = mixed_derivatives(chosen.sum(), fewer, more)
        return (found if fewer is first else found.transpose(1, 2))[: len(places)]

    def _largest_count(self, modality: str) -> int:
        """Return the largest number of segments of any example: the same on all processes."""
        return max(map(self.probe.segments[modality].count, range(self.probe.size)))

    @contextmanager
    def _entered(self, sources: Tensor, scales: list[Tensor]) -> Iterator[object]:
        """Yield the rows' batch, in which every segment of both modalities has a scale of its own."""
        evaluator, probe = self.evaluator, self.probe
        batch = probe.batch(sources, {}, evaluator.device)
        with ExitStack() as stack:
            for input_point, scale in zip(self.input_points, scales, strict=True):
                name = input_point.modality
                masked = probe.batch(sources, {name: torch.zeros(scale.shape, dtype=torch.bool)}, evaluator.device)
                own = sources[:, probe.schema.names.index(name)]
                segments = cast("Segments", probe.segments[name])
                shares = scale_per_entry(scale, segments.index, own)
                tokens = RowTokens.of(probe, name, sources, batch)
                shares = probe.cut(segments.leaf, shares, own) if tokens is None else tokens.in_batch(shares)
                entered = input_point.open(evaluator.module, probe, batch, masked, shares)
                batch = stack.enter_context(entered)
            yield batch


def scale_per_entry(scale: Tensor, index: Tensor, sources: Tensor) -> Tensor:
    """Return ``(R, ...)``: for every entry the scale of its segment; 1 if it belongs to no segment.

    Args:
        scale: ``(R, S)`` a scale per segment.
        index: ``(N or 1, ...)`` the segment of every entry; -1 for none.
        sources: ``(R,)`` the example of each row.
    """
    own = index[sources] if len(index) > 1 else index.expand(len(sources), *index.shape[1:])
    with_none = torch.cat([torch.ones(len(scale), 1), scale], 1)
    return with_none.gather(1, (own.long() + 1).flatten(1)).view(own.shape)


def mixed_derivatives(total: Tensor, fewer: Tensor, more: Tensor) -> Tensor:
    """Return ``(R, S, T)``, the derivatives of a sum over rows with respect to both ``(R, S)`` and ``(R, T)`` scales.

    Args:
        total: The sum.
        fewer: ``(R, S)``; takes one backward pass for each of its S columns.
        more: ``(R, T)``.

    Raises:
        RuntimeError: No gradient of the sum reaches one of them.
    """
    if not total.requires_grad:
        raise RuntimeError("no gradient of the outputs reaches either modality: the model detaches both.")
    slopes = torch.autograd.grad(total, [fewer, more], create_graph=True, allow_unused=True)
    if any(slope is None for slope in slopes):
        raise RuntimeError("no gradient of the outputs reaches one of the two modalities: the model detaches it.")
    found = more.new_zeros(len(more), *fewer.shape[1:], *more.shape[1:])
    for segment in range(fewer.shape[1]):
        found[:, segment] = _slope(slopes[0][:, segment].sum(), more)
    return found.float().cpu()


def _slope(total: Tensor, by: Tensor) -> Tensor:
    """Return the derivative; exactly 0 if the total does not depend on it, as in a piecewise-linear network (ReLU)."""
    found = torch.autograd.grad(total, by, retain_graph=True, allow_unused=True)[0] if total.requires_grad else None
    return torch.zeros_like(by) if found is None else found.detach()
