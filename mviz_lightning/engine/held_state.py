"""Restore, or protect from changes, all that a module holds: objects, metrics and nets in containers, open files."""

from collections.abc import Iterator
from functools import partial
from types import CellType, FunctionType, MemberDescriptorType
from typing import Any

from torch import Tensor, nn

from mviz_lightning.engine.generators import GENERATORS
from mviz_lightning.engine.inert import inert_in_place
from mviz_lightning.engine.reach import (
    UNCHANGING,
    attributes_of,
    cell_content,
    class_of,
    class_state,
    is_own,
    reachable,
    slot_content,
    slots_of,
)
from mviz_lightning.engine.snapshots import (
    LARGEST_STATE,
    SNAPSHOT_TYPES,
    Restore,
    hide_gradient,
    ignore,
    snapshot_attributes,
    snapshot_content,
    snapshot_module,
)
from mviz_lightning.engine.write_guard import storage_address


class HeldState:
    """All that a module holds, directly or through containers, hooks and objects of the user's own classes.

    Args:
        module: The module.
        others: What is held beside it, optimizers for example.

    Attributes:
        tensors: The tensors that have a storage, with their names; the name is "" for all but parameters.
        generators: The generators of random numbers.
        restores: Functions that put back everything but the tensors' values.
    """

    def __init__(self, module: nn.Module, *others: Any) -> None:
        self.tensors: list[tuple[str, Tensor]] = []
        self.generators: list[Any] = []
        self.restores: list[Restore] = []
        self._holders: list[Any] = []
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        for value in reachable(*module.modules(), *module.parameters(), *module.buffers(), *others):
            self._holders.extend(_holders(value))
            self.restores.extend(_snapshots(value))
            if isinstance(value, Tensor) and storage_address(value):
                self.tensors.append((names.get(id(value), ""), value))
            elif type(value) in GENERATORS:
                self.generators.append(value)

    def mute(self) -> None:
        """Replace loggers, files and iterators by objects that change nothing.

        The snapshots bring the originals back.
        """
        for holder in (one for one in self._holders if len(one) <= LARGEST_STATE):  # larger ones hold data
            for key, value in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
                found = value if type(value) in UNCHANGING else inert_in_place(value)
                if found is not value:
                    (dict if isinstance(holder, dict) else list).__setitem__(holder, key, found)


def _holders(value: Any) -> Iterator[Any]:
    """Yield the mappings and lists in which an object holds others."""
    if isinstance(value, dict | list):
        yield value
    if isinstance(value, nn.Module) or is_own(value):
        yield attributes_of(value)


def _snapshots(value: Any) -> Iterator[Restore]:
    """Yield functions that restore an object; for a tensor that has a storage, all but its values."""
    if isinstance(value, Tensor):
        yield _snapshot_tensor(value)
    elif isinstance(value, nn.Module):
        yield snapshot_module(value)
    elif isinstance(value, type):
        yield _snapshot_class(value)
    elif isinstance(value, CellType):
        yield _snapshot_cell(value)
    else:
        if isinstance(value, SNAPSHOT_TYPES):
            yield snapshot_content(value)
        if isinstance(value, FunctionType):
            yield snapshot_attributes(vars(value))
        if is_own(value):
            yield _snapshot_object(value)
            yield from (_snapshot_slot(slot, value) for slot in slots_of(class_of(value)))


def _snapshot_tensor(tensor: Tensor) -> Restore:
    if isinstance(tensor, nn.Parameter):
        return hide_gradient(tensor)
    return ignore if storage_address(tensor) else snapshot_content(tensor)


def _snapshot_object(value: Any) -> Restore:
    kind, attributes = class_of(value), attributes_of(value)
    restore_attributes = snapshot_attributes(attributes)

    def restore() -> None:
        if class_of(value) is not kind:
            object.__setattr__(value, "__class__", kind)
        if attributes and attributes_of(value) is not attributes:
            object.__setattr__(value, "__dict__", attributes)
        restore_attributes()

    return restore


def _snapshot_slot(slot: MemberDescriptorType, value: Any) -> Restore:
    kept = slot_content(slot, value)
    if kept:
        return partial(slot.__set__, value, kept[0])
    return lambda: slot.__delete__(value) if slot_content(slot, value) else None


def _snapshot_class(kind: type) -> Restore:
    kept = class_state(kind)

    def restore() -> None:
        now = class_state(kind)
        for name in now.keys() - kept.keys():
            type.__delattr__(kind, name)
        for name, value in kept.items():
            if name not in now or now[name] is not value:
                type.__setattr__(kind, name, value)

    return restore


def _snapshot_cell(cell: CellType) -> Restore:
    kept = cell_content(cell)

    def restore() -> None:
        now = cell_content(cell)
        if kept and (not now or now[0] is not kept[0]):
            cell.cell_contents = kept[0]

    return restore
