"""Where a step uses scores: calls of losses, updates of metrics, and operations that combine scores and labels."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as losses
from torchmetrics import Metric

from mviz_lightning.engine.positions import PositionAxes
from mviz_lightning.functional.targets import IGNORED
from mviz_lightning.observation.provenance import Call, Computed, Node, Provenance, nodes_in
from mviz_lightning.observation.views import Views

Takes: TypeAlias = Literal["logits", "log_probabilities", "probabilities", "values", "anything"]
"""What a loss or a metric takes; ``"anything"`` is logits, probabilities or predicted classes."""

LOSSES: dict[Callable[..., Any], Takes] = {
    losses.cross_entropy: "logits",
    losses.binary_cross_entropy_with_logits: "logits",
    losses.multilabel_soft_margin_loss: "logits",
    losses.multilabel_margin_loss: "logits",
    losses.soft_margin_loss: "logits",
    losses.multi_margin_loss: "logits",
    losses.nll_loss: "log_probabilities",
    losses.kl_div: "log_probabilities",
    losses.binary_cross_entropy: "probabilities",
    losses.mse_loss: "values",
    losses.l1_loss: "values",
    losses.smooth_l1_loss: "values",
    losses.huber_loss: "values",
    losses.gaussian_nll_loss: "values",
    losses.poisson_nll_loss: "values",
}
"""Loss functions, whose first arguments are the scores and the target; the modules of ``torch.nn`` call them."""

VIEWS = {
    *("view", "reshape", "squeeze", "unsqueeze", "flatten", "ravel", "view_as", "reshape_as", "unflatten"),
    *("T", "mT", "t", "transpose", "permute", "movedim", "swapaxes", "contiguous", "clone", "detach", "data"),
    *("to", "float", "double", "half", "bfloat16", "type", "type_as", "cpu", "cuda", "long", "int", "bool"),
}
"""Operations that keep every value: views, copies, and other number types."""

SELECTIONS = {"__getitem__", "select", "narrow", "chunk", "split", "unbind", "tensor_split", "masked_select"}
"""Operations that keep some of the values."""

PROBABILITIES = {"sigmoid", "softmax", "log_softmax", "log_sigmoid", "logsigmoid", "sigmoid_"}
"""Operations that turn logits into probabilities or their logarithms."""

LOGARITHM = "log"
"""The operation between probabilities and their logarithms."""

SMOOTHING = {"add", "clamp", "clip", "clamp_min"}
"""Operations with one tensor operand that keep probabilities away from 0."""

DECISIONS = {"argmax", "max", "topk", "round", "gt", "ge", "lt", "le", "__gt__", "__ge__", "__lt__", "__le__"}
"""Operations that turn scores into predicted classes."""

IGNORING = {losses.cross_entropy, losses.nll_loss}
"""Loss functions with an ``ignore_index``, their fifth argument."""

OBSERVED_ROWS = 16
"""Number of rows of a batch whose scores are kept: those on which the dry run tries the model."""


@dataclass(frozen=True)
class Link:
    """One tensor on the way from an event's argument back to the scores.

    Attributes:
        node: Where the tensor comes from.
        rows: Values of the first rows; None if it has no row for each example, or more than two dimensions.
        readings: The same rows by each of the event's ``views``.
        axes: Where its positions and classes are, if each example has many positions; ``rows`` then holds the values at
            a few of them, one after another.
    """

    node: Node
    rows: Tensor | None
    readings: tuple[Tensor, ...] = ()
    axes: PositionAxes | None = None


@dataclass(frozen=True)
class Event:
    """One place in which the step uses scores.

    Attributes:
        kind: ``"loss"``, ``"metric"``, ``"pair"`` for scores of all pairs of two modalities, ``"tower"`` for the
            embeddings of one of them, or ``"meeting"`` for scores and labels in any other operation.
        name: Name of the function, of the metric's class, or of the operation.
        ordinal: Its number among the step's events of the same kind and name.
        scores: The argument that holds the scores, and the tensors that it was made from by views and similar
            operations.
        target: The argument that holds the target, and the tensors that it was made from.
        takes: What kind of scores the event takes.
        metric: The user's metric.
        within: The innermost module call in which it happened.
        views: How its rows may belong to examples, if each example has several rows with one target; else empty.
        ignored: Target value that the event leaves out: its ``ignore_index``.
    """

    kind: Literal["loss", "metric", "pair", "tower", "meeting"]
    name: str
    ordinal: int
    scores: tuple[Link, ...]
    target: tuple[Link, ...]
    takes: Takes = "anything"
    metric: Metric | None = None
    within: Call | None = None
    views: tuple[Views, ...] = ()
    ignored: int = IGNORED

    def read_as(self, place: int) -> "Event":
        """Return the event as one of its views reads it."""
        scores, target = (
            tuple(replace(link, rows=link.readings[place]) if link.readings else link for link in links)
            for links in (self.scores, self.target)
        )
        return replace(self, scores=scores, target=target, views=self.views[place : place + 1])


@dataclass(frozen=True)
class Given:
    """The arguments of a loss, a metric or an operation.

    Attributes:
        scores: The argument that holds the scores.
        target: The argument that holds the target.
        takes: What the scores are.
        metric: The user's metric.
        ignored: Target value that is left out.
    """

    scores: Any
    target: Any = None
    takes: Takes = "logits"
    metric: Metric | None = None
    ignored: int = IGNORED

    @classmethod
    def to_loss(cls, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> "Given":
        """Return the arguments of a loss function of :data:`LOSSES`."""
        ignored = kwargs.get("ignore_index", args[4] if len(args) > 4 else None) if func in IGNORING else None
        return cls(*_first_two(args, kwargs, "input"), LOSSES[func], None, IGNORED if ignored is None else ignored)

    @classmethod
    def to_metric(cls, metric: Metric, args: Sequence[Any], kwargs: Mapping[str, Any]) -> "Given":
        """Return the arguments of an update of a metric."""
        ignored = getattr(metric, "ignore_index", None)
        known = ignored if isinstance(ignored, int) else IGNORED
        return cls(*_first_two(args, kwargs, "preds"), "anything", metric, known)


def _first_two(args: Sequence[Any], kwargs: Mapping[str, Any], first: str) -> tuple[Any, Any]:
    """Return the first two arguments; given by name, they are called ``first`` and ``target``."""
    return (args[0] if args else kwargs.get(first)), (args[1] if len(args) > 1 else kwargs.get("target"))


@dataclass
class ChainWalk:
    """Walks back from an argument of an event through operations that keep its values.

    Attributes:
        provenance: Where tensors come from.
        open_calls: The module calls that run at the event: the walk never enters one that has returned.
        count: Number of examples in the batch.
        views: How rows may belong to the examples, if each example has several.
    """

    provenance: Provenance
    open_calls: list[Call]
    count: int
    views: tuple[Views, ...] = ()
    tensors: list[Tensor] = field(default_factory=list)

    def links(self, tensor: Tensor, through: set[str]) -> tuple[Link, ...]:
        """Return the tensors on the way, the argument itself first.

        Args:
            tensor: The argument.
            through: Names of the operations that the walk passes.
        """
        self.tensors = list(self._walk(tensor, through))
        return tuple(self._link(found) for found in self.tensors)

    def _link(self, tensor: Tensor) -> Link:
        node, stacked = self.provenance.of(tensor), self.views and tensor.dim() in (1, 2)
        if not stacked or len(tensor) != self.count * self.views[0].count:
            return Link(node, self._rows(tensor))
        with torch.inference_mode(False), torch.no_grad():
            readings = tuple(one.by_example(tensor.detach())[:OBSERVED_ROWS].clone() for one in self.views)
        return Link(node, readings[0], readings)

    def _walk(self, tensor: Tensor, through: set[str]) -> Iterator[Tensor]:
        found: Tensor | None = tensor
        while found is not None:
            yield found
            node = self.provenance.of(found)
            passes = isinstance(node, Computed) and node.name in through and self._open(node) and _single(node)
            if passes and name_at(node) == LOGARITHM:
                through = through | SMOOTHING  # a number that is added inside a logarithm is not a prior
            found = self.provenance.source(found) if passes else None

    def _open(self, node: Computed) -> bool:
        return node.within is None or node.within in self.open_calls

    def _rows(self, tensor: Tensor) -> Tensor | None:
        if tensor.dim() not in (1, 2) or len(tensor) != self.count:
            return None
        with torch.inference_mode(False), torch.no_grad():
            return tensor[:OBSERVED_ROWS].detach().clone()


def name_at(node: Node) -> str:
    """Return the name of the operation that made a tensor; ``""`` if none did."""
    return node.name if isinstance(node, Computed) else ""


def _single(node: Computed) -> bool:
    """Return whether an operation has one tensor operand, apart from the mask or the indices of a selection."""
    operands = list(nodes_in(node.arguments))
    return len(operands) == 1 or (node.name == "__getitem__" and not any(operand.learned for operand in operands[1:]))


def passed(takes: Takes) -> set[str]:
    """Return the names of the operations that may lie between the scores and an event that takes this."""
    if takes in ("logits", "values"):
        return VIEWS | SELECTIONS
    if takes == "anything":
        return VIEWS | SELECTIONS | PROBABILITIES | DECISIONS | {LOGARITHM}
    if takes == "probabilities":
        return VIEWS | SELECTIONS | PROBABILITIES | (SMOOTHING - {"add"})
    return VIEWS | SELECTIONS | PROBABILITIES | {LOGARITHM}


def until_selection(links: Sequence[Link], *, decisions: bool = True) -> int:
    """Return the index of the last link back whose tensor is whole: nothing was selected from it on the way.

    Links with a row for each example are preferred. Picking rows by a mask is not a selection.
    """
    reached = [0]
    for before, link in enumerate(links[:-1]):
        if _selects(link.node) or (not decisions and name_at(link.node) in DECISIONS):
            break
        reached.append(before + 1)
    stacked = any(link.readings for link in links)  # then a tensor with one row for each example is something else
    by_example = [
        place for place in reached if links[place].rows is not None and bool(links[place].readings) == stacked
    ]
    return (by_example or reached)[-1]


def first_by_example(links: Sequence[Link]) -> int:
    """Return the index of the first link back at which the target has one entry for each example."""
    return next((place for place, link in enumerate(links) if link.rows is not None), until_selection(links))


def _selects(node: Node) -> bool:
    """Return whether an operation selects a part of every row."""
    if name_at(node) not in SELECTIONS or not isinstance(node, Computed):
        return False
    return picked_rows(node) is None


def picked_rows(node: Node) -> Node | None:
    """Return the mask or the indices with which an operation picks rows unchanged; None if it does anything else."""
    if not isinstance(node, Computed) or node.name != "__getitem__":
        return None
    source, index = node.arguments[0]
    if isinstance(index, tuple) and index and math.prod(source.shape[1:]) == 1:
        index = index[0]  # rows[known, 0] of one column is that column
    return index if isinstance(index, Node) else None
