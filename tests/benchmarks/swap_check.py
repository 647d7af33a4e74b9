"""DIME's swap check (Lyu et al. 2022): another question to the same image must leave UC of the image as it was.

    PYTHONPATH=tests python tests/benchmarks/swap_check.py [--pairs 100]

A network answers questions on scenes of coloured shapes (tests/reference/scenes.py), such as "is there a red circle".
For pairs of scenes i and k, k's question asking for another object that image i shows, explained is (image i,
question i) and (image i, question k), with the same masks and donors, i not among them; then the other way
round, (image i, question i) and (image k, question i). The modality that stayed keeps its UC up to rounding of the
network, which is asked anew; MI, and LIME with it, change. Explained is the logit of "yes", masked with all defaults.

Takes two and a half minutes on a free core, 40 s of them for the training. MI of a question hardly changes where the
other image shows the object as well.

Prints a table and asserts nothing; tests/explainers/test_known_answers.py asserts the same for untrained networks.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from benchmarks.dime_synthetic import GROUP, context_of
from reference.scenes import VOCABULARY, Scenes, accuracy, trained
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from mviz_lightning import Modality
from mviz_lightning.engine import Evaluator
from mviz_lightning.explainers import DIME, Attribution, ProbeContext
from mviz_lightning.explainers.dime.explainer import attributions, masked_rows

MODALITIES = {"image": Modality("image"), "question": Modality("words", mask="mask", decode=list(VOCABULARY))}
YES = 1


def evaluator_of(module: nn.Module) -> Evaluator:
    """Call the model as ``forward(image, words, mask)``."""
    return Evaluator(module, lambda module, batch: module(batch["image"], batch["words"], batch["mask"]))


class Swap(NamedTuple):
    """What the units of the modality that stays add, before another one is exchanged and after."""

    before: Attribution
    after: Attribution


def swap(
    evaluator: Evaluator,
    probe_context: ProbeContext,
    stays: str,
    pair: tuple[int, int],
    *,
    swapped: str,
    output: int = YES,
) -> Swap:
    """Explain one modality of an example beside its own partners, and beside one taken from another example.

    Args:
        evaluator: Asks the model; for each of the two anew.
        probe_context: The examples.
        stays: The modality that is explained.
        pair: The example, and another one of another group.
        swapped: The modality that is taken from the other one.
        output: Which is explained.
    """
    example, other = pair
    dime, names = DIME(), probe_context.probe.schema.names
    masks = dime.masks_of(probe_context, example, stays)
    partners = dime.partners(probe_context, example, masks.shape[1])
    own = torch.full((len(names),), example)
    exchanged = own.clone()
    exchanged[names.index(swapped)] = other
    found = []
    for sources in (own, exchanged):
        query = masked_rows(sources, partners, names.index(stays), stays, masks)
        outputs = probe_context.decomposable(evaluator(probe_context.probe, [query])[0])
        found += attributions(outputs[:, [output]], masks)
    return Swap(*found)


def pairs(scenes: Scenes, count: int) -> list[tuple[int, int]]:
    """Find scenes with another scene, of another group, whose question names another object of the first."""
    found = []
    group = torch.arange(len(scenes.label)) // GROUP
    for example in scenes.label.nonzero()[:, 0].tolist():
        names_another = torch.isin(scenes.combination, scenes.combinations[example])
        names_another &= (scenes.combination != scenes.combination[example]) & (group != group[example])
        others = names_another.nonzero()[:, 0].tolist()
        if others:
            found.append((example, others[example % len(others)]))
    return found[:count]


@dataclass(frozen=True)
class Comparison:
    """The maps of all pairs before and after, each ``(U,)``."""

    before: Sequence[Tensor]
    after: Sequence[Tensor]

    @property
    def distance(self) -> Tensor:
        """``(P,)`` cosine distances."""
        pairs = zip(self.before, self.after, strict=True)
        return torch.stack([1 - cosine_similarity(before, after, dim=0) for before, after in pairs]).clamp(min=0)

    @property
    def largest(self) -> float:
        """The largest difference of any weight."""
        pairs = zip(self.before, self.after, strict=True)
        return max(float((before - after).abs().max()) for before, after in pairs)

    @property
    def size(self) -> float:
        """The largest weight."""
        return max(float(weights.abs().max()) for weights in self.before)

    def row(self, name: str) -> str:
        """Return the line of a Markdown table."""
        distance = self.distance
        measured = f"{distance.mean():.2g} | {distance.median():.2g} | {distance.min():.2g} | {distance.max():.2g}"
        return f"| {name} | {measured} | {self.largest:.2g} | {self.size:.2g} |"


def compare(swaps: Sequence[Swap]) -> dict[str, Comparison]:
    """Return UC, MI and LIME -> their maps."""
    before, after = zip(*swaps, strict=True)
    return {
        "UC": Comparison([part.unimodal for part in before], [part.unimodal for part in after]),
        "MI": Comparison([part.interaction for part in before], [part.interaction for part in after]),
        "LIME": Comparison(*([part.unimodal + part.interaction for part in parts] for parts in (before, after))),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100)
    count = parser.parse_args().pairs
    torch.set_num_threads(1)
    started = time.perf_counter()
    model, scenes = trained(), Scenes.draw(max(256, 4 * count) // GROUP * GROUP, 0)
    took = time.perf_counter() - started
    print(f"accuracy {accuracy(model, Scenes.draw(4000, 1)):.3f} on new scenes, after {took:.0f} s\n", flush=True)
    evaluator, probe_context, chosen = evaluator_of(model), context_of(scenes.batch, MODALITIES), pairs(scenes, count)
    print(f"{len(chosen)} pairs; cosine distance between the maps before and after\n")
    print("| map | mean | median | least | most | largest difference of a weight | largest weight |")
    print("|---|---|---|---|---|---|---|")
    for stays, swapped in (("image", "question"), ("question", "image")):
        swaps = [swap(evaluator, probe_context, stays, pair, swapped=swapped) for pair in chosen]
        for name, comparison in compare(swaps).items():
            print(comparison.row(f"{name} of the {stays}, {swapped} swapped"), flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
