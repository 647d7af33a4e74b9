"""Plain data in checkpoints: types that ``torch.load(weights_only=True)`` accepts, read back part by part."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from torch import Tensor

from mviz_lightning.errors import message_of

T = TypeVar("T")

PLAIN: dict[type, type] = {Mapping: dict, Sequence: list}
"""Abstract type -> its plain type in checkpoints."""

LISTED = 3
"""Largest number of damaged parts named in a message; further ones are counted."""


TENSOR_BYTES, ENTRY_BYTES = 300, 12
"""Approximate bytes in a checkpoint: of a tensor without its entries, and of a number with its field name."""


class DamagedError(ValueError):
    """A part of a checkpoint is missing or has changed."""

    @classmethod
    def of(cls, name: str, reason: str) -> "DamagedError":
        """Return the error of a part; ``""`` is the name of the whole state."""
        return cls(f"{name or 'the state'} ({reason})")


@dataclass(frozen=True)
class Saved:
    """A part of a checkpoint that may be damaged. Reads check the type and skip damaged entries.

    Attributes:
        value: Content of the part.
        name: Path of the part in the checkpoint, such as ``history.rows[3]``.
        damages: All entries of the checkpoint that were skipped so far, with reasons; shared by all parts.
    """

    value: Any
    name: str = ""
    damages: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, state: Any) -> "Saved":
        """Return a state as :class:`Saved`; a :class:`Saved` is returned unchanged."""
        return state if isinstance(state, Saved) else cls(state)

    def __getitem__(self, key: str) -> "Saved":
        """Return an entry; a missing entry counts as damaged when it is read."""
        name = f"{self.name}.{key}" if self.name else key
        if isinstance(self.value, Mapping):
            found = self.value[key] if key in self.value else DamagedError.of(name, "missing")
        elif isinstance(self.value, DamagedError):
            found = self.value
        else:
            found = _mismatch(dict, self.value, self.name)
        return Saved(found, name, self.damages)

    def leave_out_all_but(self, keys: Iterable[str]) -> None:
        """Add entries with other names to the damages."""
        unknown = [str(key) for key in self.value if key not in keys] if isinstance(self.value, Mapping) else []
        self.damages.extend(f"{key} (unknown)" for key in unknown)

    def holds(self, *keys: str) -> bool:
        """Return whether the part has at least one of these entries."""
        return isinstance(self.value, Mapping) and any(key in self.value for key in keys)

    def read(self, kind: Any, otherwise: Any = None) -> Any:
        """Return the part as an object of a type.

        Args:
            kind: A dataclass, a plain type, or lists and dicts of these.
            otherwise: Returned if the part is damaged.
        """
        with self._noted():
            return build(kind, self.value, self.name)
        return otherwise

    def every(self, kind: type[T]) -> list[T]:
        """Return the entries of a list without the damaged ones."""
        entries = enumerate(self.read(list[Any], []))
        found = [Saved(value, f"{self.name}[{number}]", self.damages).read(kind) for number, value in entries]
        return [one for one in found if one is not None]

    def named(self, kind: Any) -> dict[str, Any]:
        """Return the entries of a dict without the damaged ones."""
        found = {key: self[key].read(kind) for key in self.read(dict[str, Any], {})}
        return {key: one for key, one in found.items() if one is not None}

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a file may contain anything
            told = error if isinstance(error, DamagedError) else DamagedError.of(self.name, message_of(error))
            self.damages.extend({str(told)} - set(self.damages))

    def raise_damages(self) -> None:
        """Raise an error that lists the skipped entries.

        Raises:
            DamagedError: Entries were skipped; the message names the first three and counts the others.
        """
        if self.damages:
            more = f" and {len(self.damages) - LISTED} more" if len(self.damages) > LISTED else ""
            raise DamagedError(
                "these parts of the checkpoint are damaged or of another version and are left out: "
                f"{'; '.join(self.damages[:LISTED])}{more}"
            )


def build(kind: Any, value: Any, name: str) -> Any:
    """Return plain data as an object of a type.

    Args:
        kind: A dataclass, a plain type, or lists and dicts of these.
        value: Plain data, possibly of another type.
        name: Path of the value in the checkpoint, for the message.

    Raises:
        DamagedError: The value has another type.
    """
    if isinstance(value, DamagedError):
        raise value
    origin = get_origin(kind) or kind
    if kind is Any:
        return value
    if origin in (Union, UnionType):
        return build(_option(get_args(kind), value), value, name)
    if is_dataclass(kind):
        return _record(kind, value, name)
    if not _is_a(origin, value):
        raise _mismatch(origin, value, name)
    inner = get_args(kind)
    if issubclass(origin, Mapping):
        return {build(inner[0], key, name): build(inner[1], one, f"{name}.{key}") for key, one in value.items()}
    if issubclass(origin, Sequence) and inner:
        return [build(inner[0], one, f"{name}[{number}]") for number, one in enumerate(value)]
    return float(value) if kind is float else value  # integers are accepted as floats


def _option(options: Sequence[Any], value: Any) -> Any:
    """Return the type among several that a value should have: None, or the one type besides None."""
    return NoneType if value is None and NoneType in options else next(kind for kind in options if kind is not NoneType)


def _is_a(kind: type, value: Any) -> bool:
    if kind is float:
        return type(value) in (int, float)
    if kind is int:
        return type(value) is int
    return isinstance(value, kind) and (kind is str or not isinstance(value, str))


def _record(kind: Any, value: Any, name: str) -> Any:
    """Return a dataclass; entries without a field, from another version, are ignored.

    A field is saved under its name, or under ``metadata["key"]``.
    """
    if not isinstance(value, Mapping):
        raise _mismatch(dict, value, name)
    entries, types, given = Saved(value, name), _types(kind), {}
    for entry in fields(kind):
        key = entry.metadata.get("key", entry.name)
        if key in value or (entry.default is MISSING and entry.default_factory is MISSING):
            given[entry.name] = build(types[entry.name], entries[key].value, entries[key].name)
    return kind(**given)


@cache
def _types(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _mismatch(kind: type, value: Any, name: str) -> DamagedError:
    return DamagedError.of(name, f"of type {type(value).__name__}, not {PLAIN.get(kind, kind).__name__}")


def plain(value: Any, name: str, lost: list[str]) -> Any:
    """Return a value in types that ``torch.load(weights_only=True)`` accepts.

    Args:
        value: Any value; entries of dicts without a plain form are left out.
        name: Path of the value in the checkpoint.
        lost: List to which the names of entries that were left out are appended.

    Raises:
        TypeError: The value as a whole has no plain form.
    """
    if isinstance(value, Mapping):
        return _plain_entries(value, name, lost)
    if isinstance(value, list | tuple):
        entries = [plain(one, f"{name}[{number}]", lost) for number, one in enumerate(value)]
        return tuple(entries) if isinstance(value, tuple) else entries
    if isinstance(value, Tensor):
        return _own_entries(value if type(value) is Tensor else value.detach().as_subclass(Tensor))
    scalar = value.item() if isinstance(value, np.generic) else value
    kind = next((kind for kind in (bool, int, float, str, NoneType) if isinstance(scalar, kind)), None)
    if kind is None:
        raise TypeError(f"{name} is a {type(value).__name__}")
    return scalar if type(scalar) is kind else kind.__call__(scalar)


def _own_entries(tensor: Tensor) -> Tensor:
    """Return a tensor with its own storage: for a view of a larger tensor, a checkpoint would store all of it."""
    return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor


def saved_bytes(value: Any) -> int:
    """Return the approximate number of bytes of plain data in a checkpoint."""
    if isinstance(value, Tensor):
        return TENSOR_BYTES + value.nbytes
    if isinstance(value, Mapping):
        return saved_bytes(list(value.values()))
    return sum(map(saved_bytes, value)) if isinstance(value, list | tuple) else ENTRY_BYTES


def _plain_entries(value: Mapping[Any, Any], name: str, lost: list[str]) -> dict[Any, Any]:
    found = {}
    for key, one in value.items():
        try:
            found[plain(key, f"a key of {name}", lost)] = plain(one, f"{name}.{key}" if name else key, lost)
        except Exception as error:
            lost.append(message_of(error))
    return found
