"""Compare what the user said in arguments with what their own step shows: the arguments win, differences are said."""

import warnings

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.engine.agreement import deviation, tolerance
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import MonitorWarning
from mviz_lightning.observation.heads import ObservedHead, heads_of, main_head
from mviz_lightning.observation.observed_step import ObservedStep
from mviz_lightning.session.config import SessionConfig


def compare_with_given(seen: ObservedStep, trial: Probe, evaluator: Evaluator, config: SessionConfig) -> None:
    """Warn where ``predict=`` returns other scores than those that the step gives to its loss.

    Args:
        seen: What the step showed.
        trial: The first examples of the batch that the step was given.
        evaluator: Calls the user's ``predict``.
        config: What the user said.
    """
    heads = [] if seen.record is None else heads_of(seen.record)
    if seen.record is None or not heads:
        return
    head = main_head(heads, seen.record, config.target)[0]
    if head.rows is None or head.contrastive or head.root.shape[1:] == ():
        return
    own = head.rows[: trial.size]
    found = evaluator.plain(trial, Query.aligned(torch.arange(len(own)), len(trial.schema.names))).cpu()
    difference = _difference(own.cpu(), found, head)
    if difference:
        warnings.warn(difference, MonitorWarning, stacklevel=2)


def _difference(own: Tensor, found: Tensor, head: ObservedHead) -> str:
    """Return in words how scores differ beyond a shift over the classes; ``""`` if they do not."""
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
        f"their spread{_likely(own, found)}. What predict= returns is measured; leave predict= out to measure your "
        "step's own scores."
    )


def _likely(own: Tensor, found: Tensor) -> str:
    """Return in words what outputs probably are if not the scores themselves; ``""`` if nothing fits."""
    name, made = ("softmax", own.double().softmax(1)) if own.shape[1] > 1 else ("sigmoid", own.double().sigmoid())
    correlation = _correlation(made, found)
    return f", correlation {correlation:.2f} with their {name}: probabilities?" if correlation > CLOSE else ""


CLOSE = 0.99
"""Smallest correlation of outputs with probabilities from which on they are called probabilities."""


def _correlation(left: Tensor, right: Tensor) -> float:
    both = torch.stack([left.double().flatten(), right.double().flatten()])
    return float(torch.corrcoef(both)[0, 1].nan_to_num())
