"""TensorDicts and tensorclasses; nothing is imported for them."""

from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Any

from mviz_lightning.batch.registry import ClassTest, register

TENSORDICT = "tensordict.base.TensorDictBase"


def is_tensorclass(cls: type) -> bool:
    """Return whether a class was made by ``tensordict.tensorclass``; tensordict's own such classes contain strings."""
    return getattr(cls, "_is_tensorclass", False) is True and not getattr(cls, "_is_non_tensor", False)


def tensordict_entries(value: Any) -> Mapping[str, Any]:
    """Return the entries of a TensorDict by key; strings, one for each example, as a list."""
    return {key: _plain(value[key]) for key in value.keys()}  # noqa: SIM118 - it iterates over its examples


def tensorclass_attributes(value: Any) -> Mapping[str, Any]:
    """Return the attributes of a tensorclass by name."""
    return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}


def with_tensordict_entries(value: Any, parts: Mapping[str, Any]) -> Any:
    """Return a TensorDict with other entries, and with their batch size and device."""
    size = shared_sizes(parts.values(), value.batch_dims)
    twin = value.empty(batch_size=size, device=shared_device(parts.values(), value), names=value.names[: len(size)])
    for key, part in parts.items():
        twin[key] = part
    return twin.lock_() if value.is_locked else twin


def with_tensorclass_attributes(value: Any, parts: Mapping[str, Any]) -> Any:
    """Return a tensorclass with other attributes, and with their batch size and device."""
    size = shared_sizes(parts.values(), value.batch_dims)
    return type(value)(**parts, batch_size=size, device=shared_device(parts.values(), value))


def shared_sizes(parts: Iterable[Any], dims: int) -> list[int]:
    """Return the leading sizes that all parts share, up to ``dims`` sizes."""
    shapes = [part.shape[:dims] for part in parts if hasattr(part, "shape")]
    columns = takewhile(lambda sizes: len(set(sizes)) == 1, zip(*shapes, strict=False))
    return [sizes[0] for sizes in columns]


def shared_device(parts: Iterable[Any], value: Any) -> Any:
    """Return the device that all parts share; None if there is none, or if the original has none."""
    found = {part.device for part in parts if getattr(part, "device", None) is not None}
    return found.pop() if value.device is not None and len(found) == 1 else None


def _plain(part: Any) -> Any:
    """Return a plain list in place of tensordict's subclass of list, which tracks its entries."""
    return list(part) if isinstance(part, list) else part


def register_tensordicts() -> None:
    """Register TensorDicts and tensorclasses."""
    register(TENSORDICT, tensordict_entries, with_tensordict_entries)
    register(ClassTest(is_tensorclass), tensorclass_attributes, with_tensorclass_attributes)
