"""Graphs: nodes as segments, connected clusters of large ones, what a masked node becomes, and how they are drawn."""

from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from benchmarks.dime_synthetic import context_of
from helpers.batches import floats
from helpers.modality_checks import BLUE, RED, assert_cut, drawn, made
from torch import Tensor, nn

from mviz_lightning import ConfigurationError, Modality
from mviz_lightning.engine import Evaluator
from mviz_lightning.explainers import DIME, Responses
from mviz_lightning.modalities import Graph, Tabular, modality_type_of
from mviz_lightning.modalities.graph_layout import layout
from mviz_lightning.modalities.of_probe import modality_types_of
from mviz_lightning.modalities.segmentation import clusters

RING = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)]
PAIR = [(1, 0)]
GRAPHS = {
    "ring": nx.cycle_graph(30),
    "star": nx.star_graph(40),
    "grid": nx.convert_node_labels_to_integers(nx.grid_2d_graph(7, 8)),
    "tree": nx.random_labeled_tree(60, seed=1),
    "random": nx.gnm_random_graph(50, 90, seed=2),
    "complete": nx.complete_graph(12),
    "two parts": nx.disjoint_union(nx.path_graph(9), nx.complete_graph(5)),
}


def edges_of(graph: Any) -> Any:
    return np.array(list(graph.edges), dtype=np.int64).reshape(-1, 2).T


def padded(*graphs: list[tuple[int, int]]) -> Tensor:
    """Return ``(N, 2, E)`` edges, padded with 0."""
    leaf = torch.zeros(len(graphs), 2, max(map(len, graphs)), dtype=torch.long)
    for row, edges in zip(leaf, graphs, strict=True):
        row[:, : len(edges)] = torch.tensor(edges).T
    return leaf


def graph(values: Tensor, *graphs: list[tuple[int, int]], others: Any = None, **options: Any) -> Any:
    """Return the graphs of a leaf of nodes, one list of edges for each example."""
    return made(values, others={"e": padded(*graphs), **(others or {})}, edges="e", **options)


def own_nodes(*counts: int) -> Tensor:
    return (torch.arange(max(counts)) < torch.tensor(counts)[:, None]).long()


@pytest.mark.parametrize("segments", [1, 3, 5, 49])
@pytest.mark.parametrize("values", [torch.rand(2, 5, 3), torch.arange(10).view(2, 5), torch.ones(2, 5, 2).long()])
def test_nodes_are_segments_and_padding_belongs_to_none(values: Tensor, segments: int) -> None:
    found = graph(values, RING, PAIR, mask="m", others={"m": own_nodes(5, 2)}, max_segments=segments)
    assert isinstance(found, Graph)
    assert_cut(found)
    assert [found.segments.count(example) for example in range(2)] == [min(segments, 5), min(segments, 2)]
    assert torch.equal(found.segments.index.reshape(2, 5, -1)[..., 0] >= 0, own_nodes(5, 2).bool())


def test_what_was_padded_to_the_largest_graph_is_never_masked() -> None:
    values, modality = torch.rand(2, 5, 3), Modality("x", edges="e")
    own = own_nodes(5, 2).bool().unsqueeze(2).expand(-1, -1, 3)
    found = Graph(modality, {"x": values, "e": padded(RING, PAIR)}, "x", own)
    masked = found.segments.mask(values, torch.zeros(2, 5, dtype=torch.bool), torch.arange(2))
    assert torch.equal(masked[1, 2:], values[1, 2:])
    mean = torch.cat([values[0], values[1, :2]]).mean(0)
    assert torch.allclose(masked[0], mean.expand(5, 3))
    assert torch.allclose(masked[1, :2], mean.expand(2, 3))


@pytest.mark.parametrize("most", [1, 2, 7, 20, 49])
@pytest.mark.parametrize("name", GRAPHS)
def test_clusters_cover_every_node_once_are_connected_and_the_same_again(name: str, most: int) -> None:
    one = GRAPHS[name]
    found, centres = clusters(len(one), edges_of(one), most)
    assert sorted(set(found.tolist())) == list(range(min(most, len(one)))) == list(range(len(centres)))
    assert found[centres].tolist() == list(range(len(centres)))
    connected = [nx.is_connected(one.subgraph(np.flatnonzero(found == number))) for number in range(len(centres))]
    assert all(connected) or most < nx.number_connected_components(one)
    again = clusters(len(one), edges_of(one), most)
    assert np.array_equal(again[0], found)
    assert np.array_equal(again[1], centres)
    turned = edges_of(one)[::-1, ::-1]
    assert np.array_equal(clusters(len(one), turned, most)[0], found)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_node_belongs_to_a_nearest_centre(name: str) -> None:
    one = GRAPHS[name]
    found, centres = clusters(len(one), edges_of(one), 6)
    far = dict(nx.all_pairs_shortest_path_length(one))
    for node, number in enumerate(found):
        reached = [far[node].get(centre, np.inf) for centre in centres.tolist()]
        assert reached[number] == min(reached)


def test_more_parts_than_segments_leave_a_segment_for_the_rest() -> None:
    found, _ = clusters(6, np.array([[0, 1], [1, 2]]), 3)
    assert found.tolist() == [0, 0, 0, 1, 2, 2]


@pytest.mark.parametrize(
    ("values", "options", "masked", "words"),
    [
        (torch.tensor([[1.0, 3.0, 9.0], [2.0, 99.0, 99.0]]), {}, 3.75, "the examples' mean"),
        (torch.tensor([[6, 8, 6], [7, 1, 1]]), {}, 6, "the most frequent type"),
        (torch.tensor([[6, 8, 6], [7, 1, 1]]), {"baseline": "zero"}, 0, "0"),
        (torch.tensor([[6, 8, 6], [7, 1, 1]]), {"baseline": 119}, 119, "119"),
        (torch.tensor([[1.0, 3.0, 9.0], [2.0, 99.0, 99.0]]), {"baseline": "zero"}, 0, "0"),
    ],
)
def test_a_masked_node_has_the_mean_of_real_nodes_or_the_most_frequent_type(
    values: Tensor, options: Any, masked: float, words: str
) -> None:
    found = graph(values, RING[:2], [(0, 0)], mask="m", others={"m": own_nodes(3, 1)}, **options)
    kept = torch.tensor([[True, False, True], [False, True, True]])
    after = found.segments.mask(values, kept, torch.arange(2))
    assert after.dtype == values.dtype
    assert after.tolist() == [[values[0, 0], masked, values[0, 2]], [masked, *values[1, 1:]]]
    assert found.baseline == words


def test_several_whole_numbers_of_a_node_have_a_most_frequent_value_each() -> None:
    values = torch.tensor([[[6, 0], [6, 1], [8, 1]], [[7, 1], [5, 5], [5, 5]]])
    found = graph(values, RING[:2], PAIR, mask="m", others={"m": own_nodes(3, 1)})
    assert found.segments.mask(values, torch.zeros(2, 3, dtype=torch.bool), torch.arange(2))[1].tolist() == [
        [6, 1],
        [5, 5],
        [5, 5],
    ]


@pytest.mark.parametrize(
    ("leaf", "name"),
    [
        ("edge_index", "graph"),
        ("graph.edge_index", "graph"),
        ("bond_edge_index", "graph"),
        ("edge_weights", "series"),
    ],
)
def test_a_companion_with_edges_makes_a_graph(leaf: str, name: str) -> None:
    node = {"graph": {"edge_index": padded(RING, RING)}} if "." in leaf else {leaf: padded(RING, RING)}
    batch = {"x": torch.rand(2, 5, 3), **node, "t": torch.rand(2, 3)}
    probe = context_of(batch, {"g": Modality("x", companions=[leaf]), "t": Modality("t")}).probe
    assert modality_types_of(probe)["g"].name == name
    assert modality_type_of(Modality("x", edges="e"), batch["x"]) is Graph
    assert modality_type_of(Modality("x", edges="e", kind="tabular"), batch["x"]) is Tabular


def test_edges_are_a_leaf_of_their_modality() -> None:
    assert Modality("x", edges="e").leaves == ["x", "e"]
    assert Modality("x", companions=["e", "w"], edges="e").leaves == ["x", "e", "w"]


@pytest.mark.parametrize(
    ("values", "edges", "error"),
    [
        (torch.rand(2, 5, 3), None, r"edges='e' of 'x': expected whole numbers \(N, 2, E\).*; found no such leaf"),
        (torch.rand(2, 5, 3), torch.zeros(2, 3, 4).long(), r"edges='e' of 'x': .*; found \(2, 3, 4\)"),
        (torch.rand(2, 5, 3), torch.zeros(2, 2, 4), r"edges='e' of 'x': expected whole numbers"),
        (torch.rand(2, 5, 3, 1), padded(RING, RING), r"kind='graph' of 'x': expected \(N, nodes, F\) or"),
        (["a", "b"], padded(RING, RING), r"kind='graph' of 'x': .* found list"),
    ],
)
def test_what_is_no_graph_is_refused(values: Any, edges: Any, error: str) -> None:
    with pytest.raises(ConfigurationError, match=error):
        made(values, others={} if edges is None else {"e": edges}, edges="e")


def test_names_are_the_nodes_numbers_their_types_and_the_centres_of_clusters() -> None:
    hot = torch.eye(3)[torch.tensor([[0, 1, 1, 2, 0]])]
    assert graph(torch.rand(1, 5, 2), RING).names(0) == [f"node {number}" for number in range(1, 6)]
    atoms = graph(hot, RING, feature_names=["C", "N", "O"])
    assert atoms.names(0) == ["node 1 (C)", "node 2 (N)", "node 3 (N)", "node 4 (O)", "node 5 (C)"]
    assert atoms.names(0, inputs=False) == [f"node {number}" for number in range(1, 6)]
    assert graph(hot, RING, feature_names=[*"abc"], max_segments=2).names(0) == [
        "around node 1 (a)",
        "around node 3 (b)",
    ]
    assert graph(hot, RING, max_segments=2).names(0, inputs=False) == ["cluster 1", "cluster 2"]
    assert graph(torch.tensor([[1, 0, 2]]), RING[:2], feature_names=[*"abc"]).names(0)[1:] == [
        "node 2 (a)",
        "node 3 (c)",
    ]
    with pytest.raises(ConfigurationError, match="feature_names of 'x' has 2 names, the leaf has 3 features"):
        graph(hot, RING, feature_names=[*"ab"])


def test_nodes_count_from_1_within_their_graph() -> None:
    found = graph(torch.rand(1, 4, 2), [(1, 3)], mask="m", others={"m": torch.tensor([[0, 1, 0, 1]])})
    assert found.names(0) == ["node 1", "node 2"]
    assert found._edges(0).tolist() == [[0], [1]]


def test_edges_to_padding_and_to_the_node_itself_are_dropped() -> None:
    edges = torch.tensor([[[0, 1, 2, -1, 0, 7], [1, 1, 0, -1, 0, 0]]])
    found = made(torch.rand(1, 3, 2), others={"e": edges, "m": torch.tensor([[1, 1, 0]])}, edges="e", mask="m")
    assert found._edges(0).tolist() == [[0], [1]]


def test_raw_input_features_are_counts_sums_and_means_of_real_nodes() -> None:
    values = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [70.0, 80.0]]])
    expected = [[2, 4, 6, 2, 3], [1, 5, 6, 5, 6]]
    own = own_nodes(2, 1).bool()
    assert Graph.features(values, own).tolist() == expected
    assert Graph.features(values, own.unsqueeze(2).expand(2, 2, 2)).tolist() == expected
    types = Graph.features(torch.tensor([[6, 8], [6, 1]]), own)
    assert types.tolist() == [[2, 1, 1, 0.5, 0.5], [1, 1, 0, 1, 0]]
    assert Graph.features(values, None)[1].tolist() == [2, 75, 86, 37.5, 43]
    assert Graph.features(["a"], None) is None


class Sums(nn.Module):
    """Adds a number for every node and every column of the table: no two act together."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("node", torch.tensor([1.0, -2.0, 0.5]))
        self.register_buffer("column", torch.tensor([0.7, -0.3]))

    def forward(self, batch: Any) -> Tensor:
        nodes = (batch["x"] @ self.node * batch["real"]).sum(1)
        return (nodes + batch["t"] @ self.column).unsqueeze(1)


def test_each_nodes_unimodal_contribution_is_what_an_additive_model_adds_for_it() -> None:
    counts = torch.arange(32) % 5 + 3
    values, real = floats(32, 7, 3), own_nodes(*counts.tolist()).float()
    batch = {"x": values, "real": real, "edge_index": padded(*[RING] * 32), "t": floats(32, 2, seed=1)}
    modalities = {"graph": Modality("x", mask="real", companions=["edge_index"]), "t": Modality("t")}
    context, module, dime = (
        context_of(batch, modalities, task="regression"),
        Sums(),
        DIME(masks=10**8),
    )  # all masks: hardly a penalty
    evaluator = Evaluator(module, lambda module, batch: module(batch), chunk_size=4096)

    mean = values[real.bool()].mean(0)
    for example in range(5):
        responses = evaluator(context.probe, dime.plan(context, [example]).queries)
        part = dime.explain(context, [example], Responses(responses)).examples[0].outputs[0].parts["graph"]
        own = int(counts[example])
        added = (values[example, :own] - mean) @ module.node
        assert len(part.unimodal) == own
        assert torch.allclose(part.unimodal.float(), added, atol=1e-4)
        assert float(part.interaction.abs().max()) < 1e-5


def test_a_masked_node_keeps_its_edges() -> None:
    batch = {"x": floats(16, 5, 3), "edge_index": padded(*[RING] * 16), "t": floats(16, 2)}
    modalities = {"graph": Modality("x", companions=["edge_index"]), "t": Modality("t")}
    probe = context_of(batch, modalities, task="regression").probe
    kept = torch.tensor([[True, False, True, True, True]])
    row = probe.batch(torch.tensor([[3, 4]]), {"graph": kept})
    assert torch.equal(row["edge_index"][0], batch["edge_index"][3])
    assert (row["x"][0] != batch["x"][3]).any(1).tolist() == [False, True, False, False, False]


@pytest.mark.parametrize("name", GRAPHS)
def test_places_are_apart_as_the_graph_says_and_the_same_again(name: str) -> None:
    one = GRAPHS[name]
    places = layout(len(one), edges_of(one))
    assert np.array_equal(places, layout(len(one), edges_of(one)))
    apart = np.linalg.norm(places[:, None] - places, axis=2)[~np.eye(len(one), dtype=bool)]
    assert apart.min() > 0.1
    assert places[:, 0].std() >= places[:, 1].std()
    if name in {"ring", "grid", "tree"}:  # a plane has room for these
        far = np.array(nx.floyd_warshall_numpy(one))[~np.eye(len(one), dtype=bool)]
        assert np.corrcoef(apart, far)[0, 1] > 0.85


def test_a_path_is_a_straight_line_of_equal_steps() -> None:
    places = layout(9, edges_of(nx.path_graph(9)))
    assert np.allclose(np.diff(places[:, 0]), 1, atol=0.05)
    assert np.abs(places[:, 1]).max() < 0.1


def test_large_graphs_are_placed_too() -> None:
    one = nx.convert_node_labels_to_integers(nx.grid_2d_graph(15, 40))
    places = layout(len(one), edges_of(one))
    across, along = (places[0] - places[39]), (places[0] - places[14 * 40])
    assert np.linalg.norm(across) / np.linalg.norm(along) == pytest.approx(39 / 14, rel=0.2)


@pytest.mark.parametrize("axes", [2, 3])
def test_given_positions_place_the_nodes(axes: int) -> None:
    places = torch.tensor([[[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [4.0, 2.0, 0.0]]])[..., :axes]
    found = graph(torch.rand(1, 3, 2), RING[:2], others={"pos": places}, companions=["pos"])
    apart = np.linalg.norm(found._places(0)[[0, 1]] - found._places(0)[[1, 2]], axis=1)
    assert apart[0] == pytest.approx(2 * apart[1], rel=1e-6)
    if axes == 2:
        assert found._places(0).tolist() == [[0, 0], [1, 0], [1, 0.5]]


def colours_at(pixels: Any, found: Any, node: int, width: int = 195) -> list[int]:
    """Return the most frequent colour within a few pixels of a node, which numbers do not hide."""
    place, (height, wide) = found._places(0)[node], pixels.shape[:2]
    span = np.ptp(found._places(0), axis=0)
    pixel = max(span[0] / (wide - 21), span[1] / (height - 21))
    x, y = (place - found._places(0).max(0) / 2) / pixel + (wide / 2, height / 2)
    area = pixels[round(y) - 6 : round(y) + 6, round(x) - 6 : round(x) + 6].reshape(-1, 3)
    kinds, counts = np.unique(area, axis=0, return_counts=True)
    colour: list[int] = kinds[counts.argmax()].tolist()
    return colour


def test_a_nodes_colour_is_where_the_node_is() -> None:
    found = graph(torch.rand(1, 5, 3), [*RING, (0, 2)])
    for node in range(5):
        weights = np.zeros(5)
        weights[node], weights[(node + 1) % 5] = 1, -1
        pixels = drawn(found, weights)
        assert colours_at(pixels, found, node) == list(RED)
        assert colours_at(pixels, found, (node + 1) % 5) == list(BLUE)


def test_all_nodes_of_a_cluster_have_its_colour() -> None:
    found = graph(torch.rand(1, 5, 3), RING[:4], max_segments=2)
    weights = np.array([1.0, -1.0])
    pixels, index = drawn(found, weights), found.segments.index[0, :, 0].tolist()
    assert [colours_at(pixels, found, node) for node in range(5)] == [list((RED, BLUE)[k]) for k in index]


def test_edges_are_drawn_as_lines() -> None:
    def grey(edges: list[tuple[int, int]]) -> int:
        return int((drawn(graph(torch.ones(1, 4, 3), edges)) == 184).all(2).sum())

    assert grey([(0, 0)]) < 10  # outlines
    assert grey(RING[:3]) > 20


def test_neither_features_nor_edges_are_seen_where_inputs_are_not_shown() -> None:
    weights = np.linspace(-1, 1, 5)
    one, other = graph(torch.rand(1, 5, 3), RING), graph(torch.rand(1, 5, 3), RING[:2])
    assert np.array_equal(drawn(one, weights, inputs=False), drawn(other, weights, inputs=False))
    assert one.aspect(0, inputs=False) == other.aspect(0, inputs=False)
    assert not np.array_equal(drawn(one, weights), drawn(other, weights))


@pytest.mark.parametrize("width", [195, 60])
@pytest.mark.parametrize("counts", [(0, 1), (1, 0), (2, 2), (40, 70)])
def test_graphs_of_any_size_are_drawn(counts: tuple[int, int], width: int) -> None:
    most = max(counts)
    ring = [[(k, (k + 1) % count) for k in range(count)] or [(0, 0)] for count in counts]
    found = graph(torch.rand(2, most, 3), *ring, mask="m", others={"m": own_nodes(*counts)})
    segments = found.segments.count(0)
    assert drawn(found, width=width).std() > 1
    assert drawn(found, np.linspace(-1, 1, segments), width=width).std() > 1
    assert 0.1 <= found.aspect(0) <= 1.6


def test_a_graph_may_be_replaced_without_losing_what_it_says() -> None:
    assert replace(Modality("x", edges="e"), baseline="zero").edges == "e"
