"""The interface of a modality type: its segments, their names, their baseline, and how they are drawn.

A new modality type is one subclass of :class:`ModalityType` in one file. Importing the file registers it by its name.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.batch import BatchSchema, Modality, Segmentation
from mviz_lightning.batch.masking import parts_of
from mviz_lightning.batch.padding import real_along
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.errors.deprecations import renamed_attributes
from mviz_lightning.modalities.companions import with_companions_read
from mviz_lightning.modalities.placed_items import as_placed
from mviz_lightning.modalities.typical_values import baseline_in_words, chosen_baseline
from mviz_lightning.sinks.records import Samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

REGISTRY: dict[str, type["ModalityType"]] = {}
"""Modality types by name, oldest first."""

TYPES_BY_ARGUMENT = {"edges": "graph", "grid": "patches", "boxes": "regions", "sample_rate": "audio"}
"""Argument of a modality -> the type of a modality that has it."""


@renamed_attributes(units="segments")
class ModalityType(ABC):
    """One modality of all examples, divided into segments.

    A subclass defines ``name``, :meth:`cut`, :meth:`draw` and :meth:`paint`. The other methods have defaults.

    Args:
        modality: The user's description of the modality.
        leaves: All examples: tensors (or lists of strings) by path, on the CPU.
        values: Path of the leaf with the content.
        own: ``(N, ...)`` in the shape of the content, False where an example was padded to the largest shape; None if
            all examples have one shape.
        maskable: ``(N, ...)`` bool, False at entries that are never masked although they are not padding, such as
            placeholder tokens; None if all entries may be masked.

    Attributes:
        segments: The segments that are masked.
    """

    name: ClassVar[str]
    """The value of ``Modality(kind=...)`` that selects this type."""
    default_baseline: ClassVar[str] = "mean"
    """The baseline if ``Modality(baseline=...)`` is not given: ``"mean"`` or ``"zero"``."""
    thumbnail: ClassVar[bool] = True
    """Whether a drawing is legible at thumbnail size. Otherwise small figures list the segments by name."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            REGISTRY.pop(cls.name, None)  # moves the type to the end; the newest is tried first
            REGISTRY[cls.name] = cls

    def __init__(
        self,
        modality: Modality,
        leaves: Mapping[str, Any],
        values: str,
        own: Tensor | None = None,
        maskable: Tensor | None = None,
    ) -> None:
        self.modality, self.leaves, self.path, self.own, self.maskable = modality, leaves, values, own, maskable
        self.segments: Segmentation = self.cut()

    @classmethod
    def fits(cls, values: Any) -> bool:
        """Return whether a leaf looks like this type; used if ``Modality(kind=...)`` is not given."""
        return False

    @classmethod
    def fits_beside(cls, values: Any, further: Sequence[Any]) -> bool:
        """Return whether a leaf with further leaves of its modality looks like this type; by default :meth:`fits`."""
        return cls.fits(values)

    @property
    def values(self) -> Any:
        """The content of all examples, ``(N, ...)``."""
        return self.leaves[self.path]

    @property
    def companions(self) -> dict[str, Any]:
        """Path -> leaf for the modality's further leaves: all but the values, the mask and the presence leaf."""
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
        """Paths of the leaves that segments cover: the values, and further leaves that are masked with them."""
        masked = [part.leaf for part in parts_of(self.segments)]
        return [self.path, *(path for path in self.companions if path in masked)]

    @property
    def mask(self) -> Tensor | None:
        """``(N, ...)`` boolean: True at real entries, False at padding. None without a mask."""
        return self.modality.real_entries(self.leaves)

    def real_entries(self, axis: int = 1) -> Tensor | None:
        """Return which of the L entries along an axis of the content are not padding, ``(N, L)`` boolean.

        None if no entry is known to be padding.
        """
        length = self.values.shape[axis]
        real = real_along(self.mask, length)
        if self.own is None:
            return real
        own = self.own.movedim(axis, 1).reshape(len(self.own), length, -1).any(2)
        return own if real is None else real & own

    @classmethod
    def features(cls, values: Any, mask: Tensor | None) -> Tensor | None:
        """Return raw-input features: numbers from which a regression can predict the labels without the user's model.

        Args:
            values: The content of all examples, ``(N, ...)``.
            mask: ``(N, ...)`` boolean: True at real entries. None without a mask.

        Returns:
            ``(N, D)`` with 0 at padding; None if the content is not numeric.
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
        """The baseline of masked segments, in words that complete "masked parts are ..."."""
        return baseline_in_words(chosen_baseline(self))

    def names(self, example: int, *, inputs: bool = True) -> list[str]:
        """Return the names of an example's segments; with ``inputs=False``, names that do not reveal the input."""
        return [f"segment {segment + 1}" for segment in range(self.segments.count(example))]

    def aspect(self, example: int, *, inputs: bool = True) -> float:
        """Return height over width of an example's panel; with ``inputs=False``, independent of the input."""
        return 1.0

    @abstractmethod
    def draw(self, axes: "Axes", example: int) -> None:
        """Draw an example's input into an empty panel without ticks."""

    def view(self, example: int, *, inputs: bool = True) -> dict[str, Any]:
        """Return the data for drawing weights on an example later, as plain data with the entry ``"view"``.

        Args:
            example: Index of the example, from 0 to N - 1.
            inputs: Whether the data may contain the input.
        """
        return {"view": "list"}

    @property
    def picture_counts(self) -> list[int]:
        """Number of pictures of every example, if a text modality counts them too; by default 0."""
        return [0] * len(self.values)

    def sound(self, example: int) -> Samples | None:
        """Return an example's sound at ``modality.sample_rate``, ``(T, C)`` int16; None if it has no sound."""
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


def modality_type_of(modality: Modality, values: Any, further: Sequence[Any] = ()) -> type[ModalityType]:
    """Return the modality type that ``Modality(kind=...)`` names, or the newest type that fits the leaf.

    A modality with ``edges`` is ``graph``, with a ``grid`` ``patches``, with ``boxes`` ``regions``, and with a
    ``sample_rate`` ``audio``.

    Args:
        modality: The user's description of the modality.
        values: The leaf with the content.
        further: The further leaves of the modality.

    Raises:
        ConfigurationError: No modality type has this name, or no type fits the leaf.
    """
    if modality.kind is not None:
        return registered_type(modality.kind)
    for argument, name in TYPES_BY_ARGUMENT.items():
        if getattr(modality, argument) is not None:
            return registered_type(name)
    timed = modality.time_axis is not None or modality.rate is not None
    for modality_type in reversed(REGISTRY.values()):
        if modality_type.name == "tabular" and timed:
            continue  # (N, 1, D) may be one channel
        if modality_type.fits_beside(values, further if modality.decode is None else ()):
            return modality_type
    shape = f" {tuple(values.shape)} of {values.dtype}" if isinstance(values, Tensor) else ""
    raise ConfigurationError(
        f"kind of {modality.values!r}: a {type(values).__name__}{shape} looks like none of {', '.join(REGISTRY)}; name "
        f"the kind: Modality({modality.values!r}, kind=...)."
    )


def type_in(schema: BatchSchema, leaves: Mapping[str, Any], name: str, own: Tensor | None = None) -> type[ModalityType]:
    """Return the type of one of a schema's modalities, by :func:`modality_in` and :func:`modality_type_of`."""
    path, *further = schema.values[name]
    modality = modality_in(schema, leaves, name, own)
    return modality_type_of(modality, leaves[path], [leaves[other] for other in further if other != modality.present])


def modality_in(schema: BatchSchema, leaves: Mapping[str, Any], name: str, own: Tensor | None = None) -> Modality:
    """Return one of a schema's modalities, with ``edges`` or ``grid`` found among its leaves.

    Args:
        schema: The batch's schema.
        leaves: Path -> leaf.
        name: Name of the modality.
        own: ``(N, ...)`` in the shape of the content, False where an example was padded; None if none was.
    """
    path, *further = schema.values[name]
    shown = {one: leaves[one] for one in (path, *further)}
    return with_companions_read(as_placed(schema, leaves, name), path, shown, own)


def registered_type(name: str) -> type[ModalityType]:
    """Return the modality type of a name or of a dotted path."""
    if name in REGISTRY:
        return REGISTRY[name]
    try:
        found = resolve_name(name) if "." in name else None
    except (ImportError, AttributeError, ValueError):
        found = None
    if isinstance(found, type) and issubclass(found, ModalityType):
        return found
    raise ConfigurationError(
        f"kind={name!r}: choose one of {', '.join(REGISTRY)}, or give the dotted path of a subclass of "
        "mviz_lightning.kinds.ModalityType."
    )
