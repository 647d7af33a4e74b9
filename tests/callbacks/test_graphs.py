"""Molecules and a table in torch_geometric's own batches: attached by the constructor alone, compared row by row."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from callbacks.test_no_trace import same
from helpers.batches import floats
from helpers.toy import trainer
from lightning.pytorch import LightningModule
from reference import slow
from torch import Tensor, nn
from torch.nn.functional import mse_loss, one_hot
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv, GINConv, global_mean_pool

from mviz_lightning import Modality, MultimodalMonitor, explain
from mviz_lightning.explainers import DIME
from mviz_lightning.functional import half_splits

COUNT, GROUP, TYPES, COLUMNS = 16, 8, 4, 3
"""Examples, examples in a group of recombinations, types of atoms, columns of the table."""


class GraphAndTable(LightningModule):
    """Reads the attributes ``x``, ``edge_index``, ``batch``, ``tab`` and ``y`` of a batch of graphs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = GCNConv(TYPES, 8)
        self.second = GINConv(nn.Sequential(nn.Linear(8, 8), nn.Tanh()))
        self.table = nn.Linear(COLUMNS, 8)
        self.head = nn.Linear(8, 1)

    def forward(self, graphs: Batch) -> Tensor:
        nodes = self.second(self.first(graphs.x, graphs.edge_index).tanh(), graphs.edge_index)
        atoms, table = 20 * global_mean_pool(nodes, graphs.batch, graphs.num_graphs), self.table(graphs.tab)
        return self.head(atoms + table + atoms * table).squeeze(1)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        return mse_loss(self(batch), batch.y)

    def validation_step(self, batch: Batch, _: int) -> None:
        self.log("val_loss", mse_loss(self(batch), batch.y), batch_size=batch.num_graphs)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.02)


def molecule(seed: int) -> Data:
    """Return a tree or a ring with a tail; its label depends on its atoms and the table."""
    nodes = 4 + seed % 7
    graph = nx.random_labeled_tree(nodes, seed=seed) if seed % 2 else nx.lollipop_graph(3, nodes - 3)
    edges = torch.tensor(list(graph.edges)).T
    atoms = one_hot(torch.randint(TYPES, (nodes,), generator=torch.Generator().manual_seed(seed)), TYPES).float()
    table = floats(1, COLUMNS, seed=100 + seed)
    label = 3 * atoms[:, 0].mean() + table[0, 0] + 2 * atoms[:, 0].mean() * table[0, 1]
    return Data(x=atoms, edge_index=torch.cat([edges, edges.flip(0)], 1), tab=table, y=label.reshape(1))


@cache
def molecules(count: int = COUNT) -> Sequence[Data]:
    return [molecule(seed) for seed in range(count)]


def monitor(**more: Any) -> MultimodalMonitor:
    said = {"modalities": {"graph": ["x", "edge_index"], "table": "tab"}, "on_error": "raise"}
    return MultimodalMonitor(**(said | {"num_examples": COUNT, "group_size": GROUP} | more))


def fit(folder: Path, *callbacks: Any) -> GraphAndTable:
    module, shuffled = GraphAndTable(), torch.Generator().manual_seed(0)
    training = DataLoader(molecules(64), 16, shuffle=True, generator=shuffled)
    trainer(folder, *callbacks, max_epochs=3).fit(module, training, DataLoader(molecules(), 5))
    return module


@cache
def watched() -> tuple[GraphAndTable, MultimodalMonitor, Path]:
    folder = Path(mkdtemp())
    attached = monitor(explainers=[DIME(num_examples=2)])
    return fit(folder, attached), attached, folder


def by_hand(module: GraphAndTable) -> Any:
    """Return ``(N, N)`` outputs of every graph beside every table, each a batch of its own."""
    rows = molecules()
    with torch.no_grad():
        outputs = [[float(module(Batch.from_data_list([beside(one, other)]))) for other in rows] for one in rows]
    return np.array(outputs)


def beside(one: Data, other: Data) -> Data:
    """Return a graph with the table of another example."""
    return Data(x=one.x, edge_index=one.edge_index, tab=other.tab, y=one.y)


def grids(module: GraphAndTable, groups: Tensor) -> Any:
    """Return the outputs of every group, ``(8, 8, 1)`` each; all examples of the validation set are in a group."""
    whole = by_hand(module.eval())
    return [whole[np.ix_(group, group)][..., None] for group in groups.tolist()]


@pytest.mark.slow
def test_shares_are_those_of_rows_built_by_hand() -> None:
    module, attached, _ = watched()
    groups = attached._run.session.probe.groups
    assert sorted(groups.flatten().tolist()) == list(range(COUNT))
    splits = half_splits(GROUP, 16, 0).tolist()
    parts = np.mean([slow.split_components(grid, splits) for grid in grids(module, groups)], 0)
    graph, table, both = parts / parts.sum()
    values = attached.history[-1].values
    assert values["contribution/graph"] == pytest.approx(graph, abs=1e-6)
    assert values["contribution/table"] == pytest.approx(table, abs=1e-6)
    assert values["interaction"] == pytest.approx(both, abs=1e-6)
    assert values["total/graph"] == pytest.approx(graph + both, abs=1e-6)
    assert min(graph, table, both) > 0.02


def test_the_parts_of_a_prediction_are_those_of_rows_built_by_hand() -> None:
    module, attached, _ = watched()
    groups = attached._run.session.probe.groups
    found = attached.explanation_history.entries[-1].explanations
    assert len(found) == 2
    for explained in found:
        (group, place), one = (groups == explained.position).nonzero()[0].tolist(), explained.outputs[0]
        grid = grids(module, groups)[group]
        assert one.value == pytest.approx(grid[place, place, 0], abs=1e-5)
        assert one.unimodal == pytest.approx(slow.unimodal_contribution(grid)[place, 0], abs=1e-5)
        assert len(one.parts["graph"].unimodal) == len(molecules()[explained.position].x)
        assert len(one.parts["table"].unimodal) == COLUMNS
    assert {name: one.name for name, one in attached._run.session.modality_types.items()} == {
        "graph": "graph",
        "table": "tabular",
    }


def test_pictures_are_written_at_the_usual_place() -> None:
    _, _, folder = watched()
    assert len([path for path in folder.rglob("*.png") if "dime" in str(path) and "example" in path.name]) >= 2


def test_the_training_keeps_its_bits(tmp_path: Path) -> None:
    assert same(fit(tmp_path).state_dict(), watched()[0].state_dict())


@pytest.mark.slow
def test_the_same_graphs_within_a_dict_have_the_same_shares() -> None:
    module, _, _ = watched()

    rows = molecules()
    plain = [Data(x=row.x, edge_index=row.edge_index) for row in rows]
    batch = {"graph": Batch.from_data_list(plain), "tab": torch.cat([row.tab for row in rows])}
    batch["y"] = torch.cat([row.y for row in rows])
    report = explain(
        OfDict(module),
        [batch],
        modalities={"graph": Modality("graph"), "table": "tab"},
        target="y",
        predict=lambda module, batch: module(batch),
        task="regression",
        num_examples=COUNT,
        group_size=GROUP,
    )
    assert report.values["interaction"] == pytest.approx(watched()[1].history[-1].values["interaction"], abs=1e-6)


class OfDict(nn.Module):
    """The same model on ``{"graph": Batch, "tab": Tensor}``."""

    def __init__(self, module: GraphAndTable) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Any) -> Tensor:
        graphs = batch["graph"].clone()
        graphs.tab = batch["tab"]
        return self.module(graphs)[:, None]
