"""Examples whose own outputs are NaN or infinite: they are left out, and the others are measured."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.batch.rows import take_examples
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.engine.row_independence import evaluate_aligned
from mviz_lightning.functional import Task
from mviz_lightning.functional.outputs import levelled

NAMED = 6
"""Largest number of examples that a note names."""


def broken_examples(probe: Probe, evaluator: Evaluator, ranks: Ranks, examples: Tensor, task: Task) -> list[int]:
    """Return the examples whose outputs, not recombined, are NaN or infinite; the same on all processes.

    Args:
        probe: The fixed examples.
        evaluator: Runs the model.
        ranks: The processes that share the examples.
        examples: ``(K,)`` the examples to evaluate.
        task: Type of the prediction task; masked classes are not broken.
    """
    own, padded = ranks.share(examples), ranks.padded_share(examples)
    with ranks.raise_on_all_ranks():
        finite = finite_rows(evaluate_aligned(evaluator, probe, padded), task)[: len(own)]
    return [example for part in ranks.gather(own[~finite].tolist()) for example in part]


def finite_rows(outputs: Tensor, task: Task = "multilabel") -> Tensor:
    """Return ``(R,)`` bool, on the CPU: the rows whose outputs ``(R, C)`` are finite where no class is masked."""
    return levelled(outputs, task).isfinite().all(1).cpu()


def usable_trial(evaluator: Evaluator, trial: Probe) -> Probe:
    """Return a few examples without the broken ones, because no check works on broken examples.

    If most are broken, the model is broken, and the examples stay as they are.

    Args:
        evaluator: Runs the model.
        trial: A few examples.
    """
    finite = finite_rows(evaluate_aligned(evaluator, trial, torch.arange(trial.size)))
    kept = finite.nonzero().flatten()
    if len(kept) == trial.size or 2 * len(kept) <= trial.size:
        return trial
    return replace(trial, leaves={path: take_examples(leaf, kept) for path, leaf in trial.leaves.items()})


def left_out(positions: Sequence[int]) -> str:
    """Return a note on which examples of the validation set are left out, and why."""
    named = ", ".join(map(str, positions[:NAMED]))
    more = f" and {len(positions) - NAMED} more" if len(positions) > NAMED else ""
    return (
        f"{len(positions)} validation example(s) left out of all measurements, because their outputs are NaN or "
        f"infinite: {named}{more}. Look at their inputs"
    )
