"""Multimodal representations: the modalities that fused features follow (MultiViz, third stage; Liang et al. 2023)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from mviz_lightning.engine.query import Query
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.errors.deprecations import renamed_arguments
from mviz_lightning.explainers.argument_checks import are_positions, require_least
from mviz_lightning.explainers.base import Explainer, ProbeContext, Request, Responses
from mviz_lightning.explainers.found import Result
from mviz_lightning.explainers.multimodal_representation.activations import Activations
from mviz_lightning.explainers.multimodal_representation.concepts import traits
from mviz_lightning.explainers.multimodal_representation.kept import feature_lines
from mviz_lightning.explainers.multimodal_representation.result import ActivatingExample, Feature, Representation
from mviz_lightning.explainers.predictions import outcome
from mviz_lightning.explainers.recombinations import Recombinations, of_examples
from mviz_lightning.functional import Estimate, classify_features, share_ratios
from mviz_lightning.functional.features import CONSTANT, UNIMODAL, overlap, strongest_examples
from mviz_lightning.functional.outputs import fold_positions
from mviz_lightning.functional.segment_attribution import perturbation_masks
from mviz_lightning.sinks.records import Record

if TYPE_CHECKING:
    from mviz_lightning.explainers.drawing import DrawingContext
    from mviz_lightning.explainers.kept import KeepingContext

STRONG = 0.1
"""Fraction of all examples that count as a feature's strongest in the search for concepts."""


@renamed_arguments(units="features")
@dataclass(frozen=True, kw_only=True)
class MultimodalRepresentation(Explainer):
    """Finds which modalities the fused features follow: one, several, or none.

    The features are the input of the model's last linear layer. For outputs with positions, they are the means over a
    region of each example of the input of the last linear layer or convolution that returns a vector for each position.
    Contribution shares are computed for each feature, from the same recombinations as the shares of the outputs. A
    feature follows a modality if that modality alone explains at least 80 % of its variance; otherwise it is
    multimodal.

    Pictures show, for some features, the examples that activate them most, the concepts that these share, and the
    effects of segments in the strongest example (occlusion). Concepts are words, classes and values of other leaves
    that are over-represented among the strongest 10 % (hypergeometric test, 5 % false discoveries).

    It evaluates the rows of the shares, the reference set, and for each shown feature one row for every segment of an
    example.

    Args:
        features_shown: Number of shown features: from every class in turn, the features that vary most at the first
            run. They are fixed during the training.
        examples_shown: Number of shown examples per feature.
        features: Numbers of the features to show; by default they are chosen.
        layer: Name of the submodule whose input is used; by default the last linear layer.
        every_n_validations: It runs at the first validation, at every n-th, and at the end of the training.
        name: First part of the keys of its scalars and pictures. Give each one a different name.

    Raises:
        ConfigurationError: An argument has a value that is not allowed.
    """

    features_shown: int = 6
    examples_shown: int = 6
    features: Sequence[int] | None = None
    layer: str | None = None
    every_n_validations: int = 5
    name: str = "representation"
    needs_features = True
    needs_regions = True

    def __post_init__(self) -> None:
        require_least(self, {"features_shown": 0, "examples_shown": 1, "every_n_validations": 1})
        if self.features is not None and not are_positions(self.features):
            raise ConfigurationError(
                f"MultimodalRepresentation(features={self.features!r}): give numbers of features from 0 on, for "
                "example [0], or leave it out to have some chosen."
            )

    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        """Request the recombinations of every group, and all examples unmasked."""
        probe = probe_context.probe
        recombined = Query(probe.groups[:, probe_context.design.tuples].flatten(0, 1))
        most = sum(max(map(segments.count, range(probe.size))) for segments in probe.segments.values())
        count = self.features_shown if self.features is None else len(self.features)
        everyone = Query.aligned(torch.arange(probe.size), len(probe.schema.names))
        return Request([recombined, everyone], second_round_rows=count * most)

    def explain(self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses) -> Representation:
        """Classify all features, and describe the shown ones."""
        modalities, found = probe_context.probe.schema.names, Activations.of(probe_context, responses.features[0])
        own = _of_everyone(probe_context, responses)
        estimate, deviation = found.shares(), found.deviation
        kinds = classify_features(estimate.value[:, :-1], found.live & (estimate.value != 0).any(1))
        numbers = self._chosen(kinds, deviation, responses.memory)
        shown = _described(self, probe_context, own, numbers, kinds, estimate, deviation)
        values = _counted(kinds, modalities) | found.ranks(own.features[0], modalities)
        overlaps = [feature.overlap for feature in shown if feature.overlap is not None]
        if overlaps:
            values["overlap"] = sum(overlaps) / len(overlaps)
        return Representation(
            values=values,
            memory=self._remembered(shown, len(kinds)),
            modalities=modalities,
            kinds=kinds,
            shares=estimate.value,
            total=probe_context.probe.size,
            shown=shown,
            unfused=_unfused(probe_context, kinds, responses.outputs[0]),
        )

    def plan_second_round(self, probe_context: ProbeContext, result: Result) -> Request:
        """Request every shown feature's strongest example with one segment masked at a time."""
        masked = [
            _one_masked(probe_context, feature.examples[0].example, name)
            for feature in _shown(result)
            for name in probe_context.probe.segments
        ]
        return Request(masked)

    def refine(self, probe_context: ProbeContext, result: Result, responses: Responses) -> Result:
        """Add the effects of the strongest examples' segments on the features."""
        masked, parts = iter(responses.features), {}
        for feature in _shown(result):
            strongest = feature.examples[0]
            parts[feature.number] = {
                name: strongest.activation - _occluded(probe_context, next(masked), strongest.example, feature.number)
                for name in probe_context.probe.segments
            }
        found = cast("Representation", result)
        return replace(found, shown=[replace(one, parts=parts.get(one.number, {})) for one in found.shown])

    def kept(self, result: Representation, context: "KeepingContext") -> Iterable[Mapping[str, Any]]:
        """Return a line for each shown feature, and one about all features."""
        return feature_lines(result, context)

    def draw(self, result: Representation, drawing: "DrawingContext", when: str) -> Sequence[Record]:
        """Draw all features at once, then each shown feature, and list the shown features."""
        from mviz_lightning.explainers.multimodal_representation.figure import representation_records

        return representation_records(result, self.name, drawing, when)

    @property
    def _asked(self) -> dict[str, Any]:
        # "units" is the key in checkpoints.
        return {"features_shown": self.features_shown, "units": list(self.features or ()), "layer": self.layer or ""}

    def _remembered(self, shown: Sequence[Feature], width: int) -> dict[str, Any]:
        """Return the memory for the next run: the shown features, and the positions of their strongest examples."""
        top = {str(feature.number): [strong.position for strong in feature.examples] for feature in shown}
        return self._asked | {"width": width, "top": top}

    def _chosen(self, kinds: Tensor, deviation: Tensor, memory: Mapping[str, Any]) -> list[int]:
        """Return the features to show: the named ones, those of the previous run, or some of every class in turn."""
        if self.features is not None:
            beyond = [number for number in self.features if number >= len(kinds)]
            if beyond:
                raise ConfigurationError(
                    f"MultimodalRepresentation(features={list(self.features)}): there are {len(kinds)} features; "
                    f"{beyond[0]} is out of range; allowed are 0 to {len(kinds) - 1}."
                )
            return list(dict.fromkeys(self.features))
        known = self._asked | {"width": len(kinds)}
        if memory.get("top") and all(memory.get(name) == value for name, value in known.items()):
            return [int(number) for number in memory["top"]]
        return in_turn(kinds, deviation)[: self.features_shown]


def _shown(result: Result) -> Sequence[Feature]:
    """Return the shown features that some example activates."""
    return [feature for feature in cast("Representation", result).shown if feature.examples]


def _one_masked(probe_context: ProbeContext, example: int, name: str) -> Query:
    masks = perturbation_masks("occlusion", probe_context.probe.segments[name].count(example))
    rows = Query.aligned(torch.full((len(masks),), example), len(probe_context.probe.schema.names))
    return Query(rows.sources, {name: masks})


def _occluded(probe_context: ProbeContext, masked: Tensor, example: int, number: int) -> Tensor:
    """Return ``(U,)`` activations of a feature in an example without each of its segments."""
    return of_examples(probe_context, masked, [example] * len(masked))[:, number].double()


def in_turn(kinds: Tensor, deviation: Tensor) -> list[int]:
    """Return the features that vary: one of every class in turn, multimodal first, the strongest of a class first.

    Args:
        kinds: ``(F,)`` classes; multimodal is the last class.
        deviation: ``(F,)`` standard deviations.
    """
    order: list[int] = deviation.argsort(descending=True, stable=True).tolist()
    turns: dict[int, int] = {}
    keys = []
    for place, number in enumerate(order):
        kind = int(kinds[number])
        if kind != CONSTANT:
            keys.append((turns.setdefault(kind, 0), -kind, place, number))
            turns[kind] += 1
    return [number for *_, number in sorted(keys)]


def _counted(kinds: Tensor, modalities: Sequence[str]) -> dict[str, float]:
    """Return the fraction of varying features in every class, and the fraction of all features that are constant."""
    live = max(1, int((kinds != CONSTANT).sum()))
    names = [*(f"only_{name}" for name in modalities), "multimodal"]
    shares = {name: int((kinds == kind).sum()) / live for kind, name in enumerate(names)}
    return shares | {"dead": int((kinds == CONSTANT).sum()) / len(kinds)}


def _of_everyone(probe_context: ProbeContext, responses: Responses) -> Responses:
    """Return features and outputs of all unmasked examples; if outputs have positions, in their own regions."""
    everyone = range(probe_context.probe.size)
    features, outputs = (
        of_examples(probe_context, found, everyone) for found in (responses.features[1], responses.outputs[1])
    )
    return replace(responses, features=[features], outputs=[outputs])


def _unfused(probe_context: ProbeContext, kinds: Tensor, outputs: Tensor) -> str | None:
    """Return the modality that all features follow, if the outputs depend on others too."""
    followed, modalities = sorted(set(kinds[kinds != CONSTANT].tolist())), probe_context.design.modalities
    if len(followed) != 1 or followed[0] == modalities:
        return None
    scaled = Recombinations.of(probe_context, outputs).scaled
    scaled = scaled if probe_context.left_out is None else scaled[..., ~probe_context.left_out]
    by_group = fold_positions(scaled.flatten(2), scaled.shape[2])
    mean = torch.stack([probe_context.design.components(group) for group in by_group]).mean(0)
    others = float(1 - share_ratios(mean, modalities)[followed[0]])
    return probe_context.probe.schema.names[followed[0]] if others > 1 - UNIMODAL and float(mean[0]) > 0 else None


def _described(
    explainer: MultimodalRepresentation,
    probe_context: ProbeContext,
    responses: Responses,
    numbers: Sequence[int],
    kinds: Tensor,
    estimate: Estimate,
    deviation: Tensor,
) -> list[Feature]:
    """Find the strongest examples of some features, and their concepts."""
    activations, count = responses.features[0], explainer.examples_shown
    drawn = max(count, round(STRONG * len(activations)))
    strong = [strongest_examples(activations[:, number], drawn, ties=True) for number in numbers]
    concepts = traits(probe_context.probe, probe_context.task).concepts(strong) if numbers else []
    before = responses.memory.get("top", {})
    features = []
    for number, found, common in zip(numbers, strong, concepts, strict=True):
        top = [_strong(probe_context, responses, example, number) for example in found[:count]]
        last, now = before.get(str(number)), [one.position for one in top]
        shares, low, high = (side[number].tolist() for side in estimate)
        same = overlap(last, now) if last and now else None
        kind = int(kinds[number])
        features.append(Feature(number, kind, shares, low, high, float(deviation[number]), top, common, same))
    return features


def _strong(probe_context: ProbeContext, responses: Responses, example: int, number: int) -> ActivatingExample:
    known = outcome(responses.outputs[0][example], probe_context.label(example), probe_context.task).target
    return ActivatingExample(
        example, probe_context.positions[example], float(responses.features[0][example, number]), known
    )
