"""InterSHAP's HD-XOR table (Wenderoth et al., AAAI 2025), and which choices its numbers depend on.

    PYTHONPATH=tests python tests/benchmarks/hd_xor.py [--seeds 3] [--variants]

Written after the description in the paper and its public repository; nothing is copied from there.

**Data.** Two bits b1, b2; the label is their XOR. A latent vector of 200 entries per modality is projected to 200 and
100 features by matrices that are uniform in -0.5..0.5. 20,000 examples, split 70 / 15 / 15 %.

- synergy: all entries of modality i have the mean +-0.35 of bit i, standard deviation 2.
- uniqueness k: the first half of modality k's latent has the mean +-0.35 of b1, the other half of b2, standard
  deviation 1; the other modality is noise.
- redundancy: the same with +-0.25, and both modalities get the same latent.
- random: noise, and labels that are drawn independently. The repository does not hold this setting; this is how the
  paper's words are read here.

**Model.** 300-150-75-2 with ReLU on both modalities (early fusion), Adam at 1e-4 with weight decay 1e-4, 200 epochs in
batches of 5,000, no early stopping.

**Measure.** :func:`mviz_lightning.functional.intershap` on 1,000 test examples. An absent modality is that of 200
validation examples; v(none) is the mean over re-paired validation examples (the paper's: over real pairs; the script's
table shows that this changes nothing). Absolute values are taken after the mean over examples.

With ``--variants`` it prints what the same networks give under other choices, and networks that were trained otherwise.
Takes about 10 minutes on one free core, and as long again with ``--variants``. Prints tables and asserts nothing.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from mviz_lightning.functional import intershap, shapley_interactions

LATENT, FEATURES, EXAMPLES = 200, (200, 100), 20_000
TRAIN, VALIDATION, TEST = slice(0, 14_000), slice(14_000, 17_000), slice(17_000, 18_000)
RATE, DECAY, BATCH, EPOCHS = 1e-4, 1e-4, 5_000, 200
DONORS = 200

PUBLISHED = {"uniqueness 0": 0.2, "uniqueness 1": 3.1, "synergy": 98.0, "redundancy": 38.6, "random": 57.8}
"""Setting -> InterSHAP of the early-fusion network in percent, as printed."""

Draw: TypeAlias = Callable[[torch.Generator], tuple[list[Tensor], Tensor]]
"""Draws the latent vectors ``(N, 200)`` of both modalities and the labels ``(N,)``."""


@dataclass(frozen=True)
class Data:
    """``(N, 200)`` and ``(N, 100)`` features, and ``(N,)`` labels."""

    features: Sequence[Tensor]
    label: Tensor

    def part(self, rows: slice) -> "Data":
        """Return some of the examples."""
        return Data([values[rows] for values in self.features], self.label[rows])

    @property
    def joined(self) -> Tensor:
        """``(N, 300)``: both modalities."""
        return torch.cat(list(self.features), 1)


# -- Data --------------------------------------------------------------------------------------------------------------


def noise(generator: torch.Generator, entries: int = LATENT) -> Tensor:
    """Draw ``(N, entries)`` unit normal entries."""
    return torch.randn(EXAMPLES, entries, generator=generator)


def shifted(bit: Tensor, distance: float, spread: float, entries: int, generator: torch.Generator) -> Tensor:
    """Draw ``(N, entries)`` entries whose mean is the distance, with the sign of the bit."""
    return (2.0 * bit - 1)[:, None] * distance + spread * noise(generator, entries)


def both_bits(bits: Tensor, distance: float, generator: torch.Generator) -> Tensor:
    """Draw ``(N, 200)``: one half for each bit."""
    return torch.cat([shifted(bit, distance, 1.0, LATENT // 2, generator) for bit in bits.T], 1)


def synergy(generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
    """Draw a bit for each modality."""
    bits = torch.randint(2, (EXAMPLES, 2), generator=generator)
    return [shifted(bit, 0.35, 2.0, LATENT, generator) for bit in bits.T], bits[:, 0] ^ bits[:, 1]


def uniqueness(modality: int) -> Draw:
    """Return the draw in which one modality holds both bits."""

    def draw(generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
        bits = torch.randint(2, (EXAMPLES, 2), generator=generator)
        latent = [noise(generator), noise(generator)]
        latent[modality] = both_bits(bits, 0.35, generator)
        return latent, bits[:, 0] ^ bits[:, 1]

    return draw


def redundancy(generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
    """Draw both bits for both modalities."""
    bits = torch.randint(2, (EXAMPLES, 2), generator=generator)
    latent = both_bits(bits, 0.25, generator)
    return [latent, latent], bits[:, 0] ^ bits[:, 1]


def coin(generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
    """Draw noise and independent labels."""
    return [noise(generator), noise(generator)], torch.randint(2, (EXAMPLES,), generator=generator)


def relabelled(draw: Draw) -> Draw:
    """Return a draw with independent labels."""
    return lambda generator: (draw(generator)[0], torch.randint(2, (EXAMPLES,), generator=generator))


def products(*, redundant: bool) -> Draw:
    """Return the draw of an older version: the label is the sign of an inner product of unit vectors, 0.1 or more.

    120 entries are a modality's own and 80 are common to both. Synergy multiplies the modalities' own entries,
    redundancy the halves of the common ones.
    """

    def draw(generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
        kept: list[tuple[Tensor, Tensor, Tensor]] = []
        while sum(len(one[0]) for one in kept) < EXAMPLES:
            first, second, common = (normalize(noise(generator, size)) for size in (120, 120, 80))
            factors = common.split(40, 1) if redundant else (first, second)
            clear = (factors[0] * factors[1]).sum(1).abs() > 0.1
            kept.append((first[clear], second[clear], common[clear]))
        first, second, common = (torch.cat(parts)[:EXAMPLES] for parts in zip(*kept, strict=True))
        left, right = common.split(40, 1) if redundant else (first, second)
        label = ((left * right).sum(1) > 0).long()
        return [torch.cat([own, common], 1) for own in (first, second)], label

    return draw


SETTINGS: Mapping[str, Draw] = {
    "uniqueness 0": uniqueness(0),
    "uniqueness 1": uniqueness(1),
    "synergy": synergy,
    "redundancy": redundancy,
    "random": coin,
}

OTHERWISE: Mapping[str, tuple[str, Draw, int]] = {
    "25 epochs, redundancy": ("redundancy", redundancy, 25),
    "25 epochs, random": ("random", coin, 25),
    "600 epochs, random": ("random", coin, 600),
    "untrained network, random": ("random", coin, 0),
    "random labels on the data of synergy": ("random", relabelled(synergy), EPOCHS),
    "random labels on the data of redundancy": ("random", relabelled(redundancy), EPOCHS),
    "labels from inner products, redundancy": ("redundancy", products(redundant=True), EPOCHS),
    "labels from inner products, synergy": ("synergy", products(redundant=False), EPOCHS),
}
"""Networks trained otherwise -> the setting they are compared with, their data, and epochs."""


def drawn(draw: Draw, seed: int) -> Data:
    """Draw the examples of a setting."""
    generator = torch.Generator().manual_seed(seed)
    latent, label = draw(generator)
    projections = [torch.rand(size, LATENT, generator=generator) - 0.5 for size in FEATURES]
    return Data([values @ projection.T for values, projection in zip(latent, projections, strict=True)], label)


# -- Model -------------------------------------------------------------------------------------------------------------


def trained(data: Data, seed: int, epochs: int) -> nn.Sequential:
    """Train the network."""
    torch.manual_seed(seed)
    size, inputs = sum(FEATURES), data.joined
    hidden = [nn.Linear(size, size // 2), nn.ReLU(), nn.Linear(size // 2, size // 4), nn.ReLU()]
    network = nn.Sequential(*hidden, nn.Linear(size // 4, 2))
    optimizer = torch.optim.Adam(network.parameters(), RATE, weight_decay=DECAY)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            cross_entropy(network(inputs[rows]), data.label[rows]).backward()
            optimizer.step()
    return network


@torch.no_grad()
def accuracy(network: nn.Module, data: Data) -> float:
    """Return how many examples are classified rightly."""
    return float((network(data.joined).argmax(1) == data.label).double().mean())


# -- Measure -----------------------------------------------------------------------------------------------------------

Space: TypeAlias = Callable[[Tensor], Tensor]


def probability(logits: Tensor) -> Tensor:
    """Return the softmax probabilities."""
    return logits.double().softmax(-1)


def centred_logit(logits: Tensor) -> Tensor:
    """Return the logits less their mean."""
    return logits.double() - logits.double().mean(-1, keepdim=True)


@torch.no_grad()
def coalition_values(
    network: nn.Sequential, data: Data, others: Sequence[Tensor], space: Space, *, real_pairs: bool = False
) -> Tensor:
    """Return ``(N, 4, 1)``: the values of none, first, second and both, for the predicted class.

    Args:
        network: The network; the first layer is applied to each modality once.
        data: The N examples.
        others: ``(B, 200)`` and ``(B, 100)`` what absent modalities are taken from, row by row.
        space: What of the logits is averaged.
        real_pairs: Whether v(none) is the mean over real pairs instead of re-paired ones.
    """
    first_layer, rest = network[0], network[1:]
    parts = first_layer.weight.split(list(FEATURES), 1)
    own = [values @ part.T for values, part in zip(data.features, parts, strict=True)]
    given = [values @ part.T + first_layer.bias / 2 for values, part in zip(others, parts, strict=True)]
    full = space(rest(own[0] + own[1] + first_layer.bias))
    alone = [
        torch.stack([space(rest(own[m] + row + first_layer.bias / 2)) for row in given[1 - m]]).mean(0) for m in (0, 1)
    ]
    pairing = torch.arange(len(given[0])).roll(0 if real_pairs else 1)
    nothing = space(rest(given[0] + given[1][pairing])).mean(0).expand_as(full)
    values = torch.stack([nothing, *alone, full], 1)
    return values.gather(2, full.argmax(1)[:, None, None].expand(-1, 4, 1))


def of_means(values: Tensor) -> float:
    """Return InterSHAP with absolute values after the mean over examples, in percent: the published one."""
    return 100 * float(intershap(shapley_interactions(values).mean(0)))


def of_examples(values: Tensor) -> float:
    """Return the mean of the examples' InterSHAP, in percent."""
    return 100 * float(intershap(shapley_interactions(values)).mean())


def of_sizes(values: Tensor) -> float:
    """Return InterSHAP with absolute values before the mean over examples, in percent."""
    return 100 * float(intershap(shapley_interactions(values).abs().mean(0)))


def others_of(data: Data) -> list[Tensor]:
    """Return the examples that absent modalities are taken from."""
    return [values[:DONORS] for values in data.features]


def mean_of(data: Data) -> list[Tensor]:
    """Return the mean example, as the authors' later package takes it."""
    return [values.mean(0, keepdim=True) for values in data.features]


@dataclass(frozen=True)
class Run:
    """A trained network with its test examples and the validation examples."""

    network: nn.Sequential
    test: Data
    validation: Data

    @property
    def values(self) -> Tensor:
        """The coalition values of the published measure."""
        return coalition_values(self.network, self.test, others_of(self.validation), probability)

    def variants(self) -> dict[str, float]:
        """Return InterSHAP in percent by the choice that differs from the published one."""
        values, others, mean = self.values, others_of(self.validation), mean_of(self.validation)
        measured = (self.network, self.test)
        real = coalition_values(*measured, others_of(self.validation), probability, real_pairs=True)
        return {
            "as published": of_means(values),
            "v(none) from real pairs": of_means(real),
            "mean of the examples' scores": of_examples(values),
            "absolute values before the mean": of_sizes(values),
            "logits": of_means(coalition_values(*measured, others, centred_logit)),
            "logits, mean of the examples' scores": of_examples(coalition_values(*measured, others, centred_logit)),
            "baseline: the mean input": of_means(coalition_values(*measured, mean, probability)),
            "baseline: the mean input, mean of the scores": of_examples(coalition_values(*measured, mean, probability)),
        }


def run(draw: Draw, seed: int, epochs: int = EPOCHS) -> tuple[Run, float]:
    """Train on a setting; return the network with its examples, and its test accuracy."""
    data = drawn(draw, seed)
    network = trained(data.part(TRAIN), seed, epochs)
    test = data.part(TEST)
    return Run(network, test, data.part(VALIDATION)), accuracy(network, test)


# -- Tables ------------------------------------------------------------------------------------------------------------


def spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation over seeds."""
    found = torch.tensor(values, dtype=torch.float64)
    return f"{found.mean():.1f} +- {found.std() if len(values) > 1 else 0.0:.1f}"


def table(found: Mapping[str, Sequence[tuple[Run, float]]]) -> Iterator[str]:
    """Yield the lines of the table beside the published figures."""
    yield "| setting | published | here | test accuracy |"
    yield "|---|---|---|---|"
    for setting, runs in found.items():
        scores, accuracies = [of_means(one.values) for one, _ in runs], [100 * rate for _, rate in runs]
        yield f"| {setting} | {PUBLISHED[setting]} | {spread(scores)} | {spread(accuracies)} % |"


def variant_table(found: Mapping[str, Sequence[tuple[Run, float]]]) -> Iterator[str]:
    """Yield the lines of the table of choices, mean over seeds."""
    scores = {setting: [one.variants() for one, _ in runs] for setting, runs in found.items()}
    yield f"| choice | {' | '.join(scores)} |"
    yield "|---|" + "---|" * len(scores)
    yield f"| printed in the paper | {' | '.join(str(PUBLISHED[setting]) for setting in scores)} |"
    for choice in next(iter(scores.values()))[0]:
        means = [sum(one[choice] for one in runs) / len(runs) for runs in scores.values()]
        yield f"| {choice} | {' | '.join(f'{mean:.1f}' for mean in means)} |"


def trained_otherwise() -> Iterator[str]:
    """Yield a line for each network that is trained otherwise, of one seed."""
    yield "| trained otherwise | published | of means | mean of the scores | test accuracy |"
    yield "|---|---|---|---|---|"
    for name, (setting, draw, epochs) in OTHERWISE.items():
        found, rate = run(draw, 0, epochs)
        values = found.values
        yield f"| {name} | {PUBLISHED[setting]} | {of_means(values):.1f} | {of_examples(values):.1f} | {rate:.1%} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    found = {}
    for name, draw in SETTINGS.items():
        found[name] = [run(draw, seed) for seed in range(arguments.seeds)]
        print(f"{name}: trained after {time.perf_counter() - started:.0f} s", flush=True)
    print("\n".join(["", *table(found)]), flush=True)
    if arguments.variants:
        print("\n".join(["", *variant_table(found), ""]), flush=True)
        for line in trained_otherwise():
            print(line, flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
