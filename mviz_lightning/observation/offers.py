"""Arguments to paste where the user has to decide what is measured: the call, the labels and the task, as code."""

import math
from collections.abc import Iterator
from contextlib import suppress

import torch
from torch import Tensor

from mviz_lightning.functional import Task
from mviz_lightning.functional.targets import distributions, labelled, whole, within_unit
from mviz_lightning.observation.events import DECISIONS, PROBABILITIES
from mviz_lightning.observation.heads import ObservedHead
from mviz_lightning.observation.provenance import Computed, Leaf, Node, ancestors
from mviz_lightning.observation.row_picks import row_picks
from mviz_lightning.observation.spelling import NotSpellableError, Speller
from mviz_lightning.observation.step_record import StepRecord
from mviz_lightning.observation.task_of_loss import task_of

SUMMARIES = PROBABILITIES | DECISIONS | {"amax", "amin", "min", "mean", "sum", "std", "var"}
"""Operations whose results keep less of the scores than their operand."""

MOVES = {"roll", "flip", "flipud"}
"""Operations that give each example the row of another one, for the negatives of a triplet for example."""

OFFERED = "\n    "
"""Text before a line to paste."""

WRITE = ". Pass predict=, a function (module, batch) -> (batch, outputs) tensor, that returns them."


def offer(head: ObservedHead, record: StepRecord, then: str = "") -> str:
    """Return the end of a question: a line to paste, which measures what is likely meant.

    That is the scores themselves, or the latest tensor before them that depends on all modalities and on no label. If
    the step picks or sorts rows of the batch, it is computed for all rows.

    Args:
        head: The scores that the step uses.
        record: What it showed.
        then: Code to append to the scores: ``.mean(1)``.
    """
    picks = row_picks(head.root)
    code = next(_calls(head.root, record, picks), "")
    if not code:
        return WRITE
    said = [f"predict=lambda module, batch: {code}{then}", *_told_of_labels(head, record)]
    return f":{OFFERED}{', '.join(said)}"


def offered_rows(record: StepRecord) -> str:
    """Return the argument that measures the rows of all modalities that a step computes last; ``""`` if it has none."""
    for node in record.last:
        with suppress(NotSpellableError):
            code = Speller(record.code, model="module", whole=True).tensor(_before_summary(node, record))
            return f"predict=lambda module, batch: {code}"
    return ""


def _before_summary(node: Node, record: StepRecord) -> Node:
    """Return the rows before the step made probabilities, predictions or single numbers of them, or reordered them."""
    while isinstance(node, Computed) and not node.results and node.name in SUMMARIES | MOVES:
        before = [one for one in node.inputs if record.is_fused(one)]
        if len(before) != 1:
            break
        node = before[0]
    return node


def _calls(root: Node, record: StepRecord, picks: set[Node]) -> Iterator[str]:
    """Yield code for scores that depend on no label, the nearest to the observed ones first."""
    speller = Speller(record.code, model="module", whole=True, picks=frozenset(map(id, picks)))
    for node in ancestors(root):
        if node.learned and _is_free(node, record, picks) and _rows(node):
            with suppress(NotSpellableError):
                yield speller.tensor(node)


def _rows(node: Node) -> bool:
    return len(node.shape) in (1, 2)


def _is_free(node: Node, record: StepRecord, picks: set[Node]) -> bool:
    """Return whether a tensor depends on all modalities and on no other leaf but masks of picked rows."""
    reached = 0
    for leaf in _leaves(node, picks):
        reached |= leaf.tags
    return not reached & record.others and all(reached & tags for tags in record.modalities.values())


def _leaves(node: Node, picks: set[Node]) -> Iterator[Leaf]:
    waiting, seen = [node], {id(node)}
    while waiting:
        found = waiting.pop()
        if isinstance(found, Leaf):
            yield found
        for before in found.inputs:
            if before not in picks and id(before) not in seen:
                seen.add(id(before))
                waiting.append(before)


def _told_of_labels(head: ObservedHead, record: StepRecord) -> list[str]:
    """Return ``target=`` and ``task=`` as far as the step shows them."""
    paths = [
        path
        for path, keys in record.schema.keys.items()
        if any(leaf.keys == keys for leaf in _leaves(head.label, row_picks(head.label)))
        and record.leaves.get(keys, 0) & record.others
    ]
    task = head.task or task_of(head.event, head.rows, head.labels) or _task(head)
    if task is None:
        return []
    every = head.root.shape[:1] == (record.count,)  # labels of rows that the step leaves out may have any value
    return [*([f'target="{paths[0]}"'] if len(paths) == 1 and every else []), f'task="{task}"']


def _task(head: ObservedHead) -> Task | None:
    """Return the task that labels suggest if no loss shows it; None if they are unlikely to be labels."""
    if head.labels is None:
        return None
    outputs, labels = math.prod(head.root.shape[1:]), head.labels.cpu()
    known: Tensor = labels[labelled(labels)]
    if outputs > 1 and known[:1].numel() == 1:
        return "multiclass" if whole(known) else None
    if outputs > 1 and distributions(known):
        return "multiclass"
    two = len(torch.unique(known)) <= 2 or within_unit(known)
    return ("binary" if outputs == 1 else "multilabel") if two else "regression"
