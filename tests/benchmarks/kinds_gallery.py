"""Draw the pictures of the gallery in ``examples/README.md``: each kind of modality, explained by DIME.

    python tests/benchmarks/kinds_gallery.py examples/pictures

The data are those of ``gallery.py``, and molecules for graphs. Takes about half a minute on two cores.
"""

import argparse
import warnings
from dataclasses import replace
from pathlib import Path

import networkx as nx
import torch
from gallery import TASKS, Task
from torch import Tensor, nn
from torch.nn.functional import mse_loss, one_hot
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GCNConv, global_add_pool

from mviz_lightning import Modality, explain
from mviz_lightning.explainers import DIME
from mviz_lightning.session.explain import ShareReport

ATOMS = ["C", "N", "O", "F"]
COLUMNS = ["temperature", "pressure", "pH"]
MOLECULES, STEPS = 128, 150


def molecule(seed: int) -> Data:
    """Return a ring with a tail, and a table; oxygen counts, and more so when it is hot."""
    draw = torch.Generator().manual_seed(seed)
    graph = nx.lollipop_graph(3 + seed % 4, 2 + seed % 5)
    edges = torch.tensor(list(graph.edges)).T
    atoms = one_hot(torch.randint(len(ATOMS), (len(graph),), generator=draw), len(ATOMS)).float()
    table = torch.randn(1, len(COLUMNS), generator=draw)
    oxygen = atoms[:, 2].sum()
    label = oxygen + oxygen * table[0, 0] + table[0, 1]
    return Data(x=atoms, edge_index=torch.cat([edges, edges.flip(0)], 1), table=table, y=label.reshape(1))


class OfMolecules(nn.Module):
    """A graph convolution beside a table; their product is part of the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.atoms, self.table, self.head = GCNConv(len(ATOMS), 16), nn.Linear(len(COLUMNS), 16), nn.Linear(48, 1)

    def forward(self, graphs: Batch) -> Tensor:
        atoms = global_add_pool(self.atoms(graphs.x, graphs.edge_index).relu(), graphs.batch)
        table = self.table(graphs.table)
        return self.head(torch.cat([atoms, table, atoms * table], 1)).squeeze(1)


def molecules_explained() -> ShareReport:
    """Train on molecules, and explain one."""
    torch.manual_seed(0)
    model, batch = OfMolecules(), Batch.from_data_list([molecule(seed) for seed in range(MOLECULES)])
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(STEPS):
        optimizer.zero_grad()
        mse_loss(model(batch), batch.y).backward()
        optimizer.step()
    graph = Modality("x", companions=["edge_index"], feature_names=ATOMS)
    modalities = {"molecule": graph, "table": Modality("table", feature_names=COLUMNS)}
    said = {"predict": lambda net, graphs: net(graphs), "target": "y", "task": "regression"}
    return explain(model.eval(), [batch], modalities=modalities, explainers=[DIME(num_examples=1)], pin=[7], **said)


def without_inputs(report: ShareReport) -> ShareReport:
    """Return a report as a monitor with ``show_inputs=False`` draws it."""
    return replace(report, _drawing=replace(report._drawing, show_inputs=False))


def draw(report: ShareReport, file: Path) -> None:
    """Write the first picture of DIME."""
    picture = next(one for one in report.pictures() if one.key.startswith("dime/"))
    file.write_bytes(picture.png)
    print(file.name, picture.caption)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    for names in TASKS[:5]:
        task = Task.of(names)
        task.train(90)
        report = task.report(DIME(num_examples=1))
        draw(report, folder / f"kinds_{'_'.join(names)}.png")
        if names == TASKS[0]:
            draw(without_inputs(report), folder / "without_inputs.png")
    draw(molecules_explained(), folder / "kinds_molecule_table.png")


if __name__ == "__main__":
    main()
