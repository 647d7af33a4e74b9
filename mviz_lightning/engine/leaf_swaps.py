"""Swap a single leaf among examples, while all others stay, and check whether the outputs change."""

from contextlib import suppress
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from mviz_lightning.batch.probe import Probe
from mviz_lightning.batch.rows import take_examples
from mviz_lightning.engine.agreement import agree
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.output_dependence import digests_of, donors_of
from mviz_lightning.engine.row_independence import evaluate_as_computed, trial_rows


def leaf_matters(evaluator: Evaluator, probe: Probe, path: str, outputs: Tensor, donors: Tensor | None = None) -> bool:
    """Return whether swapping a leaf among examples changes their outputs.

    Args:
        evaluator: Runs the model.
        probe: Some examples.
        path: Path of the leaf.
        outputs: ``(R, C)`` outputs of :func:`trial_rows`, not recombined.
        donors: ``(R,)`` the donor of each row's leaf; by default an example whose leaf has another value.
    """
    rows = trial_rows(probe)
    given = donors_of(probe, [path], rows) if donors is None else donors
    return not agree(
        outputs[: len(rows)], evaluate_as_computed(evaluator, _with_swapped(probe, path, rows, given), rows)
    )


def own_leaf_matters(evaluator: Evaluator, probe: Probe, name: str, path: str, outputs: Tensor) -> bool:
    """Return whether swapping one leaf of a modality, but not its other leaves, changes the outputs.

    A leaf may hold indices into another one, so it is swapped only among examples whose leaves have the same shapes.
    The result is False if the model fails with the swapped leaf.

    Args:
        evaluator: Runs the model.
        probe: Some examples.
        name: Name of the modality.
        path: Path of the leaf.
        outputs: ``(R, C)`` outputs of :func:`trial_rows`, not recombined.
    """
    rows = trial_rows(probe)
    donors = _same_shaped_donors(probe, name, path, rows)
    if torch.equal(donors, rows) and not evaluator.sharded:  # if sharded, all processes must run equally many forwards
        return False
    with suppress(Exception):
        return leaf_matters(evaluator, probe, path, outputs, donors)
    return False


def _same_shaped_donors(probe: Probe, name: str, path: str, rows: Tensor) -> Tensor:
    """Return ``(R,)``: for each row, the next row of the same shapes whose leaf differs; itself if there is none."""
    bounds = [found for known, found in probe.bounds.items() if known in probe.schema.values[name]]
    digest, some = digests_of(probe, [path]), cast("list[int]", rows.tolist())

    def fits(row: int, other: int) -> bool:
        return all(torch.equal(found[row], found[other]) for found in bounds) and digest(row) != digest(other)

    def donor(place: int) -> int:
        row, others = some[place], some[place + 1 :] + some[:place]
        return next((other for other in others if fits(row, other)), row)

    return torch.tensor([donor(place) for place in range(len(some))])


def _with_swapped(probe: Probe, path: str, rows: Tensor, donors: Tensor) -> Probe:
    """Return a probe in which some examples have the leaf of others."""
    index = torch.arange(probe.size)
    index[rows] = donors
    leaves = {**probe.leaves, path: take_examples(probe.leaves[path], index)}
    bounds = {known: found[index] if known == path else found for known, found in probe.bounds.items()}
    return replace(probe, leaves=leaves, bounds=bounds)
