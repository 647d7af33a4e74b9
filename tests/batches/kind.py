"""A kind of batch: how examples become batches, and a step that reads them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from batches.plain import Example, Net, examples
from torch import Tensor

SIZES = (8, 7, 8, 6, 3) * 2
"""Sizes of successive batches; 8 is also the height and the width of the images."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of batch, and a step that reads it.

    Attributes:
        collate: Examples -> a batch.
        modalities: The monitor's argument.
        scores: (network, batch) -> scores ``(B, 3)``.
        labels: Batch -> ``(B,)``.
        twin: Name of the plain kind that gives the same numbers; a plain kind has none.
        rows: Returns the examples.
        sizes: Sizes of successive batches.
        loader: Batches -> what is given to a Trainer; None where the batches are given to ``explain``.
        warns: How the warning begins that both this kind and its twin give.
        drawn: Whether DIME cuts it into the segments of its twin.
    """

    collate: Callable[[Sequence[Example]], Any]
    modalities: Any
    scores: Callable[[Net, Any], Tensor]
    twin: str = ""
    labels: Callable[[Any], Tensor] = lambda batch: batch["y"]
    rows: Callable[[], list[Example]] = examples
    sizes: Sequence[int] = SIZES
    loader: Callable[[Sequence[Example]], Any] | None = None
    warns: str = ""
    drawn: bool = True

    def batches(self) -> Iterator[Any]:
        rows, sizes = self.rows(), iter(self.sizes)
        while rows:
            size = next(sizes)
            yield self.collate(rows[:size])
            rows = rows[size:]


IMAGE_TABLE = {"image": "image", "table": "table"}
ALONE = (1,) * 64
"""Batches of one, which need no padding."""
