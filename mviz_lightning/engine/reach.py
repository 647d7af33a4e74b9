"""What reaches the outputs: found by swapping it among examples, and by following it through one forward."""

from contextlib import suppress

import torch
from torch import Tensor

from mviz_lightning.batch import BatchSchema, Probe
from mviz_lightning.batch.probe import fingerprint
from mviz_lightning.engine.dependency_trace import Tags, Trace, union
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.reuse import trace_rows

FOLLOWED = 4
"""Rows of a forward that is followed; all that it makes stays in memory."""


def follow(evaluator: Evaluator, probe: Probe) -> Trace | None:
    """Follow the leaves of a few examples through one forward; None where that fails."""
    if evaluator.sharded:
        return None  # other processes may have no reason to run a forward of their own
    with isolated(evaluator.module, seed=evaluator.seed), evaluator.precision(), suppress(Exception):
        rows = min(FOLLOWED, probe.size)
        return trace_rows(evaluator.module, evaluator.predict, probe, rows, evaluator.device)
    return None


def acting_with(found: Trace | None, layout: BatchSchema, path: str) -> list[str]:
    """Return the modalities that a leaf of none acts with: those it meets alone, or else those it meets together.

    A leaf meets what stands beside it in an operation, before it is mixed with anything, and what a submodule sees that
    sees the leaf too.

    Args:
        found: A forward that was followed.
        layout: Of the batch.
        path: Of the leaf.

    Returns:
        Names; all of them where the forward does not tell.
    """
    leaf, owned = 1 << list(layout.owners).index(path), _bits(layout)
    if found is None or not found.outputs & leaf:
        return layout.names  # it left torch's sight on the way
    met = [union(given) for given in found.meetings if any(_fresh(tags, leaf, owned) for tags in given)]
    met += [frame.seen for frame in found.frames.values() if frame.seen & leaf]
    meetings = [{name for name, bits in owned.items() if tags & bits} for tags in met]
    alone = set().union(*(names for names in meetings if len(names) == 1))
    together = set().union(*meetings)
    return [name for name in layout.names if name in (alone or together or layout.names)]


def _bits(layout: BatchSchema) -> dict[str, Tags]:
    """Return for every modality what stands for its own leaves in a trace."""
    place = {path: 1 << bit for bit, path in enumerate(layout.owners)}
    return {name: union(place[path] for path in paths) for name, paths in layout.values.items()}


def _fresh(tags: Tags, leaf: Tags, owned: dict[str, Tags]) -> bool:
    return bool(tags & leaf) and not tags & union(owned.values())


def unreached(evaluator: Evaluator, probe: Probe, rows: Tensor, *, guessed: bool = False) -> list[str]:
    """Return the modalities that change no bit of the outputs when they are swapped among some examples.

    A modality that is the same in all of them tells nothing. One that operations do lead from to the outputs may be
    held back by a weight that is still 0, as a gate at initialisation; it counts where the outputs were a guess, unless
    nothing else changes them either.

    Args:
        evaluator: Asks the model.
        probe: The examples.
        rows: ``(R,)`` those that are tried.
        guessed: Whether the outputs are the right ones is not known.
    """
    aligned = Query.aligned(rows, len(probe.layout.names))
    expected = evaluator.plain(probe, aligned)
    silent = [name for name in probe.layout.names if _is_silent(evaluator, probe, aligned, expected, name)]
    if not silent or (guessed and len(silent) < len(probe.layout.names)):
        return silent
    found = follow(evaluator, probe)
    if found is None:
        return []
    return [name for name in silent if not found.outputs & _bits(probe.layout)[name]]


def _is_silent(evaluator: Evaluator, probe: Probe, aligned: Query, expected: Tensor, name: str) -> bool:
    sources, column = aligned.sources.clone(), probe.layout.names.index(name)
    sources[:, column] = sources[:, column].roll(1)
    found = evaluator.plain(probe, Query(sources))
    return torch.equal(expected, found) and _digest(probe, name, aligned.sources) != _digest(probe, name, sources)


def _digest(probe: Probe, name: str, sources: Tensor) -> str:
    leaves = probe.layout.take(probe.leaves, sources)
    return fingerprint({path: leaves[path] for path in probe.layout.values[name]})
