"""What can be heard of the examples that are explained."""

from collections.abc import Iterable, Sequence
from functools import singledispatch

from mviz_lightning.explainers import Explanation, Finding
from mviz_lightning.explainers.errors import ErrorFinding
from mviz_lightning.explainers.interplay import CrossModalFinding
from mviz_lightning.explainers.prediction import PredictionFinding
from mviz_lightning.explainers.unit_weights import ImportanceFinding
from mviz_lightning.records import Sound
from mviz_lightning.rendering.gallery import Gallery


@singledispatch
def examples_of(finding: Finding) -> Sequence[Explanation]:
    """Return the examples that a survey looked at closer; most look at none."""
    return ()


@examples_of.register(ImportanceFinding)
@examples_of.register(CrossModalFinding)
def _(finding: ImportanceFinding | CrossModalFinding) -> Sequence[Explanation]:
    return [found.about for found in finding.examples]


@examples_of.register
def _(finding: PredictionFinding) -> Sequence[Explanation]:
    return [found.explanation for found in finding.examples]


@examples_of.register
def _(finding: ErrorFinding) -> Sequence[Explanation]:
    return [found.explanation for found in (*finding.worst, *finding.rescued)]


def sounds(examples: Iterable[Explanation], gallery: Gallery) -> dict[str, Sound]:
    """Return the sounds of examples by key; an example has the same whatever explains it.

    Args:
        examples: Explained ones.
        gallery: Knows kinds, and whether inputs may be shown: otherwise none may be heard.
    """
    kinds = gallery.kinds if gallery.show_inputs else {}
    found = {}
    for about in examples:
        for name, kind in kinds.items():
            samples, key = kind.sound(about.example), f"sound/example_{about.position}/{name}"
            if samples is not None and kind.modality.sample_rate is not None:
                found[key] = Sound(key, samples, kind.modality.sample_rate)
    return found
