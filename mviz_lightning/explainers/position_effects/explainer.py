"""Maps of each modality's total effect over the positions of single examples."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from mviz_lightning.engine.explained_maps import ExplainedMaps
from mviz_lightning.engine.query import Query
from mviz_lightning.explainers.argument_checks import require_least
from mviz_lightning.explainers.base import Explainer, ProbeContext, Request, Responses
from mviz_lightning.explainers.found import Result
from mviz_lightning.explainers.position_effects.kept import position_lines
from mviz_lightning.explainers.position_effects.result import PositionEffectsResult, PositionMaps
from mviz_lightning.explainers.predictions import outcome
from mviz_lightning.functional import decomposable
from mviz_lightning.functional.position_sampling import cells_of
from mviz_lightning.sinks.records import Record

if TYPE_CHECKING:
    from mviz_lightning.explainers.drawing import DrawingContext
    from mviz_lightning.explainers.kept import KeepingContext


@dataclass
class PositionEffects(Explainer):
    """Maps of each modality's total effect over the positions of single examples.

    For outputs with positions, ``(B, C, H, W)`` or ``(B, T, C)``. At each position p of an example x, with modality m
    taken from each other example j of its group, on the scale for decomposition::

        e_m(p) = 1/2 E_j |f_p(x) - f_p(x with m from j)|^2 / V

    This is Jansen's estimator of the total effect (1999) for one example and position, summed over the classes. V is
    the variance of the outputs over the group's real examples, averaged over the positions. 0: the prediction at p does
    not use m. Maps have up to 64 x 64 positions, sequences up to 64.

    Attributes:
        num_examples: Number of shown examples.
        every_n_validations: The method runs at the first validation, at every n-th and at the end of the training.
        name: First part of the keys of its pictures and scalars. ``position_effects/largest/<m>`` is the share of shown
            positions at which m has the largest effect.

    Raises:
        ConfigurationError: An argument has a value that is not allowed.
    """

    num_examples: int = 4
    every_n_validations: int = 5
    name: str = "position_effects"
    needs_positions = True
    one_by_one = True

    def __post_init__(self) -> None:
        require_least(self, {"num_examples": 0, "every_n_validations": 1})

    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        """Request the real examples of the group, and the example with each modality from each of the others."""
        (example,) = examples
        group, place = probe_context.group(example)
        donors, count = group[torch.arange(len(group)) != place], len(probe_context.probe.schema.names)
        rows = [Query.aligned(group, count), *(swapped_rows(example, donors, m, count) for m in range(count))]
        maps = cast("ExplainedMaps", probe_context.maps)
        if maps.regions.labels.carrier is not None:  # each text is read at its own tokens
            return Request(rows)
        return Request([probe_context.reading(one, example) for one in rows])

    def explain(
        self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses
    ) -> PositionEffectsResult:
        """Compute the maps of an example.

        Raises:
            RuntimeError: Outputs are NaN or infinite.
        """
        (example,), maps = examples, cast("ExplainedMaps", probe_context.maps)
        place = probe_context.group(example)[1]
        real, *swapped = (_by_position(probe_context, maps, found) for found in responses.outputs)
        variance = real.var(0).sum(-1).mean()
        effects = torch.stack([effect_of(real[place], found) for found in swapped]) / variance.clamp(min=1e-300)
        if not bool(effects.isfinite().all()):
            position = probe_context.positions[example]
            raise RuntimeError(f"outputs of validation example {position} or of its group are NaN or infinite.")
        found = self._example(probe_context, maps, example, responses.outputs[0][place], effects)
        names = probe_context.probe.schema.names
        return PositionEffectsResult(
            values=_largest(effects, names), effects=[found], examples=[found], modalities=names
        )

    def _example(
        self, probe_context: ProbeContext, maps: ExplainedMaps, example: int, raw: Tensor, effects: Tensor
    ) -> PositionMaps:
        labels, shape = maps.regions.labels, maps.shape
        outputs = raw.double().view(-1, labels.outputs).cpu()
        region = outcome(outputs.mean(0), probe_context.label(example), probe_context.task)
        at = labels.at(maps.places)[example] if labels.labels.dim() == 2 else None
        classes = probe_context.task in ("multiclass", "binary")
        decided = outputs.argmax(1) if labels.outputs > 1 else (outputs[:, 0] > 0).long()
        return PositionMaps(
            **vars(probe_context.prediction(example, region)),
            effects=effects.view(-1, *shape).cpu(),
            labels=at.view(shape) if classes and at is not None else None,
            decisions=decided.view(shape) if classes else None,
            cells=None if labels.carrier is None else cells_of(labels.known()[example], shape[0]),
        )

    def join(self, results: Sequence[Result]) -> Result:
        """Return the maps of all examples, and the means of their scalars."""
        found = super().join(results)
        effects = [one for result in results for one in cast("PositionEffectsResult", result).effects]
        names = cast("PositionEffectsResult", results[0]).modalities if results else ()
        return PositionEffectsResult(values=found.values, effects=effects, examples=effects, modalities=names)

    def kept(self, result: PositionEffectsResult, context: "KeepingContext") -> Iterable[Mapping[str, Any]]:
        """Return a line for each shown example."""
        return position_lines(result, context)

    def draw(self, result: PositionEffectsResult, drawing: "DrawingContext", when: str) -> Sequence[Record]:
        """Draw the maps of each example on one scale."""
        from mviz_lightning.explainers.position_effects.figure import effect_records

        return effect_records(result, self.name, drawing, when)


def swapped_rows(example: int, donors: Tensor, modality: int, modalities: int) -> Query:
    """Return the rows of an example with one modality from each donor."""
    rows = torch.full((len(donors), modalities), example)
    rows[:, modality] = donors
    return Query(rows)


def effect_of(own: Tensor, swapped: Tensor) -> Tensor:
    """Return ``(P,)``: half the mean squared difference of ``(J, P, C)`` outputs from ``(P, C)``, over the classes."""
    return (swapped - own).square().sum(-1).mean(0) / 2


def _by_position(probe_context: ProbeContext, maps: ExplainedMaps, outputs: Tensor) -> Tensor:
    """Return ``(R, P, C)`` in float64, on the scale for decomposition."""
    by_position = outputs.view(len(outputs), -1, maps.regions.labels.outputs)
    kept = (
        by_position if probe_context.left_out is None else by_position[..., ~probe_context.left_out.to(outputs.device)]
    )
    return decomposable(kept, probe_context.task, probe_context.scale).cpu()


def _largest(effects: Tensor, names: Sequence[str]) -> dict[str, float]:
    most = effects.argmax(0)
    return {f"largest/{name}": float((most == m).double().mean()) for m, name in enumerate(names)}
