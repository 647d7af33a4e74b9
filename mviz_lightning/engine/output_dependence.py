"""What the outputs depend on: found by swapping a modality among examples, and by tracing one forward."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import chain

import torch
from torch import Tensor

from mviz_lightning.batch import BatchSchema, Probe
from mviz_lightning.batch.probe import fingerprint
from mviz_lightning.batch.rows import take_examples
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
        return None  # all processes must run equally many forwards, and other processes may need no trace
    with isolated(evaluator.module, seed=evaluator.seed), evaluator.precision(), suppress(Exception):
        rows = min(TRACED_EXAMPLES, probe.size)
        return trace_rows(evaluator.module, evaluator.predict, probe, rows, evaluator.device)
    return None


def interacting_modalities(found: Trace | None, schema: BatchSchema, path: str) -> list[str]:
    """Return the modalities that a stray leaf acts with.

    A leaf acts with a modality if one submodule uses both. It also does if both enter one operation while the leaf is
    not mixed with any modality yet. Modalities that it meets alone are preferred. Those that it meets together with
    others count only if there are no such modalities.

    Args:
        found: A traced forward; None if there is none.
        schema: The batch's schema.
        path: Path of the leaf.

    Returns:
        Names of the modalities; all of them if the trace lost the leaf.
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


def modalities_without_effect(
    evaluator: Evaluator, probe: Probe, rows: Tensor, *, guessed: bool = False, trained: bool = False
) -> dict[str, str]:
    """Return the modalities on which the outputs do not depend, each with the fact that shows it.

    Swapping such a modality among the examples changes no bit of the outputs. Before the training this is not enough: a
    weight may still be 0, for example the initial weight of a gate. One more fact is then needed: no operation
    leads from the modality to the outputs, or the outputs were guessed and some other modality does change them. A
    modality that is the same in all examples is returned if no operation leads from it to the outputs.

    Args:
        evaluator: Runs the model.
        probe: The examples.
        rows: ``(R,)`` the examples that are swapped.
        guessed: Whether the scores were guessed among several outputs of the model.
        trained: Whether weights that were 0 have been trained.

    Returns:
        Name -> the fact, as a template with a place for names and one for the number of examples.
    """
    names, donors = probe.schema.names, {m: donors_of(probe, paths, rows) for m, paths in probe.schema.values.items()}
    expected = evaluator.plain(probe, Query.aligned(rows, len(names)))
    equal = [name for name in names if torch.equal(expected, _with_donors(evaluator, probe, rows, name, donors[name]))]
    constant = [name for name in names if torch.equal(donors[name], rows)]
    silent = [name for name in equal if name not in constant]
    sure = trained or (guessed and len(silent) < len(names))
    found = trace_forward(evaluator, probe) if constant or not sure else None
    facts = {name: SWAPPED for name in silent if sure or _is_cut_off(found, probe, name)}
    return facts | {name: CUT_OFF for name in constant if _is_cut_off(found, probe, name)}


SWAPPED = "swapping {} among {} examples leaves the scores bit-identical"
CUT_OFF = "no operation leads from {} to the scores"


def _with_donors(evaluator: Evaluator, probe: Probe, rows: Tensor, name: str, donors: Tensor) -> Tensor:
    """Return ``(R, C)`` outputs of examples with one modality of other examples."""
    sources = Query.aligned(rows, len(probe.schema.names)).sources.clone()
    sources[:, probe.schema.names.index(name)] = donors
    return evaluator.plain(probe, Query(sources))


def cut_off_modalities(evaluator: Evaluator, probe: Probe) -> list[str]:
    """Return the modalities from which no operation leads to the outputs; none where a trace does not show it."""
    found = trace_forward(evaluator, probe)
    return [name for name in probe.schema.names if _is_cut_off(found, probe, name)]


def _is_cut_off(found: Trace | None, probe: Probe, name: str) -> bool:
    """Return whether a trace follows a modality and shows that it reaches neither outputs nor a decision on the way."""
    bits = _modality_bits(probe.schema)[name]
    return found is not None and not bits & (found.outputs | found.decisive | ~found.followed)


def donors_of(probe: Probe, paths: Sequence[str], rows: Tensor) -> Tensor:
    """Return a donor of some leaves for each example: another example with other values in these leaves.

    Args:
        probe: The examples.
        paths: Paths of the leaves.
        rows: ``(R,)`` the examples.

    Returns:
        ``(R,)`` examples; ``rows`` itself if all examples are the same in these leaves.
    """
    digest = digests_of(probe, paths)
    some, first = rows.tolist(), int(rows[0])
    alike = (probe.kinds == probe.kinds[first]).nonzero()[:, 0].tolist()
    other = next((k for k in chain(some, alike) if digest(k) != digest(first)), None)
    if other is None:
        return rows
    swapped = ((row, (near, other, first)) for row, near in zip(some, rows.roll(1).tolist(), strict=True))
    return torch.tensor([next(k for k in found if digest(k) != digest(row)) for row, found in swapped])


def digests_of(probe: Probe, paths: Sequence[str]) -> Callable[[int], str]:
    """Return a function from an example to the digest of some of its leaves."""
    return cache(partial(_digest, probe, paths))


def _digest(probe: Probe, paths: Sequence[str], example: int) -> str:
    return fingerprint({path: take_examples(probe.leaves[path], torch.tensor([example])) for path in paths})
