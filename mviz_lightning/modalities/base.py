"""The interface of a modality type: its segments, their names, what a masked one becomes, and how it is drawn.

A new modality type is one subclass of :class:`ModalityType` in one file. Importing the file registers it by its name.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.batch import Modality, Segmentation
from mviz_lightning.batch.masking import parts_of
from mviz_lightning.batch.padding import real_along
from mviz_lightning.errors import (
    ConfigurationError,
    renamed_arguments,
    renamed_attributes,
)
from mviz_lightning.modalities.typical_values import mean_over
from mviz_lightning.sinks.records import Samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

REGISTRY: dict[str, type["ModalityType"]] = {}
"""Modality types by name, oldest first."""

BASELINE_WORDS = {"zero": "0", "mean": "the examples' mean", "mode": "the most frequent value", "blur": "blurred"}
"""Baseline -> words that complete "masked parts are ..."."""


@renamed_attributes(units="segments")
class ModalityType(ABC):
    """One modality of all examples, divided into segments.

    A subclass defines ``name``, :meth:`cut`, :meth:`draw` and :meth:`paint`. The other methods have defaults.

    Args:
        modality: The user's description of the modality.
        leaves: All examples: tensors (or lists of strings) by path, on the CPU.
        values: Path of the leaf that holds the content.
        own: ``(N, ...)`` in the shape of the content, False where an example was padded to the shape of the largest;
            None where all examples have one shape.

    Attributes:
        segments: The segments that queries mask.
    """

    name: ClassVar[str]
    """The value of ``Modality(kind=...)`` that selects this type."""
    default_baseline: ClassVar[str] = "mean"
    """The baseline where ``Modality(baseline=...)`` is not given: ``"mean"`` or ``"zero"``."""
    integer_baseline: ClassVar[str | None] = None
    """The same for integers and booleans, where it differs: ``"mode"``, the most frequent value."""
    thumbnail: ClassVar[bool] = True
    """Whether a drawing of thumbnail size can be read. Otherwise small figures list the segments by name."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            REGISTRY.pop(cls.name, None)  # the newest is tried first
            REGISTRY[cls.name] = cls

    def __init__(self, modality: Modality, leaves: Mapping[str, Any], values: str, own: Tensor | None = None) -> None:
        self.modality, self.leaves, self.path, self.own = modality, leaves, values, own
        self.segments: Segmentation = self.cut()

    @classmethod
    def fits(cls, values: Any) -> bool:
        """Return whether a leaf looks like this type; used where ``Modality(kind=...)`` is not given."""
        return False

    @classmethod
    def fits_beside(cls, values: Any, further: Sequence[Any]) -> bool:
        """Return whether a leaf looks like this type beside further leaves of its modality; by default :meth:`fits`."""
        return cls.fits(values)

    @property
    def values(self) -> Any:
        """The content of all examples, ``(N, ...)``."""
        return self.leaves[self.path]

    @property
    def companions(self) -> dict[str, Any]:
        """Path -> leaf for the modality's further leaves: all but the values, the mask and what tells its presence."""
        telling = (self.modality.mask_leaf, self.modality.present)
        named = [path for path in self.modality.leaves if path not in telling]
        return {
            path: leaf
            for path, leaf in self.leaves.items()
            if path not in (self.path, *telling)
            and any(path == given or path.startswith(f"{given}.") for given in named)
        }

    @property
    def content(self) -> list[str]:
        """Paths of the leaves that segments stand for: the values, and further leaves that are masked with them."""
        masked = [part.leaf for part in parts_of(self.segments)]
        return [self.path, *(path for path in self.companions if path in masked)]

    @property
    def mask(self) -> Tensor | None:
        """``(N, ...)`` boolean: True at real entries, False at padding. None without a mask."""
        return self.modality.real_entries(self.leaves)

    def real_entries(self, axis: int = 1) -> Tensor | None:
        """Return which of the L entries along an axis of the content are not padding, ``(N, L)`` boolean.

        None where none is known to be padding.
        """
        length = self.values.shape[axis]
        real = real_along(self.mask, length)
        if self.own is None:
            return real
        own = self.own.movedim(axis, 1).reshape(len(self.own), length, -1).any(2)
        return own if real is None else real & own

    @classmethod
    def features(cls, values: Any, mask: Tensor | None) -> Tensor | None:
        """Return raw-input features: numbers on which a regression can predict the labels without the user's model.

        Args:
            values: The content of all examples, ``(N, ...)``.
            mask: ``(N, ...)`` boolean: True at real entries. None without a mask.

        Returns:
            ``(N, D)`` with 0 at padding; None where the content is not numeric.
        """
        if not isinstance(values, Tensor):
            return None
        if mask is not None and mask.dim() == values.dim() and mask.shape[-1] == 1:
            mask = mask.squeeze(-1)
        if mask is not None and mask.shape == values.shape[: mask.dim()]:
            real = mask.view(*mask.shape, *[1] * (values.dim() - mask.dim()))
            values = torch.where(real, values, torch.zeros((), dtype=values.dtype))
        return torch.as_tensor(values).reshape(len(values), -1)

    @abstractmethod
    def cut(self) -> Segmentation:
        """Divide the examples into segments: up to ``modality.max_segments`` per example, the same for equal inputs."""

    @property
    def baseline(self) -> str:
        """What a masked segment becomes, in words that complete "masked parts are ..."."""
        return _baseline_in_words(_chosen_baseline(self))

    def names(self, example: int, *, inputs: bool = True) -> list[str]:
        """Return the names of an example's segments; with ``inputs=False``, names that do not reveal the input."""
        return [f"segment {segment + 1}" for segment in range(self.segments.count(example))]

    def aspect(self, example: int, *, inputs: bool = True) -> float:
        """Return height over width of an example's panel; with ``inputs=False``, independent of the input."""
        return 1.0

    @abstractmethod
    def draw(self, axes: "Axes", example: int) -> None:
        """Draw an example's input into an empty panel without ticks."""

    def sound(self, example: int) -> Samples | None:
        """Return an example's sound at ``modality.sample_rate``, ``(T, C)`` int16; None where there is none."""
        return None

    @abstractmethod
    def paint(
        self, axes: "Axes", example: int, weights: npt.NDArray[Any], colours: "ScalarMappable", *, inputs: bool = True
    ) -> None:
        """Draw the weights of an example's segments.

        Args:
            axes: An empty panel without ticks.
            example: Index of the example, from 0 to N - 1.
            weights: ``(segments,)``, in the unit of the explained output.
            colours: Maps weights to colours: ``colours.to_rgba(weights)``.
            inputs: Whether the drawing may show the input below the weights.
        """


@renamed_arguments(kind="modality_type")
def fill(modality_type: ModalityType, values: Tensor, dims: Sequence[int], mask: Tensor | None = None) -> Tensor:
    """Return the baseline: the values that masked entries get.

    Args:
        modality_type: Its ``default_baseline``, or the ``baseline`` of its modality, decides.
        values: ``(N, ...)``, all examples.
        dims: Axes over which ``"mean"`` is taken; for ``"mode"``, the first ones.
        mask: Broadcastable to ``values``: True at entries that count for the mean. Non-finite entries never count. For
            ``"mode"`` it has size 1 behind ``dims``.

    Returns:
        Broadcastable to ``values``, of the same element type.

    Raises:
        ConfigurationError: The baseline is another text than ``"zero"`` and ``"mean"``.
    """
    chosen = _chosen_baseline(modality_type)
    if chosen == "mode":
        return _mode(values, len(dims), mask)
    if chosen == "zero":
        return torch.zeros([1] * values.dim(), dtype=values.dtype)
    if chosen == "mean":
        return mean_over(values, dims, mask)
    if isinstance(chosen, str):
        path = modality_type.modality.values
        raise ConfigurationError(f"baseline={chosen!r} of {path!r}: give 'zero', 'mean' or a number.")
    return torch.full([1] * values.dim(), chosen, dtype=values.dtype)


def _mode(values: Tensor, dims: int, mask: Tensor | None) -> Tensor:
    """Return the most frequent value of each column behind the first ``dims`` axes; 0 where none counts."""
    rows = values.flatten(0, dims - 1)
    found = rows if mask is None else rows[mask.bool().flatten()]
    column = found.long().mode(0).values if len(found) else rows.new_zeros(rows.shape[1:])
    return column.to(values.dtype).view(*[1] * dims, *rows.shape[1:])


def _chosen_baseline(modality_type: ModalityType) -> str | float:
    given, of_integers = modality_type.modality.baseline, modality_type.integer_baseline
    if given is None and of_integers is not None and not modality_type.values.is_floating_point():
        return of_integers
    return modality_type.default_baseline if given is None else given


def _baseline_in_words(baseline: str | float) -> str:
    if isinstance(baseline, str):
        return {"zero": "0", "mean": "the examples' mean", "mode": "the most frequent value", "blur": "blurred"}.get(
            baseline, baseline
        )
    return f"{baseline:g}"


def found_in(leaf: Any) -> str:
    """Return the shape of a leaf that does not fit, or what it is, for messages."""
    return "no such leaf" if leaf is None else str(tuple(getattr(leaf, "shape", ())) or type(leaf).__name__)
