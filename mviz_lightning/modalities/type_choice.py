"""The type of a modality: the one that the user names, or the one that its leaves look like."""

import warnings
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name
from typing import Any

from torch import Tensor

from mviz_lightning.batch import BatchSchema, Modality, Probe
from mviz_lightning.errors import ConfigurationError, MonitorWarning, message_of
from mviz_lightning.modalities import base
from mviz_lightning.modalities.base import ModalityType
from mviz_lightning.modalities.companions import modality_of, with_companions_read

TYPES_BY_ARGUMENT = {"edges": "graph", "grid": "patches", "boxes": "regions", "sample_rate": "audio"}
"""Argument of a modality -> the type of a modality that has it."""


def modality_type_of(modality: Modality, values: Any, further: Sequence[Any] = ()) -> type[ModalityType]:
    """Return the modality type that ``Modality(kind=...)`` names, or the newest one that the leaf looks like.

    A modality with ``edges`` is ``graph``, with a ``grid`` ``patches``, with ``boxes`` ``regions``, and with a
    ``sample_rate`` ``audio``.

    Args:
        modality: The user's description of the modality.
        values: The leaf that holds the content.
        further: The further leaves of the modality.

    Raises:
        ConfigurationError: No modality type has this name, or the leaf looks like none.
    """
    if modality.kind is not None:
        return _registered_type(modality.kind)
    for argument, name in TYPES_BY_ARGUMENT.items():
        if getattr(modality, argument) is not None:
            return _registered_type(name)
    for modality_type in reversed(base.REGISTRY.values()):
        if modality_type.fits_beside(values, further if modality.decode is None else ()):
            return modality_type
    raise ConfigurationError(
        f"kind of {modality.values!r}: {_described(values)} looks like none of {', '.join(base.REGISTRY)}; name the kind: "
        f"Modality({modality.values!r}, kind=...)."
    )


def type_in(schema: BatchSchema, leaves: Mapping[str, Any], name: str, own: Tensor | None = None) -> type[ModalityType]:
    """Return the type of one of a schema's modalities.

    Args:
        schema: The batch's schema.
        leaves: Path -> leaf.
        name: Name of the modality.
        own: ``(N, ...)`` in the shape of its content, False where an example was padded; None where none was.

    Raises:
        ConfigurationError: As for :func:`modality_type_of`.
    """
    path, *further = schema.values[name]
    known = {one: leaves[one] for one in schema.values[name]}
    modality = with_companions_read(schema.modalities[name], path, known, own)
    return modality_type_of(modality, leaves[path], [known[other] for other in further if other != modality.present])


def _registered_type(name: str) -> type[ModalityType]:
    if name in base.REGISTRY:
        return base.REGISTRY[name]
    try:
        found = resolve_name(name) if "." in name else None
    except (ImportError, AttributeError, ValueError):
        found = None
    if isinstance(found, type) and issubclass(found, ModalityType):
        return found
    raise ConfigurationError(
        f"kind={name!r}: choose one of {', '.join(base.REGISTRY)}, or give the dotted path of a subclass of "
        "mviz_lightning.kinds.ModalityType."
    )


def modality_types_of(probe: Probe) -> dict[str, ModalityType]:
    """Return each modality of the probe with its segments; a warning names a modality whose type is not found.

    Raises:
        ConfigurationError: A modality does not fit the ``kind`` or the other arguments that the user gave.
    """
    found = {}
    for name in probe.schema.modalities:
        path = probe.schema.values[name][0]
        modality, own = modality_of(probe, name), probe.own_entries(path)
        try:
            modality_type = type_in(probe.schema, probe.leaves, name, own)
        except ConfigurationError as error:
            if modality.kind is not None:
                raise
            warnings.warn(f"{name} is not explained. {message_of(error)}", MonitorWarning, stacklevel=2)
            continue
        found[name] = modality_type(modality, probe.leaves, path, own)
    return found


def _described(values: Any) -> str:
    shape = f" {tuple(values.shape)} of {values.dtype}" if isinstance(values, Tensor) else ""
    return f"a {type(values).__name__}{shape}"
