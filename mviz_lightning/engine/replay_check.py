"""Compare replayed rows with rows that were evaluated plainly."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mviz_lightning.engine.agreement import MIXED_ROWS, SAMPLED, computed_with, require_agreement
from mviz_lightning.functional.outputs import Head, masked_classes, rounded

CHECKED_ROWS = 16
"""Number of rows that are recomputed plainly whenever encodings are reused."""

ROUNDING_ERRORS = 4
"""Number of rounding errors of a probability that may add up when its row is recomputed."""

AS_MUCH = 4
"""Largest deviation of replayed rows from plain rows, as a multiple of the deviation among plain rows."""


@dataclass(frozen=True)
class Difference:
    """The largest difference of two evaluations of the same rows.

    Attributes:
        size: The difference in the output where it is largest relative to what is allowed.
        spread: By how much this output varies.
        excess: The difference as a multiple of what is allowed; infinite where finite outputs became infinite or NaN.
    """

    size: float
    spread: float
    excess: float

    @classmethod
    def of(
        cls, plain: Tensor, found: Tensor, head: Head | None, computed_in: torch.dtype | None = None
    ) -> "Difference":
        """Compare two evaluations of ``(R, C)`` rows, of which the first was plain.

        The tolerance of an output is a fraction of its spread over the rows: relative to a large offset, or to another
        output, every difference would look small. The rounding error of the largest output is added, because the layer
        that makes all outputs rounds numbers of this size.

        For a language model that computes in 16 bits, the root mean square over the rows counts: a single row may be
        rounded the other way in each of many layers.
        """
        kind = computed_in or computed_with(found.dtype)
        tolerance, eps = _tolerance(kind), torch.finfo(kind).eps
        plain, found = plain.double(), found.double()
        finite = plain.isfinite()
        kept = plain.where(finite, 0.0)
        spread = (plain - plain.mean(0)).abs().nan_to_num(0.0, 0.0, 0.0).amax(0)
        if not torch.equal(finite, found.isfinite()):
            return cls(math.inf, float(spread.max()), math.inf)
        live = ~masked_classes(plain, "multilabel")
        allowed = tolerance * (spread + spread[live].max() / 100) + 2 * eps * kept[:, live].abs().max()
        # Near a probability of 1, the last digit of the probability changes the logit a lot.
        lost = 0.0 if head is None else ROUNDING_ERRORS * eps * rounded(kept, head)
        difference = _over_rows(((found.where(finite, 0.0) - kept).abs() - lost).clamp(min=0), computed_in)
        excess = difference / allowed.clamp(min=1e-300)
        worst = int(excess.argmax())
        return cls(float(difference[worst]), float(spread[worst]), float(excess[worst]))


def check_replay(
    plain: Callable[[Tensor], Tensor],
    rows: Tensor,
    replayed: Tensor,
    head: Head | None,
    computed_in: torch.dtype | None = None,
) -> None:
    """Check that replayed rows equal plain ones up to rounding.

    If they do not, plain rows are first compared among themselves, evaluated again and in other batches. If they depend
    on one another, or differ as much by rounding, the replay is not the cause.

    Args:
        plain: Evaluates the rows with some numbers, ``(R,)``, plainly in one batch.
        rows: ``(R,)`` the numbers.
        replayed: ``(R, C)`` outputs of these rows with replayed encodings.
        head: The operation whose probabilities the outputs are the logits of; None for other outputs.
        computed_in: The type in which a language model computes the logits for its score; None for any other model,
            whose outputs have the type in which they were computed.

    Raises:
        DisagreementError: Plain rows do not agree among themselves.
        RuntimeError: Replayed rows differ from plain rows by more than plain rows differ among themselves.
    """
    expected = plain(rows)
    found = Difference.of(expected, replayed, head, computed_in)
    if found.excess <= 1:
        return
    again, apart = plain(rows), _apart(plain, rows)
    first, second, third = (_as_returned(one, head).to(computed_in or one.dtype) for one in (expected, again, apart))
    require_agreement(first, second, "when evaluated again", SAMPLED)
    require_agreement(first, third, "in other batches", MIXED_ROWS)
    among = (Difference.of(expected, other, head, computed_in).excess for other in (again, apart))
    if found.excess > AS_MUCH * max(among):
        raise RuntimeError(
            f"replayed rows differ from plain ones by {found.size:.2g}, where outputs vary by {found.spread:.2g}"
        )


def _apart(plain: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Return the outputs of the rows, evaluated in two batches and in reverse order."""
    return torch.cat([plain(part) for part in rows.flip(0).tensor_split(2)]).flip(0)


def _as_returned(outputs: Tensor, head: Head | None) -> Tensor:
    """Return probabilities in place of their logits, which rounding changes a lot near 0 and 1."""
    if head is None:
        return outputs
    return outputs.sigmoid() if head == "sigmoid" else outputs.softmax(-1)


def _over_rows(differences: Tensor, computed_in: torch.dtype | None) -> Tensor:
    """Return ``(C,)``: the largest of ``(R, C)`` differences; in 16 bits, their root mean square."""
    narrow = computed_in is not None and torch.finfo(computed_in).bits < 32
    return differences.square().mean(0).sqrt() if narrow else differences.amax(0)


def _tolerance(computed_in: torch.dtype) -> float:
    """Return the allowed difference as a fraction of the spread; it covers the rounding in chunks of another size."""
    return 2e-2 if torch.finfo(computed_in).bits < 32 else 1e-4
