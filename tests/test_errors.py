"""Whose error it is, by the last Python line that raised it."""

from pathlib import Path

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy

from mviz_lightning.errors import PACKAGE, ConfigurationError, raised_here
from mviz_lightning.session.score_trial import _require_number


def failing(file: Path) -> Exception:
    """Return an error of a function that seems to be of a file."""

    def fail() -> None:
        raise ValueError

    fail.__code__ = fail.__code__.replace(co_filename=str(file))
    with pytest.raises(ValueError) as caught:
        fail()
    return caught.value


@pytest.mark.parametrize(
    ("file", "ours"),
    [
        (PACKAGE / "engine" / "query.py", True),
        (PACKAGE.with_name(f"{PACKAGE.name}_extras") / "model.py", False),
        (Path(torch.__file__), False),
    ],
)
def test_the_last_line_of_an_error_tells_whose_it_is(file, ours):
    assert raised_here(failing(file)) is ours


def test_an_error_that_was_never_raised_is_nobodys():
    assert not raised_here(ValueError())


class Refusing(MulticlassAccuracy):
    """A score that accepts nothing."""

    def update(self, *_) -> None:
        raise ValueError("not this")


def test_a_score_is_blamed_for_its_own_errors_alone():
    answers, labels = torch.rand(8, 3), torch.arange(8) % 3
    with pytest.raises(ConfigurationError, match="Refusing.* takes neither probabilities .*not this"):
        _require_number(Refusing(num_classes=3), "multiclass", answers, labels)
    with pytest.raises(TypeError):  # of our own: the labels are lost
        _require_number(MulticlassAccuracy(num_classes=3), "multiclass", answers, None)
