"""Reading of labels: the task that they show, and the standard form for the whole package."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.batch.probe import as_labels, known_target, strings_of
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.functional import Task
from mviz_lightning.functional.targets import IGNORED, labelled, standard_form, without_ignored
from mviz_lightning.session.task import changes, default_scoring, resolve_task, told

FEW = 4
"""Largest number of classes whose names a line lists."""


@dataclass(frozen=True)
class ReadLabels:
    """The labels of some examples, in the form that the whole package uses.

    Attributes:
        task: Type of the prediction task.
        target: ``(N, ...)`` labels in standard form; None without labels.
        said: Description of how they were read, a line each.
    """

    task: Task
    target: Tensor | None
    said: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True)
class LabelReader:
    """Reads the labels of examples.

    Attributes:
        given: The task that the user gave, or that the observed loss shows; None if it is guessed.
        class_names: Names of the outputs; they also give the order of labels that are strings.
        scored: Whether the user gave a score.
        ignored: Target value of an example without a label, in addition to -100 and NaN.
    """

    given: Task | None = None
    class_names: Sequence[str] | None = None
    scored: bool = False
    ignored: int = IGNORED

    def read(self, probe: Probe, outputs: int, *, everything: bool = True) -> ReadLabels:
        """Return the labels of a probe, and the task that they show.

        Args:
            probe: The examples.
            outputs: Number of outputs of one example, C.
            everything: Whether these are all examples. A few examples may not contain all string labels.

        Raises:
            ConfigurationError: The task cannot be guessed, or the labels do not fit it.
        """
        target, said = self._numbers(probe, outputs, everything=everything)
        if target is not None and target.is_complex():
            raise ConfigurationError(
                f"target={probe.schema.target!r}: the labels are complex numbers; give real ones, for example y.abs()."
            )
        target = None if target is None else without_ignored(target, self.ignored)
        task = resolve_task(self.given, outputs, target)
        if self.given is None:
            said.append(told(task, outputs, target))
        said += [changes(task, outputs, target), _unlabelled(target)]
        target = None if target is None else standard_form(target, task, outputs)
        scoring = "" if self.scored else default_scoring(task, target)
        return ReadLabels(task, target, [*said, f"score: {scoring}; score= sets another" if scoring else ""])

    def _numbers(self, probe: Probe, outputs: int, *, everything: bool) -> tuple[Tensor | None, list[str]]:
        """Return labels as numbers; strings are classes in the order of ``class_names``, else in sorted order."""
        leaf = None if probe.schema.target is None or probe.labels is not None else probe.leaves[probe.schema.target]
        strings = strings_of(leaf)
        if strings is None:
            return known_target(probe), []
        numbers = _parsed(strings)
        if numbers is not None:
            return numbers, [f"the labels ({probe.schema.target!r}) are strings and are read as the numbers they hold"]
        names, given = sorted({*strings, *probe.label_names}), list(self.class_names or ())
        if set(names) <= set(given):
            return as_labels(strings, given), []
        self._require_complete(str(probe.schema.target), names, outputs, everything=everything)
        listed = ", ".join(f"{index} = {name!r}" for index, name in enumerate(names[:FEW]))
        more = ", ..." if len(names) > FEW else ""
        order = f"strings and are read as classes in sorted order: {listed}{more}"
        return as_labels(strings, names), [f"the labels ({probe.schema.target!r}) are {order}"]

    def _require_complete(self, path: str, names: Sequence[str], outputs: int, *, everything: bool) -> None:
        classes = max(outputs, 2)
        if len(names) > classes or (everything and len(names) < classes):
            raise ConfigurationError(
                f"target={path!r} holds {len(names)} different strings ({', '.join(map(repr, names[:FEW]))}"
                f"{', ...' if len(names) > FEW else ''}), and the model has {outputs} output(s), so that their classes "
                "are not certain. Pass class_names=, a list of one string for each class in the order of the outputs."
            )


def _unlabelled(target: Tensor | None) -> str:
    """Return a text if there are labels, but no example has one; ``""`` otherwise."""
    if target is None or bool(labelled(target).any()):
        return ""
    return f"no example has a label: all {len(target)} are -100 or NaN, so no scores are logged"


def _parsed(strings: Sequence[str]) -> Tensor | None:
    """Return the numbers in all strings; None if a string is not a number."""
    try:
        return torch.tensor([float(one) for one in strings])
    except ValueError:
        return None
