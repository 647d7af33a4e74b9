"""The schema of the user's batches: where each modality, the target and all other leaves are."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.discovery import (
    batch_size,
    describe_leaves,
    modality_leaves,
    nodes_by_path,
    other_leaves,
    require,
    require_equal_length,
)
from mviz_lightning.batch.modality import Modality
from mviz_lightning.batch.rows import example_count, plain_tensors, take_examples, to_device
from mviz_lightning.errors import ConfigurationError, message_of


@dataclass(frozen=True)
class BatchSchema:
    """Where the modalities live in a batch, and how a batch is built from leaves.

    Attributes:
        modalities: Name -> modality, in the order in which they were declared.
        owners: Path of every leaf -> position of the modality that it travels with. A leaf of no modality (labels, ids)
            travels with the first modality.
        values: Name of a modality -> paths of its leaves, the values first.
        target: Path of the labels.
        keys: Path of every leaf -> its keys.
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

        Args:
            batch: The user's own batch.
            modalities: Name -> modality.
            target: Path of the labels, if any.

        Raises:
            ConfigurationError: There is no node at a path, a leaf belongs to two modalities, or leaves differ in their
                number of examples.
        """
        found = nodes_by_path(batch)
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
        """Paths of all leaves, in the batch's own order."""
        found = [tree.path(keys) for keys, _ in tree.nodes(self._template)]
        return [path for path in found if path in self.owners]

    @property
    def unowned(self) -> list[str]:
        """Paths of the leaves that belong to no modality."""
        owned = {path for paths in self.values.values() for path in paths}
        return [path for path in self.owners if path not in owned]

    @property
    def labels(self) -> list[str]:
        """The target's path, as a list; empty without a target, or if it belongs to a modality (a reconstruction)."""
        return [path for path in self.unowned if path == self.target]

    def code(self, way: tree.Keys) -> str:
        """Return Python code for a node of the batch: ``batch["inputs"][0]``."""
        return "batch" + tree.code(self._template, way)

    def leaves(self, batch: Any) -> dict[str, Any]:
        """Return path -> leaf for a batch.

        Raises:
            ConfigurationError: The batch lacks one of them.
        """
        try:
            found = {path: tree.get(batch, keys) for path, keys in self.keys.items()}
        except (KeyError, IndexError) as error:
            raise ConfigurationError(
                f"a batch has no leaf {message_of(error)}, but the first one had; leaves of this batch: "
                f"{describe_leaves(batch)}. "
                "Give all batches of the validation loader the same leaves."
            ) from None
        for path, leaf in found.items():
            if leaf is None:
                raise ConfigurationError(
                    f"a batch holds None at the leaf {path!r}; allowed are leaves of the kind of the first batch's. "
                    "Leave batches without a modality out of the validation loader."
                )
        return found

    def settled(self, batch: Any) -> "BatchSchema":
        """Return the schema without leaves of no modality that turn out not to hold one entry per example.

        Examples: a table with as many rows as the first batch had examples; the other half of a combined batch.

        Args:
            batch: Another batch, in which such a leaf has another length than the modalities.
        """
        size = example_count(_at(batch, self.keys[next(iter(self.values.values()))[0]]))
        found = {path: _at(batch, self.keys[path]) for path in self.unowned if path != self.target}
        constants = {path: node for path, node in found.items() if example_count(node) != size}
        if not constants:
            return self
        return replace(
            self,
            owners={path: owner for path, owner in self.owners.items() if path not in constants},
            keys={path: keys for path, keys in self.keys.items() if path not in constants},
            _template=tree.replace(self._template, {self.keys[path]: node for path, node in constants.items()}),
        )

    def leaves_of(self, batch: Any, paths: Container[str]) -> dict[str, Any]:
        """Return some leaves of a batch by path."""
        return {path: tree.get(batch, keys) for path, keys in self.keys.items() if path in paths}

    def size(self, leaves: Mapping[str, Any]) -> int:
        """Return the number of examples in leaves, perhaps without those of some modalities."""
        owned = (path for paths in self.values.values() for path in paths if path in leaves)
        return example_count(leaves[next(owned, next(iter(leaves)))]) or 0

    def build(self, leaves: Mapping[str, Any], device: torch.device | str = "cpu") -> Any:
        """Return a batch of the user's own structure with these leaves, on a device."""
        return tree.replace(
            _moved(self._template, device),
            {self.keys[path]: to_device(leaf, device) for path, leaf in leaves.items()},
        )

    def take(self, leaves: Mapping[str, Any], sources: Tensor, needed: Container[str] | None = None) -> dict[str, Any]:
        """Recombine leaves: take each leaf's examples from the column of its modality.

        Args:
            leaves: Path -> leaf.
            sources: ``(R, M)`` the example that each modality of each row is taken from.
            needed: Paths of the leaves that are needed; all by default. Other tensors are left out.

        Returns:
            Path -> leaf with R examples.
        """
        return {
            path: take_examples(leaves[path], sources[:, owner])
            for path, owner in self.owners.items()
            if needed is None or path in needed or not isinstance(leaves[path], Tensor)
        }


def _at(batch: Any, keys: tree.Keys) -> Any:
    """Return a node of the batch; None if there is no such node."""
    try:
        return tree.get(batch, keys)
    except (KeyError, IndexError):
        return None


def _moved(template: Any, device: torch.device | str) -> Any:
    """Copy the template's tensors, since a model may change them in place."""
    constants = {keys: node for keys, node in tree.nodes(template) if isinstance(node, Tensor)}
    return tree.replace(
        template, {keys: plain_tensors(node).detach().to(device, copy=True) for keys, node in constants.items()}
    )


def _owners(values: Mapping[str, list[str]]) -> dict[str, int]:
    owners: dict[str, int] = {}
    for position, (name, paths) in enumerate(values.items()):
        for path in paths:
            if path in owners:
                other = list(values)[owners[path]]
                raise ConfigurationError(
                    f"modalities: the leaf {path!r} is given twice, in {other!r} and in {name!r}; "
                    "a leaf travels with one modality. Remove it from the other."
                )
            owners[path] = position
    return owners
