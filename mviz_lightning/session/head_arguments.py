"""Arguments that may be given for each head: ``target=``, ``task=``, ``score=`` and ``class_names=``."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, get_args

from torchmetrics import Metric

from mviz_lightning.errors import ConfigurationError, plain_argument
from mviz_lightning.functional import Task

Targets: TypeAlias = Mapping[str, str] | str
"""Path of the labels, or head -> path."""

Tasks: TypeAlias = Mapping[str, Task] | Task
"""What the outputs stand for, or head -> that."""

Scores: TypeAlias = Mapping[str, Metric] | Metric
"""The score, or head -> score."""

ClassNames: TypeAlias = Mapping[str, Sequence[str]] | Sequence[str]
"""Names of the outputs, or head -> names."""

BY_HEAD = ("target", "task", "score", "class_names")
"""Arguments that may be given for each head."""

KEYS = frozenset({
    *("contribution", "contribution_low", "contribution_high", "total", "total_low", "total_high", "weakest_total"),
    *("interaction", "interaction_low", "interaction_high", "score", "emap_score", "emap_gap", "emap_gap_low"),
    *("emap_gap_high", "perceptual", "flips", "collapse", "alarm", "agreement", "score_without" ),
    *("class", "subgroup", "shapley", "intershap", "mm_shap", "nats", "seconds", "rows", "overhead"),
    *("shares", "summary", "sound", "absence", "modality_gap", "alignment", "uniformity", "effective_rank"),
})  # fmt: skip
"""First parts of the keys that a monitor logs, beside the names of its explainers."""


def of_head(given: Any, name: str, *, main: bool) -> Any:
    """Return what an argument says of one head.

    Args:
        given: The argument: head -> value, or one value, which is that of the main head.
        name: Name of the head.
        main: Whether it is the main head.
    """
    if isinstance(given, Mapping):
        return given.get(name)
    return given if main else None


def checked(argument: str, given: Any) -> Any:
    """Return an argument in the form in which it is used, for each head where it is given so.

    Raises:
        ConfigurationError: It has another type or value than it can have.
    """
    plain = plain_argument(given)
    if isinstance(plain, Mapping):
        return {str(name): _checked(argument, value) for name, value in plain.items()}
    return _checked(argument, plain)


def _checked(argument: str, value: Any) -> Any:
    if argument == "target" and isinstance(value, int):
        return str(value)  # as modalities may be given
    allowed, advice = ALLOWED[argument]
    if value is not None and not allowed(value):
        raise ConfigurationError(f"{argument}={value!r}: {advice}.")
    return value


ALLOWED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "target": (lambda value: isinstance(value, str), "give the path of one leaf, for example 'labels'"),
    "task": (lambda value: value in get_args(Task), f"choose one of {', '.join(map(repr, get_args(Task)))}"),
    "score": (
        lambda value: isinstance(value, Metric),
        "give a torchmetric, for example torchmetrics.classification.MulticlassF1Score(5)",
    ),
    "class_names": (lambda value: not isinstance(value, str), "give a list, a name for each output"),
}
"""Argument -> whether a value is one that it can have, and what to give."""


def require_heads(given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Check the heads that arguments name.

    Args:
        given: Name of an argument -> its value.
        known: Names of all heads.

    Raises:
        ConfigurationError: An argument names a head that does not exist.
    """
    there = list(known)
    for argument, value in given.items():
        unknown = [name for name in value if name not in there] if isinstance(value, Mapping) else []
        if unknown:
            raise ConfigurationError(
                f"{argument}={value!r}: there is no head {unknown[0]!r}; the heads are {there}. Name one of them, "
                f"{argument}={{{there[0]!r}: ...}}."
            )
