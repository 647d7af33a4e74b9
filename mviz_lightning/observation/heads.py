"""Heads: the scores that a step computes, and the target and the task of each, derived from where scores are used."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.engine.dependency_tags import union
from mviz_lightning.engine.positions import PositionAxes
from mviz_lightning.functional import Task
from mviz_lightning.observation.events import (
    DECISIONS,
    LOGARITHM,
    PROBABILITIES,
    Event,
    Link,
    first_by_example,
    name_at,
    until_selection,
)
from mviz_lightning.observation.meetings import PRODUCT, SUBTRACTIONS, meeting_strength
from mviz_lightning.observation.pairs import COSINES, PairProduct, is_used, product_of
from mviz_lightning.observation.provenance import Computed, Leaf, Node, ancestors
from mviz_lightning.observation.step_record import StepRecord
from mviz_lightning.observation.task_of_loss import is_numbering, task_of
from mviz_lightning.observation.views import Views

KINDS = ("loss", "metric", "pair", "meeting")
"""Kinds of events, the surest first."""


@dataclass(frozen=True)
class ObservedHead:
    """Scores that the step gives to a loss or to a metric, or compares with labels itself.

    Attributes:
        event: The surest event that uses the scores.
        scores: Index of the event's link that holds the scores.
        target: Index of its target's link that holds the target.
        task: What the scores stand for; None where the event does not show it.
        contrastive: Whether the scores are those of all pairs of two modalities.
        pair: The product of two towers that gives these scores; None for any other head.
        metrics: The user's metrics that take these scores.
        position: Number among the heads, in the order in which the step used them.
    """

    event: Event
    scores: int
    target: int
    task: Task | None = None
    contrastive: bool = False
    pair: PairProduct | None = None
    metrics: tuple[Metric, ...] = ()
    position: int = 0

    @property
    def root(self) -> Node:
        """Where the scores come from."""
        return self.event.scores[self.scores].node

    @property
    def rows(self) -> Tensor | None:
        """``(R, C)`` or ``(R,)`` scores of the observed rows; None if there is no row of scores for each example."""
        rows = self.event.scores[self.scores].rows
        return None if rows is None else self.nearer(rows)

    def nearer(self, scores: Tensor) -> Tensor:
        """Return scores that are larger for nearer pairs; other scores stay as they are."""
        return scores if self.pair is None or self.pair.sign > 0 else -scores

    @property
    def label(self) -> Node:
        """Where the target comes from; an empty node if there is none."""
        return self.event.target[self.target].node if self.event.target else Node()

    @property
    def labels(self) -> Tensor | None:
        """Target of the observed rows; None if it has no row for each example."""
        return self.event.target[self.target].rows if self.event.target else None

    @property
    def axes(self) -> PositionAxes | None:
        """Where positions and classes are in the scores; None where an example has one row of scores."""
        return self.event.scores[self.scores].axes

    @property
    def views(self) -> Views | None:
        """How its rows belong to examples, where each has several; None where each has one."""
        stacked = bool(self.event.views and self.event.scores[self.scores].readings)
        return self.event.views[0] if stacked else None

    def readings(self) -> "Iterator[ObservedHead]":
        """Yield the head once for each of the views that fit its targets."""
        for place in range(len(self.event.views) if self.views is not None else 0):
            yield replace(self, event=self.event.read_as(place))
        if self.views is None:
            yield self

    @property
    def probabilities(self) -> bool:
        """Whether the scores are probabilities, and the logits before them are not accessible."""
        passed = {name_at(link.node) for link in self.event.scores[: self.scores]}
        taken = self.event.takes == "probabilities" or LOGARITHM in passed
        return taken and not passed & PROBABILITIES


def heads_of(record: StepRecord) -> list[ObservedHead]:
    """Return the heads with a target, in the order of the step.

    Losses come first, then metrics, then scores of all pairs, which need no labels. Meetings count only if no loss and
    no metric has a label outside the modalities; beside pairs, only if they are not doubtful.
    """
    found: list[ObservedHead] = []
    for kind in KINDS:
        if kind == "meeting" and any(head.label.tags & record.others for head in found):
            break
        for head in _merged([_head(event) for event in record.events if event.kind == kind and _labelled(event)]):
            if kind != "meeting" or not is_doubtful(head) or not any(other.pair for other in found):
                found = _joined(found, head)
        found = with_pairs(found, record) if kind == "pair" else found
    return [replace(head, position=place) for place, head in enumerate(found)]


def with_pairs(found: Sequence[ObservedHead], record: StepRecord) -> list[ObservedHead]:
    """Mark heads that are products of two towers, and add the products that no loss function takes.

    Two heads of the same embeddings count as one: a loss in both directions, or with two scales.
    """
    kept: list[ObservedHead] = []
    others = bool(found) or any(product_of(node, record) is None for node in record.last)
    for head in [*(_told(head, record) for head in found), *_products(record, others=others)]:
        twin = head.pair is not None and any(head.pair.is_of(other.pair) for other in kept if other.pair is not None)
        supposed = head.event.name == COSINES and kept
        if not twin and not supposed:
            kept.append(head)
    return kept


def _told(head: ObservedHead, record: StepRecord) -> ObservedHead:
    return replace(head, pair=product_of(head.root, record)) if head.contrastive else head


def _products(record: StepRecord, *, others: bool) -> Iterable[ObservedHead]:
    """Return a head for every two towers whose product the step computes: the latest scores that are made from it.

    Args:
        record: What the step showed.
        others: Whether it computes other scores; scores of pairs that it does not use are then left out.
    """
    latest: dict[frozenset[int], ObservedHead] = {}
    for event in (event for event in record.events if event.kind == "pair"):
        head = ObservedHead(event, until_selection(event.scores), 0, task="regression", contrastive=True)
        head = _told(head, record)
        if head.rows is not None and head.pair is not None and (not others or is_used(head.pair, record)):
            latest[frozenset(map(id, head.pair.towers))] = head
    return latest.values()


def _labelled(event: Event) -> bool:
    """Return whether an event compares scores of the model with a target that is not the model's own."""
    if not event.target or not event.scores[0].node.learned or event.target[0].node.learned:
        return False
    target, rows = event.target[-1].node, event.target[-1].rows
    if target.tags:
        return True
    return rows is not None and len(rows) > 1 and bool((rows != rows[0]).any())


def _head(event: Event) -> ObservedHead:
    contrastive = _is_contrastive(event)
    scores = until_selection(event.scores, decisions=event.takes == "anything")
    head = ObservedHead(event, scores, first_by_example(event.target), contrastive=contrastive)
    metrics = () if event.metric is None else (event.metric,)
    return replace(head, task="regression" if contrastive else task_of(event, head.rows, head.labels), metrics=metrics)


def _is_contrastive(event: Event) -> bool:
    """Return whether square scores are compared with the indices of the examples."""
    rows, target = event.scores[0].rows, event.target[0]
    square = event.scores[0].node.shape[:2] == (event.scores[0].node.shape[:1] * 2)
    return square and rows is not None and target.rows is not None and is_numbering(target.rows)


def _merged(heads: Iterable[ObservedHead]) -> list[ObservedHead]:
    """Join heads that are parts of one tensor: the quantiles of one value, or the examples one by one."""
    found: list[ObservedHead] = []
    for head in heads:
        twin = next((other for other in found if _parts_of_one(head, other)), None)
        if twin is None:
            found.append(head)
        elif twin.root is not head.root:
            found[found.index(twin)] = _whole(twin)
    return found


def _parts_of_one(head: ObservedHead, other: ObservedHead) -> bool:
    """Return whether two heads compare parts of the same scores with the same target."""
    if _origin(head.event.scores) is not _origin(other.event.scores):
        return False
    same = head.label is other.label or _is_same_leaf(head.label, other.label)
    parts = _origin(head.event.target) is _origin(other.event.target)
    alike = head.root.shape[:2] == head.label.shape[:2] or head.root.shape[:1] != _origin(head.event.scores).shape[:1]
    return same or (parts and alike)


def _origin(links: Sequence[Link]) -> Node:
    return links[-1].node


def _is_same_leaf(left: Node, right: Node) -> bool:
    return isinstance(left, Leaf) and isinstance(right, Leaf) and left.keys == right.keys


def _whole(head: ObservedHead) -> ObservedHead:
    """Return the head of the whole tensor, if each event got a part of it."""
    whole = replace(head, scores=len(head.event.scores) - 1, target=len(head.event.target) - 1)
    differences = head.event.kind == "meeting" and head.event.name in SUBTRACTIONS
    return replace(whole, task="regression" if differences else task_of(head.event, whole.rows, whole.labels))


def _joined(found: list[ObservedHead], head: ObservedHead) -> list[ObservedHead]:
    """Add a head; if another head has the same scores and target, add the metrics to that one, which is surer."""
    for place, other in enumerate(found):
        if _same_scores(head.root, other.root) and _same_target(head, other):
            joined = replace(other, metrics=(*other.metrics, *head.metrics), task=other.task or head.task)
            return [*found[:place], joined, *found[place + 1 :]]
    return [*found, head]


def _same_scores(left: Node, right: Node) -> bool:
    """Return whether one tensor was made from the other by operations on that tensor alone."""
    return (
        left is right
        or any(right is one for one in single_line(left))
        or any(left is one for one in single_line(right))
    )


def single_line(node: Node) -> Iterable[Node]:
    """Yield the earlier tensors from each of which alone a tensor was made, the latest first."""
    waiting = [node]
    while waiting and all(isinstance(one, Computed) for one in waiting):
        latest = max(waiting, key=lambda one: len(list(ancestors(one))))
        waiting = list({id(one): one for one in (*waiting, *latest.inputs) if one is not latest}.values())
        if len(waiting) == 1:
            yield waiting[0]


def _same_target(left: ObservedHead, right: ObservedHead) -> bool:
    shared = left.label.tags == right.label.tags
    related = left.label is right.label or bool(left.label.tags)
    return shared and related


def is_doubtful(head: ObservedHead) -> bool:
    """Return whether scores and labels meet in an operation without a clear meaning.

    That is a product without probabilities, or one value per example that meets several scores in no lookup.
    """
    if head.event.kind != "meeting":
        return False
    names = {name_at(link.node) for link in head.event.scores}
    product = meeting_strength(head.event.name) == PRODUCT and not names & {*PROBABILITIES, LOGARITHM}
    one, several = math.prod(head.label.shape[1:]) == 1, math.prod(head.root.shape[1:]) > 1
    return product or (head.task is None and one and several and not names & DECISIONS)


def main_head(heads: Sequence[ObservedHead], record: StepRecord, target: str | None) -> list[ObservedHead]:
    """Return the main head; several if nothing distinguishes them.

    Args:
        heads: All heads.
        record: What the step showed.
        target: Path of the labels that the user named.
    """
    ranked = sorted(heads, key=lambda head: (*_rank(head, record, target), head.position))
    best = ranked[:1]
    for head in ranked[1:]:
        first = best[0]
        alike = _rank(head, record, target) == _rank(first, record, target)
        if alike and _same_target(head, first) and not first.contrastive:  # of several grids the first counts
            best.append(head)
    return best


def _rank(head: ObservedHead, record: StepRecord, target: str | None) -> tuple[int, ...]:
    named = record.tags_of([target]) if target is not None else 0
    modal = record.modalities.values()
    return (
        int(not named or not head.label.tags & named),
        int(bool(head.label.tags & union(modal))),
        int(not head.label.tags & record.others),
        -sum(bool(head.root.tags & tags) for tags in modal),
        int(head.event.kind != "loss" or not head.metrics),  # a metric of scores without a loss belongs to a side task
        KINDS.index(head.event.kind),
        meeting_strength(head.event.name) or 0 if head.event.kind == "meeting" else 0,
    )
