"""What the outputs depend on: found by swapping a modality among examples, and by tracing one forward."""

from contextlib import suppress

import torch
from torch import Tensor

from mviz_lightning.batch import BatchSchema, Probe
from mviz_lightning.batch.probe import fingerprint
from mviz_lightning.engine.dependency_tags import Tags, union
from mviz_lightning.engine.dependency_trace import Trace, trace_rows
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.query import Query

TRACED_EXAMPLES = 4
"""Number of examples in a traced forward: few, since a trace keeps every tensor of the forward in memory."""


def trace_forward(evaluator: Evaluator, probe: Probe) -> Trace | None:
    """Trace one forward of a few examples; return None if the model cannot be traced."""
    if evaluator.sharded:
        return None  # all processes must run equally many forwards, and the others may need no trace
    with isolated(evaluator.module, seed=evaluator.seed), evaluator.precision(), suppress(Exception):
        rows = min(TRACED_EXAMPLES, probe.size)
        return trace_rows(evaluator.module, evaluator.predict, probe, rows, evaluator.device)
    return None


def interacting_modalities(found: Trace | None, schema: BatchSchema, path: str) -> list[str]:
    """Return the modalities with which a stray leaf acts.

    A leaf acts with the modalities that enter an operation next to it, as long as it is not mixed with any modality
    yet, and with those that a submodule uses together with it. Modalities that it meets alone come first: those that it
    meets together with others count only if there are no such modalities.

    Args:
        found: A traced forward; None if there is none.
        schema: The batch's schema.
        path: Path of the leaf.

    Returns:
        Names of the modalities; all of them if the trace does not show it.
    """
    leaf, owned = 1 << list(schema.owners).index(path), _modality_bits(schema)
    if found is None or not found.outputs & leaf:
        return schema.names  # the trace lost the leaf on its way
    met = [union(given) for given in found.meetings if any(_is_unmixed(tags, leaf, owned) for tags in given)]
    met += [frame.seen for frame in found.frames.values() if frame.seen & leaf]
    meetings = [{name for name, bits in owned.items() if tags & bits} for tags in met]
    alone = set().union(*(names for names in meetings if len(names) == 1))
    together = set().union(*meetings)
    return [name for name in schema.names if name in (alone or together or schema.names)]


def _modality_bits(schema: BatchSchema) -> dict[str, Tags]:
    """Return modality -> the tags of its own leaves in a trace."""
    place = {path: 1 << bit for bit, path in enumerate(schema.owners)}
    return {name: union(place[path] for path in paths) for name, paths in schema.values.items()}


def _is_unmixed(tags: Tags, leaf: Tags, owned: dict[str, Tags]) -> bool:
    return bool(tags & leaf) and not tags & union(owned.values())


def modalities_without_effect(evaluator: Evaluator, probe: Probe, rows: Tensor, *, guessed: bool = False) -> list[str]:
    """Return the modalities that change no bit of the outputs when they are swapped among some examples.

    A modality that is the same in all examples is not returned. Operations may connect a modality with the outputs
    although swapping it changes nothing, because a weight is still 0, that of a gate at initialisation for example.
    Such a modality is returned only if the outputs were guessed and some other modality does change them.

    Args:
        evaluator: Runs the model.
        probe: The examples.
        rows: ``(R,)`` the examples that are swapped.
        guessed: Whether the scores were guessed among several outputs of the model.
    """
    aligned = Query.aligned(rows, len(probe.schema.names))
    expected = evaluator.plain(probe, aligned)
    silent = [name for name in probe.schema.names if _is_silent(evaluator, probe, aligned, expected, name)]
    if not silent or (guessed and len(silent) < len(probe.schema.names)):
        return silent
    found = trace_forward(evaluator, probe)
    if found is None:
        return []
    return [name for name in silent if not found.outputs & _modality_bits(probe.schema)[name]]


def _is_silent(evaluator: Evaluator, probe: Probe, aligned: Query, expected: Tensor, name: str) -> bool:
    sources, column = aligned.sources.clone(), probe.schema.names.index(name)
    sources[:, column] = sources[:, column].roll(1)
    found = evaluator.plain(probe, Query(sources))
    return torch.equal(expected, found) and _digest(probe, name, aligned.sources) != _digest(probe, name, sources)


def _digest(probe: Probe, name: str, sources: Tensor) -> str:
    leaves = probe.schema.take(probe.leaves, sources)
    return fingerprint({path: leaves[path] for path in probe.schema.values[name]})
