"""The pointing game: does the strongest patch of a word's cross-modal map lie on the object that the word is about?

    PYTHONPATH=tests python tests/benchmarks/pointing.py [--seeds 3] [--scenes 208]

Networks are trained, one for each seed, to answer questions such as "is there a red circle" about scenes of coloured
shapes (tests/reference/scenes.py). Of new scenes that show the object asked for, and are answered rightly, each method
names one of 49 patches as the strongest, by absolute weight for the logit of "yes"; it scores where the patch's centre
lies inside the object's box. Cross-modal maps are those of the colour's word and of the shape's word, a game each; the
other methods explain the image as a whole, and know of no words. Captum's integrated gradients run on the same model
and baseline, their pixels summed up by patch.

Four minutes on a core. Needs captum. Prints a table and asserts nothing; tests/explainers/test_pointing.py
plays a short game.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import torch
from benchmarks.dime_synthetic import context_of
from reference.scenes import COLOURS, SHAPES, VOCABULARY, SceneNet, Scenes, accuracy, trained
from torch import Tensor

from mviz_lightning import Modality, explain
from mviz_lightning.explainers import CrossModalInteraction, Explainer, UnimodalImportance
from mviz_lightning.functional.segment_attribution import segment_sums

YES = 1
CROSS_MODAL = {
    "difference": {},
    "difference, corners=1": {"corners": 1},
    "difference, corners=4": {"corners": 4},
    "second_order": {"method": "second_order"},
}
"""Name of a way to find cross-modal maps -> arguments."""

READ = {"image": Modality("image"), "question": Modality("words", mask="mask", decode=list(VOCABULARY))}


def shown(model: SceneNet, count: int, seed: int = 0) -> Scenes:
    """Return scenes that show the object asked for, and are answered rightly."""
    scenes = Scenes.draw(4 * count, seed)
    with torch.no_grad():
        responses = model(scenes.image, scenes.words, scenes.mask).argmax(1)
    rows = ((scenes.label == YES) & (responses == YES)).nonzero()[:count, 0]
    return Scenes(**{field.name: getattr(scenes, field.name)[rows] for field in fields(Scenes)})


@dataclass(frozen=True)
class Patches:
    """Where the patches of an image are.

    Attributes:
        index: ``(1, H, W)`` the patch of every pixel.
        baseline: ``(1, 3, 1, 1)`` what a masked pixel turns into.
    """

    index: Tensor
    baseline: Tensor

    @classmethod
    def of(cls, scenes: Scenes) -> "Patches":
        """Cut as the package does by default."""
        segments = context_of(scenes.batch, READ).probe.segments["image"]
        return cls(segments.index[:, 0], torch.as_tensor(segments.baseline))  # type: ignore[attr-defined]

    def inside(self, boxes: Tensor) -> Tensor:
        """Return ``(N, U)``: whether the centre of each patch lies in ``(N, 4)`` boxes."""
        places = [(self.index[0] == unit).nonzero().float().mean(0) + 0.5 for unit in range(int(self.index.max()) + 1)]
        y, x = torch.stack(places).T
        low, high = boxes[:, None, :2], boxes[:, None, 2:]
        return (low[..., 0] <= x) & (x < high[..., 0]) & (low[..., 1] <= y) & (y < high[..., 1])


def weights_of(model: SceneNet, scenes: Scenes, explainer: Explainer) -> dict[int, Tensor]:
    """Return scene -> ``(T, U)`` weights of patches for every word, or ``(U,)`` for the image as a whole."""
    count = len(scenes.label)
    report = explain(model, [scenes.batch], modalities=READ, target="label", num_examples=count, explainers=[explainer])
    found = {}
    for one in report.results[explainer.name].examples:  # type: ignore[attr-defined]
        (output,) = one.outputs
        cross = isinstance(explainer, CrossModalInteraction)
        found[one.position] = output.pairs[0].of("question") if cross else output.parts["image"].weights
    return found


def captums(model: SceneNet, scenes: Scenes, patches: Patches) -> Tensor:
    """Return ``(N, U)`` captum's integrated gradients, their pixels summed up."""
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(model)
    baseline = patches.baseline.expand_as(scenes.image)
    found = method.attribute(scenes.image, baseline, YES, (scenes.words, scenes.mask), n_steps=50)
    return segment_sums(found, patches.index.unsqueeze(1), int(patches.index.max()) + 1)


def word_at(scenes: Scenes, names: Mapping[str, object] | tuple[str, ...]) -> Tensor:
    """Return ``(N,)`` the place of the word that is one of some names."""
    ids = torch.tensor([VOCABULARY.index(name) for name in names])
    return torch.isin(scenes.words, ids).long().argmax(1)


def games(model: SceneNet, scenes: Scenes) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield each method and its ``(N, U)`` weights for the game of the colour's word and of the shape's."""
    count, words = len(scenes.label), [word_at(scenes, COLOURS), word_at(scenes, SHAPES)]
    options = {"num_examples": count, "outputs": [YES]}
    for name, how in CROSS_MODAL.items():
        maps = weights_of(model, scenes, CrossModalInteraction(**how, **options))
        yield f"cross-modal, {name}", *(_rows(maps, word) for word in words)
    for method in ("gradient", "lime", "integrated_gradients"):
        maps = weights_of(model, scenes, UnimodalImportance(method=method, num_totals=0, **options))
        whole = torch.stack([maps[k] for k in range(count)])
        yield method, whole, whole
    whole = captums(model, scenes, Patches.of(scenes))
    yield "captum's integrated gradients", whole, whole


def _rows(maps: Mapping[int, Tensor], word: Tensor) -> Tensor:
    return torch.stack([maps[k][int(word[k])] for k in range(len(word))])


def play(model: SceneNet, scenes: Scenes) -> dict[str, tuple[float, float]]:
    """Return method -> how often its strongest patch lies on the object, by the colour's word and by the shape's."""
    inside = Patches.of(scenes).inside(scenes.asked_box)
    chance = float(inside.double().mean())
    found = {"chance": (chance, chance)}
    for name, *weights in games(model, scenes):
        hits = [inside.gather(1, one.abs().argmax(1, keepdim=True)).double().mean() for one in weights]
        found[name] = (float(hits[0]), float(hits[1]))
    return found


def draw(model: SceneNet, scenes: Scenes, folder: str) -> None:
    """Write the pictures of some scenes."""
    options = {"modalities": READ, "target": "label", "class_names": ["no", "yes"], "num_examples": 64}
    explain(model, [scenes.batch], explainers=[CrossModalInteraction(num_examples=12)], **options).save(folder)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scenes", type=int, default=208, help="of each seed; 32 or more, a multiple of 16")
    parser.add_argument("--pictures", help="folder for cross-modal pictures of a few scenes of the first seed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started, found = time.perf_counter(), []
    for seed in range(arguments.seeds):
        model = trained(seed)
        print(f"seed {seed}: accuracy {accuracy(model, Scenes.draw(4000, 1)):.4f} on new scenes", flush=True)
        if arguments.pictures and not seed:
            draw(model, shown(model, 64), arguments.pictures)
        found.append(play(model, shown(model, arguments.scenes)))
    print(f"\n{arguments.scenes} scenes a seed; by the colour's word / by the shape's word\n")
    print("| strongest patch by | " + " | ".join(f"seed {seed}" for seed in range(arguments.seeds)) + " | mean |")
    print("|---" * (arguments.seeds + 2) + "|")
    for name in found[0]:
        hits = torch.tensor([one[name] for one in found])
        told = [f"{colour:.3f} / {shape:.3f}" for colour, shape in hits.tolist()]
        print(f"| {name} | " + " | ".join(told) + f" | {hits.mean():.3f} |")
    print(f"\n{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
