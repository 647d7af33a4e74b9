"""Arguments that may be given for each head: ``target=``, ``task=``, ``score=`` and ``class_names=``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from torchmetrics import Metric

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.errors.arguments import plain_argument
from mviz_lightning.functional import Task

Targets: TypeAlias = Mapping[str, str] | str
"""Path of the labels, or head -> path."""

Tasks: TypeAlias = Mapping[str, Task] | Task
"""Type of the prediction task, or head -> type of its task."""

Scores: TypeAlias = Metric | Mapping[str, Metric]
"""The score, or head -> score."""

ClassNames: TypeAlias = Mapping[str, Sequence[str]] | Mapping[int, str] | Mapping[str, int] | Sequence[str | int]
"""Names of the outputs: a list, or index -> name, or name -> index; or head -> names."""

BY_HEAD = ("target", "task", "score", "class_names")
"""Arguments that may be given for each head."""

KEYS = frozenset({
    *("contribution", "contribution_low", "contribution_high", "total", "total_low", "total_high", "weakest_total"),
    *("interaction", "interaction_low", "interaction_high", "score", "emap_score", "emap_gap", "emap_gap_low"),
    *("emap_gap_high", "perceptual", "flips", "collapse", "alarm", "agreement", "score_without" ),
    *("class", "subgroup", "shapley", "intershap", "mm_shap", "nats", "seconds", "rows", "overhead"),
    *("dime", "importance", "cross_modal", "representation", "prediction", "errors", "ranking", "position_effects"),
    *("shares", "summary", "sound", "absence", "modality_gap", "alignment", "uniformity", "effective_rank"),
})  # fmt: skip
"""First parts of the keys that a monitor may log, for any ``explainers=``; no head has one of them as its name."""


def split(**given: Any) -> dict[str, Any]:
    """Return arguments of :class:`SessionConfig`: those that are given for heads by name are in ``by_head``."""
    plain = {argument: plain_argument(value) for argument, value in given.items()}
    by_head = {argument: value for argument, value in plain.items() if _names_heads(argument, value)}
    single = {argument: None if argument in by_head else value for argument, value in plain.items()}
    return {**single, "by_head": by_head}


def _names_heads(argument: str, value: Any) -> bool:
    """Return whether an argument is a mapping from heads; class names may map from indices of classes, or to them."""
    if not isinstance(value, Mapping):
        return False
    return argument != "class_names" or not all(isinstance(one, str | int) for one in value.values())


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
