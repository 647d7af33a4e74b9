"""Where everything lives in a user's batch."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import leaves as leaf_kinds
from mviz_lightning.batch import tree
from mviz_lightning.batch.discovery import (
    batch_size,
    describe,
    find,
    modality_leaves,
    other_leaves,
    require,
    require_equal_length,
)
from mviz_lightning.batch.modality import Modality
from mviz_lightning.errors import ConfigurationError, message_of


@dataclass(frozen=True)
class BatchSchema:
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
    def learn(cls, batch: Any, modalities: Mapping[str, Modality], target: str | None = None) -> "BatchSchema":
        """Find the leaves in a first batch.

        Raises:
            ConfigurationError: A path leads nowhere, leads to a leaf twice, or to leaves of unequal length.
        """
        found = find(batch)
        named = [
            require(f"modalities[{name!r}]", path, found)
            for name, modality in modalities.items()
            for path in modality.leaves
        ]
        if target is not None:
            named.append(require("target", target, found))
        size = batch_size(named)
        values = {name: modality_leaves(found, name, modality, size) for name, modality in modalities.items()}
        owners = _owners(values)
        if target is not None:
            owners.setdefault(target, 0)
        require_equal_length(found, list(owners), size)
        owners |= dict.fromkeys(other_leaves(found, size, list(owners)), 0)
        ways = {path: found[path][0] for path in owners}
        template = _moved(tree.replace(batch, dict.fromkeys(ways.values())), "cpu")
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

    def code(self, way: tree.Keys) -> str:
        """Return the Python expression for a node of the batch: ``batch["inputs"][0]``."""
        return "batch" + tree.code(self._template, way)

    def leaves(self, batch: Any) -> dict[str, Any]:
        """Return the leaves of a batch by path.

        Raises:
            ConfigurationError: The batch lacks one of them.
        """
        try:
            return {path: tree.get(batch, keys) for path, keys in self.keys.items()}
        except (KeyError, IndexError) as error:
            raise ConfigurationError(
                f"a batch has no leaf {message_of(error)}, but the first one had; batches found: {describe(batch)}. "
                "Give all batches of the validation loader the same leaves."
            ) from None

    def settled(self, batch: Any) -> "BatchSchema":
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

    def take(self, leaves: Mapping[str, Any], sources: Tensor, needed: Container[str] | None = None) -> dict[str, Any]:
        """Recombine: take each leaf's examples from the column of its owner in ``sources``, ``(R, M)``.

        Tensors that are not needed are left out.
        """
        return {
            path: leaf_kinds.take(leaves[path], sources[:, owner])
            for path, owner in self.owners.items()
            if needed is None or path in needed or not isinstance(leaves[path], Tensor)
        }


def _at(batch: Any, keys: tree.Keys) -> Any:
    """Return a node of the batch, None where there is no such."""
    try:
        return tree.get(batch, keys)
    except (KeyError, IndexError):
        return None


def _moved(template: Any, device: torch.device | str) -> Any:
    """Copy the template's tensors, since a model may work in place."""
    constants = {keys: node for keys, node in tree.nodes(template) if isinstance(node, Tensor)}
    return tree.replace(
        template, {keys: leaf_kinds.plain(node).detach().to(device, copy=True) for keys, node in constants.items()}
    )


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
