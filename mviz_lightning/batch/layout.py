"""Where everything lives in a user's batch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from mviz_lightning.batch import leaves as leaf_kinds
from mviz_lightning.batch import tree
from mviz_lightning.batch.modality import Modality
from mviz_lightning.errors import ConfigurationError

Found: TypeAlias = Mapping[str, tuple[tree.Keys, Any]]
"""Every node of a batch by path, with the way to it; the batch itself stands under the empty path."""


@dataclass(frozen=True)
class Layout:
    """Where the modalities live in a batch, and how a batch is built from leaves.

    Attributes:
        modalities: By name, in declared order.
        owners: Path of every leaf with an entry for each example -> the position of the modality it travels with.
            A leaf in no modality (labels, ids) travels with the first.
        values: Name of a modality -> the leaves it owns, values first.
        target: Path of the labels.
        keys: Path of every leaf with an entry for each example -> the way to it.
    """

    modalities: Mapping[str, Modality]
    owners: Mapping[str, int]
    values: Mapping[str, list[str]]
    target: str | None
    keys: Mapping[str, tree.Keys]
    _template: Any

    @classmethod
    def learn(cls, batch: Any, modalities: Mapping[str, Modality], target: str | None = None) -> "Layout":
        """Find the leaves in a first batch.

        Raises:
            ConfigurationError: A path leads nowhere, leads to a leaf twice, or to leaves of unequal length.
        """
        found = {tree.path(keys): (keys, node) for keys, node in tree.nodes(batch)}
        size = _batch_size(found, modalities)
        values = {name: _owned(found, name, modality, size) for name, modality in modalities.items()}
        owners = _owners(values)
        _require_equal_length(found, owners, size)
        for path, (keys, node) in found.items():
            is_leaf = leaf_kinds.count(node) == size and not _is_container(node, size)
            if keys and is_leaf and not _inside(path, owners):
                owners.setdefault(path, 0)
        if target is not None and target not in owners:
            raise _unknown("target", target, found)
        ways = {path: found[path][0] for path in owners}
        template = tree.replace(batch, dict.fromkeys(ways.values()))
        return cls(modalities, owners, values, target, ways, template)

    @property
    def names(self) -> list[str]:
        """Names of the modalities."""
        return list(self.modalities)

    @property
    def paths(self) -> list[str]:
        """Leaves with an entry for each example, in the batch's own order."""
        found = [tree.path(keys) for keys, _ in tree.nodes(self._template)]
        return [path for path in found if path in self.owners]

    @property
    def unowned(self) -> list[str]:
        """Leaves with an entry for each example that belong to no modality."""
        owned = {path for paths in self.values.values() for path in paths}
        return [path for path in self.owners if path not in owned]

    @property
    def labels(self) -> list[str]:
        """The target, unless it is an input too (a reconstruction); no prediction should need it."""
        return [path for path in self.unowned if path == self.target]

    def leaves(self, batch: Any) -> dict[str, Any]:
        """Return the leaves of a batch by path.

        Raises:
            ConfigurationError: The batch lacks one of them.
        """
        try:
            return {path: tree.get(batch, keys) for path, keys in self.keys.items()}
        except (KeyError, IndexError) as error:
            raise ConfigurationError(
                f"a batch has no leaf {error}, but the first one had; batches found: {describe(batch)}. "
                "Give all batches of the validation loader the same leaves."
            ) from None

    def settled(self, batch: Any) -> "Layout":
        """Return the layout without leaves of no modality which another batch shows to hold no entry for each example.

        A table of as many rows as the first batch had examples, say, or the other half of a combined batch.
        """
        size = leaf_kinds.count(_at(batch, self.keys[next(iter(self.values.values()))[0]]))
        found = {path: _at(batch, self.keys[path]) for path in self.unowned if path != self.target}
        constants = {path: node for path, node in found.items() if leaf_kinds.count(node) != size}
        if not constants:
            return self
        return replace(
            self,
            owners={path: owner for path, owner in self.owners.items() if path not in constants},
            keys={path: keys for path, keys in self.keys.items() if path not in constants},
            _template=tree.replace(self._template, {self.keys[path]: node for path, node in constants.items()}),
        )

    def size(self, leaves: Mapping[str, Any]) -> int:
        """Return how many examples the leaves hold."""
        return leaf_kinds.count(leaves[next(iter(self.values.values()))[0]]) or 0

    def build(self, leaves: Mapping[str, Any], device: torch.device | str = "cpu") -> Any:
        """Return a batch of the user's own structure with these leaves, on ``device``."""
        return tree.replace(
            _moved(self._template, device),
            {self.keys[path]: leaf_kinds.move(leaf, device) for path, leaf in leaves.items()},
        )

    def take(self, leaves: Mapping[str, Any], sources: Tensor) -> dict[str, Any]:
        """Recombine: take each leaf's examples from the column of its owner in ``sources``, ``(R, M)``."""
        return {path: leaf_kinds.take(leaves[path], sources[:, owner]) for path, owner in self.owners.items()}


def describe(batch: Any) -> str:
    """List the leaves of a batch with their shapes, for messages."""
    found = {tree.path(keys): node for keys, node in tree.nodes(batch) if keys}
    inner = {path.rpartition(".")[0] for path in found}
    described = [f"{path} {leaf_kinds.describe(node)}" for path, node in found.items() if path not in inner]
    return ", ".join(described) or f"one {type(batch).__name__} {leaf_kinds.describe(batch)}"


def _at(batch: Any, keys: tree.Keys) -> Any:
    """Return a node of the batch, None where there is no such."""
    try:
        return tree.get(batch, keys)
    except (KeyError, IndexError):
        return None


def _moved(template: Any, device: torch.device | str) -> Any:
    constants = {keys: node.to(device) for keys, node in tree.nodes(template) if isinstance(node, Tensor)}
    return tree.replace(template, constants)


def _unknown(argument: str, path: str, found: Found) -> ConfigurationError:
    batch = found[""][1]
    return ConfigurationError(f"{argument}: no leaf {path!r} in the batch; leaves found: {describe(batch)}.")


def _batch_size(found: Found, modalities: Mapping[str, Modality]) -> int:
    """Read the batch size off the first tensor of a modality; lists alone tell it where there is no tensor."""
    nodes = []
    for name, modality in modalities.items():
        for path in modality.leaves:
            if path not in found:
                raise _unknown(f"modalities[{name!r}]", path, found)
            nodes += [node for _, node in tree.nodes(found[path][1])]
    sizes = [leaf_kinds.count(node) for node in nodes if not isinstance(node, list | tuple | Mapping)]
    sizes += [leaf_kinds.count(node) for node in nodes]
    known = [size for size in sizes if size is not None]
    if not known:
        raise ConfigurationError(
            f"modalities: none of the leaves named holds one entry for each example; {describe(found[''][1])}."
        )
    return known[0]


def _is_container(node: Any, size: int) -> bool:
    """A list of one entry per example is a leaf, unless its entries are batches themselves: [images, texts]."""
    if len(list(tree.nodes(node))) == 1:
        return False
    entries = list(node) if isinstance(node, list | tuple) else []
    return len(entries) != size or all(leaf_kinds.count(entry) == size for entry in entries)


def _inside(path: str, owners: Mapping[str, int]) -> bool:
    return any(path.startswith(f"{owned}.") for owned in owners)


def _owned(found: Found, name: str, modality: Modality, size: int) -> list[str]:
    """Return the leaves of a modality; a path to a container stands for all leaves below it."""
    paths: list[str] = []
    for given in modality.leaves:
        keys, node = found[given]
        if not _is_container(node, size):
            paths.append(given)
            continue
        below = [tree.path((*keys, *inner)) for inner, leaf in tree.nodes(node) if inner and leaf_kinds.count(leaf)]
        paths += [path for path in below if not _is_container(found[path][1], size)]
    if not paths:
        raise ConfigurationError(f"modalities[{name!r}]: there is no leaf below {modality.values!r}.")
    return paths


def _owners(values: Mapping[str, list[str]]) -> dict[str, int]:
    owners: dict[str, int] = {}
    for position, (name, paths) in enumerate(values.items()):
        for path in paths:
            if path in owners:
                other = list(values)[owners[path]]
                raise ConfigurationError(
                    f"modalities: the leaf {path!r} is given twice, in {other!r} and in {name!r}; "
                    "a leaf travels with one modality."
                )
            owners[path] = position
    return owners


def _require_equal_length(found: Found, owners: Mapping[str, int], size: int) -> None:
    for path in owners:
        length = leaf_kinds.count(found[path][1])
        if length != size:
            has = "no entry for each example" if length is None else f"{length} entries"
            raise ConfigurationError(
                f"modalities: the leaf {path!r} ({leaf_kinds.describe(found[path][1])}) has {has}, "
                f"but the batch holds {size} examples; every leaf of a modality has the example as its first dimension."
            )
