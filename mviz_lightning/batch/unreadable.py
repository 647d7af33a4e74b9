"""Errors for batches that cannot be read: they name the batch and its leaves, not only the inner error."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from mviz_lightning.batch.discovery import describe_leaves
from mviz_lightning.errors import ConfigurationError, NotMeasurableError, describe_error

ALIKE = "Give all batches of the validation loader the same leaves, each of one type and of one shape per example."


@contextmanager
def readable(batch: Any) -> Iterator[None]:
    """Replace errors of the block, which reads a batch, by an error that describes the batch.

    Raises:
        NotMeasurableError: The block fails.
    """
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:
        raise NotMeasurableError(
            f"a batch cannot be read ({describe_error(error)}); its leaves: {describe_leaves(batch)}. {ALIKE}"
        ) from error


@contextmanager
def joinable(rows: Iterable[Mapping[str, Any]]) -> Iterator[None]:
    """Replace errors of the block, which joins examples of several batches, by an error that names differing leaves.

    Args:
        rows: Path -> leaf, for each example.

    Raises:
        NotMeasurableError: The block fails.
    """
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:
        differing = "; ".join(_differing(list(rows))) or describe_error(error)
        raise NotMeasurableError(
            f"examples of several batches cannot be joined in one: {differing}. {ALIKE}"
        ) from error


def _differing(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield descriptions of the leaves that have several types."""
    for path in rows[0] if rows else ():
        kinds = sorted({_kind_of(row[path]) for row in rows})
        if len(kinds) > 1:
            yield f"{path!r} is {' or '.join(kinds)}"


def _kind_of(leaf: Any) -> str:
    """Return the properties that must be equal in all batches, in words."""
    return f"a {type(leaf).__name__}" + (f" of {leaf.dim() - 1} axes per example" if isinstance(leaf, Tensor) else "")
