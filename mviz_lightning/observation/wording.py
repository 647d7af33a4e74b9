"""Texts about an observed step: the line of the log, questions, and refusals."""

import math
from collections.abc import Sequence

from mviz_lightning.errors import ConfigurationError, NotMeasurableError
from mviz_lightning.observation.heads import ObservedHead
from mviz_lightning.observation.native_check import CheckedWay
from mviz_lightning.observation.offers import OFFERED, offer, offered_rows
from mviz_lightning.observation.row_picks import picked_by_step
from mviz_lightning.observation.spelling import Speller
from mviz_lightning.observation.step_record import StepRecord
from mviz_lightning.observation.targets import ObservedTarget
from mviz_lightning.observation.views import possible_views
from mviz_lightning.observation.ways import Way


def refusal(text: str) -> ConfigurationError:
    """Return the error with this text; it ends a training only if the text contains a line to paste."""
    return ConfigurationError(text) if OFFERED in text else NotMeasurableError(text)


PREDICT = "Pass predict=, a function (module, batch) -> (batch, outputs) tensor, that returns the scores"


def line(way: Way, head: ObservedHead, target: ObservedTarget | None) -> str:
    """Return in one line what was found for one head."""
    shape = f"(B, {', '.join(map(str, head.root.shape[1:]))})" if len(head.root.shape) > 1 else "(B,)"
    said = [f"outputs: {way.call.description} -> {shape}"]
    if head.views is not None:
        said.append(f"of each example {head.views}")
    if target is not None:
        said.append(f"target: {target.code}")
    if head.contrastive:
        said.append("task: scores of all pairs of examples")
    elif head.task is not None:
        said.append(f"task: {head.task}, from {head.event.name}")
    return "; ".join(said)


def asked(heads: Sequence[ObservedHead], record: StepRecord) -> str:
    """Return the question which of several scores for one label is the prediction."""
    places = "\n".join(f"  {_scores(head, record)}" for head in heads)
    return (
        f"{len(heads)} outputs are compared with the same labels, and nothing tells which of them is the prediction:\n"
        f"{places}\nGive the prediction to a torchmetric in your step, or say which it is{offer(heads[0], record)}"
    )


def in_parts(heads: Sequence[ObservedHead], record: StepRecord) -> str:
    """Return why losses of parts of the batch, of single examples for instance, cannot be measured."""
    shapes = ", ".join(dict.fromkeys(str(tuple(head.root.shape)) for head in heads))
    return (
        f"{heads[0].event.name} is called {len(heads)} times for a batch of {record.count} examples, example by "
        f"example or part by part, with scores of shape {shapes}; allowed is one row of scores an example, (batch, "
        f"outputs), in one tensor. {PREDICT}."
    )


def doubtful(head: ObservedHead, record: StepRecord) -> str:
    """Return the question whether scores that meet a leaf in an unclear operation are the prediction."""
    return (
        f"your step has {_scores(head, record)} and {_target(head, record)} meet in {head.event.name}, and no "
        "loss or metric of PyTorch or torchmetrics tells what they are. If these are the scores, say "
        f"so{offer(head, record)}"
    )


def unseen(record: StepRecord) -> str:
    """Return a text about rows that a step computes but gives to no loss or metric; ``""`` if it computes none."""
    found = offered_rows(record)
    leaves = ", ".join(path for path in record.schema.unowned if path != record.schema.target)
    where = f" If one of the leaves {leaves} holds the labels, name it as the target too." if leaves else ""
    return (
        found and f"\nYour step computes rows from all modalities.{where} If they are scores, say so:{OFFERED}{found}"
    )


def without_rows(head: ObservedHead, record: StepRecord) -> str:
    """Return why scores without one row for each example cannot be measured."""
    shape = tuple(head.event.scores[-1].node.shape)
    views = possible_views(shape[0], record.count) if len(shape) in (1, 2) else ()
    if views:
        return (
            f"{head.event.name} is given scores of shape {shape} and targets that differ within each of {record.count} "
            f"examples, so that nothing tells which {views[0].count} rows belong to an example. Say so: where they "
            f"follow one another{offer(head, record, views[0].code)}\nand where a block of all examples follows "
            f"another{offer(head, record, views[1].code)}"
        )
    return (
        f"{head.event.name} is given scores of shape {shape} for {record.count} examples; allowed is one row of scores "
        f"an example, (batch, outputs). {PREDICT} of one position, or their average over positions."
    )


def target_in_modality(head: ObservedHead, record: StepRecord) -> str:
    """Return why scores whose target belongs to a modality cannot be measured."""
    return (
        f"{_scores(head, record)} is compared by {head.event.name} with "
        f"{_target(head, record)}, which modalities= names: it is an input, and no label. If it "
        "holds the labels, leave it out of modalities=. "
        f"Say which scores are measured, and the labels, if there are any{offer(head, record)}"
    )


def depends_on_target(head: ObservedHead, record: StepRecord) -> str:
    """Return why scores that are computed from their own target cannot be measured."""
    return (
        f"{_scores(head, record)} is computed from the labels that {head.event.name} compares it with. Say "
        f"which scores are computed without them{offer(head, record)}"
    )


def disagreeing(head: ObservedHead, tried: Sequence[CheckedWay], record: StepRecord) -> str:
    """Return why no way of computing the scores was accepted."""
    found = "\n".join(f"  {_outcome(one)}" for one in tried)
    advice = of_picked_rows(head, record) or f" {PREDICT}."
    return (
        f"the scores that your step gives to {head.event.name} could not be computed again for the same examples:\n"
        f"{found}\nAllowed are scores that depend on their own example alone, up to random noise.{advice}"
    )


def of_picked_rows(head: ObservedHead, record: StepRecord) -> str:
    """Return the advice for scores whose rows the step picks or sorts, with a line to paste; ``""`` for others."""
    if not picked_by_step(head.root):
        return ""
    return f" Your step picks or sorts rows; say which scores all rows have{offer(head, record)}"


def remedy(head: ObservedHead | None, record: StepRecord, *, mixed: bool) -> str:
    """Return a line to paste for scores that cannot be used; ``""`` where none is likely to help.

    Args:
        head: Where the scores come from; None where they were guessed.
        record: One call of the step.
        mixed: Whether the outputs of a row depend on other rows.
    """
    if head is None:
        return unseen(record)
    return of_picked_rows(head, record) if mixed else ""


def _outcome(tried: CheckedWay) -> str:
    if tried.failure:
        return f"{tried.way.call.description}: {tried.failure.partition(chr(10))[0][:240]}"
    size = "other shapes" if math.isinf(tried.deviation) else f"{tried.deviation:.2g} of their spread"
    return f"{tried.way.call.description}: the largest difference is {size}"


def _scores(head: ObservedHead, record: StepRecord) -> str:
    return Speller(record.code).tensor(head.root)


def _target(head: ObservedHead, record: StepRecord) -> str:
    return Speller(record.code, calls=False).tensor(head.label)
