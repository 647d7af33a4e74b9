"""What a kind of modality knows: its units, their names, what a masked one turns into, and how it is drawn.

A new kind is one subclass of :class:`ModalityType` in one file; importing it registers it under its name.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.batch import Maskable, Modality, Probe
from mviz_lightning.errors import ConfigurationError, MonitorWarning, message_of, renamed_attributes
from mviz_lightning.sinks.records import Samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

REGISTRY: dict[str, type["ModalityType"]] = {}
"""Kinds by name, oldest first."""


@renamed_attributes(units="segments")
class ModalityType(ABC):
    """One modality of all examples, cut into units.

    A subclass says ``name``, :meth:`cut`, :meth:`draw` and :meth:`paint`; it may say the rest.

    Args:
        modality: What the user said of it.
        leaves: All examples, by path, on the CPU.
        values: Path of the leaf that holds the content.

    Attributes:
        segments: What queries mask.
    """

    name: ClassVar[str]
    default_baseline: ClassVar[str] = "mean"
    thumbnail: ClassVar[bool] = True
    """Whether a picture the size of a stamp can be read; otherwise units are listed by name."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            REGISTRY.pop(cls.name, None)  # the newest is asked first
            REGISTRY[cls.name] = cls

    def __init__(self, modality: Modality, leaves: Mapping[str, Any], values: str) -> None:
        self.modality, self.leaves, self.path = modality, leaves, values
        self.segments: Maskable = self.cut()

    @classmethod
    def fits(cls, values: Any) -> bool:
        """Tell whether a leaf looks like this kind when the user did not say."""
        return False

    @property
    def values(self) -> Any:
        """The content of all examples, ``(N, ...)``."""
        return self.leaves[self.path]

    @property
    def mask(self) -> Tensor | None:
        """``(N, ...)`` True at real entries; None when nothing is padded."""
        mask = self.leaves.get(self.modality.mask or "")
        return None if mask is None else mask.bool()

    @classmethod
    def features(cls, values: Any, mask: Tensor | None) -> Tensor | None:
        """Return numbers in which a regression may find what examples say, without a model of the user's.

        Args:
            values: The content of all examples.
            mask: ``(N, ...)`` True at real entries; None when nothing is padded.

        Returns:
            ``(N, D)``, padding as 0; None where there are no numbers.
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
    def cut(self) -> Maskable:
        """Return the units: ``modality.max_segments`` of them at the most, the same whenever the examples are."""

    @property
    def baseline(self) -> str:
        """What a masked unit turns into, in words: "masked parts are ..."."""
        return _in_words(self.default_baseline if self.modality.baseline is None else self.modality.baseline)

    def names(self, example: int, *, inputs: bool = True) -> list[str]:
        """Return what an example's units are called; without ``inputs``, nothing that tells the content."""
        return [f"unit {segment + 1}" for segment in range(self.segments.count(example))]

    def aspect(self, example: int, *, inputs: bool = True) -> float:
        """Return the height of an example's panel, in widths; without ``inputs``, one that tells nothing of them."""
        return 1.0

    @abstractmethod
    def draw(self, axes: "Axes", example: int) -> None:
        """Draw an example's input as a person knows it."""

    def sound(self, example: int) -> Samples | None:
        """Return what can be heard of an example, at ``modality.sample_rate``; None where there is nothing."""
        return None

    @abstractmethod
    def paint(
        self, axes: "Axes", example: int, weights: npt.NDArray[Any], colours: "ScalarMappable", *, inputs: bool = True
    ) -> None:
        """Draw the weights of an example's units.

        Args:
            axes: An empty panel without ticks.
            example: Which.
            weights: ``(U,)`` in units of the output.
            colours: From a weight to its colour: ``colours.to_rgba(weights)``.
            inputs: Whether the input may be seen below.
        """


def modality_type_of(modality: Modality, values: Any) -> type[ModalityType]:
    """Return the kind that the user named, or that the leaf looks like; kinds of the user's own are asked first.

    What has boxes is regions, what has a sample rate audio.

    Raises:
        ConfigurationError: The name is unknown, or the leaf looks like none.
    """
    if modality.kind is not None:
        return _named(modality.kind)
    if modality.boxes is not None:
        return _named("regions")
    if modality.sample_rate is not None:
        return _named("audio")
    for kind in reversed(REGISTRY.values()):
        if kind.fits(values):
            return kind
    raise ConfigurationError(
        f"kind of {modality.values!r}: {_described(values)} looks like none of {', '.join(REGISTRY)}; say "
        f"Modality({modality.values!r}, kind=...)."
    )


def _named(name: str) -> type[ModalityType]:
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


def modality_types_of(probe: Probe) -> dict[str, ModalityType]:
    """Return every modality's kind with the units of all examples; modalities that look like no kind are left out.

    Raises:
        ConfigurationError: A modality cannot be cut or drawn as the user said.
    """
    found = {}
    for name, modality in probe.layout.modalities.items():
        path = probe.layout.values[name][0]
        try:
            kind = modality_type_of(modality, probe.leaves[path])
        except ConfigurationError as error:
            if modality.kind is not None:
                raise
            warnings.warn(f"{name} is not explained. {message_of(error)}", MonitorWarning, stacklevel=2)
            continue
        found[name] = kind(modality, probe.leaves, path)
    return found


def blocks(length: int, parts: int) -> Tensor:
    """Return ``(length,)`` long: which of ``parts`` runs of nearly equal length an entry belongs to."""
    return torch.arange(length) * min(parts, length) // max(length, 1)


def fill(kind: ModalityType, values: Tensor, dims: Sequence[int], mask: Tensor | None = None) -> Tensor:
    """Return what masked entries turn into.

    Args:
        kind: Says which baseline, itself or through its modality.
        values: ``(N, ...)`` all examples.
        dims: Over which the mean is taken.
        mask: Broadcastable to ``values``; entries that count for the mean, if they are finite.

    Returns:
        Broadcastable to ``values``.

    Raises:
        ConfigurationError: The kind knows no such baseline.
    """
    modality = kind.modality
    chosen = kind.default_baseline if modality.baseline is None else modality.baseline
    if chosen == "zero":
        return torch.zeros([1] * values.dim(), dtype=values.dtype)
    if chosen == "mean":
        counts = torch.isfinite(values) if mask is None else torch.isfinite(values) & mask.bool()
        weights = counts.double()
        total = weights.sum(list(dims), keepdim=True).clamp(min=1)
        return ((values.double().where(counts, 0) * weights).sum(list(dims), keepdim=True) / total).to(values.dtype)
    if isinstance(chosen, str):
        raise ConfigurationError(f"baseline={chosen!r} of {modality.values!r}: say 'zero', 'mean' or a number.")
    return torch.full([1] * values.dim(), chosen, dtype=values.dtype)


def _in_words(baseline: str | float) -> str:
    if isinstance(baseline, str):
        return {"zero": "0", "mean": "the examples' mean", "blur": "blurred"}.get(baseline, baseline)
    return f"{baseline:g}"


def _described(values: Any) -> str:
    shape = f" {tuple(values.shape)} of {values.dtype}" if isinstance(values, Tensor) else ""
    return f"a {type(values).__name__}{shape}"
