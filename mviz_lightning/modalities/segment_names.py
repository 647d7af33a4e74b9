"""Names of columns, channels and time spans in figures and tables."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from mviz_lightning.batch import Modality
from mviz_lightning.batch.index import Index
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.modalities.segmentation import blocks


def feature_names(modality: Modality, leaves: Mapping[str, int], word: str) -> list[str]:
    """Return the names of columns or channels, leaf after leaf.

    Args:
        modality: Its ``feature_names`` are used; they may name all leaves or only the first one. Other names are
            ``word`` and a number or, for several leaves, the path of the leaf and a number.
        leaves: Path of each leaf -> its number of columns or channels.
        word: ``"column"`` or ``"channel"``.

    Raises:
        ConfigurationError: ``feature_names`` has another length.
    """
    names, counts = modality.feature_names or (), list(leaves.values())
    if modality.feature_names is not None and len(names) not in (counts[0], sum(counts)):
        held = ", ".join(f"{count} {word}s" for count in counts[:1])
        if len(counts) > 1:
            held = " and ".join(f"{count} {word}s in {path!r}" for path, count in leaves.items())
        raise ConfigurationError(
            f"feature_names of {modality.values!r} has {len(names)} names, the leaf has {held}; give {sum(counts)}."
        )
    return [*map(str, names), *_numbered(leaves, word)[len(names) :]]


def _numbered(leaves: Mapping[str, int], word: str) -> list[str]:
    placed = [(*_placed(path, count), count) for path, count in leaves.items()]
    if len(leaves) == 1:
        return [f"{word} {place + 1}" for _, places, _ in placed for place in places]
    return [f"{path} {place + 1}" if count > 1 else path for path, places, count in placed for place in places]


def _placed(path: str, count: int) -> tuple[str, list[int]]:
    """Return the path of the whole array, and the positions of columns in it; for ``x[2:]`` they begin at 2."""
    base, bracket, text = path.removesuffix("]").partition("[")
    if bracket and path.endswith("]"):
        return base if count > 1 else path, Index.parse(base, text).last_places(count)
    return path, list(range(count))


def time_span(first: int, last: int, rate: float | None) -> str:
    """Return the name of the steps ``first`` to ``last``, in seconds if the rate (steps per second) is known."""
    if rate is not None:
        return f"{first / rate:.3g}-{(last + 1) / rate:.3g} s"
    return f"step {first + 1}" if first == last else f"steps {first + 1}-{last + 1}"


def names_of_runs(names: Sequence[str], most: int) -> list[str]:
    """Return the names of up to ``most`` runs of adjacent columns or channels.

    Example:
        >>> names_of_runs(["a", "b", "c", "d", "e"], 2)
        ['a to c', 'd to e']
    """
    ends = [0, *blocks(len(names), most).bincount().cumsum(0).tolist()]
    return [names[a] if b - a == 1 else f"{names[a]} to {names[b - 1]}" for a, b in pairwise(ends)]
