"""Fused features as lines of ``explanations.jsonl``."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mviz_lightning.explainers.kept import KeepingContext
from mviz_lightning.explainers.multimodal_representation.concepts import Concept
from mviz_lightning.explainers.multimodal_representation.result import Feature, Representation


def feature_lines(result: Representation, context: KeepingContext) -> Iterator[Mapping[str, Any]]:
    """Yield the shares of all features, and a line for each shown feature."""
    kinds = [_kind(kind, result.modalities) for kind in result.kinds.tolist()]
    yield {
        "result": "representation",
        "feature": None,
        "counts": {kind: kinds.count(kind) for kind in dict.fromkeys([*result.modalities, "multimodal", *kinds])},
        "all_kinds": kinds,
        "all_shares": result.shares,
        "total": result.total,
        "unfused": result.unfused,
    }
    for feature in result.shown:
        yield {"result": "representation", **_feature(feature, result.modalities, context)}


def _kind(kind: int, modalities: Sequence[str]) -> str:
    """Return the class of a feature in words."""
    return "constant" if kind < 0 else [*modalities, "multimodal"][kind]


def _feature(feature: Feature, modalities: Sequence[str], context: KeepingContext) -> dict[str, Any]:
    strongest = [
        {"example": context.identify(one), "activation": one.activation, "target_name": context.target_name(one)}
        for one in feature.examples
    ]
    return {
        "feature": feature.number,
        "kind": _kind(feature.kind, modalities),
        "shares": feature.shares,
        "low": feature.low,
        "high": feature.high,
        "deviation": feature.deviation,
        "overlap": feature.overlap,
        "examples": strongest,
        "concepts": [_plain(one, context) for one in feature.concepts if context.show_inputs or _is_class(one)],
        "parts": feature.parts,
    }


def _is_class(concept: Concept) -> bool:
    """Return whether a concept is a class of the target, which is not an input."""
    return concept.trait.kind == "class"


def _plain(concept: Concept, context: KeepingContext) -> dict[str, Any]:
    """Return a concept as plain data; a class has its name in addition to its index."""
    trait = concept.trait
    name = context.labels.outcome(trait.value) if _is_class(concept) else str(trait.value)
    return vars(trait) | {"name": name} | {key: value for key, value in vars(concept).items() if key != "trait"}
