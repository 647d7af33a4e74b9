"""Second derivatives of a model's outputs, by units of one modality and units of another."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mviz_lightning.batch import Probe, Segments
from mviz_lightning.engine.calling import scores
from mviz_lightning.engine.derivative import entrance_of, refuse_inference_tensors, without_cudnn
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.input_point import InputPoint
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.query import Derivative


def curve(evaluator: Evaluator, probe: Probe, asked: Derivative) -> Tensor:
    """Return the second derivatives ``(R, U, V)`` by units of two modalities, in float32 on the CPU.

    Every unit is scaled from what it is when masked (0) to what it is (1), and derived where all scales are 1. That
    sums ``(x - baseline) H (x' - baseline')`` over the entries of both units, H the mixed part of the Hessian. Units
    that an example does not have are 0.

    One backward pass for each unit of the modality that has fewer. Attention is run by its mathematical definition,
    and recurrent layers without cuDNN, since the faster ways cannot be derived twice.

    Args:
        evaluator: Asks the model; it is left as it was found.
        probe: The examples that the rows name, with units of both modalities.
        asked: Which rows, outputs and modalities.

    Raises:
        ConfigurationError: A modality enters the model in no way that can be derived.
        RuntimeError: No gradient reaches one of the two, or the model cannot be derived twice.
    """
    refuse_inference_tensors(evaluator.module)
    evaluator.rows += len(asked.rows) * asked.steps
    with isolated(evaluator.module, seed=evaluator.seed), without_cudnn(evaluator.module), evaluator.precision():
        names = (asked.modality, asked.against)
        curving = _Curving(evaluator, probe, asked, [entrance_of(evaluator, probe, asked.rows, name) for name in names])
        return torch.cat(evaluator.in_chunks(len(asked.rows), curving.at))


@dataclass(frozen=True)
class _Curving:
    """Derives rows twice."""

    evaluator: Evaluator
    probe: Probe
    asked: Derivative
    entrances: list[InputPoint]

    def at(self, rows: slice) -> Tensor:
        """Return ``(R, U, V)``. A single row is doubled: models that squeeze would lose its batch dimension."""
        places = torch.arange(len(self.asked.rows))[rows]
        twice = places[torch.arange(max(len(places), 2)).clamp(max=len(places) - 1)]
        sources, ask = self.asked.rows.sources[twice], self.evaluator
        most = [self._most(own.modality) for own in self.entrances]
        scales = [torch.ones(len(twice), count, requires_grad=True) for count in most]
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            with self._entered(sources, scales) as batch:
                outputs = scores(ask.predict(ask.module, batch))
            chosen = outputs.gather(1, self.asked.outputs[twice].to(outputs.device).unsqueeze(1))
            first, second = scales
            few, many = (first, second) if first.shape[1] <= second.shape[1] else (second, first)
            found = mixed(chosen.sum(), few, many)
        return (found if few is first else found.transpose(1, 2))[: len(places)]

    def _most(self, modality: str) -> int:
        """Return how many units any example has: the same on all processes."""
        return max(map(self.probe.segments[modality].count, range(self.probe.size)))

    @contextmanager
    def _entered(self, sources: Tensor, scales: list[Tensor]) -> Iterator[object]:
        """Yield the rows' batch, every unit of both modalities multiplied by a scale of its own."""
        ask, probe = self.evaluator, self.probe
        batch = probe.batch(sources, {}, ask.device)
        with ExitStack() as stack:
            for entrance, scale in zip(self.entrances, scales, strict=True):
                name = entrance.modality
                masked = probe.batch(sources, {name: torch.zeros(scale.shape, dtype=torch.bool)}, ask.device)
                own = sources[:, probe.layout.names.index(name)]
                shares = spread(scale, cast("Segments", probe.segments[name]).index, own)
                entered = entrance.open(ask.module, probe, batch, masked, shares)
                batch = stack.enter_context(entered)
            yield batch


def spread(scale: Tensor, index: Tensor, sources: Tensor) -> Tensor:
    """Return ``(R, ...)`` the scale of the unit that every entry belongs to; 1 where it belongs to none.

    Args:
        scale: ``(R, U)``.
        index: ``(N or 1, ...)`` the unit of every entry; -1 for none.
        sources: ``(R,)`` the example of each row.
    """
    own = index[sources] if len(index) > 1 else index.expand(len(sources), *index.shape[1:])
    with_none = torch.cat([torch.ones(len(scale), 1), scale], 1)
    return with_none.gather(1, (own + 1).flatten(1)).view(own.shape)


def mixed(total: Tensor, few: Tensor, many: Tensor) -> Tensor:
    """Return ``(R, U, V)`` the derivatives of a sum over rows by ``(R, U)`` and then by ``(R, V)``.

    Raises:
        RuntimeError: The sum depends on one of them in no way that can be derived.
    """
    if not total.requires_grad:
        raise RuntimeError("no gradient of the outputs reaches either modality: the model detaches them.")
    slopes = torch.autograd.grad(total, [few, many], create_graph=True, allow_unused=True)
    if any(slope is None for slope in slopes):
        raise RuntimeError("no gradient of the outputs reaches one of the two modalities: the model detaches it.")
    found = many.new_zeros(len(many), *few.shape[1:], *many.shape[1:])
    for segment in range(few.shape[1]):
        found[:, segment] = _slope(slopes[0][:, segment].sum(), many)
    return found.float().cpu()


def _slope(total: Tensor, by: Tensor) -> Tensor:
    """Return the derivative; exactly 0 where nothing depends on it, as in networks of straight pieces."""
    found = torch.autograd.grad(total, by, retain_graph=True, allow_unused=True)[0] if total.requires_grad else None
    return torch.zeros_like(by) if found is None else found.detach()
