"""The outputs of all fixed examples as they are; an example that is not recombined takes one further row."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.engine.row_independence import evaluate_aligned
from mviz_lightning.functional import Task
from mviz_lightning.functional.outputs import levelled
from mviz_lightning.functional.targets import labelled
from mviz_lightning.session.broken_examples import finite_rows


@dataclass(frozen=True)
class ReferenceOutputs:
    """Outputs of real examples; all processes have the same.

    Attributes:
        examples: ``(n,)`` long: indices in the probe.
        outputs: ``(n, C)`` their outputs, finite, on the CPU.
        rows: Number of rows evaluated for them, over all processes.
    """

    examples: Tensor
    outputs: Tensor
    rows: int


def further_examples(probe: Probe, target: Tensor | None, pool: int, task: Task, limit: int | None) -> Tensor:
    """Return the labelled examples of the pool that are not recombined.

    Args:
        probe: The examples.
        target: ``(N, ...)`` their labels; None without labels.
        pool: Number of examples that may be used, from the first one on; pinned examples come after them.
        task: Type of the prediction task.
        limit: Largest number of examples; None for no limit.
    """
    if target is None:
        return torch.empty(0, dtype=torch.long)
    known = labelled(target[:pool], task).cpu()
    known[probe.groups.flatten()] = False
    return known.nonzero()[:, 0][:limit]


def reference_outputs(
    probe: Probe, own: Tensor, further: Tensor, evaluator: Evaluator, ranks: Ranks, task: Task
) -> ReferenceOutputs:
    """Return the outputs of the recombined examples and of further ones; an output that is not finite is left out.

    Args:
        probe: The examples.
        own: ``(K, C)`` outputs of this process's share of the recombined examples.
        further: ``(F,)`` long: the further examples.
        evaluator: Runs the model.
        ranks: The processes that share the work.
        task: Type of the prediction task.

    Raises:
        RuntimeError: The model failed; on all processes alike.
    """
    share, padded = ranks.share(further), ranks.padded_share(further)
    found, before = own.cpu(), evaluator.remembered
    with ranks.raise_on_all_ranks():
        if len(padded):
            evaluated = levelled(evaluate_aligned(evaluator, probe, padded), task)[: len(share)].cpu()
            found = torch.cat([found, evaluated.to(found.dtype)])
        examples = torch.cat([ranks.share(probe.groups).flatten(), share])
        kept = finite_rows(found, task)
    everywhere = ranks.gather((examples[kept], found[kept]))
    all_examples, all_outputs = (torch.cat(parts) for parts in zip(*everywhere, strict=True))
    rows = len(padded) * evaluator.draws - (evaluator.remembered - before)
    return ReferenceOutputs(all_examples, all_outputs, rows * ranks.count)
