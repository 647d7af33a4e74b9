"""Bias, error and coverage of the contribution shares on models whose shares are known.

    PYTHONPATH=tests python tests/benchmarks/coverage.py [--repeats 2000] [--held-out | --growth]

``--held-out`` takes functions on which no estimator was chosen, with fewer and more examples.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import product

import torch
from benchmarks.known_shares import HELD_OUT, RARE, THREE, TWO, Model
from scipy.special import stdtrit
from torch import Tensor

from mviz_lightning.functional import Deletions, TupleDesign, anova, design, jackknife, share_ratios

BATCH = 50
"""Repeats evaluated at once; the half-splits of 50 take about 15 MB."""


@dataclass(frozen=True)
class Simulation:
    """Repeated estimates of known shares, each ``(R, K)`` but the truth ``(K,)``."""

    truth: Tensor
    value: Tensor
    low: Tensor
    high: Tensor

    @property
    def bias(self) -> Tensor:
        return self.value.mean(0) - self.truth

    @property
    def bias_error(self) -> Tensor:
        """Standard error of the bias."""
        return self.value.std(0) / len(self.value) ** 0.5

    @property
    def rmse(self) -> Tensor:
        return (self.value - self.truth).square().mean(0).sqrt()

    @property
    def coverage(self) -> Tensor:
        """How often the interval holds the truth; an interval of no width may miss it by rounding."""
        return ((self.low - 1e-9 <= self.truth) & (self.truth <= self.high + 1e-9)).double().mean(0)

    @property
    def coverage_error(self) -> Tensor:
        """Standard error of the coverage."""
        return (self.coverage * (1 - self.coverage) / len(self.value)).sqrt()

    @property
    def half_width(self) -> Tensor:
        """Mean of the interval's half-widths."""
        return (self.high - self.low).mean(0) / 2


def gaussian(shape: tuple[int, ...], modalities: int, correlation: float, generator: torch.Generator) -> Tensor:
    """Draw ``(*shape, M)`` unit normal values, those of one example correlated."""
    common = torch.randn(*shape, 1, generator=generator, dtype=torch.float64)
    alone = torch.randn(*shape, modalities, generator=generator, dtype=torch.float64)
    return correlation**0.5 * common + (1 - correlation) ** 0.5 * alone


def package_components(model: Model, examples: Tensor) -> Tensor:
    """Turn ``(groups, g, M)`` examples into ``(groups, S)`` components with the package's own design."""
    plan = design(model.modalities, examples.shape[1])
    return plan.components(recombined(model, examples))


def package_deletions(model: Model, examples: Tensor) -> Tensor:
    """Turn ``(groups, g, M)`` examples into ``(groups, g, S)`` components without each of them."""
    plan = design(model.modalities, examples.shape[1])
    return plan.without_each(recombined(model, examples))


def recombined(model: Model, examples: Tensor) -> Tensor:
    """Return ``(groups, T, 1)`` outputs of the package's own design."""
    plan = design(model.modalities, examples.shape[1])
    return model.function(examples[:, plan.tuples, torch.arange(model.modalities)]).unsqueeze(-1)


def simulate(
    model: Model,
    correlation: float,
    repeats: int,
    *,
    components: Callable[[Model, Tensor], Tensor] = package_components,
    deletions: Callable[[Model, Tensor], Tensor] | None = package_deletions,
    size: int = 16,
    groups: int = 8,
) -> Simulation:
    """Estimate the shares again and again, on new examples every time; without deletions from the groups alone."""
    generator = torch.Generator().manual_seed(0)
    inflation = design(model.modalities, size).inflation
    estimates = []
    for start in range(0, repeats, BATCH):
        count = min(BATCH, repeats - start)
        examples = gaussian((count * groups, size), model.modalities, correlation, generator)
        measured = components(model, examples).unflatten(0, (count, groups))
        without = [None] * count if deletions is None else deletions(model, examples).unflatten(0, (count, groups))
        for repeat, left in zip(measured, without, strict=True):
            given = None if left is None else Deletions(left, inflation)
            estimates.append(jackknife(repeat, lambda mean: share_ratios(mean, model.modalities), deletions=given))
    return Simulation(model.truth, *map(torch.stack, zip(*estimates, strict=True)))


def report(model: Model, correlation: float, repeats: int) -> str:
    """Return the table's rows of one model."""
    found = simulate(model, correlation, repeats, size=model.group)
    columns = (found.truth, found.bias, found.bias_error, found.rmse, found.coverage, found.coverage_error)
    values = torch.stack([*columns, found.half_width], 1).tolist()
    return "\n".join(
        f"{model.name:<22} {correlation:>4.1f} {name:<16}"
        + "{:>7.3f} {:>+8.4f} ({:.4f}) {:>6.3f} {:>6.3f} ({:.3f}) {:>6.3f}".format(*row)
        for name, row in zip(model.names, values, strict=True)
    )


SIZES = (4, 8)
"""Numbers of groups: 64 and 128 examples in groups of 16."""


def held_out(repeats: int) -> None:
    """Print, for each function, the largest bias and the smallest coverage, from the groups alone and as shown."""
    print(f"{repeats} repeats; standard errors in brackets; the worst share of each function")
    print(f"{'function':<20} corr examples  |bias|           cover: groups alone, as shown    half-width of totals")
    for model, correlation, groups in product((TWO[3], *RARE, *HELD_OUT), (0.0, 0.9), SIZES):
        before, after = (
            simulate(model, correlation, repeats, deletions=deletions, size=model.group, groups=groups)
            for deletions in (None, package_deletions)
        )
        row = compared(before, after, model.modalities)
        print(f"{model.name:<20} {correlation:>4.1f} {groups * model.group:>8}  {row}", flush=True)


def compared(before: Simulation, after: Simulation, modalities: int) -> str:
    """Return a row: the largest bias, the smallest coverages, and the mean half-widths of the totals."""
    worst, totals = int(after.bias.abs().argmax()), slice(modalities, 2 * modalities)
    parts = [f"{float(after.bias[worst].abs()):.4f} ({float(after.bias_error[worst]):.4f})"]
    for found in (before, after):
        least = int(found.coverage.argmin())
        parts.append(f"{float(found.coverage[least]):.3f} ({float(found.coverage_error[least]):.3f})")
    widths = [f"{float(found.half_width[totals].mean()):.3f}" for found in (before, after)]
    return "   ".join(parts) + "   " + " -> ".join(widths)


def across_components(examples: Tensor, model: Model, reach: int) -> Tensor:
    """Return ``(repeats, groups, 1 + reach, S)``: of each group's own grid, and of it with the next ``reach`` groups.

    Rows and columns of the latter share no example, so the plain two-way analysis of variance is unbiased there.
    """
    own = package_components(model, examples.flatten(0, 1)).unflatten(0, examples.shape[:2])
    rows = examples[..., 0].unsqueeze(-1)
    parts = [own]
    for distance in range(1, reach + 1):
        columns = examples[..., 1].roll(-distance, 1).unsqueeze(-2)
        grid = model.function(torch.stack(torch.broadcast_tensors(rows, columns), -1)).unsqueeze(-1)
        first, second, both = anova.two_way_components(grid).unbind(-1)
        parts.append(torch.stack([first + second + both, first, second, first + both, second + both, both], -1))
    return torch.stack(parts, 2)


def across(model: Model, correlation: float, repeats: int, reach: int) -> Simulation:
    """Estimate the shares from all cells of eight groups of 16 and their neighbours, as :func:`simulate` does."""
    groups, truth = 8, model.truth
    examples = gaussian((repeats, groups, 16), 2, correlation, torch.Generator().manual_seed(0))
    found = across_components(examples, model, reach)
    whole, place = torch.eye(groups, dtype=torch.bool), torch.arange(groups)
    # What touches a group goes with it.
    touched = torch.stack([whole | (place[:, None] == (place + distance) % groups) for distance in range(reach + 1)], 2)
    kept = (~touched).double().flatten(1)
    value = share_ratios(found.flatten(1, 2).mean(1), 2)
    deleted = share_ratios(kept / kept.sum(1, keepdim=True) @ found.flatten(1, 2), 2)
    error = ((groups - 1) / groups * (deleted - deleted.mean(1, keepdim=True)).square().sum(1)).sqrt()
    half = error * float(stdtrit(groups - 1, 0.975))
    return Simulation(truth, value, value - half, value + half)


@cache
def drawn(modalities: int, size: int, draws: int) -> TupleDesign:
    """Return a design of so many draws."""
    return TupleDesign(modalities, size, draws=draws, pairs=modalities <= 4, seed=0)


def drawn_components(model: Model, examples: Tensor, draws: int) -> Tensor:
    """Turn ``(groups, g, M)`` examples into ``(groups, S)`` components with so many draws."""
    plan = drawn(model.modalities, examples.shape[1], draws)
    rows = examples[:, plan.tuples, torch.arange(model.modalities)]
    return plan.components(model.function(rows).unsqueeze(-1))


def grids(model: Model, correlation: float, repeats: int) -> Iterator[tuple[str, int, Simulation]]:
    """Estimate the shares of two modalities from more and more rows: each variant's name, rows and estimates."""
    yield "8 groups of 16", 2048, simulate(model, correlation, repeats)
    yield "4 groups of 32, the same examples", 4096, simulate(model, correlation, repeats, size=32, groups=4)
    for reach in (1, 3, 7):
        name = f"8 groups of 16 and {reach} more for each"
        yield name, (1 + reach) * 2048, across(model, correlation, repeats, reach)
    yield "16 groups of 16, 256 examples", 4096, simulate(model, correlation, repeats, groups=16)
    yield "8 groups of 32, 256 examples", 8192, simulate(model, correlation, repeats, size=32)


def more_draws(model: Model, correlation: float, repeats: int) -> Iterator[tuple[str, int, Simulation]]:
    """Estimate the shares of three modalities as :func:`grids` does of two."""
    for size, draws in product((16, 32), (8, 16, 32)):
        found = simulate(
            model, correlation, repeats, components=partial(drawn_components, draws=draws), deletions=None, size=size
        )
        rows = 8 * len(torch.unique(drawn(model.modalities, size, draws).tuples, dim=0))
        yield f"8 groups of {size}, {draws} draws" + (", 256 examples" if size == 32 else ""), rows, found


def growth(repeats: int) -> None:
    """Print what more cells, more draws and more examples do to the shares; of errors the mean over the modalities."""
    print(f"{repeats} repeats. Where encodings are reused, further rows of the same examples cost only the fusion.")
    print(f"{'':<68}RMSE of                      of totals")
    print(f"{'model':<20} corr {'rows from':<38} rows  alone total inter.   |bias|  cover   half")
    for model in (*TWO, *THREE):
        count = model.modalities
        kinds = (slice(count), slice(count, 2 * count), slice(-1, None))
        for correlation in (0.0, 0.9):
            for name, rows, found in (grids if count == 2 else more_draws)(model, correlation, repeats):
                errors = [float(found.rmse[kind].mean()) for kind in kinds]
                totals = (found.coverage, found.half_width)
                told = [*errors, float(found.bias.abs().max()), *(float(x[kinds[1]].mean()) for x in totals)]
                print(
                    f"{model.name:<20} {correlation:>4.1f} {name:<38}{rows:>6}"
                    + "  {:.3f} {:.3f} {:.3f}    {:.4f}   {:.3f}  {:.3f}".format(*told),
                    flush=True,
                )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--held-out", action="store_true", help="functions on which no estimator was chosen")
    parser.add_argument("--growth", action="store_true", help="compare more cells, draws and examples instead")
    arguments = parser.parse_args()
    repeats = arguments.repeats
    if arguments.growth or arguments.held_out:
        (growth if arguments.growth else held_out)(repeats)
        return
    print(f"{repeats} repeats, 8 groups of 16 examples; standard errors in brackets; nominal coverage 0.95")
    print(f"{'model':<22} corr {'share':<16}  truth     bias            RMSE  cover           half")
    for model in (*TWO, *THREE):
        for correlation in (0.0, 0.9):
            print(report(model, correlation, repeats), flush=True)


if __name__ == "__main__":
    main()
