"""Check the arguments of a modality and convert each to one form."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

from mviz_lightning.batch.token_ids import token_ids
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.errors.arguments import at_least, in_short, is_whole, require_flag

TOKEN_METHODS = ("convert_ids_to_tokens", "id_to_token", "id_to_piece")
"""Methods of tokenizers that map ids to tokens: of transformers, tokenizers, sentencepiece."""


def _place(values: str) -> str:
    return f"Modality({values!r}, {{}})"


def _refusal(name: str, values: str, value: Any, allowed: str) -> ConfigurationError:
    return ConfigurationError(f"Modality({values!r}, {name}={in_short(value)}): give {allowed}.")


def _path(name: str, values: str, given: Any) -> str:
    """Return a path; a number is the position in a tuple."""
    if isinstance(given, str) and given:
        return given
    if is_whole(given):
        return str(given)
    if name == "values":
        raise ConfigurationError(
            f"Modality(values={in_short(given)}): give the path of one leaf, for example 'pixel_values'."
        )
    single = [one for one in given if isinstance(one, str)] if isinstance(given, list | tuple) else []
    raise _refusal(name, values, given, f"the path of one leaf, {name}={(single or ['...'])[0]!r}")


def _kind(name: str, values: str, given: Any) -> str:
    if isinstance(given, str) and given:
        return given
    raise _refusal(name, values, given, "the name of a kind, such as 'image', or the dotted path of its class")


def _flag(name: str, values: str, given: Any) -> bool:
    return require_flag(name, given, _place(values))


def _count(name: str, values: str, given: Any) -> int:
    return at_least(1, name, given, _place(values))


def _axis(name: str, values: str, given: Any) -> int:
    if not is_whole(given):
        raise _refusal(name, values, given, "the number of an axis, such as 1")
    return int(given)


def _lengths(name: str, values: str, given: Any) -> str | int:
    """Return the path of counts, or the number of rows of each example."""
    if isinstance(given, str) and given:
        return given
    if is_whole(given):
        return at_least(2, name, given, _place(values))
    raise _refusal(name, values, given, "the path of the leaf with the counts, or the rows of each example, 2 or more")


def _numbers(name: str, values: str, given: Any) -> Any:
    """Return a finite number, or a list of finite numbers where several are allowed."""
    several, positive = name in ("mean", "std"), name in ("std", "rate")
    plain = given.tolist() if hasattr(given, "tolist") else given
    listed = list(plain) if several and isinstance(plain, list | tuple) else [plain]
    if not listed or not all(_is_finite(one) and (one > 0 or not positive) for one in listed):
        least = " above 0" if positive else ""
        more = ", or a list with one for each channel" if several else ""
        raise _refusal(name, values, given, f"a number{least}{more}")
    return plain


def _is_finite(given: Any) -> bool:
    return isinstance(given, Real) and math.isfinite(given)


def _companions(name: str, values: str, given: Any) -> Sequence[str]:
    """Return paths; a single path becomes a list of one."""
    single = isinstance(given, str) or not isinstance(given, Iterable)
    listed = [given] if single else list(given)
    paths = [str(path) if is_whole(path) else path for path in listed]
    if isinstance(given, Mapping) or not all(isinstance(path, str) and path for path in paths):
        raise _refusal(name, values, given, "a list of paths of leaves, companions=['token_type_ids']")
    return paths if isinstance(given, list) or single else tuple(paths)


def _names_tokens(given: Any) -> bool:
    return any(hasattr(given, method) for method in TOKEN_METHODS)


def _decoder(name: str, values: str, given: Any) -> Any:
    """Return the source of tokens; for ``tokenizer.decode``, which returns one text, the tokenizer itself."""
    if _names_tokens(owner := getattr(given, "__self__", None)):
        return owner
    known = callable(given) or isinstance(given, str | Mapping | Sequence) or _names_tokens(given)
    if not known or (isinstance(given, type) and _names_tokens(given)):  # a tokenizer's class is no tokenizer
        allowed = "a tokenizer, a function from ids to tokens (or its dotted path), or the vocabulary by id"
        raise _refusal(name, values, given, allowed)
    return given


def _special_ids(name: str, values: str, given: Any) -> list[int]:
    ids = token_ids(given)
    if not ids and not (isinstance(given, Sequence) and not given):
        raise _refusal(name, values, given, "a list of the ids of tokens, special_ids=[0, 2]")
    return list(ids)


def _names(name: str, values: str, given: Any) -> Sequence[str]:
    if isinstance(given, str | Mapping | set | frozenset) or not isinstance(given, Iterable):
        raise _refusal(name, values, given, "a list of names, feature_names=['age', 'height']")
    return [str(one) for one in given]


def _baseline(name: str, values: str, given: Any) -> str | float:
    """Return a text or a number; the allowed texts depend on the kind."""
    plain = given.item() if getattr(given, "shape", None) == () else given
    if not isinstance(plain, str) and not _is_finite(plain):
        raise _refusal(name, values, given, "'zero', 'mean', 'blur' or a number")
    return plain  # type: ignore[no-any-return]


def _ids_by_name(name: str, values: str, given: Any) -> dict[str, tuple[int, ...]]:
    """Return name -> ids of its placeholders."""
    listed = {one: token_ids(ids) for one, ids in given.items()} if isinstance(given, Mapping) else {}
    told = [one for ids in listed.values() for one in dict.fromkeys(ids)]
    if not listed or not all(listed.values()) or len(set(told)) < len(told):
        allowed = "the ids of tokens by the name of the modality that they stand for, each id once, for example "
        raise _refusal(name, values, given, allowed + '{"image": 32000}')
    return listed


def _answer_start(name: str, values: str, given: Any) -> tuple[int, ...]:
    """Return the ids of the tokens before an answer."""
    ids = () if isinstance(given, set | frozenset) else token_ids(given)
    if not ids:
        allowed = "the ids of the tokens in front of an answer, for example "
        raise _refusal(name, values, given, allowed + "tokenizer.encode('ASSISTANT:', add_special_tokens=False)")
    return ids


READERS: Mapping[str, Callable[[str, str, Any], Any]] = {
    **dict.fromkeys(("mask", "padding_mask", "boxes", "picture", "edges", "grid", "present"), _path),
    "kind": _kind,
    **dict.fromkeys(("superpixels", "blocks"), _flag),
    **dict.fromkeys(("max_segments", "sample_rate", "merge"), _count),
    **dict.fromkeys(("mean", "std", "rate", "pad_value"), _numbers),
    "lengths": _lengths,
    "time_axis": _axis,
    "companions": _companions,
    "decode": _decoder,
    "special_ids": _special_ids,
    "feature_names": _names,
    "baseline": _baseline,
    "placeholders": _ids_by_name,
    "answer_start": _answer_start,
}
"""Argument -> function of its name, the path of the values and the given value; it returns the stored value."""

NEVER_NONE = ("superpixels", "blocks", "max_segments", "companions")
"""Arguments that cannot be None."""


def checked_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a modality in the form in which they are stored.

    Args:
        given: Name of an argument -> its value, ``values`` among them.

    Raises:
        ConfigurationError: An argument has a value that is not allowed.
    """
    values = _path("values", "", given["values"])
    named = {name: given[name] for name in READERS if given[name] is not None or name in NEVER_NONE}
    return {"values": values} | {name: READERS[name](name, values, value) for name, value in named.items()}
