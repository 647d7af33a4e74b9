"""What several kinds need: padding, names of columns, spans of time."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mviz_lightning.batch import Modality
from mviz_lightning.errors import ConfigurationError

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable


def real_entries(mask: Tensor | None, length: int) -> Tensor | None:
    """Return which entries are no padding.

    Args:
        mask: ``(N, length)``, with further axes of size 1, or ``(N, ..., length)`` where queries see different keys.
        length: Of an example.

    Returns:
        ``(N, length)`` boolean; None where there is no mask, or one of other entries.
    """
    if mask is None or mask.dim() < 2:
        return None
    if mask[0].numel() == length:
        return mask.bool().flatten(1)
    return mask.bool().flatten(1, -2).any(1) if mask.shape[-1] == length else None


def runs(chosen: Tensor, parts: int) -> Tensor:
    """Cut the chosen entries of every row into runs of nearly equal length.

    Args:
        chosen: ``(N, L)`` how many things begin at an entry (0 or 1), for entries that belong to any; else -1.
        parts: At the most.

    Returns:
        ``(N, L)`` long: the run, -1 where nothing was chosen.
    """
    if not chosen.numel():
        return chosen
    number = chosen.clamp(min=0).cumsum(1) - 1
    count = number.max(1, keepdim=True).values + 1
    return (number * count.clamp(max=parts) // count.clamp(min=1)).where(chosen >= 0, -1)


def labels(modality: Modality, count: int, word: str) -> list[str]:
    """Return the names of columns or channels.

    Raises:
        ConfigurationError: There are more or fewer names.
    """
    names = modality.feature_names
    if names is None:
        return [f"{word} {number + 1}" for number in range(count)]
    if len(names) != count:
        raise ConfigurationError(
            f"feature_names of {modality.values!r} has {len(names)} names, the leaf has {count} {word}s; give {count}."
        )
    return [str(name) for name in names]


def span(first: int, last: int, rate: float | None) -> str:
    """Name a run of steps, or of seconds."""
    if rate is not None:
        return f"{first / rate:.3g}-{(last + 1) / rate:.3g} s"
    return f"step {first + 1}" if first == last else f"steps {first + 1}-{last + 1}"


def full_scale(colours: "ScalarMappable", weights: npt.NDArray[Any]) -> float:
    """Return the weight of the strongest colour."""
    high = colours.get_clim()[1]
    return float(high or np.abs(weights).max(initial=0) or 1)
