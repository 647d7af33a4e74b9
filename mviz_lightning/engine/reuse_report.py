"""What the reuse of encodings saves, and which submodules are reused."""

import torch

from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.reuse_plan import TRACED_ROWS, Plan

LISTED_MODULES = 6
"""Largest number of submodules that a message lists."""

MANY_OUTPUTS = 4096
"""Largest number of outputs per row at which the memory of the outputs does not matter: 16 KiB in float32."""


def try_reuse(evaluator: Evaluator, probe: Probe) -> float:
    """Evaluate a first grid of recombined rows with reuse, and return the work that is left for a row.

    Args:
        evaluator: Runs the model; ``reuse`` becomes False if replayed rows differ from plain ones.
        probe: Some examples; with fewer than 6, nothing is tried.

    Returns:
        The work of a row with replayed encodings as a fraction of a plain row's. 1 without reuse, and for a model with
        more than :data:`MANY_OUTPUTS` outputs per row.
    """
    examples = torch.arange(probe.size)
    if probe.size < max(TRACED_ROWS):
        return 1.0
    pairs = torch.cartesian_prod(examples, examples)
    rest = pairs[:, -1:].expand(-1, len(probe.schema.names) - 2)
    outputs = evaluator(probe, [Query(torch.cat([pairs, rest], 1))])[0]
    return fusion_share(evaluator, probe) if outputs.shape[1] <= MANY_OUTPUTS else 1.0


def reused(evaluator: Evaluator, probe: Probe) -> str:
    """Return the names of the submodules that run once for every distinct input of a modality, for a message."""
    if not evaluator.reuse or evaluator.all_pairs is not None:
        return "all of it" if evaluator.reuse else "nothing (reuse=False)"
    if evaluator.packing.said:
        return evaluator.packing.said
    closed = evaluator.packing.closed
    methods = ", ".join(evaluator.item_methods or ())
    return (f"{methods}, once for each item" if methods else _listed(_plan(evaluator, probe))) + (
        f" (the texts of an item are not packed, since {closed})" if closed else ""
    )


def fusion_share(evaluator: Evaluator, probe: Probe) -> float:
    """Return the work of a row with replayed encodings as a fraction of a plain row's.

    Returns:
        1 without reuse; 0 for a model that scores all pairs, whose rows are only looked up.
    """
    if not evaluator.reuse or evaluator.all_pairs is not None:
        return 0.0 if evaluator.reuse else 1.0
    if evaluator.packing.said:
        return evaluator.packing.computed / evaluator.packing.asked
    plan = _plan(evaluator, probe)
    return 1.0 if plan is None else plan.left


def _listed(plan: Plan | None) -> str:
    if plan is None:
        return "nothing, since no submodule depends on one modality alone in the trace"
    named, more = plan.modules[:LISTED_MODULES], len(plan.modules) - LISTED_MODULES
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def _plan(evaluator: Evaluator, probe: Probe) -> Plan | None:
    with isolated(evaluator.module, seed=evaluator.seed), evaluator.precision():
        return evaluator.plan_for(probe)
