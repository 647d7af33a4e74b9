"""How often a modality decides: the fraction of predictions that change when it is swapped."""

from typing import NamedTuple

import torch
from torch import Tensor

from mviz_lightning.functional.designs import Design
from mviz_lightning.functional.outputs import Task, decisions


class FlipCounts(NamedTuple):
    """Sums over groups, in float64, from which :func:`flip_rates` computes the flips.

    Attributes:
        changed: ``(M,)`` changed predictions: 1 per changed class, 1/2 per changed label.
        swaps: ``()`` swapped rows of one modality.
        decided: ``(C,)`` real examples with each prediction.
        examples: ``()`` real examples.
    """

    changed: Tensor
    swaps: Tensor
    decided: Tensor
    examples: Tensor


def prediction_flips(outputs: Tensor, design: Design, *, task: Task) -> Tensor:
    """Estimate how often swapping one modality changes the prediction, relative to swapping all of them.

    The total-effect estimator of Jansen (1999), applied to decisions ``d`` (a one-hot class, or 0/1 for each label).
    ``x'`` is another example, and ``x^m`` the example x with modality m taken from ``x'``::

        flips_m = E[|d(x) - d(x^m)|^2] / E[|d(x) - d(x')|^2]

    0 where swapping m never changes a prediction; about 1 where the prediction follows the swapped-in example.

    Args:
        outputs: ``(G, T, C)`` logits of the design's T tuples in G groups.
        design: The tuples.
        task: ``multiclass``, ``binary`` or ``multilabel``.

    Returns:
        ``(M,)`` float64, 0 where all predictions are the same. Mirrored by
        :class:`~mviz_lightning.metrics.PredictionFlips`.

    Raises:
        ValueError: The task is regression.

    Example:
        >>> import torch
        >>> from mviz_lightning.functional import design
        >>> grid = design(2, 4)
        >>> labels = torch.tensor([-1.0, -1.0, 1.0, 1.0])
        >>> outputs = labels[grid.tuples[:, 0]].view(1, 16, 1)  # the first modality decides alone
        >>> prediction_flips(outputs, grid, task="binary").tolist()
        [1.0, 0.0]
    """
    return flip_rates(flip_counts(outputs, design, task))


def flip_counts(outputs: Tensor, design: Design, task: Task) -> FlipCounts:
    """Return the sums over the groups of ``(G, T, C)`` outputs; the sums of several batches can be added."""
    if len(outputs) > 1:  # group by group: decisions take over ten times the memory of the outputs
        counts = (flip_counts(group, design, task) for group in torch.split(outputs, 1))
        return FlipCounts(*(torch.stack(parts).sum(0) for parts in zip(*counts, strict=True)))
    made = decisions(outputs, task)
    own = design.own(made)
    swapped = torch.stack([design.swapped(made, modality) for modality in range(design.modalities)])
    return FlipCounts(
        changed=(swapped - own.unsqueeze(2)).square().sum((1, 2, 3, 4)) / 2,
        swaps=_counted(swapped[0]),
        decided=own.sum((0, 1)),
        examples=_counted(own),
    )


def flip_rates(counts: FlipCounts) -> Tensor:
    """Return ``(M,)``: changed predictions per swap, divided by differing predictions per pair of real examples."""
    share = counts.decided / counts.examples
    differing = (share * (1 - share)).sum() * counts.examples / (counts.examples - 1)
    return torch.where(differing > 0, counts.changed / counts.swaps / differing, 0.0)


def _counted(rows: Tensor) -> Tensor:
    return torch.tensor(rows[..., 0].numel(), dtype=torch.float64, device=rows.device)
