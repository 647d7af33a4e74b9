"""Bias and coverage of InterSHAP and Shapley shares as the monitor logs them, on models of three classes.

    python tests/benchmarks/measure_intervals.py [--repeats 150]

128 examples in groups of 16 (100 in groups of 20 for five modalities) are drawn again and again: unit normal modalities
with correlation 0 or 0.9. Logits are linear in every modality (additive), a product of all (product), or their sum
(mixed), with random weights. The truth is the measure of 6,400 examples in groups of 64 with 512 rows per example, so
that also what few donors add to absolute values counts as bias.

Takes five minutes on one core. Prints a table and asserts nothing.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.metrics import InterSHAP, ModalityShapley

CASES = ((2, 16, 8), (3, 16, 8), (4, 16, 8), (5, 20, 5))
"""Modalities, examples in a group, groups."""

Model = Callable[[Tensor], Tensor]
Metric = InterSHAP | ModalityShapley


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


def value_of(metric: Metric, model: Model, examples: Tensor) -> dict[str, Tensor]:
    """Return what a metric computes of ``(G, g, M)`` examples."""
    metric.reset()
    metric.update(model(examples[:, metric.design.tuples, torch.arange(metric.design.modalities)]))
    return metric.compute()


def measured(metric: Metric, name: str, model: Model, draws: Sequence[Tensor]) -> Tensor:
    """Return ``(R, 3)`` values with their bounds."""
    names = (name, bound_name(name, "low"), bound_name(name, "high"))
    return torch.stack([torch.stack([value_of(metric, model, one)[key] for key in names]) for one in draws])


def truth_of(kind: type[Metric], name: str, model: Model, examples: Tensor) -> float:
    """Return the measure of many examples with many donors each."""
    _, size, modalities = examples.shape
    names = [str(m) for m in range(modalities)]
    return float(value_of(kind(names, task="multiclass", group_size=size, budget=512), model, examples)[name])


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
            many = draw(100, 64, modalities, correlation, generator)
            for model, function in made.items():
                for key, metric in metrics.items():
                    truth = truth_of(kinds[key], key, function, many)
                    value, low, high = measured(metric, key, function, draws).unbind(1)
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
