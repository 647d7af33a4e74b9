"""The alarm of towers on trainings whose fault is known: ``python tests/benchmarks/collapse/towers.py``.

Images and names of emojis, and planted numbers of other seeds than those on which the limits were chosen.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, logsigmoid, normalize

from mviz_lightning.collapse.rule import CollapseRule
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.collapse.towers import RETRIEVAL, TowerRule
from mviz_lightning.functional import embedding_rank, group_retrieval, uniformity
from mviz_lightning.sinks.records import RunRecord, State

EMOJIS = Path(__file__).parents[3] / "examples" / "data" / "openmoji.npz"
GROUP, CHECKED, BATCH, EPOCHS = 16, 128, 64, 10
NAMES = ("image", "text")

Pair = tuple[Tensor, Tensor]


def planted(seed: int, hidden: int) -> Pair:
    """Return two views of the same hidden numbers."""
    draw = torch.Generator().manual_seed(seed)
    shown = torch.randn(1200, hidden, generator=draw)
    mixed = [(shown @ torch.randn(hidden, width, generator=draw) / hidden**0.5).tanh() for width in (24, 18)]
    first, second = (one + 0.05 * torch.randn(one.shape, generator=draw) for one in mixed)
    return first, second


def emojis(_: int, __: int) -> Pair:
    """Return images at 8 x 8, and which words their names hold."""
    with np.load(EMOJIS) as file:
        images, texts = torch.from_numpy(file["images"]).float() / 255, [str(name).split() for name in file["texts"]]
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    words = {word: place for place, word in enumerate(sorted({word for name in texts for word in name}))}
    bags = torch.zeros(len(texts), len(words))
    for row, name in enumerate(texts):
        bags[row, [words[word] for word in name]] = 1
    small = nn.functional.avg_pool2d(images.permute(0, 3, 1, 2), 4).flatten(1) - 0.7
    return small[order], bags[order]


@dataclass(frozen=True)
class Recipe:
    """A training.

    Attributes:
        name: What it is.
        loss: ``"clip"``, ``"siglip"``, or ``"pull"`` without negatives.
        layers: Hidden layers of each encoder.
        temperature: Of the scores at the start.
        rate: Learning rate.
        scale: Factor of the second modality's inputs.
        dead: Whether the second encoder ends with a ReLU that never fires.
        mixed: Whether the texts of a training batch belong to other images.
    """

    name: str
    loss: str = "clip"
    layers: int = 1
    temperature: float = 0.1
    rate: float = 2e-3
    scale: float = 1.0
    dead: bool = False
    mixed: bool = False


RECIPES = [
    Recipe("CLIP's loss"),
    Recipe("SigLIP's loss", loss="siglip"),
    Recipe("deep encoders", layers=4),
    Recipe("deep encoders, slow", layers=4, rate=2e-4),
    Recipe("a hot start", temperature=1.0),
    Recipe("a cold start", temperature=0.02),
    Recipe("texts of other images", mixed=True),
    Recipe("constant inputs", scale=0.0),
    Recipe("inputs divided by 65,025", scale=1 / 65025),
    Recipe("a ReLU that never fires", dead=True),
    Recipe("a ReLU that never fires, SigLIP's loss", dead=True, loss="siglip"),
    Recipe("no negatives", loss="pull", rate=5e-3),
]
SETS: list[tuple[str, Callable[[int, int], Pair], int, int]] = [
    ("planted, 3 numbers", planted, 11, 3),
    ("planted, 12 numbers", planted, 12, 12),
    ("emojis", emojis, 0, 0),
]


def encoder(width: int, recipe: Recipe, *, dead: bool) -> nn.Sequential:
    """Return an encoder into 32 dimensions."""
    sizes = [width, *[64] * recipe.layers]
    hidden = [part for one, other in pairwise(sizes) for part in (nn.Linear(one, other), nn.ReLU())]
    layers = nn.Sequential(*hidden, nn.Linear(sizes[-1], 32))
    if dead:
        nn.init.constant_(layers[-1].bias, -5.0)  # type: ignore[arg-type]
        layers[-1].bias.data[0] = 5.0  # type: ignore[union-attr, index]
        layers.append(nn.ReLU())
    return layers


def loss_of(recipe: Recipe, scores: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Return the loss of ``(B, B)`` cosine similarities."""
    own, logits = torch.arange(len(scores)), scores * scale + bias
    if recipe.loss == "pull":
        return (1 - scores.diagonal()).mean()
    if recipe.loss == "siglip":
        return -logsigmoid((2 * torch.eye(len(scores)) - 1) * logits).sum() / len(scores)
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2


def checks(recipe: Recipe, data: Pair, seed: int) -> Iterator[RunRecord]:
    """Train, and yield what the monitor logs after every epoch."""
    torch.manual_seed(seed)
    data = data[0], data[1] * recipe.scale
    towers = [encoder(one.shape[1], recipe, dead=recipe.dead and place == 1) for place, one in enumerate(data)]
    scale = nn.Parameter(torch.tensor(1 / recipe.temperature).log())
    bias = nn.Parameter(torch.tensor(-10.0 if recipe.loss == "siglip" else 0.0))
    optimizer = torch.optim.AdamW([*towers[0].parameters(), *towers[1].parameters(), scale, bias], lr=recipe.rate)

    def embedded(rows: Tensor, others: Tensor) -> list[Tensor]:
        return [normalize(tower(one[of]), dim=1) for tower, one, of in zip(towers, data, (rows, others), strict=True)]

    for epoch in range(EPOCHS):
        for rows in torch.randperm(len(data[0]) - CHECKED).split(BATCH)[:-1]:
            first, second = embedded(rows, rows[torch.randperm(len(rows))] if recipe.mixed else rows)
            optimizer.zero_grad()
            loss_of(recipe, first @ second.T, scale.exp(), bias).backward()
            optimizer.step()
        with torch.no_grad():
            yield logged(epoch, *embedded(*[torch.arange(len(data[0]) - CHECKED, len(data[0]))] * 2))


def logged(epoch: int, *sides: Tensor) -> RunRecord:
    """Return what the monitor logs of some embeddings."""
    first, second = (side.view(-1, GROUP, side.shape[1]) for side in sides)
    own = torch.eye(GROUP, dtype=torch.bool).expand(len(first), GROUP, GROUP)
    found = group_retrieval(first @ second.mT, own)
    values = {"score": float(found.score)}
    for place, (name, side) in enumerate(zip(NAMES, sides, strict=True)):
        values |= {f"total/{name}": 1.0, f"perceptual/{name}": float(found.perceptual[place])}
        values |= {f"uniformity/{name}": float(uniformity(side)), f"effective_rank/{name}": float(embedding_rank(side))}
    return RunRecord("fit", epoch, epoch, values, evidence={RETRIEVAL: 1.0})


def judged(rows: list[RunRecord]) -> list[tuple[str, ...]]:
    """Return which towers had an alarm at each check."""
    rule, chance = TowerRule(CollapseRule()), ScoreReference(1 / GROUP, 1.0)
    verdicts = [rule.judge(rows[: end + 1], chance, NAMES) for end in range(len(rows))]
    return [tuple(name for name, one in found.items() if one.state is State.COLLAPSED) for found in verdicts]


def main() -> None:
    """Print a table: a row for each recipe, a cell for each data set."""
    torch.set_num_threads(1)
    print("| training | " + " | ".join(name for name, *_ in SETS) + " |\n|" + "---|" * (1 + len(SETS)))
    for recipe in RECIPES:
        cells = []
        for _, make, seed, hidden in SETS:
            rows = list(checks(recipe, make(seed, hidden), seed))
            alarms = judged(rows)
            last, ever = alarms[-1], sorted({name for found in alarms for name in found})
            said = " and ".join(ever) + ("" if last or not ever else ", ended") if ever else "silent"
            cells.append(f"{said} ({rows[-1].values['score']:.2f})")
        print(f"| {recipe.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
