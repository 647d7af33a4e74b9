"""What failed where a decision is wrong, one decision after the other, in the words of the categories."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from reference.slow import unimodal_contribution

Array = npt.NDArray[np.float64]


def sorted_out(grid: Array, truth: Sequence[Any], task: str) -> list[list[str]]:
    """Categories of every decision of a group, from its ``(N, N, C)`` grid: UC with donors other than the example."""
    alone = unimodal_contribution(grid)
    return [of_example(grid[i, i], alone[i], truth[i], task) for i in range(len(grid))]


def of_example(value: Array, alone: Array, truth: Any, task: str) -> list[str]:
    if task == "multiclass":
        rivals = [k for k in range(len(value)) if k != truth]
        before, after = (float(x[truth] - max(x[k] for k in rivals)) for x in (alone, value))
        return [decided(before, after)]
    if task == "regression":
        return [valued(abs(float(u - t)), abs(float(v - t))) for v, u, t in zip(value, alone, truth, strict=True)]
    signs = [1 if label else -1 for label in np.atleast_1d(truth)]
    return [decided(s * float(u), s * float(v)) for v, u, s in zip(value, alone, signs, strict=True)]


def decided(before: float, after: float) -> str:
    """Of a decision whose margin UC alone leaves at ``before`` and the model at ``after``."""
    if after > 0:
        return "right" if before > 0 else "rescued"
    if before > 0:
        return "spoiled"
    return "misled" if after < before - 0.1 * abs(before) else "unrepaired"


def valued(before: float, after: float) -> str:
    """Of a value whose absolute error is ``before`` without the interaction and ``after`` with it."""
    if after < before - 0.1 * before:
        return "lowered"
    return "raised" if after > before + 0.1 * before else "unchanged"
