"""Random mistakes: each is named in plain words, or what is measured has the form that every measurement has."""

import traceback
import warnings
from math import isfinite
from pathlib import Path

import pytest
from fuzzing.mistakes import Mistake, Returning, mistakes
from hypothesis import Phase, given, seed, settings

import mviz_lightning
from mviz_lightning import ConfigurationError, explain

OURS = str(Path(mviz_lightning.__file__).parent)
AS_DRAWN = (Phase.explicit, Phase.generate)
RAW = ("object has no attribute", "is not subscriptable", "not supported between", "ambiguous", "unhashable")
"""Words of errors from inside."""


def is_ours(error: Exception) -> bool:
    """Tell whether the package raised an error in words of its own; an error of torch has no frame of its own."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    raised = last.filename.startswith(OURS) and str(last.line).startswith("raise ")
    return isinstance(error, ConfigurationError) or (isinstance(error, RuntimeError) and raised)


def is_raw(message: str) -> bool:
    """Tell whether a message is in words from inside; what a call of the model raised is quoted."""
    return "Tried" not in message and any(word in message for word in RAW)


def check(mistake: Mistake) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = Returning(mistake.outputs)
            values = explain(model, mistake.batches(), modalities=mistake.given(), **mistake.options).values
        except (ConfigurationError, RuntimeError) as error:
            if not is_ours(error) or is_raw(str(error)):
                raise
            return
    assert all(isfinite(value) for name, value in values.items() if not name.endswith(("low", "high")))
    parts = sum(value for name, value in values.items() if name.startswith("contribution/")) + values["interaction"]
    assert parts == pytest.approx(1, abs=1e-6) or not any(values[f"total/{name}"] for name in "ab")


@given(mistake=mistakes())
@settings(max_examples=4, phases=AS_DRAWN)
def test_random_mistakes_are_named(mistake: Mistake) -> None:
    check(mistake)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(30))
def test_many_random_mistakes_are_named(part: int) -> None:
    @seed(part)
    @given(mistake=mistakes())
    @settings(max_examples=100, phases=AS_DRAWN, derandomize=False)
    def examine(mistake: Mistake) -> None:
        check(mistake)

    examine()
