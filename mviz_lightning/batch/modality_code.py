"""The argument ``modalities=`` as code that users can paste."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from mviz_lightning.batch.modality import Modality, of_paths


def modalities_code(modalities: Mapping[str, Modality], more: Mapping[str, Sequence[str]]) -> str:
    """Return the argument ``modalities={...}`` as Python code, with further leaves for some modalities.

    Args:
        modalities: Name -> modality.
        more: Name -> paths of the further leaves.

    Returns:
        Python code; values without a literal, for example tokenizers, are written as ``...``.
    """
    entries = (
        f"{_quoted(name)}: {_modality_code(modality, more.get(name, ()))}" for name, modality in modalities.items()
    )
    return f"modalities={{{', '.join(entries)}}}"


def _modality_code(modality: Modality, more: Sequence[str]) -> str:
    """Return a path or a list of paths if that is complete, otherwise ``Modality(...)``."""
    paths = [*modality.leaves, *more]
    guess = of_paths(paths).mask
    mask = guess if modality.mask is None and guess in more else modality.mask
    companions = [path for path in (*modality.companions, *more) if path != mask]
    given = {field.name: getattr(modality, field.name) for field in fields(Modality)[1:]}
    said = {
        name: value
        for name, value in (given | {"mask": mask, "companions": companions}).items()
        if _is_given(name, value)
    }
    if said.keys() <= {"mask", "companions"} and guess == mask:
        return _literal(paths if len(paths) > 1 else paths[0])
    arguments = (f"{name}={_literal(value)}" for name, value in said.items())
    return f"Modality({', '.join([_quoted(modality.values), *arguments])})"


def _is_given(name: str, value: Any) -> bool:
    """Return whether an argument differs from its default."""
    default = getattr(Modality, name)
    return value is not None if default is None else value not in (default, [])


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    return repr(value) if isinstance(value, bool | int | float) else "..."


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
