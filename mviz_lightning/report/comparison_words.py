"""The differences of two runs, in sentences."""

import math
from collections.abc import Mapping, Sequence
from string import ascii_uppercase

from mviz_lightning.functional.differences import ShareDifference
from mviz_lightning.functional.numerals import fixed
from mviz_lightning.sinks.records import State


def run_letter(place: int) -> str:
    """Return the name of a run in sentences: A, B, ...; after Z its number, from 1."""
    return ascii_uppercase[place] if place < len(ascii_uppercase) else str(place + 1)


def in_words(
    differences: Mapping[str, ShareDifference],
    states: Mapping[str, tuple[State | None, State | None]],
    letters: tuple[str, str],
) -> list[str]:
    """Return sentences about the differences, the largest difference first.

    Args:
        differences: Name of a share or score -> the second run's value less the first's.
        states: Modality -> its state in the first and the second run; None if it was not judged.
        letters: Names of the first and the second run.

    Returns:
        A sentence for each modality whose total effect differs clearly, or one sentence if there is none. A sentence
        for the interaction if it differs clearly, for each changed state, and for the score. Points are percent of the
        outputs' variance.
    """
    totals = {name.removeprefix("total/"): found for name, found in differences.items() if name.startswith("total/")}
    clear = sorted((name for name in totals if totals[name].is_clear), key=lambda name: -abs(totals[name].value))
    said = [_points_sentence(f"the {name} is used", totals[name], letters) for name in clear]
    said += [_alike_sentence(list(totals), letters)] if totals and not clear else []
    interaction, score = (differences.get(name) for name in ("interaction", "score"))
    if interaction is not None and interaction.is_clear:
        said.append(_points_sentence("interactions explain", interaction, letters))
    said += [_state_sentence(name, pair, letters) for name, pair in states.items() if pair[0] != pair[1]]
    return said if score is None or math.isnan(score.value) else [*said, _score_sentence(score.value, letters)]


def _points_sentence(what: str, found: ShareDifference, letters: tuple[str, str]) -> str:
    """Return a sentence about a clear difference of shares: both bounds are on one side of 0."""
    low, value, high = sorted(100 * abs(share) for share in (found.value, found.low, found.high))
    decimals = 0 if value >= 10 else 1 if value >= 1 else 2
    number, *bounds = (fixed(points, decimals) for points in (value, low, high))
    direction = "more" if found.value > 0 else "less"
    unit = "point" if float(number) == 1 else "points"
    first, second = letters
    return f"In run {second} {what} {number} {unit} {direction} than in run {first} (95 %: {' to '.join(bounds)})."


def _alike_sentence(modalities: Sequence[str], letters: tuple[str, str]) -> str:
    *others, last = modalities
    names = f"{', '.join(others)} and {last}" if others else last
    first, second = letters
    return f"Runs {first} and {second} use {names} alike: no total effect differs by more than its 95 % interval."


def _state_sentence(modality: str, pair: tuple[State | None, State | None], letters: tuple[str, str]) -> str:
    words = ("not judged" if state is None else state.name.lower() for state in pair)
    said = " and ".join(f"{word} in run {letter}" for word, letter in zip(words, letters, strict=True))
    return f"The {modality} is {said}."


def _score_sentence(difference: float, letters: tuple[str, str]) -> str:
    first, second = letters
    size = fixed(abs(difference), 3)
    if float(size) == 0:
        return f"Runs {first} and {second} have the same score."
    direction = "higher" if difference > 0 else "lower"
    return f"The score of run {second} is {size} {direction} than that of run {first} (scores have no interval)."
