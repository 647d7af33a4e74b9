"""The common tools for drawings of all methods: modality types, labels, one canvas; and the sounds of examples."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from mviz_lightning.batch.explained_regions import ExplainedRegions
from mviz_lightning.errors.arguments import enumerated
from mviz_lightning.errors.deprecations import renamed_attributes
from mviz_lightning.modalities import ModalityType
from mviz_lightning.modalities.video import Video
from mviz_lightning.plotting.canvas import Canvas, diverging
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.plotting.outlines import draw_outline
from mviz_lightning.sinks.records import PredictionRecord, Sound

if TYPE_CHECKING:
    import numpy.typing as npt

MARKED = 2.0
"""Limit of the colour scale for marked words, whose weight is 1: it gives a light colour, on which text is legible."""

A = TypeVar("A")
B = TypeVar("B")


@renamed_attributes(kinds="modality_types")
@dataclass(frozen=True)
class DrawingContext:
    """The context of drawings: types of modalities, names of classes, and whether inputs may be shown.

    Attributes:
        modality_types: Name of a modality -> how it is drawn.
        labels: Names of classes and outputs.
        show_inputs: Whether inputs may be shown and played.
        unmasked: Name of a modality -> its leaves that change the outputs but are never masked.
        regions: The regions whose outputs are explained; None if an example has one row of outputs.
    """

    modality_types: Mapping[str, ModalityType]
    labels: Labels
    show_inputs: bool = True
    unmasked: Mapping[str, Sequence[str]] = field(default_factory=dict)
    regions: ExplainedRegions | None = field(default=None, compare=False)
    _failures: list[Exception] = field(default_factory=list, compare=False, repr=False)

    @cached_property
    def canvas(self) -> Canvas:
        """The canvas of all pictures of this context; panels are reused."""
        return Canvas()

    @property
    def outlined(self) -> str:
        """Explanation of outlines and marked words for the foot of a picture; ``""`` if there are none."""
        return " Outlined or marked: the region whose mean output is explained." if self.regions is not None else ""

    def draw_input(self, panel: Any, name: str, example: int) -> None:
        """Draw an example's input, with the explained region."""
        modality_type = self.modality_types[name]
        weights = self._marked_segments(modality_type, example)
        if weights is not None:
            modality_type.paint(panel, example, weights, diverging(MARKED))
            return
        self.draw_slice(panel, name, example)
        tiles = isinstance(modality_type, Video) and self._frame(modality_type, example) is None
        if not tiles:  # the mask of one frame does not fit several frames
            self.outline(panel, example)

    def draw_slice(self, panel: Any, name: str, example: int) -> None:
        """Draw an example's input; if outputs are volumes, draw the slice of a volume through the region."""
        modality_type = self.modality_types[name]
        frame = self._frame(modality_type, example)
        if isinstance(modality_type, Video) and frame is not None:
            modality_type.draw_frame(panel, example, frame)
        else:
            modality_type.draw(panel, example)

    def _frame(self, modality_type: ModalityType, example: int) -> int | None:
        """Return the frame of a volume with the slice of the region; None if there is no such slice."""
        at = () if self.regions is None else self.regions.slice_of(example)
        if self.regions is None or len(at) != 1 or not isinstance(modality_type, Video):
            return None
        return at[0] * modality_type.frames // self.regions.labels.wide[0]

    def slice_words(self, example: int) -> list[str]:
        """Return the drawn slice of a volume, in words; an empty list for other outputs."""
        return [] if self.regions is None else self.regions.slice_words(example)

    def outline(self, panel: Any, example: int) -> None:
        """Draw the outline of an example's region over a picture in the shape of the map."""
        mask = None if self.regions is None else self.regions.picture(example)
        if mask is not None and panel.images:
            draw_outline(panel, mask.numpy())

    def _marked_segments(self, modality_type: ModalityType, example: int) -> "npt.NDArray[Any] | None":
        """Return ``(U,)``: 1 for the words of a text in the region; None if positions are not words."""
        index = getattr(modality_type.segments, "index", None)
        if self.regions is None or len(self.regions.labels.lattice) > 1 or not isinstance(index, Tensor):
            return None
        if index.shape[1:] != self.regions.labels.lattice or modality_type.name != "text":
            return None
        row = index[example if len(index) > 1 else 0][self.regions.places(example)]
        weights = np.zeros(modality_type.segments.count(example))
        weights[row[row >= 0].numpy()] = 1
        return weights

    def words_of(self, example: int, count: int) -> list[str]:
        """Return the words at the valid positions of a sequence; their numbers if the words are unknown."""
        if self.regions is None or not self.show_inputs:
            return [str(place) for place in range(count)]
        known = self.regions.labels.known(torch.tensor([example]))[0]
        for modality_type in self.modality_types.values():
            index = getattr(modality_type.segments, "index", None)
            if isinstance(index, Tensor) and index.shape[1:] == self.regions.labels.lattice:
                names, row = modality_type.names(example), index[example if len(index) > 1 else 0][known].tolist()
                return [names[one] if one >= 0 else "" for one in row]
        return [str(place) for place in range(count)]

    def masked(self, names: Iterable[str]) -> str:
        """Return, for the foot of a picture, the baselines of modalities, and the leaves that are never masked."""
        listed = list(names)
        baselines = "; ".join(f"{name}: {self.modality_types[name].baseline}" for name in listed)
        left_out = [self._left_out(name, paths) for name, paths in self.unmasked.items() if name in listed]
        return " ".join([f"Masked parts become: {baselines}.", *left_out])

    def _left_out(self, name: str, paths: Sequence[str]) -> str:
        change, are = ("changes", "is") if len(paths) == 1 else ("change", "are")
        return (
            f"The parts of {name} are those of {enumerated(self.modality_types[name].content)}; {enumerated(paths)} "
            f"also {change} the output and {are} never masked."
        )

    def called(self, name: str) -> str:
        """Return, for tables, the name of a modality, with its leaves that change the outputs but are never masked."""
        paths = self.unmasked.get(name, ())
        return f"{name} (never masked: {', '.join(paths)})" if paths else name

    def each(self, draw: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """Draw all items; failed items are skipped, and :meth:`pop_failures` returns their errors."""
        drawn = []
        for item in items:
            try:
                drawn.append(draw(item))
            except Exception as error:
                self._failures.append(error)
        return drawn

    def pop_failures(self) -> list[Exception]:
        """Return and clear the errors of items that :meth:`each` could not draw."""
        failures = [*self._failures]
        self._failures.clear()
        return failures

    def sounds(self, examples: Sequence[PredictionRecord]) -> dict[str, Sound]:
        """Return the sounds of examples by key; empty if inputs may not be shown. Keys do not depend on the method."""
        found = {}
        for one in examples:
            for name, modality_type in (self.modality_types if self.show_inputs else {}).items():
                samples, key = modality_type.sound(one.example), f"sound/example_{one.position}/{name}"
                if samples is not None and modality_type.modality.sample_rate is not None:
                    found[key] = Sound(key, samples, modality_type.modality.sample_rate)
        return found
