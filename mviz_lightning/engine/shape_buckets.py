"""Evaluate rows of one shape together, so that rows need no padding beyond that of the user's own batches."""

from collections.abc import Callable

import torch
from torch import Tensor

from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.query import Query


def in_buckets(shapes: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
    """Run a function on the rows of each shape, one shape after another.

    Args:
        shapes: ``(R, M)`` long: the number of the shape of each modality of each row.
        run: Takes the ``(B,)`` numbers of rows of one shape and returns their ``(B, ...)`` results.

    Returns:
        ``(R, ...)`` results in the order of the rows.
    """
    order = buckets(shapes)
    parts = [run(rows) for rows in order]
    return parts[0] if len(parts) == 1 else torch.cat(parts)[torch.cat(order).argsort().to(parts[0].device)]


def buckets(shapes: Tensor) -> list[Tensor]:
    """Return, for each shape among ``(R, M)`` rows, the ``(B,)`` numbers of the rows that have it, in their order."""
    numbers = torch.unique(shapes, dim=0, return_inverse=True)[1]
    return list(numbers.argsort(stable=True).split(numbers.bincount().tolist()))


def alike(probe: Probe, count: int) -> Query:
    """Return ``count`` rows of real examples of one shape, the most frequent one; they repeat where it has fewer."""
    examples = Query.aligned(torch.arange(probe.size), len(probe.schema.names))
    found = max(buckets(probe.shapes_of(examples.sources)), key=len)
    return examples[found[torch.arange(count) % len(found)]]
