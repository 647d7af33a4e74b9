"""Bias, error and coverage of total effects within classes: `python tests/benchmarks/subset_coverage.py`.

Classes of different size shift the inputs of all modalities. The truth comes from a large sample. The table also shows
the coverage of intervals over single examples, which are too narrow, since examples of a group share their donors.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mviz_lightning.batch.groups import draw_groups
from mviz_lightning.functional import design, jackknife
from mviz_lightning.functional.jackknife import Estimate
from mviz_lightning.functional.subsets import subset_totals, swap_effects

PROBABILITIES = (0.03, 0.06, 0.10, 0.20, 0.25, 0.36)
"""Frequencies of the classes."""

EXAMPLES, SIZE, POOL = 128, 16, 600
"""Examples that are recombined, examples in a group, and examples of the validation set."""


def additive(*inputs: Tensor) -> Tensor:
    return torch.stack([(k + 1) * values for k, values in enumerate(inputs)]).sum(0)


def product(*inputs: Tensor) -> Tensor:
    return torch.stack(inputs).prod(0)


def mixed(*inputs: Tensor) -> Tensor:
    return torch.cat([additive(*inputs)[:, :1], product(*inputs)[:, 1:]], 1)


def gated(*inputs: Tensor) -> Tensor:
    return torch.where(inputs[0][:, :1] > 0, inputs[0], inputs[1])


MODELS: dict[str, Callable[..., Tensor]] = {"additive": additive, "mixed": mixed, "product": product, "gated": gated}


def sample(count: int, modalities: int, correlation: float) -> tuple[list[Tensor], Tensor]:
    """Return inputs ``(count, 2)`` of every modality, and the classes."""
    label = torch.multinomial(torch.tensor(PROBABILITIES), count, replacement=True)
    shift = torch.stack([(label == 0).double() - (label == 1).double(), (label >= 2) * label.double()], 1)
    common = torch.randn(count, 1, dtype=torch.float64)
    own = (torch.randn(count, 2, dtype=torch.float64) for _ in range(modalities))
    return [correlation**0.5 * common + (1 - correlation) ** 0.5 * noise + shift for noise in own], label


def true_totals(model: str, modalities: int, correlation: float, count: int = 300_000) -> Tensor:
    """Return ``(classes, M)``: totals within every class, from independent donors."""
    torch.manual_seed(1)
    inputs, label = sample(count, modalities, correlation)
    outputs = MODELS[model](*inputs)
    donors = [values[torch.randperm(count)] for values in inputs]
    whole = (outputs - MODELS[model](*donors)).square().sum(1)
    single = [
        (outputs - MODELS[model](*(donors[k] if k == m else values for k, values in enumerate(inputs)))).square().sum(1)
        for m in range(modalities)
    ]
    classes = range(len(PROBABILITIES))
    return torch.stack(
        [torch.stack([one[label == k].mean() / whole[label == k].mean() for one in single]) for k in classes]
    )


@dataclass(frozen=True)
class Found:
    """Statistics of many draws, each ``(classes, M)``."""

    bias: Tensor
    error: Tensor
    coverage: Tensor
    half_width: Tensor
    repeats: int

    @property
    def bias_error(self) -> Tensor:
        """Standard error of the bias."""
        return self.error / self.repeats**0.5

    @property
    def coverage_error(self) -> Tensor:
        """Standard error of the coverage, if it is that of 0.9."""
        return torch.full_like(self.coverage, (0.9 * 0.1 / self.repeats) ** 0.5)


def simulate(
    model: str, modalities: int, correlation: float, truth: Tensor, repeats: int, *, over_examples: bool = False
) -> Found:
    """Draw probes and compare their totals with the truth."""
    plan = design(modalities, SIZE)
    errors, covered, widths = [], [], []
    for seed in range(repeats):
        torch.manual_seed(1000 + seed)
        inputs, label = sample(POOL, modalities, correlation)
        groups = draw_groups(label, POOL, EXAMPLES, SIZE, seed)
        rows = groups[:, plan.tuples].flatten(0, 1)
        outputs = MODELS[model](*(values[rows[:, m]] for m, values in enumerate(inputs)))
        effects = swap_effects(outputs.view(len(groups), -1, outputs.shape[1]), plan)
        found = [estimate(effects, label[groups] == k, over_examples=over_examples) for k in range(len(truth))]
        value, low, high = (torch.stack(part) for part in zip(*found, strict=True))
        errors.append(value - truth)
        covered.append((low <= truth) & (truth <= high))
        widths.append((high - low) / 2)
    error, inside, width = (torch.stack(part).double() for part in (errors, covered, widths))
    return Found(error.nanmean(0), error.square().nanmean(0).sqrt(), inside.mean(0), width.nanmean(0), repeats)


def estimate(effects: Tensor, members: Tensor, *, over_examples: bool) -> Estimate:
    """Return totals with intervals over groups, or over single examples."""
    if over_examples:
        return jackknife(effects[members], lambda sums: sums[..., 1:] / sums[..., :1])
    return subset_totals(effects, members)


def lines(model: str, modalities: int, correlation: float, repeats: int) -> Sequence[str]:
    truth = true_totals(model, modalities, correlation)
    found = simulate(model, modalities, correlation, truth, repeats)
    narrow = simulate(model, modalities, correlation, truth, repeats, over_examples=True)
    return [
        f"{modalities}  {model:9}{correlation:5.1f}  {EXAMPLES * probability:6.1f}  {m}  {truth[k, m]:7.3f}"
        f"{found.bias[k, m]:+8.3f}{found.error[k, m]:7.3f}{found.half_width[k, m]:7.3f}{found.coverage[k, m]:9.3f}"
        f"{narrow.coverage[k, m]:9.3f}"
        for k, probability in enumerate(PROBABILITIES)
        for m in range(modalities)
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=400)
    chosen = parser.parse_args()
    print("M  model     corr  members  m    truth    bias  error   half  coverage  over examples")
    for count in (2, 3):
        for name in MODELS:
            for rho in (0.0, 0.9):
                print("\n".join(lines(name, count, rho, chosen.repeats)), flush=True)
