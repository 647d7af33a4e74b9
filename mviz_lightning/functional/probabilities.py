"""Probabilities for scores: logits of any size keep their order and their decisions.

In float64, the sigmoid of all logits near 1e-30 is exactly 0.5, and the sigmoid of all logits above 37 is exactly 1, so
accuracy and AUROC would see ties. Such logits are stretched or compressed first. No probability changes by over 3e-7.
"""

import torch
from torch import Tensor

from mviz_lightning.functional.outputs import NEVER

TINY = 1e-6
"""Size to which smaller logits are stretched; their probabilities stay within 2.5e-7 of 0.5."""

SURE, SUREST = 15.0, 30.0
"""Logits larger than 15 (a probability of 3e-7 or 1 - 3e-7) are compressed into 15..30. At 30, float64 still resolves
about 800 probabilities below 1 per unit of logit."""


def label_probabilities(logits: Tensor) -> Tensor:
    """Return the sigmoid of ``(..., C)`` logits in float64; different logits give different probabilities."""
    return _resolved(logits).sigmoid()


def class_probabilities(logits: Tensor) -> Tensor:
    """Return the softmax of ``(..., C)`` logits in float64; different margins give different probabilities.

    A class's probability is the sigmoid of its margin, the logit less the logarithm of the sum of the others'
    exponentials. Margins are used only if they are tiny or huge, because rows then sum to 1 only up to 1e-6.
    """
    kept = (logits != NEVER) & (logits != -torch.inf)
    highest, largest = logits.masked_fill(~kept, -torch.inf).amax(-1, keepdim=True), 0.0
    if bool(kept.any()):
        lowest = logits.detach().masked_fill(~kept, torch.inf).amin(-1, keepdim=True)
        largest = float((highest.detach() - lowest).amax())
    if 0 < largest < TINY:
        return ((logits - highest) * (TINY / largest)).masked_fill(~kept, NEVER).softmax(-1)
    if largest <= SUREST or logits.shape[-1] < 2:
        return logits.softmax(-1)
    margins = _margins(logits).masked_fill(~kept, NEVER)
    if not bool(margins.isfinite().all()):  # all other classes of a row are masked
        return logits.softmax(-1)
    return _resolved(margins).sigmoid().masked_fill(~kept, 0.0)


def _margins(logits: Tensor) -> Tensor:
    """Return each logit less the logarithm of the sum of the exponentials of the other logits in its row."""
    leads = torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).bool()
    rest = logits.masked_fill(leads, -torch.inf).logsumexp(-1, keepdim=True)
    everyone = logits.logsumexp(-1, keepdim=True)
    # For a class that is not the largest, the others' sum is the sum of all classes less its own part.
    others = torch.where(leads, rest, everyone + torch.log1p(-(logits - everyone).exp().clamp(max=0.5)))
    return logits - others


def _resolved(logits: Tensor) -> Tensor:
    """Return logits that are stretched if all are tiny, and compressed where they are huge."""
    sizes = logits.abs().where(logits != NEVER, 0.0)
    largest = float(sizes.detach().amax()) if logits.numel() else 0.0
    if 0 < largest < TINY:
        return logits * (TINY / largest)
    if largest <= SUREST:
        return logits
    compressed = SURE + (SUREST - SURE) * (logits.abs() - SURE) / (largest - SURE)
    return torch.where(logits.abs() > SURE, compressed * logits.sign(), logits)
