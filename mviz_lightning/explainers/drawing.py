"""What every method draws with: modality types, labels, one canvas; and the sounds of examples."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from mviz_lightning.errors import enumerated, renamed_attributes
from mviz_lightning.modalities import ModalityType
from mviz_lightning.plotting.canvas import Canvas
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.sinks.records import PredictionRecord, Sound

A = TypeVar("A")
B = TypeVar("B")


@renamed_attributes(kinds="modality_types")
@dataclass(frozen=True)
class DrawingContext:
    """How inputs are drawn, how classes are called, and whether inputs may be shown.

    Attributes:
        modality_types: Name of a modality -> how it is drawn.
        labels: Names of classes and outputs.
        show_inputs: Whether inputs may be shown and heard.
        unmasked: Name of a modality -> its leaves that are never masked although they change the outputs.
    """

    modality_types: Mapping[str, ModalityType]
    labels: Labels
    show_inputs: bool = True
    unmasked: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _failures: list[Exception] = field(default_factory=list, compare=False, repr=False)

    @cached_property
    def canvas(self) -> Canvas:
        """The canvas of all pictures that one context draws: panels are used again."""
        return Canvas()

    def masked(self, names: Iterable[str]) -> str:
        """Return, for the foot of a picture, what masked parts of modalities become, and what is never masked."""
        listed = list(names)
        baselines = "; ".join(f"{name}: {self.modality_types[name].baseline}" for name in listed)
        left_out = [self._left_out(name, paths) for name, paths in self.unmasked.items() if name in listed]
        return " ".join([f"Masked parts become: {baselines}.", *left_out])

    def _left_out(self, name: str, paths: Sequence[str]) -> str:
        change, are = ("changes", "is") if len(paths) == 1 else ("change", "are")
        return (
            f"The parts of {name} are those of {enumerated(self.modality_types[name].content)}; {enumerated(paths)} "
            f"{change} the output too, and {are} never masked."
        )

    def called(self, name: str) -> str:
        """Return, for tables, the name of a modality, with its leaves that are never masked although they matter."""
        paths = self.unmasked.get(name, ())
        return f"{name} (never masked: {', '.join(paths)})" if paths else name

    def each(self, draw: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """Draw all items; an item that fails costs only itself, and :meth:`pop_failures` returns its error."""
        drawn = []
        for item in items:
            try:
                drawn.append(draw(item))
            except Exception as error:
                self._failures.append(error)
        return drawn

    def pop_failures(self) -> list[Exception]:
        """Return, once, the errors of items that :meth:`each` could not draw."""
        failures = [*self._failures]
        self._failures.clear()
        return failures

    def sounds(self, examples: Sequence[PredictionRecord]) -> dict[str, Sound]:
        """Return the sounds of examples by key. The key does not depend on the method; no inputs, no sounds."""
        found = {}
        for one in examples:
            for name, modality_type in (self.modality_types if self.show_inputs else {}).items():
                samples, key = modality_type.sound(one.example), f"sound/example_{one.position}/{name}"
                if samples is not None and modality_type.modality.sample_rate is not None:
                    found[key] = Sound(key, samples, modality_type.modality.sample_rate)
        return found
