"""Checks of arguments that explainers share; errors name the explainer."""

from collections.abc import Mapping, Sequence

from mviz_lightning.errors import ConfigurationError


def require_least(explainer: object, least: Mapping[str, int]) -> None:
    """Raise a ConfigurationError where an argument, if there is one, is smaller than it may be."""
    for name, bound in least.items():
        value = getattr(explainer, name)
        if value is not None and value < bound:
            raise ConfigurationError(f"{type(explainer).__name__}({name}={value}): give {bound} or more.")


def require_outputs(explainer: object, named: Sequence[int] | None, count: int) -> None:
    """Raise a ConfigurationError for an output that a model of so many does not have."""
    beyond = [output for output in named or () if not 0 <= output < count]
    if beyond:
        raise ConfigurationError(
            f"{type(explainer).__name__}(outputs={list(named or ())}): the model has {count} outputs; {beyond[0]} is "
            f"none of 0 to {count - 1}."
        )
