"""Masks and indices with which a step picks or sorts rows of the batch."""

from collections.abc import Iterator, Sequence

from mviz_lightning.observation.events import Link, picked_rows
from mviz_lightning.observation.provenance import Computed, Leaf, Node, ancestors


def row_picks(node: Node) -> set[Node]:
    """Return the masks and the indices with which rows of leaves were picked or sorted on the way to a tensor."""
    return {index for index, _ in _picks(node)}


def picked_by_step(node: Node) -> bool:
    """Return whether the step itself, outside module calls, picked or sorted rows of leaves on the way to a tensor."""
    return any(pick.within is None for _, pick in _picks(node))


def _picks(node: Node) -> Iterator[tuple[Node, Computed]]:
    """Yield each mask of rows of a leaf, or their indices, and the picked rows."""
    for pick in ancestors(node):
        if isinstance(pick, Computed) and pick.name == "__getitem__":
            source, index, *_ = pick.arguments[0]
            if isinstance(source, Leaf) and isinstance(index, Node):
                yield index, pick


def row_mask(links: Sequence[Link], place: int) -> Node | None:
    """Return the mask or the indices with which the step picks rows of a tensor; None if it picks none."""
    for link in links[:place]:
        if (picked := picked_rows(link.node)) is not None:
            return picked
    return None
