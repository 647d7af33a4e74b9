"""Which runs the benchmark makes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, product


@dataclass(frozen=True)
class RunSpec:
    """One training.

    Attributes:
        part: Of the benchmark.
        family: Of data: ``mfeat``, ``openmoji``, ``av``, ``copies``, ``pairs`` or ``shipped``.
        views: Modalities, the weak one last.
        recipe: What is done to the weak one, or to the others.
        strength: Of the recipe, where it has one.
        task: What is asked.
        fusion: ``linear`` or ``mlp``.
        seed: Of everything that is drawn.
        epochs: How many.
        rate: Learning rate.
        noise: On pictures of digits; None for the usual.
    """

    part: str
    family: str
    views: tuple[str, ...]
    recipe: str = "plain"
    strength: float = 0.0
    task: str = "digit"
    fusion: str = "linear"
    seed: int = 0
    epochs: int = 12
    rate: float = 2e-3
    noise: float | None = None

    @property
    def weak(self) -> str:
        """The modality that the recipe works against."""
        return self.views[-1]


PRETRAINED, MISFED = "pretrained", "misfed"
"""Recipes whose weak encoder was trained alone before, and is frozen; misfed, it gets its inputs on another scale."""
SOFT = frozenset({"plain", "lr", "late", "leak", "loud", "decay"})
"""Recipes under which the modality stays intact and is merely not learned."""

COLLAPSING = (
    ("lr", 0.1),
    ("lr", 0.01),
    ("late", 0.5),
    ("leak", 0.9),
    ("leak", 1.0),
    ("frozen", 0.0),
    ("shuffled", 0.0),
    ("scaled", 0.0),
    ("dead", 0.0),
    ("decay", 0.1),
)
HEALTHY = (("plain", 0.0), ("dropout", 0.25))
PAIRS = (*combinations(("fou", "kar", "zer"), 2), ("kar", "mor"), ("fou", "mor"), ("zer", "mor"))


def families(seeds: int = 3) -> Iterator[RunSpec]:
    """Return three families of tasks under every recipe."""
    recipes = [*COLLAPSING, *HEALTHY, ("plain", 0.0)]
    for number, (recipe, strength) in enumerate(recipes):
        for seed in range(seeds):
            repeat = seed + seeds * number
            pair = PAIRS[repeat % len(PAIRS)]
            fusion = ("linear", "mlp")[seed % 2]
            yield RunSpec("families", "mfeat", pair, recipe, strength, fusion=fusion, seed=repeat)
            views = ("image", "text") if repeat % 2 and recipe != "scaled" else ("text", "image")
            yield RunSpec("families", "openmoji", views, recipe, strength, fusion=fusion, seed=repeat)
            noise = 0.3 if recipe == "dropout" or number == len(recipes) - 1 else None
            yield RunSpec("families", "av", ("mel", "image"), recipe, strength, fusion=fusion, seed=repeat, noise=noise)
            yield RunSpec("families", "av", ("image", "mel"), recipe, strength, fusion=fusion, seed=repeat, noise=0.2)
            yield RunSpec("families", "mfeat", pair[::-1], recipe, strength, fusion=fusion, seed=repeat + 1000)


def extras(seeds: int = 3) -> Iterator[RunSpec]:
    """Return tasks on which alarms go wrong easily."""
    three = ("kar", "zer", "fou")
    for seed in range(seeds):
        for recipe, strength in (("plain", 0.0), ("shuffled", 0.0), ("leak", 1.0)):
            yield RunSpec("extras", "mfeat", ("kar", "fac"), recipe, strength, "sum", "mlp", seed, epochs=25)
        for recipe in ("plain", "noise", "scaled", "shuffled"):
            for task in ("majority90", "majority95", "attributes", "value"):
                yield RunSpec("extras", "mfeat", ("kar", "fou"), recipe, 0.0, task, "mlp", seed)
            yield RunSpec("extras", "mfeat", three, recipe, 0.0, "three", "mlp", seed)
        for view in ("fou", "zer", "mor"):
            yield RunSpec("extras", "mfeat", ("fac", view), "noise", 0.0, seed=seed)
            yield RunSpec("extras", "mfeat", ("fac", view), "faint", 10.0, seed=seed)
        yield RunSpec("extras", "av", ("mel", "image"), "noise", 0.0, seed=seed)
        yield RunSpec("extras", "openmoji", ("text", "image"), "noise", 0.0, seed=seed)
    yield RunSpec("extras", "av", ("mel", "image"), "plain", 0.0, "sum4", "mlp", 0, epochs=40, noise=0.1)


def healthy(count: int = 320) -> Iterator[RunSpec]:
    """Return plain trainings that differ in views, fusion, learning rate and seed."""
    choices = product(("linear", "mlp"), (1e-3, 2e-3, 4e-3), combinations(("fou", "kar", "zer", "mor"), 2))
    options = list(choices)
    for seed in range(count):
        fusion, rate, views = options[seed % len(options)]
        yield RunSpec("healthy", "mfeat", views, fusion=fusion, rate=rate, seed=5000 + seed)


def small() -> Iterator[RunSpec]:
    """Return a run of every kind, seconds in all."""
    for recipe in ("plain", "dropout", "scaled", "shuffled", "noise"):
        yield RunSpec("small", "mfeat", ("kar", "zer"), recipe, 0.25 if recipe == "dropout" else 0.0, epochs=6)
    yield RunSpec("small", "copies", ("kar", "kar_copy"), "scaled", epochs=4)
    yield RunSpec("small", "pairs", ("kar", "fou"), "scaled", task="hundred", epochs=5)


FUSIONS = ("linear", "mlp")
GRADED = (
    *(("lr", strength) for strength in (0.2, 0.05, 0.03)),
    *(("frozen", strength) for strength in (0.01, 0.03, 0.1)),
    *(("scaled", strength) for strength in (10.0, 30.0, 100.0, 300.0)),
    *(("dead", strength) for strength in (-1.0, -2.0, -4.0)),
    *(("decay", strength) for strength in (0.003, 0.01, 0.03)),
    *(("late", strength) for strength in (0.6, 0.75)),
    *(("loud", strength) for strength in (0.97, 1.0)),
    ("shuffled", 0.0),
    ("faint", 3.0),
)
"""Recipes strong enough to take most of a modality, and not so strong as to take it all."""
UNEQUAL = (("kar", "fou"), ("kar", "zer"), ("fac", "mor"), ("fou", "mor"), ("fac", "kar"))


def graded() -> Iterator[RunSpec]:
    """Return trainings near the border between use and collapse, on all families."""
    for number, (recipe, strength) in enumerate(GRADED):
        for step in range(4):
            pair, repeat = UNEQUAL[(number + step) % len(UNEQUAL)], 4 * number + step
            yield RunSpec("graded", "mfeat", pair, recipe, strength, fusion=FUSIONS[step % 2], seed=9000 + repeat)
        numeric = recipe in {"scaled", "faint"}  # tokens cannot be
        views = ("image", "text") if number % 2 and not numeric else ("text", "image")
        fusion = FUSIONS[number // 2 % 2]
        yield RunSpec("graded", "openmoji", views, recipe, strength, fusion=fusion, seed=9000 + number)
        views, noise = ((("mel", "image"), 0.6), (("image", "mel"), 0.2))[number % 2]
        yield RunSpec("graded", "av", views, recipe, strength, fusion=fusion, seed=9000 + number, noise=noise)


PARTS: dict[str, Callable[[], Iterator[RunSpec]]] = {
    "families": families,
    "extras": extras,
    "healthy": healthy,
    "graded": graded,
    "small": small,
}
