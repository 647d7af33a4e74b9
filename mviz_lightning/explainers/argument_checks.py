"""Checks of arguments that explainers share; errors name the explainer."""

from collections.abc import Mapping, Sequence
from numbers import Integral

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.errors.arguments import at_least


def require_least(explainer: object, least: Mapping[str, int]) -> None:
    """Raise a ConfigurationError if a given argument is not a whole number or is too small."""
    for name, bound in least.items():
        value = getattr(explainer, name)
        if value is not None:
            at_least(bound, name, value, f"{type(explainer).__name__}({{}})")


def are_positions(given: object) -> bool:
    """Return whether an argument is a list of one or more whole numbers, 0 or larger."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        return False
    return bool(given) and all(isinstance(number, Integral) and int(number) >= 0 for number in given)


def require_outputs(explainer: object, named: Sequence[int] | None, count: int) -> None:
    """Raise a ConfigurationError for an output that the model does not have."""
    if named is not None and not isinstance(named, Sequence):
        raise ConfigurationError(
            f"{type(explainer).__name__}(outputs={named!r}): give a list of numbers of outputs, [{named!r}] for one."
        )
    beyond = [output for output in named or () if not (isinstance(output, Integral) and 0 <= int(output) < count)]
    if beyond:
        raise ConfigurationError(
            f"{type(explainer).__name__}(outputs={list(named or ())}): the model has {count} outputs; {beyond[0]!r} is "
            f"none of 0 to {count - 1}."
        )
