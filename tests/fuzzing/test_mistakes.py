"""Random mistakes: each is named in plain words, or what is measured has the form that every measurement has."""

import traceback
import warnings
from math import isfinite
from pathlib import Path

import pytest
from fuzzing.mistakes import Mistake, Returning, mistakes
from hypothesis import Phase, given, settings

import mviz_lightning
from mviz_lightning import ConfigurationError, explain

OURS = str(Path(mviz_lightning.__file__).parent)
AS_DRAWN = (Phase.explicit, Phase.generate)
RAW = ("object has no attribute", "is not subscriptable", "not supported between", "ambiguous", "unhashable")
"""Words of errors from inside."""


def said(error: Exception, mistake: Mistake) -> str:
    """Return what is wrong with an error; ``""`` where it is one of ours, in words of its own."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    if not (isinstance(error, ConfigurationError) or (type(error) is RuntimeError and last.startswith(OURS))):
        return f"{type(error).__name__} from inside"
    message = str(error)
    raw = [word for word in RAW if word in message and "Tried" not in message]
    return f"it says {raw}" if raw else "" if message.endswith((".", ")", "]")) or "\n" in message else "it ends without a point"


def check(mistake: Mistake) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = Returning(mistake.outputs)
            values = explain(model, mistake.batches(), modalities=mistake.given(), **mistake.options).values
        except (ConfigurationError, RuntimeError) as error:
            assert said(error, mistake) == "", error  # noqa: PT017 - any error may come, of ours alone
            return
    assert all(isfinite(value) for name, value in values.items() if not name.endswith(("low", "high")))
    parts = sum(value for name, value in values.items() if name.startswith("contribution/")) + values["interaction"]
    assert parts == pytest.approx(1, abs=1e-6) or not any(values[f"total/{name}"] for name in "ab")


@given(mistake=mistakes())
@settings(max_examples=10, phases=AS_DRAWN)
def test_random_mistakes_are_named(mistake: Mistake) -> None:
    check(mistake)


@pytest.mark.slow
@given(mistake=mistakes())
@settings(max_examples=3_000, phases=AS_DRAWN)
def test_many_random_mistakes_are_named(mistake: Mistake) -> None:
    check(mistake)
