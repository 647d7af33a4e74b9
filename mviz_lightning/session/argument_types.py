"""Checks of a session's arguments that need no model: each argument gets one form, or a message names it."""

from collections.abc import Iterable, Mapping
from typing import Any

from torchmetrics import Metric

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.errors.arguments import (
    at_least,
    in_short,
    is_whole,
    listed,
    plain_argument,
    require_flag,
    require_seed,
)
from mviz_lightning.explainers import Explainer
from mviz_lightning.modalities.argument_readers import require_kind

LEAST = {
    "num_examples": 2,
    "group_size": 2,
    "budget": 0,
    "reference": 2,
    "chunk_size": 2,
    "positions": 1,
    "draws": 1,
}
"""Argument -> its smallest value."""

LARGEST_GROUP = 4_096
"""Largest number of examples in a group; with two modalities, a group of g examples has g^2 rows."""

MAY_BE_NONE = ("num_examples", "group_size", "budget")
"""Arguments of ``LEAST`` that may be None; they are then chosen automatically."""


def checked_types(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of a session in the form in which they are kept.

    Args:
        given: Name of an argument -> its value.

    Raises:
        ConfigurationError: An argument has a type or a value that is not allowed.
    """
    for name in ("reuse", "by_class", "absence", *(["pairs"] if given["pairs"] is not None else [])):
        require_flag(name, given[name])
    for modality in given["modalities"].values():
        require_kind(modality)
    if given["score"] is not None and not isinstance(given["score"], Metric):
        raise ConfigurationError(
            f"score={in_short(given['score'])}: give a torchmetric, for example "
            "torchmetrics.classification.MulticlassF1Score(5)."
        )
    return {
        "explainers": _explainers(given["explainers"]),
        "pin": _pinned(given["pin"]),
        "heads": _heads(given["heads"]),
        "target": _leaf("target", given["target"], "labels"),
        "subgroups": _leaf("subgroups", given["subgroups"], "metadata.site"),
        "class_names": _class_names(plain_argument(given["class_names"])),
        "seed": require_seed(given["seed"]),
        **{name: _number(name, given[name]) for name in LEAST},
    }


def _number(name: str, value: int | None) -> int | None:
    if value is None and name in MAY_BE_NONE:
        return None
    number = at_least(LEAST[name], name, value)  # type: ignore[arg-type]
    if name == "group_size" and number > LARGEST_GROUP:
        raise ConfigurationError(
            f"group_size={number}: a group of g examples takes g * g rows; give {LARGEST_GROUP} or less."
        )
    return number


def _as_object(given: Any) -> Any:
    """Return the original object of a Hydra configuration; Hydra converts every dataclass within a list."""
    kind = getattr(getattr(given, "_metadata", None), "object_type", None)
    if not (isinstance(kind, type) and issubclass(kind, Explainer)):
        return given
    from omegaconf import OmegaConf

    return OmegaConf.to_object(given)


def _explainers(given: Any) -> tuple[Explainer, ...]:
    found = tuple(map(_as_object, listed("explainers", given)))
    for explainer in found:
        if not isinstance(explainer, Explainer):
            raise ConfigurationError(
                f"explainers: {in_short(explainer)} is not a method; give objects of mviz_lightning.explainers, "
                "for example [DIME()]."
            )
    return found


def _pinned(given: Any) -> tuple[int, ...]:
    found = listed("pin", given.tolist() if hasattr(given, "tolist") else given)
    if not all(is_whole(position) and position >= 0 for position in found):
        raise ConfigurationError(
            f"pin={in_short(list(found))}: give whole numbers of 0 or more, the indices of validation examples."
        )
    return tuple(int(position) for position in found)


def _heads(given: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    found = listed("heads", given)
    if not found:
        raise ConfigurationError("heads=[]: give one name or more, or leave it out to monitor all heads.")
    if not all(isinstance(name, str) for name in found):
        raise ConfigurationError(f"heads={in_short(list(found))}: give the names of heads, which are texts.")
    return found


def _leaf(name: str, given: Any, example: str) -> str | None:
    """Return the path of one leaf; a number is the position in a tuple, as for modalities."""
    if is_whole(given):
        return str(given)
    if given is not None and not isinstance(given, str):
        raise ConfigurationError(f"{name}={in_short(given)}: give the path of one leaf, for example {example!r}.")
    return given


def _class_names(given: Any) -> list[str] | None:
    """Return a name for each output, from a list, an array, or a mapping (index -> name, or name -> index).

    Raises:
        ConfigurationError: It is none of these, or an index lacks a name.
    """
    if given is None:
        return None
    plain = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(plain, Mapping):
        return _class_names_by_index(plain)
    names = [] if isinstance(plain, str | set | frozenset) or not isinstance(plain, Iterable) else list(plain)
    if not names or not all(isinstance(name, str) or is_whole(name) for name in names):
        raise ConfigurationError(f"class_names={in_short(given)}: give a list, a name for each output.")
    return [str(name) for name in names]


def _class_names_by_index(given: Mapping[Any, Any]) -> list[str]:
    by_name = all(is_whole(index) for index in given.values())
    pairs = {index: name for name, index in given.items()} if by_name else given
    by_index = {int(index): name for index, name in pairs.items() if is_whole(index) or str(index).isdecimal()}
    if sorted(by_index) != list(range(len(given))) or not all(isinstance(name, str) for name in by_index.values()):
        raise ConfigurationError(
            f"class_names={in_short(dict(given))}: give a name for each index from 0 on, {{0: 'cat', 1: 'dog'}}, or "
            "a list."
        )
    return [by_index[index] for index in range(len(by_index))]
