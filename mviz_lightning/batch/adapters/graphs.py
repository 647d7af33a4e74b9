"""Batches of graphs (of torch_geometric and similar packages) and single graphs; nothing is imported for them."""

import copy
import inspect
from collections.abc import Mapping
from typing import Any

from mviz_lightning.batch.registry import ClassTest, register

GRAPH = "torch_geometric.data.data.Data"
"""One graph; batches of graphs inherit from it too."""

HETERO_GRAPH = "torch_geometric.data.hetero_data.HeteroData"
"""One graph with several types of nodes and edges."""


def holds_graphs(cls: type) -> bool:
    """Return whether objects of a class can be split into graphs, and made from a list of graphs."""
    made = inspect.getattr_static(cls, "from_data_list", None)
    return isinstance(made, classmethod) and callable(getattr(cls, "to_data_list", None))


def split_graphs(batch: Any) -> list[Any]:
    """Return the graphs of a batch."""
    return list(batch.to_data_list())


def join_graphs(batch: Any, examples: list[Any]) -> Any:
    """Return a batch of graphs of the same class."""
    # torch_geometric derives the class of a batch from the class that is called: it has to be that of the graphs.
    makers = [base for base in reversed(type(batch).__mro__) if hasattr(base, "from_data_list")]
    made = (maker.from_data_list(examples) for maker in makers)
    return next((one for one in made if type(one) is type(batch)), None) or makers[-1].from_data_list(examples)


def graph_attributes(graph: Any) -> Mapping[str, Any]:
    """Return the tensors and other values of a graph, or of a batch of graphs, by name."""
    return {key: graph[key] for key in graph.to_dict()}


def with_graph_attributes(graph: Any, parts: Mapping[str, Any]) -> Any:
    """Return a copy of a graph with other values."""
    twin = copy.copy(graph)
    for key, value in parts.items():
        twin[key] = value
    return twin


def typed_attributes(graph: Any) -> Mapping[Any, Any]:
    """Return the values of the graph itself by name, and for each type of nodes or edges a dict of its values."""
    itself, *_ = graph.stores
    return {**itself, **{key: dict(graph[key]) for key in (*graph.node_types, *graph.edge_types)}}


def with_typed_attributes(graph: Any, parts: Mapping[Any, Any]) -> Any:
    """Return a copy of a graph with other values."""
    twin = copy.copy(graph)
    types = {*twin.node_types, *twin.edge_types}
    for key, value in parts.items():
        twin[key].update(value) if key in types else twin.stores[0].update({key: value})
    return twin


def register_graphs() -> None:
    """Register batches of graphs, and single graphs."""
    register(ClassTest(holds_graphs), split_graphs, join_graphs, examples=True)
    register(GRAPH, graph_attributes, with_graph_attributes)
    register(HETERO_GRAPH, typed_attributes, with_typed_attributes)
