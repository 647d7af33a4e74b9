"""Meetings: operations of a loss or a metric written by hand that combine scores of the model and labels."""

from torch import nn

from mviz_lightning.engine.dependency_tags import union
from mviz_lightning.observation.provenance import Call, Computed, Node
from mviz_lightning.observation.step_record import StepRecord

LOOKUPS = {"gather", "__getitem__", "take_along_dim", "index_select", "index_put", "scatter"}
"""Operations that look up the scores of labels."""

SUBTRACTIONS = {"sub", "__rsub__", "rsub", "__sub__"}
"""Operations that compute errors."""

DIFFERENCES = SUBTRACTIONS | {"eq", "ne", "__eq__", "__ne__", "isclose"}
"""Operations that compare scores with labels."""

PRODUCTS = {"mul", "__mul__", "__rmul__", "where", "einsum", "matmul", "add"}
"""Operations that weigh scores by labels."""


PRODUCT = 2
"""The :func:`meeting_strength` of a product: the least sure."""


def meeting_of(
    made: Computed, operands: list[Node], record: StepRecord, open_calls: list[Call]
) -> tuple[Node, Node] | None:
    """Return the scores and the label that an operation combines for the first time; None if it combines none.

    A submodule with weights that reads another leaf of the batch is part of the model, and not a loss.
    """
    if meeting_strength(made.name) is None or any(has_weights(call.module) for call in open_calls if _is_part(call)):
        return None
    if made.name == "__getitem__" and not isinstance(made.arguments[0][1], tuple):
        return None  # rows that are chosen or sorted by a label
    modal, labels = union(record.modalities.values()), record.others
    scores = [node for node in operands if node.learned and node.tags & modal and not node.tags & labels]
    targets = [node for node in operands if not node.learned and node.tags & labels and not node.tags & modal]
    return (scores[0], targets[0]) if scores and targets else None


def meeting_strength(name: str) -> int | None:
    """Return the rank of a meeting's operation, the surest first: 0 looks up, 1 compares, 2 weighs; None for others."""
    for rank, names in enumerate((LOOKUPS, DIFFERENCES, PRODUCTS)):
        if name in names:
            return rank
    return None


def _is_part(call: Call) -> bool:
    return call.name is not None


def has_weights(module: nn.Module) -> bool:
    """Return whether a module has weights, unlike a loss."""
    return next(module.parameters(), None) is not None
