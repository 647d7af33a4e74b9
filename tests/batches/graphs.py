"""Graphs, whose nodes lie behind one another and whose edges name them by number."""

from collections.abc import Sequence
from typing import Any

import torch
from batches.kind import Kind
from batches.packed import begins, counted, joined, owners
from batches.plain import Example, Net, plain_dict
from torch import Tensor
from torch_geometric.data import Batch, Data


def _data(row: Example, **more: Any) -> Data:
    return Data(x=row.nodes, edge_index=row.edges, **more)


def _graphs(rows: Sequence[Example]) -> Batch:
    return Batch.from_data_list([_data(row, table=row.table.unsqueeze(0), y=row.y) for row in rows])


def _graph_beside(rows: Sequence[Example]) -> dict[str, Any]:
    return {"graph": Batch.from_data_list([_data(row) for row in rows]), **plain_dict(rows, "table")}


def _graph_in_a_dict(rows: Sequence[Example]) -> dict[str, Any]:
    places = begins(counted(rows, "nodes"))
    edges = torch.cat([row.edges + begin for row, begin in zip(rows, places, strict=True)], 1)
    held = {"x": joined(rows, "nodes"), "edge_index": edges, "batch": owners(rows, "nodes")}
    return held | plain_dict(rows, "table")


def _encoded_graph(net: Net, graph: Any) -> Tensor:
    return net.graph(graph.x, graph.edge_index, graph.batch, graph.num_graphs)


KINDS = {
    "attributes of a batch of graphs": Kind(
        collate=_graphs, modalities={"graph": ["x", "edge_index"], "table": "table"}, twin="nodes and table",
        scores=lambda net, batch: net.fuse(_encoded_graph(net, batch), net.vector("table", batch.table)),
        labels=lambda batch: batch.y,
    ),
    "a batch of graphs beside a tensor": Kind(
        collate=_graph_beside, modalities={"graph": "graph", "table": "table"}, twin="nodes and table",
        scores=lambda net, batch: net.fuse(_encoded_graph(net, batch["graph"]), net.vector("table", batch["table"])),
    ),
    "a graph in a plain dict": Kind(
        collate=_graph_in_a_dict, modalities={"graph": ["x", "edge_index"], "table": "table"}, twin="nodes and table",
        scores=lambda net, batch: net.fuse(
            net.graph(batch["x"], batch["edge_index"], batch["batch"], len(batch["table"])),
            net.vector("table", batch["table"]),
        ),
    ),
}  # fmt: skip
