"""Fused features as cards: the modalities that they follow, and the examples that activate shown features."""

from mviz_lightning.explainers.card import array, largest_weight
from mviz_lightning.explainers.multimodal_representation.concepts import Concept
from mviz_lightning.explainers.multimodal_representation.overview import (
    colours_of,
    kind_name,
    overview_title,
    share_names_of,
)
from mviz_lightning.explainers.multimodal_representation.result import Feature, Representation
from mviz_lightning.functional.features import CONSTANT
from mviz_lightning.notebook.card import Card, TidyRows
from mviz_lightning.plotting.diagrams import Bar, Bars, Diagram, SegmentMap, share_words
from mviz_lightning.plotting.panels import COLOURS, INTERACTION

FEATURE_COLUMNS = ("feature", "rank", "example", "activation", "target_name")


def feature_card(feature: Feature) -> Card:
    """Return the card of one feature: its shares, and the examples that activate it most."""
    names = [f"{name} alone" for name in _modalities(feature)]
    colours = [*(COLOURS[place % len(COLOURS)] for place in range(len(names))), INTERACTION]
    cells = zip([*names, "interaction"], feature.shares, feature.low, feature.high, colours, strict=True)
    bars = [Bar(*cell) for cell in cells]
    most = max(bars, key=lambda bar: bar.value)
    words = f"feature {feature.number} follows {most.label}: {share_words(most.value, most.low, most.high)}"
    verdict = f"feature {feature.number} is constant" if feature.kind == CONSTANT else f"{words} of its variance"
    title = f"Shares of the variance of feature {feature.number}"
    return Card(verdict, [Bars(title, bars, percent=True), *_parts(feature)], _frame(feature), _concepts(feature))


def _modalities(feature: Feature) -> list[str]:
    """Return the names of the modalities; their numbers if the names are unknown."""
    if feature._origin is not None:
        return list(feature._origin.result.modalities)
    return list(feature.parts) or [f"modality {place + 1}" for place in range(len(feature.shares) - 1)]


def _parts(feature: Feature) -> list[Diagram]:
    """Return maps of the segments' effects in the strongest example."""
    found: list[Diagram] = []
    limit = largest_weight(*feature.parts.values())
    for name, weights in feature.parts.items():
        drawing = None if feature._origin is None else feature._origin.drawing
        names, view = [f"segment {place + 1}" for place in range(len(weights))], {}
        if drawing is not None:
            example, inputs = feature.examples[0].example, drawing.show_inputs
            names = drawing.modality_types[name].names(example, inputs=inputs)
            view = drawing.modality_types[name].view(example, inputs=inputs)
        title = f"{name}: example {feature.examples[0].position}"
        found.append(SegmentMap(name, title, names, array(weights), limit, view, foot="occlusion"))
    return found


def _concepts(feature: Feature) -> list[str]:
    """Return the concepts in words; if inputs are hidden, only classes."""
    hidden = feature._origin is not None and not feature._origin.drawing.show_inputs
    return [
        f"{_trait(one, feature)} in {one.hits} of {one.drawn} of its strongest examples (of all: {one.having} of "
        f"{one.total})"
        for one in feature.concepts
        if not hidden or one.trait.kind == "class"
    ]


def _trait(concept: Concept, feature: Feature) -> str:
    trait = concept.trait
    if trait.kind == "class":
        return f"target {feature._labels.outcome(int(trait.value))}"
    return f"the word {trait.value}" if trait.kind == "word" else f"{trait.source} = {trait.value}"


def _frame(feature: Feature) -> TidyRows:
    labels = feature._labels
    rows = [
        [feature.number, rank, one.position, one.activation, labels.outcome(one.target)]
        for rank, one in enumerate(feature.examples, start=1)
    ]
    return TidyRows(FEATURE_COLUMNS, rows)


def representation_card(result: Representation) -> Card:
    """Return the card of all features: the number of features that follow each modality."""
    kinds = [*range(len(result.modalities) + 1), CONSTANT]
    counts = {kind_name(result, kind): int((result.kinds == kind).sum()) for kind in kinds}
    colours = [*colours_of(result), "#ffffff"]
    bars = [Bar(name, count, colour=colour) for (name, count), colour in zip(counts.items(), colours, strict=True)]
    words = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    verdict = f"{len(result.kinds)} fused features: {words}" if len(result.kinds) else "no fused features"
    unfused = (
        [] if result.unfused is None else [f"The outputs do not follow {result.unfused} alone: name a later layer="]
    )
    columns = ["feature", "follows", *share_names_of(result)]
    rows = [
        [number, kind_name(result, int(kind)), *shares]
        for number, (kind, shares) in enumerate(zip(result.kinds.tolist(), result.shares.tolist(), strict=True))
    ]
    parts = [card.titled(card.verdict) for card in map(feature_card, result.shown)]
    return Card(verdict, [Bars(overview_title(result, ""), bars)], TidyRows(columns, rows), [], unfused, parts=parts)
