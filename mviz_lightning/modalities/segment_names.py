"""Names of columns, channels and spans of time, as figures and tables show them."""

from mviz_lightning.batch import Modality
from mviz_lightning.batch.index import Index
from mviz_lightning.errors import ConfigurationError


def feature_names(modality: Modality, count: int, word: str) -> list[str]:
    """Return the names of columns or channels.

    Args:
        modality: Its ``feature_names`` are used; without them, ``word`` and a number.
        count: Columns or channels of the leaf.
        word: ``"column"`` or ``"channel"``.

    Raises:
        ConfigurationError: ``feature_names`` has another length than ``count``.
    """
    names = modality.feature_names
    if names is None:
        return [f"{word} {place + 1}" for place in _places(modality.values, count)]
    if len(names) != count:
        raise ConfigurationError(
            f"feature_names of {modality.values!r} has {len(names)} names, the leaf has {count} {word}s; give {count}."
        )
    return [str(name) for name in names]


def _places(path: str, count: int) -> list[int]:
    """Return the places of columns in the whole array: those of ``x[2:]`` begin at 2."""
    base, bracket, text = path.removesuffix("]").partition("[")
    return Index.parse(base, text).last_places(count) if bracket and path.endswith("]") else list(range(count))


def time_span(first: int, last: int, rate: float | None) -> str:
    """Return the name of the steps ``first`` to ``last``: in seconds where the rate (steps per second) is known."""
    if rate is not None:
        return f"{first / rate:.3g}-{(last + 1) / rate:.3g} s"
    return f"step {first + 1}" if first == last else f"steps {first + 1}-{last + 1}"
