"""Bias, error and coverage of the EMAP gap and of single examples' MI, on functions whose UC is known.

    PYTHONPATH=tests python tests/benchmarks/coverage_of_examples.py [--repeats 200]

No estimator was chosen on these functions. The labels are the function's own decisions, so that the score is 1 and the
true gap is the share of examples whose UC has another sign, from a million examples.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from benchmarks.coverage import gaussian
from torch import Tensor
from torchmetrics.functional.classification import binary_accuracy

from mviz_lightning.functional import design, emap_gap
from mviz_lightning.functional.designs import smallest_group
from mviz_lightning.functional.uc_and_mi import donor_error

EXAMPLES = 256
"""Examples of a repeat."""

SHRUNK = math.exp(-0.5)
"""``E[sin(a + b) | a] / sin(a)`` of a unit normal b."""


@dataclass(frozen=True)
class Known:
    """A function of unit normal modalities, and its unimodal contribution under the product of the marginals.

    Attributes:
        name: As printed.
        function: From ``(..., M)`` values to ``(...)`` outputs.
        additive: From ``(..., M)`` values to the true UC.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    additive: Callable[[Tensor], Tensor]


KNOWN = (
    Known("sum + 1.5 ab", lambda x: x.sum(-1) + 1.5 * x[..., 0] * x[..., 1], lambda x: x.sum(-1)),
    Known(
        "tanh + 2 sin(a + z)",
        lambda x: x.tanh().sum(-1) + 2 * (x[..., 0] + x[..., -1]).sin(),
        lambda x: x.tanh().sum(-1) + 2 * SHRUNK * (x[..., 0].sin() + x[..., -1].sin()),
    ),
    Known("sum / 2 + product", lambda x: x.sum(-1) / 2 + x.prod(-1), lambda x: x.sum(-1) / 2),
)
"""a and b are the first two modalities, z is the last."""


def true_gap(known: Known, modalities: int, correlation: float) -> float:
    """Return the share of a million real examples whose UC has another sign than the function."""
    examples = gaussian((1_000_000,), modalities, correlation, torch.Generator().manual_seed(7))
    return float(((known.function(examples) > 0) != (known.additive(examples) > 0)).double().mean())


@dataclass(frozen=True)
class Errors:
    """What repeated estimates miss the truth by.

    Attributes:
        gaps: ``(R, 3)`` the EMAP gap and its bounds.
        truth: The true gap.
        misses: ``(E,)`` errors of MI of single examples.
        errors: ``(E,)`` their standard errors as told.
        spread: Standard deviation of the true MI.
    """

    gaps: Tensor
    truth: float
    misses: Tensor
    errors: Tensor
    spread: float


def simulate(known: Known, modalities: int, correlation: float, size: int, repeats: int) -> Errors:
    """Estimate the gap of new examples again and again, and MI of one example of each of their groups."""
    plan, generator = design(modalities, size), torch.Generator().manual_seed(0)
    gaps, misses, errors, interactions = [], [], [], []
    for _ in range(repeats):
        examples = gaussian((EXAMPLES // size, size), modalities, correlation, generator)
        outputs = known.function(examples[:, plan.tuples, torch.arange(modalities)]).unsqueeze(-1)
        target = (known.function(examples) > 0).long()
        found = emap_gap(outputs, target, plan, task="binary", score=binary_accuracy)
        gaps.append(torch.stack([found.emap_gap, found.low, found.high]))
        left_out = plan.unimodal_without_donors(outputs, 0)
        misses.append((known.additive(examples) - plan.unimodal(outputs).squeeze(-1))[:, 0])
        errors.append(donor_error(left_out).squeeze(-1))
        interactions.append((known.function(examples) - known.additive(examples))[:, 0])
    truth = true_gap(known, modalities, correlation)
    return Errors(torch.stack(gaps), truth, torch.cat(misses), torch.cat(errors), float(torch.cat(interactions).std()))


def row(found: Errors) -> str:
    """Return bias, rms error and coverage of the gap and of MI, with standard errors in brackets."""
    value, low, high = found.gaps.unbind(-1)
    covered = ((low - 1e-9 <= found.truth) & (found.truth <= high + 1e-9)).double()
    held = (found.misses.abs() <= 1.96 * found.errors + 1e-9).double()
    cells = [f"{found.truth:.3f}", told(value - found.truth, "+.3f")]
    cells += [f"{float((value - found.truth).square().mean().sqrt()):.3f}", told(covered, ".2f")]
    cells += [f"{found.spread:.2f}", told(found.misses, "+.3f"), f"{float(found.misses.square().mean().sqrt()):.2f}"]
    return "   ".join([*cells, told(held, ".2f")])


def told(values: Tensor, form: str) -> str:
    """Return a mean with its standard error."""
    return f"{float(values.mean()):{form}} ({float(values.std()) / len(values) ** 0.5:.3f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    print(f"{repeats} repeats of {EXAMPLES} examples; standard errors in brackets")
    print(
        "function              M corr group   gap: truth, bias, rms, coverage   MI: spread, bias, rms, coverage",
        flush=True,
    )
    for modalities, correlation, known, size in product(range(2, 7), (0.0, 0.9), KNOWN, (16, 32)):
        if size >= smallest_group(modalities):
            found = simulate(known, modalities, correlation, size, repeats)
            print(f"{known.name:<20} {modalities:>2} {correlation:>4.1f} {size:>5}   {row(found)}", flush=True)


if __name__ == "__main__":
    main()
