"""What is written: plain data that any sink can take."""

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""``(H, W, 3)`` in 0..255. Always uint8: W&B turns float images black."""


@dataclass(frozen=True)
class Image:
    """A picture under a key; keys of one training are written again and again."""

    key: str
    pixels: Pixels
    caption: str = ""


@dataclass(frozen=True)
class Row:
    """One run of the monitor: where in the training it was, and its values.

    Attributes:
        stage: ``fit``, ``validate`` or ``test``.
        epoch: Of the training.
        step: Optimizer steps, at the x-axis of the loggers.
        values: By name, without prefix; empty when the run failed.
        note: What a reader of the curve has to know: an error, a probe drawn anew.
    """

    stage: str
    epoch: int
    step: int
    values: dict[str, float] = field(default_factory=dict)
    note: str = ""
