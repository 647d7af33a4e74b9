"""Compare the user's arguments with what their own step shows: arguments take precedence, differences are reported."""

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.engine.agreement import deviation, tolerance
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import warn_user
from mviz_lightning.functional import Task
from mviz_lightning.functional.targets import IGNORED
from mviz_lightning.observation.events import OBSERVED_ROWS
from mviz_lightning.observation.heads import ObservedHead, heads_of, main_head
from mviz_lightning.observation.observed_step import ObservedStep
from mviz_lightning.observation.spelling import Speller
from mviz_lightning.observation.step_record import StepRecord
from mviz_lightning.session.config import SessionConfig


def warn_of_differences(seen: ObservedStep, trial: Probe, evaluator: Evaluator | None, config: SessionConfig) -> None:
    """Warn if the user's arguments differ from their step; arguments as for :func:`differences_from_given`."""
    differences = list[str]()
    with suppress(Exception):  # without a comparison there is no warning
        differences = differences_from_given(seen, trial, evaluator, config)
    for difference in differences:
        warn_user(difference)


def differences_from_given(
    seen: ObservedStep, trial: Probe, evaluator: Evaluator | None, config: SessionConfig
) -> list[str]:
    """Return texts about the differences between arguments and step: in the scores, the target, or the task.

    Args:
        seen: What the step showed.
        trial: The first examples of the batch that the step was given.
        evaluator: Calls the user's ``predict``; None if there is none.
        config: The user's arguments.
    """
    heads = [] if seen.record is None else heads_of(seen.record)
    if seen.record is None or not heads:
        return []
    head = main_head(heads, seen.record, config.target)[0]
    scores = "" if evaluator is None else _other_scores(head, trial, evaluator)
    target = _other_target(heads, head, seen.record, config.target)
    return [difference for difference in (scores, target, _other_task(head, config.task)) if difference]


def ignored_of(seen: ObservedStep | None, path: str | None) -> int:
    """Return the target value that the step's own loss ignores, if it reads the labels at ``path``; else -100."""
    record = None if seen is None else seen.record
    if record is None or path is None:
        return IGNORED
    tags = record.tags_of([path])
    return next((head.event.ignored for head in heads_of(record) if tags and head.label.tags == tags), IGNORED)


def _other_target(heads: Sequence[ObservedHead], main: ObservedHead, record: StepRecord, target: str | None) -> str:
    """Return a text if no loss uses the labels that the user named; ``""`` if one does, or nothing is known."""
    named = 0 if target is None else record.tags_of([target])
    read = [head.label.tags for head in heads]
    if not named or 0 in read or any(tags & named for tags in read):
        return ""
    own = Speller(record.code, calls=False).tensor(main.label)
    return (
        f"your step does not use target={target!r} as a target: {main.event.name} compares the scores with {own}. "
        "target= is used; remove it to measure the scores against your step's own target."
    )


def _other_task(head: ObservedHead, task: Task | None) -> str:
    """Return a text if the task that the user named is not the loss's; ``""`` if it is, or the loss shows none."""
    if task is None or head.task in (None, task) or head.contrastive:
        return ""
    return (
        f"task={task!r}, but {head.event.name} in your step belongs to task={head.task!r}. task={task!r} is used; "
        "remove task= to follow your step."
    )


def _other_scores(head: ObservedHead, trial: Probe, evaluator: Evaluator) -> str:
    """Return a text on how ``predict=`` differs from the scores; ``""`` if it does not, or cannot be compared."""
    if head.rows is None or head.contrastive:
        return ""
    rows = min(trial.size, len(head.rows) if head.axes is None else OBSERVED_ROWS)
    own = (head.rows[:rows] if head.axes is None else head.rows).cpu().reshape(rows, -1)
    found = evaluator.plain(trial, Query.aligned(torch.arange(rows), len(trial.schema.names))).cpu()
    if evaluator.noisy:  # the two have different noise
        return ""
    if own.shape == found.shape and head.axes is not None:  # a row for each position
        own, found = (one.view(-1, head.axes.outputs(head.root.shape)) for one in (own, found))
    return _difference(own, found, head)


def _difference(own: Tensor, found: Tensor, head: ObservedHead) -> str:
    """Return a text on how scores differ beyond a shift over the classes; ``""`` if they do not."""
    if own.shape != found.shape:
        return (
            f"predict= returns {tuple(found.shape)} for {len(own)} examples, and your step gives {tuple(own.shape)} to "
            f"{head.event.name}; allowed are any scores that you mean to measure."
        )
    if own.shape[1] > 1:
        own, found = own - own.mean(1, keepdim=True), found - found.mean(1, keepdim=True)
    size = deviation(own, found)
    if size <= tolerance(own):
        return ""
    return (
        f"the outputs of predict= and the scores that your step gives to {head.event.name} differ by {size:.2g} of "
        f"their spread{_likely(own, found)}. The outputs of predict= are measured; remove predict= to measure your "
        "step's own scores."
    )


def _likely(own: Tensor, found: Tensor) -> str:
    """Return a text on what outputs probably are if not the scores themselves; ``""`` if nothing fits."""
    name, made = ("softmax", own.double().softmax(1)) if own.shape[1] > 1 else ("sigmoid", own.double().sigmoid())
    correlation = _correlation(made, found)
    return f", correlation {correlation:.2f} with their {name}: probabilities?" if correlation > CLOSE else ""


CLOSE = 0.99
"""Smallest correlation with probabilities at which a warning suggests that outputs are probabilities."""


def _correlation(left: Tensor, right: Tensor) -> float:
    both = torch.stack([left.double().flatten(), right.double().flatten()])
    return float(torch.corrcoef(both)[0, 1].nan_to_num())
