"""What can be heard of the examples that are explained."""

from collections.abc import Iterable, Sequence
from functools import singledispatch

from mviz_lightning.explainers import Explanation, Result
from mviz_lightning.explainers.cross_modal_interaction.result import CrossModalResult
from mviz_lightning.explainers.dime.figure import DrawingContext
from mviz_lightning.explainers.error_analysis.explainer import ErrorResult
from mviz_lightning.explainers.multimodal_prediction.explainer import PredictionResult
from mviz_lightning.explainers.unimodal_importance.result import ImportanceResult
from mviz_lightning.sinks.records import Sound


@singledispatch
def examples_of(result: Result) -> Sequence[Explanation]:
    """Return the examples that a survey looked at closer; most look at none."""
    return ()


@examples_of.register(ImportanceResult)
@examples_of.register(CrossModalResult)
def _(result: ImportanceResult | CrossModalResult) -> Sequence[Explanation]:
    return [found.about for found in result.examples]


@examples_of.register
def _(result: PredictionResult) -> Sequence[Explanation]:
    return [found.explanation for found in result.examples]


@examples_of.register
def _(result: ErrorResult) -> Sequence[Explanation]:
    return [found.explanation for found in (*result.worst, *result.rescued)]


def sounds(examples: Iterable[Explanation], drawing: DrawingContext) -> dict[str, Sound]:
    """Return the sounds of examples by key; an example has the same whatever explains it.

    Args:
        examples: Explained ones.
        drawing: Knows kinds, and whether inputs may be shown: otherwise none may be heard.
    """
    kinds = drawing.kinds if drawing.show_inputs else {}
    found = {}
    for about in examples:
        for name, kind in kinds.items():
            samples, key = kind.sound(about.example), f"sound/example_{about.position}/{name}"
            if samples is not None and kind.modality.sample_rate is not None:
                found[key] = Sound(key, samples, kind.modality.sample_rate)
    return found
