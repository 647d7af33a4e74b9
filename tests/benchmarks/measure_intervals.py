"""Bias and coverage of InterSHAP and Shapley shares as the monitor logs them, on models of three classes.

    python tests/benchmarks/measure_intervals.py [--repeats 150]

128 examples in groups of 16 (100 in groups of 20 for five modalities) are drawn again and again: unit normal modalities
with correlation 0 or 0.9. Logits are linear in every modality (additive), a product of all (product), or their sum
(mixed), with random weights. The truth is the value of the mean over all repeats, whose error is smaller than that of
one measurement by the root of their number.

Takes four minutes on one core. Prints a table and asserts nothing.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from mviz_lightning.metrics import InterSHAP, ModalityShapley

CASES = ((2, 16, 8), (3, 16, 8), (4, 16, 8), (5, 20, 5))
"""Modalities, examples in a group, groups."""

Model = Callable[[Tensor], Tensor]


def models(modalities: int, generator: torch.Generator) -> dict[str, Model]:
    """Return functions from ``(..., M)`` values to ``(..., 3)`` logits."""
    alone = torch.randn(modalities, 3, generator=generator, dtype=torch.float64)
    both = 2 * torch.randn(3, generator=generator, dtype=torch.float64)

    def additive(values: Tensor) -> Tensor:
        return values @ alone

    def product(values: Tensor) -> Tensor:
        return values.prod(-1, keepdim=True) * both

    return {"additive": additive, "product": product, "mixed": lambda values: additive(values) + product(values)}


def draw(groups: int, size: int, modalities: int, correlation: float, generator: torch.Generator) -> Tensor:
    """Draw ``(G, g, M)`` examples."""
    common, own = (
        torch.randn(groups, size, columns, generator=generator, dtype=torch.float64) for columns in (1, modalities)
    )
    return common * correlation**0.5 + own * (1 - correlation) ** 0.5


def measured(
    metric: InterSHAP | ModalityShapley, name: str, model: Model, draws: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return ``(R, 3)`` values with bounds, and the value of the mean over all draws."""
    found, groups = [], []
    columns = torch.arange(metric.design.modalities)
    for examples in draws:
        metric.reset()
        metric.update(model(examples[:, metric.design.tuples, columns]))
        values = metric.compute()
        kind, _, of = name.partition("/")
        rest = f"/{of}" if of else ""
        found.append(torch.stack([values[name], values[f"{kind}_low{rest}"], values[f"{kind}_high{rest}"]]))
        groups += metric.groups
    metric.reset()
    metric.groups += groups
    return torch.stack(found), metric.compute()[name]


def table(repeats: int) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    generator = torch.Generator().manual_seed(0)
    yield "| modalities | correlation | model | measure | truth | bias | sd | coverage |"
    yield "|---|---|---|---|---|---|---|---|"
    for modalities, size, groups in CASES:
        names = [str(m) for m in range(modalities)]
        kinds = {"intershap": InterSHAP, "shapley/0": ModalityShapley}
        metrics = {key: kind(names, task="multiclass", group_size=size) for key, kind in kinds.items()}
        made = models(modalities, generator)
        for correlation in (0.0, 0.9):
            draws = [draw(groups, size, modalities, correlation, generator) for _ in range(repeats)]
            for model, function in made.items():
                for key, metric in metrics.items():
                    found, truth = measured(metric, key, function, draws)
                    value, low, high = found.unbind(1)
                    covered = ((low <= truth) & (truth <= high)).double().mean()
                    numbers = f"{truth:.3f} | {value.mean() - truth:+.3f} | {value.std():.3f} | {covered:.2f}"
                    yield f"| {modalities} | {correlation} | {model} | {key} | {numbers} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=150)
    torch.set_num_threads(1)
    for line in table(parser.parse_args().repeats):
        print(line, flush=True)


if __name__ == "__main__":
    main()
