"""Decide from the record of a step how to call the model, which scores and labels count, and what to ask the user."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from mviz_lightning.batch import Probe
from mviz_lightning.engine.dependency_tags import union
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.row_independence import affordable_rows
from mviz_lightning.functional import Task
from mviz_lightning.functional.outputs import Head
from mviz_lightning.observation import wording
from mviz_lightning.observation.embeddings import embeddings_call
from mviz_lightning.observation.head_names import ANY_HEAD, HeadChoice
from mviz_lightning.observation.heads import ObservedHead, heads_of, is_doubtful, main_head
from mviz_lightning.observation.native_check import CheckedWay, first_agreeing
from mviz_lightning.observation.observed_step import ObservedStep
from mviz_lightning.observation.own_score import own_score
from mviz_lightning.observation.position_targets import Positions, observed_positions
from mviz_lightning.observation.step_record import StepRecord
from mviz_lightning.observation.targets import ObservedTarget, target_of
from mviz_lightning.observation.ways import StepFunction, Way, ways_of


@dataclass(frozen=True)
class ObservedModel:
    """What the user's own step showed.

    Attributes:
        way: How the scores are computed for other examples.
        head: The scores that count.
        target: The target that they are compared with; None for scores of all pairs, which have none.
        line: What was found, for the log.
        step: The step.
        name: Name of the head.
        unread: Modalities from which no operation leads to the scores: the head does not use them by construction.
        embeddings: For scores of all pairs, a call of the model that returns the embeddings of both modalities,
            ``(B, 2 D)``; None where there are none.
        further: Name -> the other scores that the step compares with labels, as far as the user chose them.
    """

    way: Way
    head: ObservedHead
    target: ObservedTarget | None
    line: str
    step: StepFunction
    name: str = ""
    unread: Sequence[str] = ()
    embeddings: Predict | None = None
    further: Mapping[str, ObservedHead] = field(default_factory=dict)

    @property
    def score(self) -> Metric | None:
        """The user's own metric of these scores, if it gives one number for them and their labels."""
        return next(filter(None, map(partial(own_score, self.head), self.head.metrics)), None)

    @property
    def path(self) -> str | None:
        """Path of the leaf that the labels are made from, if it is one."""
        return None if self.target is None else self.target.path

    @property
    def head_of_outputs(self) -> Head | None:
        """The operation that makes the scores, if they are probabilities that the loss takes."""
        if not self.head.probabilities:
            return None
        return "softmax" if self.task == "multiclass" else "sigmoid"

    @property
    def modalities(self) -> Sequence[str]:
        """Names of the two modalities whose pairs are scored; empty for other scores, which any modality may change."""
        return () if self.head.pair is None else self.head.pair.modalities

    def of_its_modalities(self, probe: Probe) -> Probe:
        """Return a probe of the two modalities whose pairs are scored; for any other scores, the probe itself."""
        return replace(probe, schema=probe.schema.narrowed(self.modalities)) if self.modalities else probe

    def labelled(self, probe: Probe, module: nn.Module) -> Probe:
        """Return a probe with the step's own labels; for scores of pairs, of their two modalities alone."""
        probe = self.of_its_modalities(probe)
        if self.target is None:
            return probe
        if self.positions is not None:
            return self.positions.labelled(probe, module)
        schema, padded = replace(probe.schema, target=self.target.path), replace(probe, own_shapes=False)
        return replace(probe, schema=schema, labels=self._widened(self.target.of(module, padded)))

    def tells_labels(self, target: str | None) -> bool:
        """Return whether labels come from the step: always for labels of positions, else if the user named no leaf."""
        return target is None or self.head.axes is not None

    @property
    def positions(self) -> Positions | None:
        """Where the scores have positions, with their labels; None where an example has one row of scores."""
        return observed_positions(self.head, self.target)

    def _widened(self, labels: Tensor) -> Tensor:
        """Return labels; a single value is repeated for all outputs of a regression, such as quantiles."""
        outputs = self.head.root.shape[1:]
        if self.task != "regression" or not outputs or labels[0].numel() != 1:
            return labels
        return labels.reshape(-1, 1).expand(-1, outputs[0])

    @property
    def task(self) -> Task | None:
        """What the outputs stand for; None where the step does not show it."""
        return self.head.task


def settle(
    seen: ObservedStep,
    module: nn.Module,
    trial: Probe,
    evaluator_of: Callable[[Predict], Evaluator],
    target: str | None = None,
    choice: HeadChoice = ANY_HEAD,
) -> ObservedModel | None:
    """Return what a step shows about the main head; None if it uses no scores.

    Args:
        seen: The step and what it showed.
        module: The user's model.
        trial: The first examples of the batch that the step was given.
        evaluator_of: Makes the evaluator that calls the model in one way.
        target: Path of the labels that the user named.
        choice: The heads that the user chose.

    Raises:
        ConfigurationError: It is not clear which of several scores counts, they are not scores of examples, no way
            reproduces the scores that the step computed, or no head has a name that the user chose.
    """
    record = seen.record
    heads = {} if record is None else choice.named(heads_of(record))
    if record is None or not heads:
        return None
    best = main_head(list(heads.values()), record, target)
    main = choice.main(heads, best)
    alike = best if main is None else _of_one_loss(heads.values(), heads[main], record.count)
    if alike and all(head.root.shape[:1] != (record.count,) for head in alike):
        raise wording.refusal(wording.in_parts(alike, record))
    if main is None:
        raise wording.refusal(wording.asked(best, record))
    found = settled_head(seen, module, trial, evaluator_of, heads[main])
    further = {name: head for name, head in heads.items() if name != main and choice.takes(name)}
    return replace(found, name=main, further=further)


def _of_one_loss(heads: Iterable[ObservedHead], main: ObservedHead, count: int) -> list[ObservedHead]:
    """Return the heads of a loss that is called for each example separately; none for any other loss."""
    found = [head for head in heads if head.event.name == main.event.name]
    return found if len(found) >= max(2, count) else []


def settled_head(
    seen: ObservedStep,
    module: nn.Module,
    trial: Probe,
    evaluator_of: Callable[[Predict], Evaluator],
    head: ObservedHead,
) -> ObservedModel:
    """Return what a step shows about one head; arguments and errors as for :func:`settle`."""
    record, step = seen.record, seen.step
    if record is None:
        raise RuntimeError("the step passed no scores to a loss or a metric.")
    if is_doubtful(head):
        raise wording.refusal(wording.doubtful(head, record))
    _require_usable(head, record)
    way, head = _agreeing(head, record, partial(ways_of, record=record, module=module, step=step), trial, evaluator_of)
    own = None if head.contrastive else target_of(head, record, module, step)
    unread = [name for name, tags in record.modalities.items() if not head.root.tags & tags]
    embeddings = embeddings_call(head, record, module, step)
    return ObservedModel(way, head, own, wording.line(way, head, own), step, unread=unread, embeddings=embeddings)


def _agreeing(
    head: ObservedHead,
    record: StepRecord,
    ways: Callable[[ObservedHead], Iterable[Way]],
    trial: Probe,
    evaluator_of: Callable[[Predict], Evaluator],
) -> tuple[Way, ObservedHead]:
    """Return the first way that reproduces the step's own scores, and how it reads their rows.

    Raises:
        ConfigurationError: There is no row of scores for each example, or no way reproduces the scores.
    """
    if head.axes is not None:  # with large maps, fewer rows are tried
        trial = trial.part(torch.arange(min(trial.size, affordable_rows(math.prod(head.root.shape[1:])))))
    tried: list[CheckedWay] = []
    for reading in head.readings():
        if reading.rows is None:
            raise wording.refusal(wording.without_rows(head, record))
        found, more = first_agreeing(ways(reading), reading.rows, trial, evaluator_of, head.axes)
        if found is not None:
            return found.way, reading
        tried += more
    raise wording.refusal(wording.disagreeing(head, tried, record))


def _require_usable(head: ObservedHead, record: StepRecord) -> None:
    """Raise where the head's scores are made from the labels, or its target belongs to a modality."""
    modal = union(record.modalities.values())
    if head.label.tags & modal:
        raise wording.refusal(wording.target_in_modality(head, record))
    if head.label.tags & record.others & head.root.tags:
        raise wording.refusal(wording.depends_on_target(head, record))
