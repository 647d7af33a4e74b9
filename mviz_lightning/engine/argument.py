"""What a call passes to the model: a node of the batch, or the part of an array that is a leaf."""

from dataclasses import dataclass, field
from typing import Any

from mviz_lightning.batch import tree
from mviz_lightning.batch.arrays import as_before, as_tensor
from mviz_lightning.batch.index import Index
from mviz_lightning.batch.schema import BatchSchema


@dataclass(frozen=True)
class Argument:
    """A node of the batch, or a part of it.

    Attributes:
        keys: Keys of the node; none for the batch itself.
        leaf: Path of the leaf that is passed alone; None where all of the node is passed.
        index: The part of each example's array that this leaf is.
    """

    keys: tree.Keys = ()
    leaf: str | None = None
    index: Index | None = field(default=None, compare=False)

    @classmethod
    def of_leaf(cls, schema: BatchSchema, path: str) -> "Argument":
        """Return the argument for a leaf: the leaf alone if it is a part of an array, else the node that holds it."""
        index = schema.index_of(path)
        return cls(schema.keys[path]) if index is None else cls(schema.keys[path], path, index)

    @property
    def path(self) -> str:
        """The path, as users write it."""
        return tree.path(self.keys) if self.leaf is None else self.leaf

    def code(self, schema: BatchSchema) -> str:
        """Return the argument as Python code: ``batch["image"][:, :3]``."""
        return schema.code(self.keys) + ("" if self.index is None else f"[:, {self.index.text}]")

    def of(self, batch: Any) -> Any:
        """Return its value in a batch."""
        node = tree.get(batch, self.keys)
        return node if self.index is None else as_before(self.index.take(as_tensor(node), 1), node)

    def holds(self, schema: BatchSchema, path: str) -> bool:
        """Return whether a leaf is in it."""
        if self.leaf is not None:
            return path == self.leaf
        return schema.keys[path][: len(self.keys)] == self.keys

    def is_leaf(self, schema: BatchSchema, path: str) -> bool:
        """Return whether it is exactly one leaf: neither a node with further leaves, nor the whole batch."""
        return bool(self.keys) and (self.leaf == path or not schema.divided(path))
