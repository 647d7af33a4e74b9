"""Functions of unit normal modalities whose shares are known in closed form."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mviz_lightning.functional import design
from mviz_lightning.functional.contribution import share_names

NAMES = "abcdef"


@dataclass(frozen=True)
class Model:
    """A function of modalities with unit normal values, and the variance that each set of them explains.

    Attributes:
        name: As printed.
        function: From ``(..., M)`` values to ``(...)`` outputs.
        variances: Of modalities ("a") and interactions ("ab").
        modalities: M.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    variances: Mapping[str, float]
    modalities: int = 2

    @property
    def group(self) -> int:
        """Examples in a group: the package's default."""
        return max(16, 4 * self.modalities)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        return design(self.modalities, self.group).pairs

    @property
    def names(self) -> list[str]:
        """The shares, in the order of all tensors here."""
        return share_names(NAMES[: self.modalities], self.pairs)

    @property
    def truth(self) -> Tensor:
        """``(K,)`` the exact shares."""
        letters = NAMES[: self.modalities]
        alone = [self.variances.get(name, 0.0) for name in letters]
        total = [sum(value for names, value in self.variances.items() if name in names) for name in letters]
        both = [self.variances.get(NAMES[a] + NAMES[b], 0.0) for a, b in self.pairs]
        everything = sum(self.variances.values())
        return torch.tensor([*alone, *total, *both, everything - sum(alone)], dtype=torch.float64) / everything


TWO = (
    Model("additive: 2a + b", lambda x: 2 * x[..., 0] + x[..., 1], {"a": 4, "b": 1}),
    Model("mixed: a + b + ab", lambda x: x.sum(-1) + x.prod(-1), {"a": 1, "b": 1, "ab": 1}),
    Model("square: (a - b)^2", lambda x: (x[..., 0] - x[..., 1]) ** 2, {"a": 2, "b": 2, "ab": 4}),
    Model("product: ab", lambda x: x.prod(-1), {"ab": 1}),
)
THREE = (
    Model("additive: a + b + c", lambda x: x.sum(-1), {"a": 1, "b": 1, "c": 1}, 3),
    Model("a + bc + abc", lambda x: x[..., 0] + x[..., 1:].prod(-1) + x.prod(-1), {"a": 1, "bc": 1, "abc": 1}, 3),
    Model(
        "a + b + c + ab + abc",
        lambda x: x.sum(-1) + x[..., :2].prod(-1) + x.prod(-1),
        {"a": 1, "b": 1, "c": 1, "ab": 1, "abc": 1},
        3,
    ),
)


def rare(fraction: float) -> Model:
    """Return ``a (1 + k [b is among the largest])``: b matters in a fraction of the examples, in an interaction."""
    threshold = math.sqrt(2) * float(torch.erfinv(torch.tensor(1 - 2 * fraction, dtype=torch.float64)))
    spread = fraction * (1 - fraction)
    size = spread**-0.5

    def function(x: Tensor) -> Tensor:
        return x[..., 0] * (1 + size * (x[..., 1] > threshold))

    variances = {"a": (1 + size * fraction) ** 2, "ab": size**2 * spread}
    return Model(f"b in {fraction:.0%}: a + a[b]", function, variances)


def rare_alone(fraction: float) -> Model:
    """Return ``a + k [b is among the largest]``: b matters in a fraction of the examples, by itself."""
    threshold = math.sqrt(2) * float(torch.erfinv(torch.tensor(1 - 2 * fraction, dtype=torch.float64)))
    size = (fraction * (1 - fraction)) ** -0.5
    return Model(
        f"b in {fraction:.0%}: a + [b]", lambda x: x[..., 0] + size * (x[..., 1] > threshold), {"a": 1, "b": 1}
    )


HALF_MEAN, HALF_SQUARE = (2 * math.pi) ** -0.5, 0.5
"""Mean and mean square of a normal value cut off below 0 (ReLU)."""

ABSOLUTE = 2 / math.pi
"""Square of the mean absolute value of a normal value."""

WAVE_MEAN, WAVE_SQUARE = math.exp(-2), (1 + math.exp(-8)) / 2
"""Mean and mean square of the cosine of twice a normal value."""

GROWTH = math.exp(0.25)
"""Mean square of ``exp(a / 2)`` over its squared mean."""

HELD_OUT = (
    Model(
        "relu(a) b + a",
        lambda x: x[..., 0].relu() * x[..., 1] + x[..., 0],
        {"a": 1, "b": HALF_MEAN**2, "ab": HALF_SQUARE - HALF_MEAN**2},
    ),
    Model(
        "cos(2a) cos(2b)",
        lambda x: (2 * x).cos().prod(-1),
        {
            "a": (WAVE_SQUARE - WAVE_MEAN**2) * WAVE_MEAN**2,
            "b": (WAVE_SQUARE - WAVE_MEAN**2) * WAVE_MEAN**2,
            "ab": (WAVE_SQUARE - WAVE_MEAN**2) ** 2,
        },
    ),
    Model("tanh(3ab)", lambda x: (3 * x.prod(-1)).tanh(), {"ab": 1}),
    Model(
        "exp((a + b) / 2)",
        lambda x: (x.sum(-1) / 2).exp(),
        {"a": GROWTH - 1, "b": GROWTH - 1, "ab": (GROWTH - 1) ** 2},
    ),
    rare(0.05),
    rare_alone(0.05),
    Model(
        "a + |b|c",
        lambda x: x[..., 0] + x[..., 1].abs() * x[..., 2],
        {"a": 1, "c": ABSOLUTE, "bc": 1 - ABSOLUTE},
        3,
    ),
    Model("sign(abc)", lambda x: x.sign().prod(-1), {"abc": 1}, 3),
    Model("ab + cd", lambda x: x[..., :2].prod(-1) + x[..., 2:].prod(-1), {"ab": 1, "cd": 1}, 4),
    Model(
        "a + bc + de", lambda x: x[..., 0] + x[..., 1:3].prod(-1) + x[..., 3:].prod(-1), {"a": 1, "bc": 1, "de": 1}, 5
    ),
    Model(
        "sum of all + abc",
        lambda x: x.sum(-1) + x[..., :3].prod(-1),
        {**dict.fromkeys(NAMES, 1.0), "abc": 1},
        6,
    ),
)
"""Functions on which no estimator of the package was chosen."""

RARE = (rare(0.03), rare_alone(0.03))
"""What matters in 3 % of the examples."""
