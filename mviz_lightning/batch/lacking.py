"""Batches without some modalities, built like the user's own batches without them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mviz_lightning.batch import tree
from mviz_lightning.batch.modality import Modality
from mviz_lightning.batch.presence import Gap
from mviz_lightning.batch.probe import Probe
from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.errors import ConfigurationError


def none_at(modality: Modality) -> list[Gap]:
    """Return the gaps of a batch in which all nodes of a modality are None."""
    return [Gap(path, path.partition("[")[0], missing=False) for path in modality.leaves]


def probe_lacking(probe: Probe, gaps: Mapping[str, Sequence[Gap]]) -> Probe:
    """Return a probe whose batches lack modalities.

    Args:
        probe: Some examples.
        gaps: Modality -> where its nodes are None or their keys are missing. Inside examples that are objects, entries
            are None in both cases.

    Raises:
        ConfigurationError: A node contains parts of several modalities.
    """
    schema, inside = probe.schema, set[str]()
    ends: dict[tree.Keys, bool] = {}
    for name, found in gaps.items():
        for gap in found:
            for path, keys in _ends(schema, name, gap):
                if keys is None:
                    inside.add(path)
                else:
                    ends[keys] = gap.missing
    leaves: dict[str, Any] = dict(probe.leaves) | {path: [None] * probe.size for path in inside}
    lacking = _without_nodes(schema, ends, gaps.keys())
    bounds = {path: found for path, found in probe.bounds.items() if path in lacking.owners and path not in inside}
    return replace(probe, schema=lacking, leaves={path: leaves[path] for path in lacking.owners}, bounds=bounds)


def _ends(schema: BatchSchema, name: str, gap: Gap) -> list[tuple[str, tree.Keys | None]]:
    """Return (path, keys of the gap's node) for each leaf in a gap; the keys are None for a node inside examples."""
    found: list[tuple[str, tree.Keys | None]] = []
    for path in schema.values[name]:
        place = schema.place(path)
        way = (*place.keys, *place.inner)
        depth = next((d for d in range(len(way) + 1) if tree.path(way[:d]) == gap.at), None)
        if depth is not None:
            found.append((path, way[:depth] if depth <= len(place.keys) and not place.inner else None))
    return found


def _without_nodes(schema: BatchSchema, ends: Mapping[tree.Keys, bool], absent: Any) -> BatchSchema:
    """Return a schema whose nodes at some keys are None, or missing if ``ends`` is True for them."""
    gone = {reader for reader in range(len(schema.readers)) if _is_under(schema.readers[reader].keys, ends)}
    paths = {path for reader in gone for path in schema.readers[reader].places}
    shared = [name for name, own in schema.values.items() if name not in absent and paths & set(own)]
    if shared:
        raise ConfigurationError(
            f"{', '.join(absent)} and {', '.join(shared)} are parts of one node, which cannot be left out"
        )
    template = tree.replace(schema.template, dict.fromkeys(ends))
    for keys in (keys for keys, missing in ends.items() if missing):
        template = _without_key(template, keys)
    return replace(
        schema,
        owners={path: owner for path, owner in schema.owners.items() if path not in paths},
        values={name: [path for path in own if path not in paths] for name, own in schema.values.items()},
        readers=tuple(reader for place, reader in enumerate(schema.readers) if place not in gone),
        derived=tuple(one for one in schema.derived if one.packed not in paths),
        template=template,
    )


def _is_under(keys: tree.Keys, ends: Mapping[tree.Keys, bool]) -> bool:
    return any(keys[: len(end)] == end for end in ends)


def _without_key(template: Any, keys: tree.Keys) -> Any:
    """Return a template without an entry of a mapping; in other containers, the entry stays None."""
    above = tree.get(template, keys[:-1])
    if not isinstance(above, Mapping):
        return template
    copied = dict(above) if type(above) is dict else tree.copied(above)
    del copied[keys[-1]]
    return tree.replace(template, {keys[:-1]: copied})
