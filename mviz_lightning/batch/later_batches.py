"""Update a schema from later batches, for leaves that the first batch left open."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from mviz_lightning.batch import tree
from mviz_lightning.batch.holdings import Holding, Stacked
from mviz_lightning.batch.interleaved.dealing import ItemTokens
from mviz_lightning.batch.interleaved.media import MediaItems
from mviz_lightning.batch.interleaved.media_leaves import with_told_counts
from mviz_lightning.batch.interleaved.tokenwise import Tokenwise
from mviz_lightning.batch.node_reader import NodeReader
from mviz_lightning.batch.rows import example_count
from mviz_lightning.batch.schema import BatchSchema


def settled(schema: BatchSchema, batch: Any, ask: ItemTokens | None = None) -> BatchSchema:
    """Return the schema, updated from another batch.

    Args:
        schema: The schema learned from earlier batches.
        batch: Another batch, with all modalities.
        ask: Returns the number of placeholders of each item; None if the model has no rule.
    """
    if schema.interleaving is None:
        return _without_constants(schema, batch)
    with suppress(KeyError, IndexError):  # reading the batch raises for missing leaves
        readers = [replace(one, holding=_settled_holding(schema, one, batch, ask)) for one in schema.readers]
        return replace(schema, readers=tuple(readers))
    return schema


def _settled_holding(schema: BatchSchema, reader: NodeReader, batch: Any, ask: ItemTokens | None) -> Holding:
    holding = reader.holding
    if isinstance(holding, Tokenwise):
        return holding.settled(batch, tree.get(batch, reader.keys))
    if isinstance(holding, MediaItems):
        return holding.told(lambda items: with_told_counts(items, batch, schema.values[items.modality], ask))
    return holding


def _without_constants(schema: BatchSchema, batch: Any) -> BatchSchema:
    """Return the schema without unassigned leaves that do not have one entry per example in this batch.

    Examples: a table with as many rows as the first batch had examples; the other half of a combined batch.

    Args:
        schema: The schema learned from earlier batches.
        batch: Another batch, in which such a leaf has another length than the modalities.
    """
    size = schema.size(schema.leaves_of(batch, next(iter(schema.values.values()))[:1]))
    found = {path: reader for reader in schema.readers for path in reader.places if path in schema.unowned}
    plain = {
        path: _at(batch, one.keys)
        for path, one in found.items()
        if path != schema.target and isinstance(one.holding, Stacked)
    }
    constants = {path: node for path, node in plain.items() if not schema.divided(path) and example_count(node) != size}
    if not constants:
        return schema
    return replace(
        schema,
        owners={path: owner for path, owner in schema.owners.items() if path not in constants},
        readers=tuple(reader for reader in schema.readers if not reader.places.keys() & constants.keys()),
        template=tree.shell(schema.template, {schema.keys[path]: node for path, node in constants.items()}),
    )


def _at(batch: Any, keys: tree.Keys) -> Any:
    """Return a node of the batch; None if there is no such node."""
    try:
        return tree.get(batch, keys)
    except (KeyError, IndexError):
        return None
