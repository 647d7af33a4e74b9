"""DIME's synthetic experiment (Lyu et al. 2022): local explanations whose truth is known.

    python tests/benchmarks/dime_synthetic.py [--seeds 3] [--points 1000]

Two modalities d1 and d2 of 10 unit normal entries, ``s = sum d1 + sum d2 + d1 . d2``; a network learns whether s > 0.
What entry k of modality m adds to UC is then ``dm[k]``, and to MI ``d1[k] d2[k]``. Explained is the logit of class 1
for every point, whatever its class: that logit rises with s, so no sign has to be turned. (Logits are centred: it is
half of what it is ahead of the logit of class 0.) Masked entries are 0. Printed is the Pearson correlation of a
point's 10 weights with the truth, averaged over the test points: mean of the seeds, and in brackets the least of them
(for the cross terms, whose truth is 0, the farthest from 0).

Takes three minutes on one core: 10 s of training, 40 s with the paper's settings and 10 s with ours a seed.
Prints a table and asserts nothing; tests/explainers/test_known_answers.py holds a short run to its bounds.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mviz_lightning import Modality
from mviz_lightning.batch import BatchSchema, Probe
from mviz_lightning.engine import Evaluator, join
from mviz_lightning.explainers import DIME, ProbeContext, Responses
from mviz_lightning.functional import Task, design
from mviz_lightning.modalities.of_probe import modality_types_of

ENTRIES = 10
FIRST, SECOND = "d1", "d2"
LAST = 1
"""The output that is explained: the logit of class 1."""

BATCH, EPOCHS, RATE = 256, 15, 3e-3
GROUP = 16

TRUTHS = ("d1", "d2", "d1*d2")
EXPLANATIONS = ("UC_1", "UC_2", "MI_1", "MI_2", "LIME_1", "LIME_2")
MEANT = {"UC_1": "d1", "UC_2": "d2", "MI_1": "d1*d2", "MI_2": "d1*d2"}
"""Explanation -> what it should find; others are cross terms, and LIME mixes both."""

Correlations: TypeAlias = Mapping[tuple[str, str], float]
"""By explanation and truth."""

PAPER = DIME(num_examples=0, donors=100, masks=100, outputs=(LAST,))
DEFAULTS = DIME(num_examples=0, donors=20, masks=48, outputs=(LAST,))
PROCEDURES = {"the paper's": PAPER, "our defaults": DEFAULTS}


class Points(NamedTuple):
    """``(N, 10)`` d1, ``(N, 10)`` d2 and ``(N,)`` whether s > 0."""

    first: Tensor
    second: Tensor
    label: Tensor

    def part(self, start: int, end: int) -> "Points":
        """Return some of the points."""
        return Points(*(values[start:end] for values in self))

    @property
    def truths(self) -> dict[str, Tensor]:
        """Name -> ``(N, 10)``, in the order of ``TRUTHS``."""
        return dict(zip(TRUTHS, (self.first, self.second, self.first * self.second), strict=True))


def total(first: Tensor, second: Tensor) -> Tensor:
    """Return s."""
    return first.sum(1) + second.sum(1) + (first * second).sum(1)


def draw(count: int, seed: int) -> Points:
    """Draw points that do not lie on the border."""
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, count + count // 50 + 10, ENTRIES, generator=generator)
    s = total(first, second)
    clear = s.abs() >= 0.01
    return Points(first[clear], second[clear], (s[clear] > 0).long()).part(0, count)


class Network(nn.Module):
    """The paper's: 20-100-200-10-2."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2 * ENTRIES, 100), nn.ReLU(), nn.Linear(100, 200), nn.ReLU(), nn.Linear(200, 10), nn.ReLU(),
            nn.Linear(10, 2),
        )  # fmt: skip

    def forward(self, d1: Tensor, d2: Tensor) -> Tensor:
        return self.net(torch.cat([d1, d2], 1))


def trained(points: Points, seed: int, epochs: int = EPOCHS) -> Network:
    """Train the network."""
    torch.manual_seed(seed)
    network = Network()
    inputs, steps = torch.cat([points.first, points.second], 1), len(points.label) // BATCH
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(points.label))[: steps * BATCH].view(-1, BATCH):
            optimizer.zero_grad()
            cross_entropy(network.net(inputs[rows]), points.label[rows]).backward()
            optimizer.step()
            schedule.step()
    return network


@torch.no_grad()
def accuracy(network: nn.Module, points: Points) -> float:
    """Return how many points are classified rightly."""
    return float((network(points.first, points.second).argmax(1) == points.label).double().mean())


def context_of(
    batch: Mapping[str, Tensor], modalities: Mapping[str, Modality], *, task: Task = "multiclass", seed: int = 0
) -> ProbeContext:
    """Make a batch the fixed examples, in groups of 16; labels are its leaf ``label``, if there is one."""
    schema = BatchSchema.learn(batch, modalities, "label" if "label" in batch else None)
    leaves = schema.leaves(batch)
    size = schema.size(leaves)
    probe = Probe(schema, leaves, torch.arange(size // GROUP * GROUP).view(-1, GROUP))
    cut = replace(probe, segments={name: kind.segments for name, kind in modality_types_of(probe).items()})
    return ProbeContext(cut, task, design(len(modalities), GROUP), range(size), seed=seed)


def context_of_points(points: Points) -> ProbeContext:
    """Make points the fixed examples."""
    batch = {FIRST: points.first, SECOND: points.second, "label": points.label}
    return context_of(batch, {name: Modality(name, kind="tabular", baseline="zero") for name in (FIRST, SECOND)})


def evaluator_of(module: nn.Module) -> Evaluator:
    """Call the model as ``forward(d1, d2)``, in large chunks."""
    return Evaluator(module, lambda module, batch: module(batch[FIRST], batch[SECOND]), chunk_size=4096)


def explain(evaluator: Evaluator, probe_context: ProbeContext, dime: DIME, points: Sequence[int]) -> dict[str, Tensor]:
    """Explain points one after the other, so that memory stays small.

    Repeated rows are not looked for: sorting them out takes longer than this network.

    Returns:
        UC, MI and LIME of either modality -> ``(P, 10)`` weights.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in EXPLANATIONS}
    for point in points:
        responses = [evaluator.plain(probe_context.probe, query) for query in dime.plan(probe_context, [point]).queries]
        parts = dime.explain(probe_context, [point], Responses(responses)).examples[0].outputs[0].parts
        for number, name in enumerate((FIRST, SECOND), 1):
            found[f"UC_{number}"].append(parts[name].unimodal)
            found[f"MI_{number}"].append(parts[name].interaction)
            found[f"LIME_{number}"].append(parts[name].unimodal + parts[name].interaction)
    return {name: torch.stack(rows) for name, rows in found.items()}


def rows_of(probe_context: ProbeContext, dime: DIME) -> int:
    """Return the forwards that one point takes."""
    return len(join(dime.plan(probe_context, [0]).queries)[0])


def pearson(left: Tensor, right: Tensor) -> Tensor:
    """Correlate the rows of two ``(N, K)`` tables: ``(N,)``."""
    left, right = (values.double() - values.double().mean(1, keepdim=True) for values in (left, right))
    return (left * right).sum(1) / (left.norm(dim=1) * right.norm(dim=1))


def correlations(weights: Mapping[str, Tensor], points: Points) -> Correlations:
    """Return by explanation and truth how well they agree, averaged over the points."""
    return {
        (name, truth): float(pearson(values, true).mean())
        for name, values in weights.items()
        for truth, true in points.truths.items()
    }


@dataclass(frozen=True)
class Result:
    """One procedure's correlations, seed by seed, and its cost."""

    correlations: Sequence[Correlations]
    rows: int
    seconds: float

    def table(self, name: str) -> Iterator[str]:
        """Yield the lines of a Markdown table."""
        yield f"**{name}**: {self.rows:,} forwards a point; {self.seconds:.0f} s a seed"
        yield ""
        yield f"| | {' | '.join(TRUTHS)} |"
        yield "|---|" + "---|" * len(TRUTHS)
        for explanation in EXPLANATIONS:
            yield f"| {explanation} | {' | '.join(self._cell(explanation, truth) for truth in TRUTHS)} |"
        yield ""

    def _cell(self, explanation: str, truth: str) -> str:
        values = [found[explanation, truth] for found in self.correlations]
        meant = explanation.startswith("LIME") or MEANT[explanation] == truth
        worst = min(values) if meant else max(values, key=abs)
        text = f"{sum(values) / len(values):.3f} ({worst:.3f})"
        return f"**{text}**" if MEANT.get(explanation) == truth else text


def measure(module: nn.Module, points: Points, dime: DIME, count: int) -> tuple[Correlations, float]:
    """Explain the first points; return how well, and the seconds it took."""
    started = time.perf_counter()
    weights = explain(evaluator_of(module), context_of_points(points), dime, range(count))
    return correlations(weights, points.part(0, count)), time.perf_counter() - started


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--points", type=int, default=1000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started, found = time.perf_counter(), {name: [] for name in PROCEDURES}
    for seed in range(arguments.seeds):
        data = draw(100_000, seed)
        network, test = trained(data.part(0, 80_000), seed), data.part(90_000, 100_000)
        took = time.perf_counter() - started
        print(f"seed {seed}: accuracy {accuracy(network, test):.4f} (the paper's .973), after {took:.0f} s", flush=True)
        for name, dime in PROCEDURES.items():
            # Donors come from the 1,024 first test points.
            found[name].append(measure(network, test.part(0, max(arguments.points, 1024)), dime, arguments.points))
    print(f"\n{arguments.points} test points explained, {arguments.seeds} seeds: mean (worst)\n")
    for name, runs in found.items():
        rows, seconds = rows_of(context_of_points(draw(1024, 0)), PROCEDURES[name]), sum(run[1] for run in runs)
        result = Result([run[0] for run in runs], rows, seconds / len(runs))
        print("\n".join(result.table(f"{name}: {PROCEDURES[name].donors} donors, {PROCEDURES[name].masks} masks")))
    print(f"{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
