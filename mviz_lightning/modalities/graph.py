"""Graphs: features of nodes, and the edges between them; every node is a segment."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.batch import Segmentation, Segments
from mviz_lightning.batch.masking import joined
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.modalities.base import ModalityType
from mviz_lightning.modalities.companions import found_in, last_name
from mviz_lightning.modalities.graph_layout import along_main_axes, layout
from mviz_lightning.modalities.segment_names import feature_names
from mviz_lightning.modalities.segmentation import clusters
from mviz_lightning.modalities.step_leaf import masked_with, most_frequent_entry
from mviz_lightning.modalities.typical_values import fill
from mviz_lightning.plotting.node_link import draw_node_link
from mviz_lightning.plotting.numbered_cells import cells_aspect, draw_cells
from mviz_lightning.plotting.panels import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

MAX_WRITTEN = 24
"""Largest number of nodes that all get a number or letters; in larger graphs these would overlap."""

MAX_NUMBERED = 4
"""Number of segments that get a number in larger graphs: those with the largest weights."""

MAX_KEPT = 1000
"""Largest number of nodes of a graph whose drawing is stored."""

FLATTEST = 0.4
"""Smallest height of a drawing, as a fraction of its width; the longer side of a graph is the width."""

MOST_TYPES = 64
"""Largest number of node types that are counted separately in raw-input features."""


class Graph(ModalityType):
    """Features of nodes ``(N, nodes, F)``, or their types as whole numbers ``(N, nodes)``, with edges ``(N, 2, E)``.

    Every node is a segment. A graph with more than ``max_segments`` nodes is divided into ``max_segments`` connected
    clusters. A masked node gets the baseline; its edges and its position do not change. Further leaves of the modality
    with one entry per node are masked with it.
    """

    name = "graph"

    def cut(self) -> Segmentation:
        """Make every node a segment, or divide a graph into connected clusters."""
        self._check()
        index = self._index = torch.full(self._real.shape, -1)
        self._centres: list[list[int]] = []
        for example, placed in enumerate(index):
            nodes = self._nodes(example)
            cluster, centres = clusters(len(nodes), self._edges(example), self.modality.max_segments)
            placed[nodes] = torch.from_numpy(cluster)
            self._centres.append(nodes[torch.from_numpy(centres)].tolist())
        further = {path: leaf for path, leaf in self.companions.items() if self._describes_nodes(path, leaf)}
        return joined([self._part(path, leaf, index) for path, leaf in {self.path: self.values, **further}.items()])

    def _describes_nodes(self, path: str, leaf: Any) -> bool:
        """Return whether a further leaf describes nodes and is masked; edges, edge features and positions are not."""
        stays = path == self.modality.edges or "edge" in last_name(path) or last_name(path).endswith("pos")
        return not stays and masked_with(leaf, 1, self.values.shape[1])

    def _part(self, path: str, leaf: Tensor, index: Tensor) -> Segments:
        shape = (*index.shape, *[1] * (leaf.dim() - 2))
        if self._keeps_types(path, leaf):
            return Segments(path, index.view(shape), most_frequent_entry(leaf, 1, self._real))
        return Segments(path, index.view(shape), fill(self, leaf, [0, 1], self._real.view(shape)))

    def _keeps_types(self, path: str, leaf: Tensor) -> bool:
        """Return whether a masked node gets the most frequent type, because a mean of types is no valid type."""
        return not leaf.is_floating_point() and (self.modality.baseline is None or path != self.path)

    @property
    def baseline(self) -> str:
        """The baseline of masked nodes, in words."""
        return "the most frequent type" if self._keeps_types(self.path, self.values) else super().baseline

    def _check(self) -> None:
        values, edges = self.values, self.leaves.get(self.modality.edges)  # type: ignore[arg-type]
        if not isinstance(values, Tensor) or values.dim() not in (2, 3):
            raise ConfigurationError(
                f"kind='graph' of {self.path!r}: expected (N, nodes, F) or (N, nodes); found {found_in(values)}."
            )
        if not isinstance(edges, Tensor) or edges.dim() != 3 or edges.shape[1] != 2 or edges.is_floating_point():
            raise ConfigurationError(
                f"edges={self.modality.edges!r} of {self.path!r}: expected whole numbers (N, 2, E), the two nodes of "
                f"every edge; found {found_in(edges)}. Give their leaf: Modality({self.path!r}, edges='edge_index')."
            )
        if values.is_floating_point() and self.modality.feature_names is not None:
            feature_names(self.modality, {self.path: self._rows.shape[2]}, "feature")

    @cached_property
    def _real(self) -> Tensor:
        """``(N, nodes)`` False at padding."""
        real = self.real_entries()
        return torch.ones(self.values.shape[:2], dtype=torch.bool) if real is None else real

    @cached_property
    def _rows(self) -> Tensor:
        """``(N, nodes, F)``: the numbers of every node."""
        values: Tensor = self.values
        return values if values.dim() == 3 else values.unsqueeze(2)

    def _nodes(self, example: int) -> Tensor:
        """Return the positions of an example's nodes in the leaf; other methods number these nodes from 0."""
        return self._real[example].nonzero()[:, 0]

    def _edges(self, example: int) -> npt.NDArray[Any]:
        """Return ``(2, E)``: the edges between nodes of an example, without self-loops."""
        nodes, most = self._nodes(example), self.values.shape[1]
        number = torch.full((most + 1,), -1)
        number[nodes] = torch.arange(len(nodes))
        given = self.leaves[self.modality.edges][example].long()  # type: ignore[index]
        edges = number[given.where((given >= 0) & (given < most), most)]
        kept: npt.NDArray[Any] = edges[:, (edges >= 0).all(0) & (edges[0] != edges[1])].numpy()
        return kept

    @classmethod
    def features(cls, values: Any, mask: Tensor | None) -> Tensor | None:
        """Return ``(N, D)``: the number of nodes, and sums and means of features; for types, counts and frequencies."""
        if not isinstance(values, Tensor) or values.dim() < 2:
            return None
        real = torch.ones(values.shape[:2], dtype=torch.bool)
        real = real if mask is None else mask.reshape(*real.shape, -1).any(2)
        numbers = _counted(values, real).double().nan_to_num()
        sums, count = numbers.where(real.unsqueeze(2), 0).sum(1), real.sum(1, keepdim=True)
        return torch.cat([count, sums, sums / count.clamp(min=1)], 1)

    def names(self, example: int, *, inputs: bool = True) -> list[str]:
        """Return the number of every node in its graph, from 1, and its type; for a cluster, those of its centre."""
        centres = self._centres[example]
        single = len(centres) == len(self._nodes(example))
        if not inputs:
            return [f"{'node' if single else 'cluster'} {segment + 1}" for segment in range(len(centres))]
        told = zip(self._numbers(example, centres), self._letters(example, centres), strict=True)
        named = [f"node {number} ({letters})" if letters else f"node {number}" for number, letters in told]
        return named if single else [f"around {name}" for name in named]

    def _numbers(self, example: int, nodes: list[int]) -> list[str]:
        """Return the numbers of nodes in their graph, from 1."""
        return [str(number) for number in self._real[example].cumsum(0)[nodes].tolist()]

    @cached_property
    def _types(self) -> Tensor | None:
        """``(N, nodes)``: the type of every node, from whole numbers or one-hot rows; None if nodes have no types."""
        rows = self._rows
        if not rows.is_floating_point():
            return rows[..., 0].long() if rows.shape[2] == 1 else None
        own = rows[self._real]
        one_each = own.shape[1] > 1 and bool(((own == 0) | (own == 1)).all() and (own.sum(1) == 1).all())
        return rows.argmax(2) if one_each else None

    def _letters(self, example: int, nodes: list[int]) -> list[str]:
        """Return the names of the types of nodes; empty if they have none."""
        names, types = self.modality.feature_names, self._types
        if names is None or types is None:
            return [""] * len(nodes)
        return [str(names[kind]) if 0 <= kind < len(names) else "" for kind in types[example, nodes].tolist()]

    @cached_property
    def _drawn_places(self) -> dict[int, npt.NDArray[Any]]:
        """Example -> positions of its nodes, for examples that were drawn before."""
        return {}

    def _places(self, example: int) -> npt.NDArray[Any]:
        """Return the positions of an example's nodes, ``(nodes, 2)`` from the top left; the longer side is 1."""
        if example not in self._drawn_places:
            given = self._given_places(example)
            places = layout(len(self._nodes(example)), self._edges(example)) if given is None else given
            shifted = places - places.min(0, initial=np.inf)
            self._drawn_places[example] = shifted / max(shifted.max(initial=0), 1e-9)
        return self._drawn_places[example]

    def _given_places(self, example: int) -> npt.NDArray[Any] | None:
        """Return the positions in a companion whose name ends in ``pos``; of three axes, the two widest."""
        for path in self.modality.companions:
            leaf = self.leaves.get(path)
            if not last_name(path).endswith("pos") or not isinstance(leaf, Tensor) or leaf.dim() != 3:
                continue
            if leaf.shape[1] == self.values.shape[1] and leaf.shape[2] in (2, 3):
                places: npt.NDArray[Any] = leaf[example, self._nodes(example)].double().nan_to_num().numpy()
                return places if places.shape[1] == 2 else along_main_axes(places)
        return None

    def view(self, example: int, *, inputs: bool = True) -> dict[str, Any]:
        """Return positions, edges and segments of the nodes; only names for large graphs, or if inputs are hidden."""
        nodes = self._nodes(example)
        if not inputs or len(nodes) > MAX_KEPT:
            return {"view": "list"}
        edges = np.unique(np.sort(self._edges(example), 0), axis=1).T
        segment = self._index[example, nodes]
        return {"view": "graph", "nodes": self._places(example), "edges": edges, "segment": segment}

    def aspect(self, example: int, *, inputs: bool = True) -> float:
        """Return height over width of the drawing, or of the numbered cells."""
        if not inputs:
            return cells_aspect(min(self.values.shape[1], self.modality.max_segments))
        width, height = self._places(example).max(0, initial=0) + 0.15
        return float(np.clip(height / width, FLATTEST, 1))

    def draw(self, axes: "Axes", example: int) -> None:
        """Draw the nodes with a colour for each type; without types, brighter nodes have larger features."""
        nodes = self._nodes(example).tolist()
        letters, numbers = self._letters(example, nodes), self._numbers(example, nodes)
        words = letters if any(letters) else numbers
        shown = words if len(nodes) <= MAX_WRITTEN else [""] * len(nodes)
        draw_node_link(axes, self._places(example), self._edges(example), self._input_colours(example), shown)

    def _input_colours(self, example: int) -> npt.NDArray[Any]:
        from matplotlib.colors import to_rgb

        nodes, types = self._nodes(example), self._types
        kinds = None if types is None else torch.unique(types[self._real])
        if types is not None and kinds is not None and len(kinds) <= len(COLOURS):
            palette: npt.NDArray[Any] = np.array([to_rgb(colour) for colour in COLOURS])
            return palette[torch.searchsorted(kinds, types[example, nodes]).tolist()]
        sizes = self._rows[example, nodes].double().nan_to_num().norm(dim=1).numpy()
        return np.repeat((0.3 + 0.65 * sizes / max(sizes.max(initial=0), 1e-12))[:, None], 3, 1)

    def paint(
        self, axes: "Axes", example: int, weights: npt.NDArray[Any], colours: "ScalarMappable", *, inputs: bool = True
    ) -> None:
        """Draw the nodes in the colours of their weights; with ``inputs=False``, draw cells only."""
        if not inputs:
            draw_cells(axes, len(weights), range(len(weights)), colours.to_rgba(weights))
            return
        nodes, edges = self._nodes(example), self._edges(example)
        segment = self._index[example, nodes].numpy()
        faces, words = np.asarray(colours.to_rgba(weights))[segment], self._painted_numbers(example, weights)
        draw_node_link(axes, self._places(example), edges, faces, words, segment[edges[0]] == segment[edges[1]])

    def _painted_numbers(self, example: int, weights: npt.NDArray[Any]) -> list[str]:
        """Return the numbers of all nodes; for a large graph, only of the central nodes of the strongest segments."""
        nodes, centres = self._nodes(example).tolist(), self._centres[example]
        strongest = np.argsort(-np.abs(weights), kind="stable")[:MAX_NUMBERED]
        shown = set(nodes) if len(nodes) <= MAX_WRITTEN else {centres[segment] for segment in strongest}
        numbers = zip(nodes, self._numbers(example, nodes), strict=True)
        return [number if node in shown else "" for node, number in numbers]


def _counted(values: Tensor, real: Tensor) -> Tensor:
    """Return ``(N, nodes, D)`` numbers that can be summed; node types become one-hot columns."""
    rows = values.reshape(*real.shape, -1)
    if rows.is_floating_point():
        return rows
    kinds = [torch.unique(column[real]) for column in rows.unbind(2)]
    columns = zip(rows.unbind(2), kinds, strict=True)
    return torch.cat(
        [column[..., None] == kind if len(kind) <= MOST_TYPES else column[..., None] for column, kind in columns], 2
    )
