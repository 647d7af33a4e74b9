"""Maps of total effects as cards: one map per modality."""

import numpy as np

from mviz_lightning.explainers.card import MOST_EXAMPLES, ExampleDisplay, array, examples_card
from mviz_lightning.explainers.position_effects.result import PositionEffectsResult, PositionMaps
from mviz_lightning.notebook.card import Card, TidyRows, stacked_rows
from mviz_lightning.plotting.diagrams import FloatArray, Matrix, share_words

COLUMNS = ("example", "modality", "position", "effect")

WIDEST = 48
"""Largest number of columns of a drawn map; finer maps are averaged over blocks."""


def positions_card(one: PositionMaps) -> Card:
    """Return the card of one example."""
    shown, names = ExampleDisplay(one), _modalities(one)
    maps = [array(effects) for effects in one.effects]
    means = {name: float(np.nanmean(found)) if found.size else 0.0 for name, found in zip(names, maps, strict=True)}
    most = max(means, key=lambda name: means[name])
    verdict = f"{most} matters most: on average {share_words(means[most])} of the variance changes without it"
    matrices = [_matrix(name, found) for name, found in zip(names, maps, strict=True)]
    rows = [
        [one.position, name, "+".join(map(str, place)), float(effect)]
        for name, found in zip(names, maps, strict=True)
        for place, effect in np.ndenumerate(found)
    ]
    return Card(verdict, matrices, TidyRows(COLUMNS, rows), title=shown.headline)


def _modalities(one: PositionMaps) -> list[str]:
    """Return the names of the modalities; their numbers if the names are unknown."""
    if one._origin is not None:
        return list(one._origin.result.modalities)
    return [f"modality {place + 1}" for place in range(len(one.effects))]


def _matrix(name: str, effects: FloatArray) -> Matrix:
    """Return the map of a modality; for a volume the mean over its depth, for a sequence one row."""
    flat = effects.mean(tuple(range(effects.ndim - 2))) if effects.ndim > 2 else np.atleast_2d(effects)
    coarse = _coarse(flat, max(1, -(-max(flat.shape) // WIDEST)))
    rows, columns = ([str(place) for place in range(count)] for count in coarse.shape)
    return Matrix(f"{name}: effect at each position", rows, columns, coarse, diverging=False)


def _coarse(effects: FloatArray, step: int) -> FloatArray:
    """Return means over blocks of ``step`` rows and columns."""
    if step == 1:
        return effects
    rows, columns = (np.arange(0, size, step if size > 1 else 1) for size in effects.shape)
    summed = np.add.reduceat(np.add.reduceat(effects, rows, 0), columns, 1)
    counts = np.add.reduceat(np.add.reduceat(np.ones_like(effects), rows, 0), columns, 1)
    means: FloatArray = summed / counts
    return means


def effects_card(result: PositionEffectsResult) -> Card:
    """Return the card of all examples."""
    cards = [positions_card(one) for one in result.effects]
    frame = stacked_rows([card.frame for card in cards])
    return examples_card(result, cards[:MOST_EXAMPLES], "with the effect of each modality by position", frame)
