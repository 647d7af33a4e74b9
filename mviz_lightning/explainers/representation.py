"""Multimodal representations: what the fused features respond to (MultiViz, third stage; Liang et al. 2023)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.evaluation.query import Query
from mviz_lightning.explainers.arguments import require_least
from mviz_lightning.explainers.base import Subject
from mviz_lightning.explainers.concepts import traits
from mviz_lightning.explainers.fused_features import Feature, Representation, Strong
from mviz_lightning.explainers.outcome import outcome
from mviz_lightning.explainers.survey import Answers, Asked, Finding, Survey
from mviz_lightning.functional import (
    CONSTANT,
    UNIMODAL,
    Estimate,
    classify,
    effective_rank,
    feature_components,
    jackknife,
    main_effects,
    overlap,
    rounding_floor,
    share_ratios,
    strongest,
    varies,
)
from mviz_lightning.functional.importance import perturbations

STRONG = 0.1
"""Share of all examples that count as a feature's strongest where it is asked what they have in common."""


@dataclass(frozen=True, kw_only=True)
class MultimodalRepresentation(Survey):
    """What the fused features respond to: one modality, several, or nothing.

    Features are what the model's last linear layer is given. Each has shares of its own, of the same recombinations
    as the model's; one follows a modality when that explains .8 of its variance alone, and is multimodal otherwise.
    For some features it is shown which examples activate them most, and what those have in common: words, classes and
    values of other leaves that are over-represented among the strongest tenth (hypergeometric test, 5 % false
    discoveries); and which of its parts drive the feature in the strongest example. Costs the rows of the shares again,
    those of the reference set, and one for every unit of an example for each feature that is shown.

    Args:
        features_shown: Features that are looked at closer: of every class in turn, those that vary most at the first
            time; the same ones through the training.
        examples_shown: Examples that activate a feature most.
        units: Numbers of features to look at instead.
        layer: Name of the submodule whose input is taken; the last linear layer by default.
        every_n_validations: How often: at the first validation, every n-th, and at the end of the training.
        name: Of its scalars and pictures; tells several of them apart.

    Raises:
        ConfigurationError: An argument is impossible.
    """

    features_shown: int = 6
    examples_shown: int = 6
    units: Sequence[int] | None = None
    layer: str | None = None
    every_n_validations: int = 5
    name: str = "representation"
    features = True

    def __post_init__(self) -> None:
        require_least(self, {"features_shown": 0, "examples_shown": 1, "every_n_validations": 1})
        if self.units is not None and (not self.units or min(self.units) < 0):
            raise ConfigurationError(
                f"MultimodalRepresentation(units={list(self.units)}): give numbers of features from 0 on, or leave it "
                "out to have some chosen."
            )

    def plan(self, subject: Subject, examples: Sequence[int]) -> Asked:
        """Ask for the recombinations of every group, and for all examples as they are."""
        probe = subject.probe
        recombined = Query(probe.groups[:, subject.design.tuples].flatten(0, 1))
        most = sum(max(map(units.count, range(probe.size))) for units in probe.units.values())
        count = self.features_shown if self.units is None else len(self.units)
        everyone = Query.aligned(torch.arange(probe.size), len(probe.layout.names))
        return Asked([recombined, everyone], closer=count * most)

    def explain(self, subject: Subject, examples: Sequence[int], answers: Answers) -> Representation:
        """Class all features, and look at some of them closer."""
        tuples, modalities = subject.design.tuples, subject.probe.layout.names
        recombined = answers.features[0].reshape(-1, len(tuples), answers.features[0].shape[1])
        estimate = _shares(subject, recombined)
        live = varies(answers.features[0]) & (estimate.value != 0).any(1)
        kinds = classify(estimate.value[:, :-1], live)
        deviation = answers.features[0].double().std(0, correction=0)
        numbers = self._chosen(kinds, deviation, answers.memory)
        shown = _looked_at(self, subject, answers, numbers, kinds, estimate, deviation)
        values = _counted(kinds, modalities) | _ranks(answers.features[1], recombined, tuples, modalities)
        overlaps = [feature.overlap for feature in shown if feature.overlap is not None]
        if overlaps:
            values["overlap"] = sum(overlaps) / len(overlaps)
        return Representation(
            values=values,
            memory=self._remembered(shown, len(kinds)),
            modalities=modalities,
            kinds=kinds,
            shares=estimate.value,
            total=subject.probe.size,
            shown=shown,
            unfused=_unfused(subject, kinds, answers.outputs[0]),
        )

    def closer(self, subject: Subject, finding: Finding) -> Sequence[Query]:
        """Ask for every feature's strongest example with one unit masked at a time."""
        return [
            _one_masked(subject, feature.examples[0].example, name)
            for feature in _shown(finding)
            for name in subject.probe.units
        ]

    def refine(self, subject: Subject, finding: Finding, answers: Answers) -> Finding:
        """Add what the units of the strongest examples add to the features."""
        masked, parts = iter(answers.features), {}
        for feature in _shown(finding):
            whole = feature.examples[0].activation
            parts[feature.number] = {
                name: whole - next(masked)[:, feature.number].double() for name in subject.probe.units
            }
        found = cast("Representation", finding)
        return replace(found, shown=[replace(one, parts=parts.get(one.number, {})) for one in found.shown])

    @property
    def _asked(self) -> dict[str, Any]:
        return {"features_shown": self.features_shown, "units": list(self.units or ()), "layer": self.layer or ""}

    def _remembered(self, shown: Sequence[Feature], width: int) -> dict[str, Any]:
        """Return what the next survey is told: which features are shown, and their strongest examples' positions."""
        top = {str(feature.number): [strong.position for strong in feature.examples] for feature in shown}
        return self._asked | {"width": width, "top": top}

    def _chosen(self, kinds: Tensor, deviation: Tensor, memory: Mapping[str, Any]) -> list[int]:
        """Return the features that are looked at: those named, those of the last survey, or of every class in turn."""
        if self.units is not None:
            beyond = [unit for unit in self.units if unit >= len(kinds)]
            if beyond:
                raise ConfigurationError(
                    f"MultimodalRepresentation(units={list(self.units)}): there are {len(kinds)} features; {beyond[0]} "
                    f"is none of 0 to {len(kinds) - 1}."
                )
            return list(dict.fromkeys(self.units))
        known = self._asked | {"width": len(kinds)}
        if memory.get("top") and all(memory.get(name) == value for name, value in known.items()):
            return [int(number) for number in memory["top"]]
        return in_turn(kinds, deviation)[: self.features_shown]


def _shown(finding: Finding) -> Sequence[Feature]:
    """Return the features that some example activates."""
    return [feature for feature in cast("Representation", finding).shown if feature.examples]


def _one_masked(subject: Subject, example: int, name: str) -> Query:
    masks = perturbations("occlusion", subject.probe.units[name].count(example))
    rows = Query.aligned(torch.full((len(masks),), example), len(subject.probe.layout.names))
    return Query(rows.sources, {name: masks})


def in_turn(kinds: Tensor, deviation: Tensor) -> list[int]:
    """Return the features that vary, one of every class in turn, multimodal ones first and the strongest of a class.

    Args:
        kinds: ``(F,)`` classes, the multimodal ones the last.
        deviation: ``(F,)``.
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


def _shares(subject: Subject, recombined: Tensor) -> Estimate:
    """Return the M first-order shares of every feature and that of all interactions, each ``(F, M + 1)``."""
    modalities = subject.design.modalities
    columns = [*range(modalities), -1]
    components = feature_components(recombined, subject.design)
    return jackknife(components, lambda mean: share_ratios(mean, modalities)[..., columns])


def _counted(kinds: Tensor, modalities: Sequence[str]) -> dict[str, float]:
    """Return the share of every class among the features that vary, and that of the others among all."""
    live = max(1, int((kinds != CONSTANT).sum()))
    names = [*(f"only_{name}" for name in modalities), "multimodal"]
    shares = {name: int((kinds == kind).sum()) / live for kind, name in enumerate(names)}
    return shares | {"dead": int((kinds == CONSTANT).sum()) / len(kinds)}


def _ranks(aligned: Tensor, recombined: Tensor, tuples: Tensor, modalities: Sequence[str]) -> dict[str, float]:
    """Return the effective rank of the real examples' features, and that of what every modality adds by itself."""
    floor = rounding_floor(torch.cat([aligned, recombined.flatten(0, 1)]))
    effects = main_effects(recombined, tuples)
    centred = aligned.double() - aligned.double().mean(0)
    ranks = {f"rank_{name}": effective_rank(effect, floor) for name, effect in zip(modalities, effects, strict=True)}
    return {"rank": effective_rank(centred, floor)} | ranks


def _unfused(subject: Subject, kinds: Tensor, outputs: Tensor) -> str | None:
    """Return the modality that all features follow, if the outputs depend on others too."""
    followed, modalities = sorted(set(kinds[kinds != CONSTANT].tolist())), subject.design.modalities
    if len(followed) != 1 or followed[0] == modalities:
        return None
    by_group = subject.decomposable(outputs).reshape(len(subject.probe.groups), -1, outputs.shape[1])
    mean = torch.stack([subject.design.components(group) for group in by_group]).mean(0)
    others = float(1 - share_ratios(mean, modalities)[followed[0]])
    return subject.probe.layout.names[followed[0]] if others > 1 - UNIMODAL and float(mean[0]) > 0 else None


def _looked_at(
    survey: MultimodalRepresentation,
    subject: Subject,
    answers: Answers,
    numbers: Sequence[int],
    kinds: Tensor,
    estimate: Estimate,
    deviation: Tensor,
) -> list[Feature]:
    """Find the strongest examples of some features, and what they have in common."""
    activations, count = answers.features[1], survey.examples_shown
    drawn = max(count, round(STRONG * len(activations)))
    strong = [strongest(activations[:, number], drawn, ties=True) for number in numbers]
    concepts = traits(subject.probe, subject.task).concepts(strong) if numbers else []
    before = answers.memory.get("top", {})
    features = []
    for number, found, common in zip(numbers, strong, concepts, strict=True):
        top = [_strong(subject, answers, example, number) for example in found[:count]]
        last, now = before.get(str(number)), [one.position for one in top]
        shares, low, high = (side[number].tolist() for side in estimate)
        same = overlap(last, now) if last and now else None
        kind = int(kinds[number])
        features.append(Feature(number, kind, shares, low, high, float(deviation[number]), top, common, same))
    return features


def _strong(subject: Subject, answers: Answers, example: int, number: int) -> Strong:
    known = outcome(answers.outputs[1][example], subject.label(example), subject.task).target
    return Strong(example, subject.positions[example], float(answers.features[1][example, number]), known)
