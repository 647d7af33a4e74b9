"""Select the examples that explainers show: the same ones at every run of a training."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mviz_lightning.engine.processes import Ranks
from mviz_lightning.explainers import Explainer, ProbeContext
from mviz_lightning.functional import Task
from mviz_lightning.functional.targets import labelled


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
        """Return an explainer's examples; they are selected again only if ``pin`` or ``num_examples`` changed.

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
        in_turn = classes_in_turn(outputs, labels, examples, self.probe_context.task, len(examples))
        others = [example for example in in_turn if example not in pinned]
        return pinned + others[: max(0, explainer.num_examples - len(pinned))]


def classes_in_turn(outputs: Tensor, target: Tensor | None, examples: Tensor, task: Task, count: int) -> list[int]:
    """Choose examples from all classes in turn, mistakes first.

    Args:
        outputs: ``(K, C)`` of the candidates, as the model gave them.
        target: ``(K, ...)`` their labels; those without one are neither right nor wrong.
        examples: ``(K,)`` the candidates.
        task: Type of the prediction task.
        count: Number of examples to choose.
    """
    strata, wrong = _strata(outputs, target, task), _wrong(outputs, target, task)
    turns: dict[int, int] = {}
    keys = []
    for k in sorted(range(len(examples)), key=lambda k: (not wrong[k], k)):
        turn = turns.get(strata[k], 0)
        turns[strata[k]] = turn + 1
        keys.append((turn, not wrong[k], k))
    return [int(examples[k]) for *_, k in sorted(keys)[:count]]


def _strata(outputs: Tensor, target: Tensor | None, task: Task) -> Sequence[int]:
    """Return the class of every candidate; quarters of the range for values."""
    key = outputs if target is None else target.to(outputs.device)
    key = key.view(len(outputs), -1).double()
    if task == "regression":
        rank = key.mean(1).argsort().argsort()
        return (rank * 4 // max(1, len(rank))).tolist()
    if key.shape[1] == 1:
        return (key[:, 0] if target is not None else key[:, 0] > 0).long().tolist()
    return key.argmax(1).tolist()


def _wrong(outputs: Tensor, target: Tensor | None, task: Task) -> Sequence[bool]:
    if target is None:
        return [False] * len(outputs)
    known, truth = labelled(target, task), target.to(outputs.device).view(len(outputs), -1)
    return (_missed(outputs, truth, task) & known.to(outputs.device)).tolist()


def _missed(outputs: Tensor, truth: Tensor, task: Task) -> Tensor:
    """Return ``(K,)``: whether a decision is wrong; for values, whether the error is above the median."""
    if task == "regression":
        error = (outputs - truth).abs().mean(1)
        return error > error.nanmedian()
    if task == "multiclass":
        return outputs.argmax(1) != truth[:, 0]
    return ((outputs > 0) != truth.bool()).any(1)
