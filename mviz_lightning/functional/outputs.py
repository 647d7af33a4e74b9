"""The scale on which outputs are decomposed, and the effect of rounding on shares."""

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Task: TypeAlias = Literal["multiclass", "binary", "multilabel", "regression"]

NOTEWORTHY = 1e-3
"""Smallest :func:`noise_floor` that a report mentions, as a share of the variance: a tenth of a percent."""

Head: TypeAlias = Literal["softmax", "sigmoid"]
"""The function that turned logits into probabilities."""

NEVER = -(2.0**13)
"""Logit of a masked class: finite, exact in every number type, and with a probability of 0."""

SUMMED = 8
"""Largest error of a sum of C probabilities, in eps of its number type, on top of ``sqrt(C)`` eps."""

BARE = 0.01
"""Fraction of exact zeros (or ones) above which the outputs cannot come from a softmax or sigmoid."""

SMALL, NEAR = 1e-6, 16
"""Largest distance to 0 that counts as nearly 0 (the smallest half-precision number is 6e-8); largest distance to 1
that counts as nearly 1, in eps."""

OVER = 1e-5
"""Largest excess over 1 that counts as rounding: the error of a difference of float32 logits of up to 100."""

NEARLY = 0.999
"""Fraction of a limit that counts as the limit, because its logarithm is rounded."""

CLOSE = 0.1
"""Largest distance of the smallest output to 0, and of the largest to 1, for probabilities of a trained model."""

FAR, ALIKE = 1e2, 1e-2
"""Thresholds for the logits of a masked class: smallest size, relative to all other logits; largest spread, relative to
their size."""


def decomposable(outputs: Tensor, task: Task, scale: Tensor | None = None) -> Tensor:
    """Return the outputs in float64 on the scale on which they are decomposed.

    Multiclass: ``logit_c - mean over classes``. Softmax ignores a shift common to all classes; without centring, this
    shift would count as a contribution. Classes that are masked in some row are left out of the mean and become
    constant in all rows, because shares compare only classes that all rows have. Regression: values are divided by
    ``scale``, so that outputs with large units do not dominate. Pass logits, not probabilities: the saturation of
    probabilities counts as interaction.

    Args:
        outputs: ``(..., C)`` logits or predicted values, in any floating type.
        task: Type of the prediction task.
        scale: ``(C,)`` standard deviations of the targets; used for regression only.

    Returns:
        ``(..., C)`` in float64.
    """
    if task == "regression":
        return outputs.double() if scale is None else outputs.double() / scale.to(outputs.device).double()
    never = masked_classes(outputs, task)
    some, found = bool(never.any()), outputs.double()
    if task == "multiclass":
        counted = found[..., ~never] if some else found.contiguous()
        mean = counted.mean(-1, keepdim=True)
        found = found - mean if found is outputs else found.sub_(mean)
    return found.masked_fill(never, NEVER) if some else found


def fold_positions(outputs: Tensor, positions: int) -> Tensor:
    """Return ``(G * P, T, C)`` from ``(G, T, P * C)`` outputs: every position of a group becomes its own group."""
    groups, rows, width = outputs.shape
    return outputs.reshape(groups, rows, positions, width // positions).transpose(1, 2).flatten(0, 1)


def masked_classes(outputs: Tensor, task: Task) -> Tensor:
    """Return which classes or labels the model masks in at least one row.

    Args:
        outputs: ``(..., C)`` outputs in the model's number type.
        task: Type of the prediction task; in a regression nothing is masked.

    Returns:
        ``(C,)`` bool; all False if no class would be left.
    """
    never = masked_entries(outputs, task).view(-1, outputs.shape[-1]).any(0)
    return never & ~never.all()


def masked_entries(outputs: Tensor, task: Task) -> Tensor:
    """Return which classes or labels are masked in each row.

    Models mask with minus infinity, the smallest number of the type, -1e9 or similar numbers, which may be added to a
    logit or turned into a probability of 0. Probabilities do not depend on the choice; variances do. A negative finite
    number is a mask if its size is 100 times that of all other outputs, and if all such numbers of its class are within
    1 %. A class with probability 0 is masked only if it is 0 in all rows, because confident models also round to 0.

    Args:
        outputs: ``(..., C)`` outputs in the model's number type.
        task: Type of the prediction task; in a regression nothing is masked.

    Returns:
        ``(..., C)`` bool, all False in a row that would have no class left.
    """
    rows = outputs.detach().reshape(-1, outputs.shape[-1])
    if task == "regression" or rows.shape[1] == 1 or not len(rows):
        return torch.zeros_like(outputs, dtype=torch.bool)
    nothing = _constant_zeros(rows)
    masked = _far_below(rows, nothing) | nothing
    return (masked & ~masked.all(1, keepdim=True)).view(outputs.shape)


def _constant_zeros(rows: Tensor) -> Tensor:
    """Return ``(C,)``: classes whose output is the logarithm of a probability of 0 in all rows, of two or more."""
    low, high = rows.aminmax(dim=0)
    return (low == high) & (high.double() <= NEARLY * math.log(torch.finfo(rows.dtype).tiny)) & (len(rows) > 1)


def _far_below(rows: Tensor, nothing: Tensor) -> Tensor:
    """Return ``(R, C)``: large negative numbers, similar within their column and far below all other outputs."""
    below = rows <= NEVER
    if not bool(below.any()):
        return below
    rows = rows.double()
    low, high = rows.where(below, torch.inf).amin(0), rows.where(below, -torch.inf).amax(0)
    below &= (low == high) | (high - low <= ALIKE * low.abs())
    rest = rows.masked_fill(below | nothing | ~rows.isfinite(), 0.0).abs().max()
    return below & (rows <= -FAR * rest)


def levelled(outputs: Tensor, task: Task) -> Tensor:
    """Return ``(..., C)`` outputs in which a masked class is exactly :data:`NEVER`, in the rows that mask it."""
    masked = masked_entries(outputs, task)
    return outputs.masked_fill(masked, NEVER) if bool(masked.any()) else outputs


def centred(outputs: Tensor, left_out: Tensor) -> Tensor:
    """Return multiclass logits less their mean over the classes that are masked in no row of a run.

    Unlike in :func:`decomposable`, a class that is masked in other rows keeps its logit, so it can be explained.

    Args:
        outputs: ``(..., C)`` logits.
        left_out: ``(C,)`` bool: the classes that are masked in some row of the run.

    Returns:
        ``(..., C)`` in float64; a masked entry is :data:`NEVER`.
    """
    masked = masked_entries(outputs, "multiclass") | (outputs == NEVER)
    logits = outputs.double()
    mean = logits[..., ~left_out.to(logits.device)].mean(-1, keepdim=True)
    return (logits - mean).masked_fill(masked, NEVER)


def largest_output(outputs: Tensor, task: Task) -> float:
    """Return the largest absolute value of ``(..., C)`` outputs, without masked classes."""
    return float(outputs[..., ~masked_classes(outputs, task)].abs().max())


def sums_to_one(outputs: Tensor, *, within: float | None = None) -> bool:
    """Return whether rows ``(R, C)`` are class probabilities, up to rounding or up to the deviation ``within``."""
    if outputs.shape[1] < 2 or not within_bounds(outputs):
        return False
    rounding = (SUMMED + math.sqrt(outputs.shape[1])) * torch.finfo(outputs.dtype).eps
    return float((outputs.double().sum(1) - 1).abs().max()) <= (rounding if within is None else within)


def sums_to_percent(outputs: Tensor) -> bool:
    """Return whether rows ``(R, C)`` are class probabilities in percent; their logits differ only by a shift."""
    varied = len(outputs) > 1 and bool((outputs != outputs[0]).any())
    return varied and bool((outputs > 1).any()) and sums_to_one(outputs / 100)


def has_bare_bounds(probabilities: Tensor, *, exclusive: bool) -> bool:
    """Return whether probabilities ``(R, C)`` are exactly 0 (or 1) in some rows, and never nearly 0 (or 1).

    Sparsemax, a hard sigmoid, argmax and rounding to a few digits give such outputs. A softmax or sigmoid gives an
    exact 0 or 1 only by rounding, and then other probabilities are nearly 0 or 1.

    Args:
        probabilities: In 0..1.
        exclusive: Whether they are class probabilities. For these a 1 follows from zeros, so ones are not checked.
    """
    near = max(SMALL, NEAR * torch.finfo(probabilities.dtype).eps)
    return _bare(probabilities, SMALL) or (not exclusive and _bare(1 - probabilities, near))


def _bare(probabilities: Tensor, small: float) -> bool:
    """Return whether over 1 % of the entries of used classes are 0, and no other entry is up to ``small``."""
    some = probabilities[:, (probabilities > 0).any(0)]
    zeros = some == 0
    return float(zeros.double().mean()) > BARE and float(some[~zeros].min()) > small


def within_bounds(outputs: Tensor) -> bool:
    """Return whether there are outputs ``(R, C)`` and all lie in 0..1, up to rounding."""
    return outputs.numel() > 0 and bool(((outputs >= 0) & (outputs <= 1 + OVER)).all())


def reaches_bounds(outputs: Tensor) -> bool:
    """Return whether outputs ``(R, C)`` come close to both 0 and 1, like the outputs of a trained sigmoid.

    Logits of an untrained model may also lie between 0 and 1, but they are close together.
    """
    return bool(outputs.min() < CLOSE) and bool(outputs.max() > 1 - CLOSE)


def logits_of(probabilities: Tensor, head: Head) -> Tensor:
    """Return the logits of probabilities in their own type; logits of softmax are centred over the classes.

    Logarithms of small probabilities are clipped at the limit of the number type (-87 in float32). Probabilities that
    round to 1 are clipped to half an ``eps`` below 1 (a logit of 16.6 in float32).

    Args:
        probabilities: ``(..., C)`` in 0..1.
        head: The function that made them.

    Returns:
        ``(..., C)`` logits.
    """
    dtype = probabilities.dtype
    values = probabilities.to(_wide(dtype))
    if head == "softmax":
        return _centred_logs(values, _least(dtype)).to(dtype)
    return values.clamp(_least(dtype), 1 - torch.finfo(dtype).eps / 2).logit().to(dtype)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _least(dtype: torch.dtype) -> float:
    """Return the smallest probability of a type that has a finite logarithm."""
    limits = torch.finfo(dtype)
    return max(limits.tiny * limits.eps, torch.finfo(_wide(dtype)).tiny)


def _centred_logs(probabilities: Tensor, least: float) -> Tensor:
    """Return logarithms less their mean in each row; the mean leaves out zeros, because these classes may be masked."""
    logs, some = probabilities.clamp(min=least).log(), probabilities > 0
    mean = logs.where(some, 0.0).sum(-1, keepdim=True) / some.sum(-1, keepdim=True)
    return (logs - mean).where(some, math.log(least))


def saturated(logits: Tensor, head: Head) -> float:
    """Return the fraction of logits that :func:`logits_of` clipped."""
    low, high = logits_of(logits.new_tensor([0.0, 1.0]), head).tolist()
    cut = logits <= NEARLY * low
    return float((cut if head == "softmax" else cut | (logits >= NEARLY * high)).double().mean())


def decisions(outputs: Tensor, task: Task) -> Tensor:
    """Return the decisions in float64: the predicted class as one-hot, or 0/1 for each label.

    Args:
        outputs: ``(..., C)`` logits.
        task: Type of the prediction task.

    Returns:
        ``(..., C)`` of 0 and 1.

    Raises:
        ValueError: The task is regression.
    """
    if task == "regression":
        raise ValueError("task='regression' has no decisions; allowed are 'multiclass', 'binary' and 'multilabel'.")
    if task == "multiclass":
        return functional.one_hot(outputs.argmax(-1), outputs.shape[-1]).double()
    return (outputs > 0).double()


def noise_floor(outputs: Tensor, modalities: int = 2, head: Head | None = None) -> float:
    """Return the largest share of variance that rounding of the outputs' number type may cause.

    Args:
        outputs: ``(R, C)`` outputs in the model's number type.
        modalities: Number of modalities. With two, the grid squares the rounding error of a row; with three or more,
            the tuples multiply it by the outputs.
        head: The function that made the probabilities, if the outputs are logits of probabilities. Then the rounding of
            the probabilities is used.

    Returns:
        In 0..1; 1 if the outputs do not vary.
    """
    values = outputs.double()
    spread = values.var(0).sum()
    rounding = (torch.finfo(outputs.dtype).eps * rounded(values, head)).square().mean(0).sum()
    floor = rounding / spread / 12 if modalities == 2 else (rounding / spread).sqrt()
    return float(floor.nan_to_num(1.0).clamp(max=1))


def rounded(logits: Tensor, head: Head | None) -> Tensor:
    """Return the rounding error of logits, divided by eps: their size, or ``p dlogit/dp`` for probabilities p."""
    if head is None:
        return logits.abs()
    return torch.maximum(logits.abs(), 1 + logits.exp() if head == "sigmoid" else torch.ones_like(logits))
