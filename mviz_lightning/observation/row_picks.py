"""Masks and indices with which a step picks or sorts rows of the batch."""

from collections.abc import Sequence

from mviz_lightning.observation.events import Link
from mviz_lightning.observation.provenance import Computed, Leaf, Node, ancestors


def row_picks(node: Node) -> set[Node]:
    """Return the masks and the indices with which rows of leaves were picked or sorted on the way to a tensor."""
    picked = (one for one in ancestors(node) if isinstance(one, Computed) and one.name == "__getitem__")
    found = [(one.arguments[0][0], one.arguments[0][1]) for one in picked]
    return {index for source, index in found if isinstance(source, Leaf) and isinstance(index, Node)}


def row_mask(links: Sequence[Link], place: int) -> Node | None:
    """Return the mask or the indices with which the step picks rows of a tensor; None if it picks none."""
    for link in links[:place]:
        node = link.node
        if isinstance(node, Computed) and node.name == "__getitem__" and isinstance(node.arguments[0][1], Node):
            return node.arguments[0][1]
    return None
