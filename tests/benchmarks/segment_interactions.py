"""How well few contexts rank pairs of segments: CrossModalInteraction beside exact Shapley interactions.

    PYTHONPATH=tests python tests/benchmarks/segment_interactions.py [--seeds 3] [--examples 16]

Small networks of four kinds learn a task of two modalities with 6 entries each, ``sum a + sum b + a W b + a_1 a_2 b_1``
above its median or not. An entry is a segment; masked, it is 0. The exact Shapley interaction index (Grabisch & Roubens
1999) of each of the 36 pairs is the mean over all 1,024 sets of other segments. The table holds the rank correlation
(Spearman) of the weights with it over the 36 pairs, for the logit of class 1: the mean over examples and seeds, and its
standard error; and the largest error of any pair, as a share of the largest index of its example.

One minute on a core. Prints a table and asserts nothing; tests/explainers/test_cross_modal_interaction.py compares with
the exact index and with shapiq on games.
"""

import argparse
from collections.abc import Callable, Iterator
from math import comb

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mviz_lightning import Modality, explain
from mviz_lightning.explainers import CrossModalInteraction

ENTRIES = 6
CORNERS = (1, 2, 4)
READ = {name: Modality(name, kind="tabular", baseline=0.0) for name in ("a", "b")}


class Perceptron(nn.Module):
    """``forward(a, b)``: two hidden layers."""

    def __init__(self, bend: type[nn.Module], width: int = 64) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2 * ENTRIES, width), bend(), nn.Linear(width, width), bend(), nn.Linear(width, 2)
        )

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.net(torch.cat([a, b], 1))


class Transformer(nn.Module):
    """``forward(a, b)``: an entry is a token; two layers of attention, and the mean."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(2 * ENTRIES, width))
        self.scale = nn.Parameter(torch.randn(2 * ENTRIES, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, activation="gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 2)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        tokens = torch.cat([a, b], 1).unsqueeze(2) * self.scale + self.place
        return self.head(self.layers(tokens).mean(1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "tanh": lambda: Perceptron(nn.Tanh),
    "GELU": lambda: Perceptron(nn.GELU),
    "ReLU": lambda: Perceptron(nn.ReLU),
    "transformer": Transformer,
}


def draw(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``(N, 6)`` a and b, and ``(N,)`` labels."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, count, ENTRIES, generator=generator)
    weight = torch.randn(ENTRIES, ENTRIES, generator=torch.Generator().manual_seed(99))
    score = a.sum(1) + b.sum(1) + torch.einsum("ru,uv,rv->r", a, weight, b) + 2 * a[:, 0] * a[:, 1] * b[:, 0]
    return a, b, (score > 0).long()


def trained(make: Callable[[], nn.Module], seed: int, steps: int = 1500) -> nn.Module:
    """Train a network."""
    torch.manual_seed(seed)
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(steps):
        a, b, label = draw(128, 1000 * (seed + 1) + step + 7)
        optimizer.zero_grad()
        cross_entropy(model(a, b), label).backward()
        optimizer.step()
    return model.eval()


def sets() -> Tensor:
    """Return ``(4096, 12)`` all sets of segments; set k holds segment s if bit s of k is 1."""
    return (torch.arange(2 ** (2 * ENTRIES)).unsqueeze(1) >> torch.arange(2 * ENTRIES)) & 1


@torch.no_grad()
def exact(model: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    """Return ``(6, 6)`` Shapley interaction indices of one example's segments."""
    present, players = sets(), 2 * ENTRIES
    values = model(a * present[:, :ENTRIES], b * present[:, ENTRIES:])[:, 1].double()
    codes, found = torch.arange(2**players), torch.empty(ENTRIES, ENTRIES, dtype=torch.float64)
    for u in range(ENTRIES):
        for v in range(ENTRIES, players):
            beside = codes[(codes >> u & 1 | codes >> v & 1) == 0]
            weights = torch.tensor(
                [1 / comb(players - 2, size) / (players - 1) for size in present[beside].sum(1).tolist()]
            )
            change = values[beside + 2**u + 2**v] - values[beside + 2**u] - values[beside + 2**v] + values[beside]
            found[u, v - ENTRIES] = weights.double() @ change
    return found


def measured(model: nn.Module, examples: int, seed: int) -> Iterator[tuple[int, float, float]]:
    """Yield corners, rank correlation and largest error, example by example."""
    a, b, label = draw(examples // 16 * 16 + 32, 50_000_000 + seed)
    found = {}
    for corners in CORNERS:
        method = CrossModalInteraction(corners=corners, outputs=[1], num_examples=examples)
        batch = {"a": a, "b": b, "label": label}
        report = explain(model, [batch], modalities=READ, target="label", task="multiclass", explainers=[method])
        for one in report.results["cross_modal"].examples:
            found[corners, one.position] = one.outputs[0].pairs[0].weights
    truth = {example: exact(model, a[example], b[example]) for example in sorted({k for _, k in found})}
    for (corners, example), weights in found.items():
        true = truth[example]
        rank = spearmanr(weights.flatten(), true.flatten()).statistic
        yield corners, float(rank), float((weights - true).abs().max() / true.abs().max())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | accuracy | " + " | ".join(f"corners={corners}" for corners in CORNERS) + " |")
    print("|---" * (2 + len(CORNERS)) + "|")
    for name, make in NETWORKS.items():
        found: dict[int, list[tuple[float, float]]] = {corners: [] for corners in CORNERS}
        right = []
        for seed in range(arguments.seeds):
            model = trained(make, seed)
            a, b, label = draw(4096, 40_000_000)
            right.append(float((model(a, b).argmax(1) == label).double().mean()))
            for corners, rank, error in measured(model, arguments.examples, seed):
                found[corners].append((rank, error))
        cells = [f"{sum(right) / len(right):.3f}"]
        for values in found.values():
            table = torch.tensor(values, dtype=torch.float64)
            (rank, error), spread = table.mean(0).tolist(), table.std(0) / len(table) ** 0.5
            cells.append(f"{rank:.2f} ({float(spread[0]):.2f}); {error:.2f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
