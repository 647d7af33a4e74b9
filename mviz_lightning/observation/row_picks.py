"""Masks and indices with which a step picks or sorts rows of the batch."""

from collections.abc import Sequence

from mviz_lightning.observation.events import Link, picked_rows
from mviz_lightning.observation.provenance import Computed, Leaf, Node, ancestors


def row_picks(node: Node) -> set[Node]:
    """Return the masks and the indices with which rows of leaves were picked or sorted on the way to a tensor."""
    picked = (one for one in ancestors(node) if isinstance(one, Computed) and one.name == "__getitem__")
    found = [(one.arguments[0][0], one.arguments[0][1]) for one in picked]
    return {index for source, index in found if isinstance(source, Leaf) and isinstance(index, Node)}


def row_mask(links: Sequence[Link], place: int) -> Node | None:
    """Return the mask or the indices with which the step picks rows of a tensor; None if it picks none."""
    for link in links[:place]:
        if (picked := picked_rows(link.node)) is not None:
            return picked
    return None
