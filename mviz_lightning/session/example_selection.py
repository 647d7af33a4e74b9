"""Select the examples that explainers show: the same ones at every run of a training."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mviz_lightning.engine.ranks import Ranks
from mviz_lightning.explainers import Explainer, ProbeContext
from mviz_lightning.explainers.outcome import spread


@dataclass(frozen=True)
class SelectedExamples:
    """The examples of one explainer, and the arguments by which they were selected.

    Attributes:
        positions: Indices in the validation set.
        pin: The ``pin`` argument of the monitor at that time.
        num_examples: The ``num_examples`` argument of the explainer at that time.
    """

    positions: list[int]
    pin: list[int]
    num_examples: int


@dataclass
class ExampleSelection:
    """Selects an explainer's examples once and keeps them.

    Attributes:
        probe_context: The fixed examples and how their outputs are read.
        ranks: The processes that share the examples.
        pin: Indices in the validation set of examples that are always selected.
        chosen: Name of an explainer -> its examples.
    """

    probe_context: ProbeContext
    ranks: Ranks
    pin: Sequence[int] = ()
    chosen: dict[str, SelectedExamples] = field(default_factory=dict)

    def examples(self, explainer: Explainer, own: Tensor | None) -> list[int]:
        """Return an explainer's examples; they are selected anew only if ``pin`` or ``num_examples`` changed.

        Args:
            explainer: The method.
            own: ``(K, C)`` outputs of this process's share of the groups' examples, or None if it has no share.

        Returns:
            Indices among the fixed examples, the same on all processes.
        """
        places = {position: example for example, position in enumerate(self.probe_context.positions)}
        known, pin = self.chosen.get(explainer.name), list(self.pin)
        asked = known is not None and (known.pin, known.num_examples) == (pin, explainer.num_examples)
        if known is None or not asked or not set(known.positions) <= places.keys():
            positions = [self.probe_context.positions[example] for example in self._choose(explainer, own)]
            known = self.chosen[explainer.name] = SelectedExamples(positions, pin, explainer.num_examples)
        return [places[position] for position in known.positions]

    def _choose(self, explainer: Explainer, own: Tensor | None) -> list[int]:
        """Take the pinned examples, then those of all classes in turn, mistakes first."""
        positions = {position: example for example, position in enumerate(self.probe_context.positions)}
        pinned = [positions[position] for position in dict.fromkeys(self.pin) if position in positions]
        outputs = torch.cat(
            [part for part in self.ranks.gather(None if own is None else own.cpu()) if part is not None]
        )
        examples, target = self.probe_context.probe.groups.flatten(), self.probe_context.target
        labels = None if target is None else target[examples]
        spreading = spread(outputs, labels, examples, self.probe_context.task, len(examples))
        others = [example for example in spreading if example not in pinned]
        return pinned + others[: max(0, explainer.num_examples - len(pinned))]
