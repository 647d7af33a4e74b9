"""Compare replayed rows with rows that were evaluated plainly."""

import torch
from torch import Tensor

from mviz_lightning.functional.outputs import Head, masked_classes, rounded

CHECKED_ROWS = 16
"""Number of rows that are recomputed plainly whenever encodings are reused."""

ROUNDING_ERRORS = 4
"""How many rounding errors of a probability may add up when its row is recomputed."""


def require_equal(plain: Tensor, replayed: Tensor, head: Head | None) -> None:
    """Check that replayed rows equal plain ones up to rounding.

    The tolerance of an output is a fraction of its spread over the rows: relative to a large offset, or to another
    output, every difference would look small.

    Args:
        plain: ``(R, C)`` outputs of rows that were evaluated plainly.
        replayed: ``(R, C)`` outputs of the same rows with replayed encodings.
        head: The operation behind probabilities, of which the outputs are logits; None for other outputs.

    Raises:
        RuntimeError: Some rows differ.
    """
    tolerance, eps = _tolerance(replayed), torch.finfo(replayed.dtype).eps
    plain, found = plain.double(), replayed.double()
    finite = plain.isfinite()
    kept = plain.where(finite, 0.0)
    spread = (plain - plain.mean(0)).abs().nan_to_num(0.0, 0.0, 0.0).amax(0)
    live = spread[~masked_classes(plain, "multilabel")]
    allowed = tolerance * (spread + live.max() / 100)
    allowed += 2 * eps * kept.abs().amax(0)
    # Near a probability of 1, its last digit changes the logit a lot.
    lost = 0.0 if head is None else ROUNDING_ERRORS * eps * rounded(kept, head)
    difference = ((found.where(finite, 0.0) - kept).abs() - lost).amax(0)
    if not torch.equal(finite, found.isfinite()) or bool((difference > allowed).any()):
        worst = int((difference / allowed.clamp(min=1e-300)).argmax())
        raise RuntimeError(
            f"replayed rows differ from plain ones by {difference[worst]:.2g}, where outputs vary by "
            f"{spread[worst]:.2g}"
        )


def _tolerance(outputs: Tensor) -> float:
    """Return the allowed difference as a fraction of the spread: rounding in chunks of another size."""
    return 2e-2 if torch.finfo(outputs.dtype).bits < 32 else 1e-4
