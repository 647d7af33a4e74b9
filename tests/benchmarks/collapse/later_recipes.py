"""Runs that came later: many classes, redundancy, partners, slow starters, rare labels, frozen encoders, other data."""

from collections.abc import Iterator
from itertools import product

from recipes import MISFED, PARTS, PRETRAINED, RunSpec

LOSSES = (("scaled", 0.0), ("shuffled", 0.0), ("frozen", 0.0), ("lr", 0.01))
"""Ways in which a modality is lost whatever it has to tell."""
INTACT = (("plain", 0.0), ("dropout", 0.25))


def _pair(task: str, recipe: str, strength: float, seed: int, **settings: object) -> RunSpec:
    views = (("kar", "fou"), ("fou", "kar"), ("kar", "zer"))[seed % 3]
    return RunSpec("classes", "pairs", views, recipe, strength, task, seed=7000 + seed, **settings)  # type: ignore[arg-type]


def classes(seeds: int = 2) -> Iterator[RunSpec]:
    """Return tasks of 100 and 400 classes, which two digits name together."""
    for seed, (recipe, strength) in product(range(seeds), (*INTACT, *LOSSES, ("late", 0.6), ("decay", 0.1))):
        yield _pair("hundred", recipe, strength, seed)
    for seed, (recipe, strength) in product(range(seeds), (INTACT[0], *LOSSES)):
        yield _pair("four_hundred", recipe, strength, seed, epochs=16, fusion="mlp")


def redundancy(seeds: int = 2) -> Iterator[RunSpec]:
    """Return modalities that repeat another one, or part of it, and one that repeats a leak."""
    for seed, (recipe, strength) in product(range(seeds), (*INTACT, *LOSSES, ("leak", 1.0), ("decay", 0.1))):
        for views in (("kar", "kar_copy"), ("kar", "kar_few"), ("pix", "kar_few")):
            yield RunSpec("redundancy", "copies", views, recipe, strength, seed=7100 + seed)
    for seed, (recipe, strength) in product(range(seeds), LOSSES):  # the other way round nothing is redundant
        yield RunSpec("redundancy", "copies", ("kar_few", "kar"), recipe, strength, seed=7150 + seed)


def partners(seeds: int = 2) -> Iterator[RunSpec]:
    """Return a modality that tells something only together with the other."""
    for seed, (recipe, strength) in product(range(seeds), (*INTACT, *LOSSES)):
        settings = {"fusion": "mlp", "epochs": 14}
        yield RunSpec("partners", "pairs", ("kar", "fac"), recipe, strength, "partners", seed=7200 + seed, **settings)  # type: ignore[arg-type]


def slow(seeds: int = 2) -> Iterator[RunSpec]:
    """Return trainings in which the weak modality comes late and is used in the end."""
    for seed in range(seeds):
        for rate in (0.03, 0.1):
            yield RunSpec("slow", "mfeat", ("kar", "fou"), "lr", rate, seed=7300 + seed, epochs=30)
        yield RunSpec("slow", "mfeat", ("fou", "kar"), "scaled", 10.0, seed=7300 + seed, epochs=30)
        yield RunSpec("slow", "mfeat", ("fou", "kar"), "late", 0.2, seed=7300 + seed, epochs=25)
        yield RunSpec("slow", "mfeat", ("kar", "fou"), seed=7300 + seed, epochs=30, rate=2e-4)
        yield RunSpec("slow", "av", ("mel", "image"), seed=7300 + seed, epochs=16, noise=0.3, rate=5e-4)


def labels(seeds: int = 2) -> Iterator[RunSpec]:
    """Return 500 rare labels, and 40 of which the weak modality decides one."""
    for seed, (recipe, strength) in product(range(seeds), (*INTACT, *LOSSES)):
        if not seed:  # five hundred labels take their time
            yield RunSpec("labels", "pairs", ("kar", "fou"), recipe, strength, "rare", "mlp", 7400, epochs=12)
        yield RunSpec("labels", "pairs", ("kar", "fac"), recipe, strength, "one_of_40", seed=7400 + seed, epochs=10)


def pretrained(seeds: int = 2) -> Iterator[RunSpec]:
    """Return weak encoders that were trained before and are frozen, fed well and on another scale."""
    for seed, recipe in product(range(seeds), (PRETRAINED, MISFED)):
        for views in (("kar", "fou"), ("fou", "kar")):
            yield RunSpec("pretrained", "mfeat", views, recipe, seed=7500 + seed)
        yield RunSpec("pretrained", "openmoji", ("text", "image"), recipe, seed=7500 + seed)
        yield RunSpec("pretrained", "av", ("image", "mel"), recipe, seed=7500 + seed, epochs=8, noise=0.2)


EVERY = (("plain", 0.0), *LOSSES, ("late", 0.6), ("leak", 1.0), ("decay", 0.1), ("noise", 0.0), ("dropout", 0.25))
SOME = (("plain", 0.0), ("scaled", 0.0), ("shuffled", 0.0), ("frozen", 0.0))
SCENARIOS = (
    ("digits", ("left", "right"), EVERY, 14),
    ("digits", ("all", "two"), SOME, 14),
    ("digits", ("two", "all"), SOME[:2], 14),
    ("digits", ("all", "margin"), SOME[1:3], 14),
    ("breast", ("worst", "mean"), SOME, 14),
    ("breast", ("mean", "worst"), (*SOME, ("leak", 1.0)), 14),
    ("breast", ("mean", "error", "worst"), SOME[:2], 14),
    ("wine", ("minerals", "colour"), (*SOME, ("late", 0.6), ("leak", 1.0)), 18),
    ("wine", ("minerals", "phenols", "colour"), SOME[:2], 18),
    ("iris", ("petal", "sepal"), SOME, 24),
    ("iris", ("sepal", "petal"), SOME, 24),
    ("diabetes", ("blood", "body"), (*SOME, ("noise", 0.0)), 12),
    ("diabetes", ("body", "blood"), SOME[:2], 12),
    ("photographs", ("brightness", "colour"), (*SOME, ("late", 0.6), ("leak", 1.0)), 12),
    ("photographs", ("colour", "brightness"), SOME[:2], 12),
)
"""Data set, modalities, what happens to the last one, epochs."""


def scenarios() -> Iterator[RunSpec]:
    """Return trainings on data that scikit-learn ships."""
    for number, (task, views, recipes, epochs) in enumerate(SCENARIOS):
        for recipe, strength in recipes:
            fusion = ("linear", "mlp")[number % 2]
            yield RunSpec("scenarios", "shipped", views, recipe, strength, task, fusion, 7600 + number, epochs)


PARTS |= {made.__name__: made for made in (classes, redundancy, partners, slow, labels, pretrained, scenarios)}
