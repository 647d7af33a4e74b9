"""The scale on which outputs are decomposed, and what their rounding can pretend."""

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Task: TypeAlias = Literal["multiclass", "binary", "multilabel", "regression"]

NOTEWORTHY = 1e-3
"""Smallest :func:`noise_floor` that a report mentions, as a share of the variance: a tenth of a percent."""

Head: TypeAlias = Literal["softmax", "sigmoid"]
"""The function that made probabilities of logits."""

NEVER = -(2.0**13)
"""Logit given to a masked class: finite, exact in every type, and a probability of 0."""

SUMMED = 8
"""Largest error of a sum of probabilities, in roundings (eps) of its type, less the square root of their number."""

BARE = 0.01
"""Smallest share of exact zeros or ones that shows that no softmax or sigmoid made them."""

SMALL, NEAR = 1e-6, 16
"""Largest distance to 0 that is nearly 0 (half precision's smallest number is 6e-8); to 1, in eps if that is more."""

OVER = 1e-5
"""Largest excess over 1 that is rounding: of a difference of logits of up to 100 in float32."""

NEARLY = 0.999
"""Fraction of a limit that counts as reaching it, because its logarithm is rounded."""

CLOSE = 0.1
"""Largest distance to 0, and to 1, of the smallest and largest outputs that may be probabilities of a trained model."""

FAR, ALIKE = 1e2, 1e-2
"""Smallest size of a masked class's logits, relative to the others; largest spread, relative to their own size."""


def decomposable(outputs: Tensor, task: Task, scale: Tensor | None = None) -> Tensor:
    """Return the outputs in float64 on the scale on which they are decomposed.

    Multiclass: ``logit_c - mean over classes``, because softmax ignores a shift common to all classes, and without
    centring it counts as a contribution. Classes that some row masks are left out of the mean and become one constant
    in all rows, because shares compare what all rows have. Regression: values are divided by ``scale``, so that outputs
    with large units do not dominate. Pass logits, not probabilities: the saturation of probabilities counts as
    interaction.

    Args:
        outputs: ``(..., C)`` logits or predicted values, in any floating type.
        task: What the outputs stand for.
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
    """Return ``(G * P, T, C)`` of ``(G, T, P * C)`` outputs: every position of a group becomes a group of its own."""
    groups, rows, width = outputs.shape
    return outputs.reshape(groups, rows, positions, width // positions).transpose(1, 2).flatten(0, 1)


def masked_classes(outputs: Tensor, task: Task) -> Tensor:
    """Tell which classes or labels the model excludes in some row or in all.

    Args:
        outputs: ``(..., C)`` outputs in the model's number type.
        task: What the outputs stand for; in a regression nothing is masked.

    Returns:
        ``(C,)`` bool; all False if no class would be left.
    """
    never = masked_entries(outputs, task).view(-1, outputs.shape[-1]).any(0)
    return never & ~never.all()


def masked_entries(outputs: Tensor, task: Task) -> Tensor:
    """Tell which classes or labels each row excludes.

    Models use minus infinity, the smallest number of the type, -1e9 and similar numbers, also added to a logit or cut
    off by softmax. Probabilities do not depend on the choice; variances do. A finite number is a mask if it is
    hundredfold larger than all other outputs, and if all such numbers of its class are alike. A class whose
    probability is 0 counts only where it is 0 in all rows, because a model that is sure rounds to 0 too.

    Args:
        outputs: ``(..., C)`` outputs in the model's number type.
        task: What the outputs stand for; in a regression nothing is masked.

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
    """Return ``(C,)``: where the logarithm of a probability of 0 stands in all of several rows."""
    low, high = rows.aminmax(dim=0)
    return (low == high) & (high.double() <= NEARLY * math.log(torch.finfo(rows.dtype).tiny)) & (len(rows) > 1)


def _far_below(rows: Tensor, nothing: Tensor) -> Tensor:
    """Return ``(R, C)``: huge negative numbers that are alike in their column, and far below all that are not."""
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
    """Return multiclass logits less their mean over the classes that no row of a run masks.

    Unlike in :func:`decomposable`, a class that other rows mask keeps its logit, so that it can be explained.

    Args:
        outputs: ``(..., C)`` logits.
        left_out: ``(C,)`` bool: the classes that some row of the run masks.

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
    """Tell whether rows ``(R, C)`` are probabilities of classes: up to rounding of their type, or to a deviation."""
    if outputs.shape[1] < 2 or not within_bounds(outputs):
        return False
    rounding = (SUMMED + math.sqrt(outputs.shape[1])) * torch.finfo(outputs.dtype).eps
    return float((outputs.double().sum(1) - 1).abs().max()) <= (rounding if within is None else within)


def sums_to_percent(outputs: Tensor) -> bool:
    """Tell whether rows ``(R, C)`` are probabilities of classes in percent: their logits are those up to a shift."""
    varied = len(outputs) > 1 and bool((outputs != outputs[0]).any())
    return varied and bool((outputs > 1).any()) and sums_to_one(outputs / 100)


def has_bare_bounds(probabilities: Tensor, *, exclusive: bool) -> bool:
    """Tell whether probabilities ``(R, C)`` are exactly 0 (or 1) in some rows, and none is nearly so.

    Sparsemax, a hard sigmoid, argmax and rounding to some digits make such ones. A softmax or sigmoid rounds to 0 and 1
    only what is closer than the number type can tell, and then others are nearly as close.

    Args:
        probabilities: In 0..1.
        exclusive: Whether they are those of classes, of which 1 follows from zeros.
    """
    near = max(SMALL, NEAR * torch.finfo(probabilities.dtype).eps)
    return _bare(probabilities, SMALL) or (not exclusive and _bare(1 - probabilities, near))


def _bare(probabilities: Tensor, small: float) -> bool:
    """Tell whether there are zeros in classes that are not 0 in all rows, and no number of up to ``small``."""
    some = probabilities[:, (probabilities > 0).any(0)]
    zeros = some == 0
    return float(zeros.double().mean()) > BARE and float(some[~zeros].min()) > small


def within_bounds(outputs: Tensor) -> bool:
    """Tell whether there are outputs ``(R, C)`` and all lie in 0..1, up to rounding of the numbers before."""
    return outputs.numel() > 0 and bool(((outputs >= 0) & (outputs <= 1 + OVER)).all())


def reaches_bounds(outputs: Tensor) -> bool:
    """Tell whether outputs ``(R, C)`` come close to 0 and to 1, as those of a trained sigmoid do.

    The logits of an untrained model often lie between 0 and 1 too, but close together.
    """
    return bool(outputs.min() < CLOSE) and bool(outputs.max() > 1 - CLOSE)


def logits_of(probabilities: Tensor, head: Head) -> Tensor:
    """Return the logits of probabilities in their own type; logits of softmax are centred over the classes.

    Logarithms of small probabilities are cut off at the end of the type (-87 in float32). Probabilities that round to 1
    are cut off at half an ``eps`` below it (a logit of 16.6 in float32).

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
    """Return logarithms less their mean in each row; zeros do not count for the mean, because they may be masked."""
    logs, some = probabilities.clamp(min=least).log(), probabilities > 0
    mean = logs.where(some, 0.0).sum(-1, keepdim=True) / some.sum(-1, keepdim=True)
    return (logs - mean).where(some, math.log(least))


def saturated(logits: Tensor, head: Head) -> float:
    """Return the fraction of :func:`logits_of` that were cut off."""
    low, high = logits_of(logits.new_tensor([0.0, 1.0]), head).tolist()
    cut = logits <= NEARLY * low
    return float((cut if head == "softmax" else cut | (logits >= NEARLY * high)).double().mean())


def decisions(outputs: Tensor, task: Task) -> Tensor:
    """Return the decisions in float64: the predicted class as one-hot, or 0/1 for each label.

    Args:
        outputs: ``(..., C)`` logits.
        task: What the outputs stand for.

    Returns:
        ``(..., C)`` of 0 and 1.

    Raises:
        ValueError: The task is regression.
    """
    if task == "regression":
        raise ValueError("task='regression': values are no decisions.")
    if task == "multiclass":
        return functional.one_hot(outputs.argmax(-1), outputs.shape[-1]).double()
    return (outputs > 0).double()


def noise_floor(outputs: Tensor, modalities: int = 2, head: Head | None = None) -> float:
    """Return the share of variance up to which a share may be rounding of the outputs' number type.

    Args:
        outputs: ``(R, C)`` outputs in the model's number type.
        modalities: Number of modalities. The grid of two squares the rounding error of a row; the tuples of three and
            more multiply it with the outputs.
        head: The function that made probabilities, if these are their logits; then the rounding is theirs.

    Returns:
        In 0..1; 1 if the outputs do not vary.
    """
    values = outputs.double()
    spread = values.var(0).sum()
    rounding = (torch.finfo(outputs.dtype).eps * rounded(values, head)).square().mean(0).sum()
    floor = rounding / spread / 12 if modalities == 2 else (rounding / spread).sqrt()
    return float(floor.nan_to_num(1.0).clamp(max=1))


def rounded(logits: Tensor, head: Head | None) -> Tensor:
    """Return the size whose rounding logits have: their own, or with probabilities p of a head ``p dlogit/dp``."""
    if head is None:
        return logits.abs()
    return torch.maximum(logits.abs(), 1 + logits.exp() if head == "sigmoid" else torch.ones_like(logits))
