"""Maps of effects as lines of ``explanations.jsonl``."""

from collections.abc import Iterator, Mapping
from typing import Any

from mviz_lightning.explainers.kept import KeepingContext
from mviz_lightning.explainers.position_effects.result import PositionEffectsResult


def position_lines(result: PositionEffectsResult, context: KeepingContext) -> Iterator[Mapping[str, Any]]:
    """Yield a line for each shown example; maps are flat, row by row, in the shape of the lattice."""
    for one in result.effects:
        yield {
            "result": "positions",
            **context.example(one),
            "modalities": result.modalities,
            "shape": list(one.effects.shape[1:]),
            "effects": one.effects.flatten(1),
            "labels": None if one.labels is None else one.labels.flatten(),
            "decisions": None if one.decisions is None else one.decisions.flatten(),
            "cells": one.cells,
        }
