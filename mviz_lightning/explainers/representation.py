"""Multimodal representations: what the fused features respond to (MultiViz, third stage; Liang et al. 2023)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.evaluation.query import Query
from mviz_lightning.explainers.base import Subject
from mviz_lightning.explainers.concepts import Concept, traits
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

STRONG = 0.1
"""Share of all examples that count as a feature's strongest where it is asked what they have in common."""


@dataclass(frozen=True)
class Strong:
    """An example that activates a feature strongly.

    Attributes:
        example: Of the probe.
        position: In the validation set.
        activation: Of the feature.
        target: Class, list of labels or value; None when it is unknown.
    """

    example: int
    position: int
    activation: float
    target: Any


@dataclass(frozen=True)
class Feature:
    """One feature that is looked at closer.

    Attributes:
        number: Its column.
        kind: Position of the modality that it follows; M for a multimodal one, -1 for a constant one.
        shares: First-order shares in the order of the modalities, then that of all interactions.
        low: Lower bounds of their 95 % intervals.
        high: Upper bounds.
        deviation: Standard deviation over the recombined rows.
        examples: That activate it most.
        concepts: What stands out among its strongest examples.
        overlap: Jaccard's index of those examples and of the last survey's; None where one of them had none.
    """

    number: int
    kind: int
    shares: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    deviation: float
    examples: Sequence[Strong]
    concepts: Sequence[Concept]
    overlap: float | None


@dataclass(frozen=True, kw_only=True)
class Representation(Finding):
    """What a model's fused features respond to.

    Attributes:
        modalities: Names.
        kinds: ``(F,)`` the class of every feature, as :attr:`Feature.kind`.
        shares: ``(F, M + 1)`` of every feature, as :attr:`Feature.shares`.
        total: Examples among which the strongest were looked for.
        shown: Features that are looked at closer.
        unfused: The modality that all features follow where the outputs do not: their layer lies before the fusion.
    """

    modalities: Sequence[str]
    kinds: Tensor
    shares: Tensor
    total: int
    shown: Sequence[Feature]
    unfused: str | None = None


@dataclass(frozen=True, kw_only=True)
class MultimodalRepresentation(Survey):
    """What the fused features respond to: one modality, several, or nothing.

    Features are what the model's last linear layer is given. Each has shares of its own, of the same recombinations
    as the model's; one follows a modality when that explains .8 of its variance alone, and is multimodal otherwise.
    For some features it is shown which examples activate them most, and what those have in common: words, classes and
    values of other leaves that are over-represented among the strongest tenth (hypergeometric test, 5 % false
    discoveries). Costs the rows of the shares again, and those of the reference set.

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
        for name, least in (("features_shown", 0), ("examples_shown", 1), ("every_n_validations", 1)):
            if getattr(self, name) < least:
                raise ConfigurationError(
                    f"MultimodalRepresentation({name}={getattr(self, name)}): give {least} or more."
                )
        if self.units is not None and (not self.units or min(self.units) < 0):
            raise ConfigurationError(
                f"MultimodalRepresentation(units={list(self.units)}): give numbers of features from 0 on, or leave it "
                "out to have some chosen."
            )

    def plan(self, subject: Subject, examples: Sequence[int]) -> Asked:
        """Ask for the recombinations of every group, and for all examples as they are."""
        probe = subject.probe
        recombined = Query(probe.groups[:, subject.design.tuples].flatten(0, 1))
        return Asked([recombined, Query.aligned(torch.arange(probe.size), len(probe.layout.names))])

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
    target = subject.probe.target
    label = None if target is None else target[example]
    known = outcome(answers.outputs[1][example], label, subject.task).target
    return Strong(example, subject.positions[example], float(answers.features[1][example, number]), known)
