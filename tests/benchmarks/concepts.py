"""Are the concepts that features are given true? On scenes of coloured shapes with a question.

    PYTHONPATH=tests python tests/benchmarks/concepts.py [--seeds 3]

Planted: a model whose features are attributes of the scene and of the question (is it red, is a circle asked for, are
there four objects, ...) under noise, beside features that are noise alone. Precision: of the planted features that are
given a concept, how many are given theirs first; recall: of all planted ones; false: noise features that are given any.

Trained: the features of a network that answers the questions (tests/reference/scenes.py). What they mean nobody knows,
so each feature's first concept is put to the test on 4,000 new scenes: how well the feature tells scenes with it from
scenes without (area under the ROC curve, 0.5 by chance), beside concepts dealt out to other features at random.

A minute and a half on a core. Prints figures and asserts nothing; tests/explainers/test_concepts.py holds the planted
part to its bounds.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from reference.scenes import COLOURS, SHAPES, VOCABULARY, Scenes, trained
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_auroc

from mviz_lightning import Modality, explain
from mviz_lightning.explainers import MultimodalRepresentation
from mviz_lightning.explainers.multimodal_representation.concepts import Trait
from mviz_lightning.explainers.multimodal_representation.result import Representation

READ = {"image": Modality("image"), "question": Modality("words", mask="mask", decode=list(VOCABULARY))}
NOISE_FEATURES = 15
COUNT = 256


def batch_of(scenes: Scenes) -> dict[str, Tensor]:
    """Return what a loader would give, with what is known of the scene besides: how many objects it shows."""
    return scenes.batch | {"objects": (scenes.colour >= 0).sum(1)}


def attributes(scenes: Scenes) -> dict[Trait, Tensor]:
    """Return trait -> ``(N,)`` whether a scene has it: words of the question, and how many objects there are."""
    found = {}
    for word in (*COLOURS, *SHAPES):
        found[Trait("word", "question", word)] = (scenes.words == VOCABULARY.index(word)).any(1)
    objects = batch_of(scenes)["objects"]
    return found | {Trait("value", "objects", k): objects == k for k in (2, 3, 4)}


class Planted(nn.Module):
    """Features that are attributes under noise, then noise alone.

    Knows its scenes by their first pixel, so that what is planted of the image is exact.

    Args:
        scenes: All that it will be asked about.
        noise: Standard deviation of what is added to attributes of 0 and 1.
        seed: Of the noise.
    """

    def __init__(self, scenes: Scenes, noise: float, seed: int) -> None:
        super().__init__()
        self.traits = list(attributes(scenes))
        self.objects = batch_of(scenes)["objects"]
        self.pixel, order = scenes.image[:, 0, 0, :3].double().sum(1).sort()
        self.objects = self.objects[order]
        generator = torch.Generator().manual_seed(seed)
        self.noise = noise * torch.randn(len(order), len(self.traits) + NOISE_FEATURES, generator=generator)[order]
        self.head = nn.Linear(self.noise.shape[1], 2)

    def forward(self, image: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """Return ``(B, 2)``."""
        place = torch.searchsorted(self.pixel, image[:, 0, 0, :3].double().sum(1) - 1e-9).clamp(max=len(self.pixel) - 1)
        asked = [(words == VOCABULARY.index(str(trait.value))).any(1) for trait in self.traits if trait.kind == "word"]
        there = [self.objects[place] == trait.value for trait in self.traits if trait.kind == "value"]
        planted = torch.stack([*asked, *there], 1).float()
        features = nn.functional.pad(planted, (0, NOISE_FEATURES)) + self.noise[place]
        return self.head(features)


def represented(model: nn.Module, scenes: Scenes, features: int) -> Representation:
    """Look at all features of a model."""
    explainer = MultimodalRepresentation(features=range(features), examples_shown=1)
    report = explain(
        model,
        [batch_of(scenes)],
        modalities=READ,
        target="label",
        num_examples=len(scenes.label),
        explainers=[explainer],
    )
    return report.results["representation"]  # type: ignore[return-value]


@dataclass(frozen=True)
class Planting:
    """How many planted and noise features were given a concept, and how many the right one."""

    planted: int
    named: int
    right: int
    noise: int
    false: int


def plant(noise: float, seed: int, count: int = COUNT) -> Planting:
    """Plant attributes in a model's features and compare the concepts that these are given."""
    scenes = Scenes.draw(count, seed)
    model = Planted(scenes, noise, seed)
    planted = len(model.traits)
    shown = represented(model, scenes, planted + NOISE_FEATURES).shown
    first = {feature.number: feature.concepts[0].trait if feature.concepts else None for feature in shown}
    given = [first[k] for k in range(planted)]
    right = sum(found == wanted for found, wanted in zip(given, model.traits, strict=True))
    false = sum(first[k] is not None for k in range(planted, planted + NOISE_FEATURES))
    return Planting(planted, sum(found is not None for found in given), right, NOISE_FEATURES, false)


def carriers(trait: Trait, scenes: Scenes) -> Tensor:
    """Return ``(N,)`` which scenes have a trait."""
    if trait.kind == "word":
        return (scenes.words == VOCABULARY.index(str(trait.value))).any(1)
    return (scenes.label if trait.kind == "class" else batch_of(scenes)[trait.source]) == trait.value


def judged(activations: Tensor, concepts: Mapping[int, Trait], scenes: Scenes) -> list[float]:
    """Return how well each feature tells new scenes with its concept from those without."""
    return [
        float(binary_auroc(activations[:, number].sigmoid(), carriers(trait, scenes).long()))
        for number, trait in concepts.items()
    ]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    print("| planted, noise | given a concept | precision | recall | noise features given one |\n|---|---|---|---|---|")
    for noise in (0.25, 0.5, 1.0):
        print(f"| {noise} | {_told([plant(noise, seed) for seed in seeds])} |", flush=True)
    print("\n| trained | features with a concept | area under the curve | 0.6 or more | dealt out at random |")
    print("|---|---|---|---|---|")
    for seed in seeds:
        print(f"| seed {seed} | {_trained(seed)} |", flush=True)


def _told(found: Sequence[Planting]) -> str:
    total = {name: sum(getattr(one, name) for one in found) for name in ("planted", "named", "right", "noise", "false")}
    precision, recall = total["right"] / max(1, total["named"]), total["right"] / total["planted"]
    given = f"{total['named']} of {total['planted']}"
    return f"{given} | {precision:.3f} | {recall:.3f} | {total['false']} of {total['noise']}"


def _trained(seed: int) -> str:
    model, scenes, new = trained(seed), Scenes.draw(COUNT, 0), Scenes.draw(4000, 1)
    inputs: list[Tensor] = []
    width = model.head.in_features
    shown = represented(model, scenes, width).shown
    concepts = {feature.number: feature.concepts[0].trait for feature in shown if feature.concepts}
    with torch.no_grad():
        handle = model.head.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
        model(new.image, new.words, new.mask)
        handle.remove()
    found = torch.tensor(judged(inputs[0], concepts, new))
    numbers = torch.tensor(list(concepts))[torch.randperm(len(concepts), generator=torch.Generator().manual_seed(seed))]
    dealt = torch.tensor(judged(inputs[0], dict(zip(numbers.tolist(), concepts.values(), strict=True)), new))
    return (
        f"{len(concepts)} of {width} | {found.mean():.3f} | {(found >= 0.6).double().mean():.3f} | {dealt.mean():.3f}"
    )


if __name__ == "__main__":
    main()
