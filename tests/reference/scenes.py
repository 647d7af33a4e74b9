"""Scenes of coloured shapes with a question each: where the answer lies in the picture is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

SIDE, CELL = 32, 16
"""Pixels of an image, and of the cells of which an object has one for itself."""

MOST = (SIDE // CELL) ** 2
"""Objects in a scene; 2 at the least."""

SHAPES = ("circle", "square", "triangle")
COLOURS = {"red": (0.9, 0.2, 0.2), "green": (0.2, 0.8, 0.2), "blue": (0.2, 0.3, 0.95), "yellow": (0.9, 0.85, 0.2)}
COMBINATIONS = len(COLOURS) * len(SHAPES)

PHRASES = ("is there a {} {}", "a {} {}", "can you see a {} {} here")
VOCABULARY = ("", *dict.fromkeys((*" ".join(PHRASES).replace("{}", "").split(), *COLOURS, *SHAPES)))
"""Words by id; 0 is padding."""

LONGEST = max(len(phrase.split()) for phrase in PHRASES)


@dataclass(frozen=True)
class Scenes:
    """N images, each with a question and its answer; neither tells the answer by itself.

    Attributes:
        image: ``(N, 3, 32, 32)`` in 0..1.
        words: ``(N, T)`` ids of the question's words.
        mask: ``(N, T)`` 1 at words, 0 at padding.
        label: ``(N,)`` 1 where the object that the question names is there; half of all.
        boxes: ``(N, 4, 4)`` the objects' corners (x0, y0, x1, y1) in pixels, the last ones exclusive; -1 for none.
        colour: ``(N, 4)`` index into ``COLOURS``; -1 for no object. No two objects of a scene look alike.
        shape: ``(N, 4)`` index into ``SHAPES``; -1 for no object.
        combination: ``(N,)`` what the question names: ``colour * 3 + shape``.
        asked: ``(N,)`` which object the question names; -1 where it is not there.
    """

    image: Tensor
    words: Tensor
    mask: Tensor
    label: Tensor
    boxes: Tensor
    colour: Tensor
    shape: Tensor
    combination: Tensor
    asked: Tensor

    @classmethod
    def draw(cls, count: int, seed: int) -> "Scenes":
        """Draw scenes, about 12,000 a second; the same for a seed."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.rand(count, COMBINATIONS, generator=generator).argsort(1)
        number = torch.randint(2, MOST + 1, (count, 1), generator=generator)
        there = torch.arange(MOST) < number
        looks = order[:, :MOST].where(there, -1)
        label = (torch.arange(count) % 2)[torch.randperm(count, generator=generator)]
        pick = torch.rand(count, 1, generator=generator)
        # The first so many combinations are in the scene, the others are not.
        place = torch.where(label[:, None] == 1, pick * number, number + pick * (COMBINATIONS - number)).long()
        combination, asked = order.gather(1, place)[:, 0], place[:, 0].where(label == 1, -1)
        colour, shape = looks.div(len(SHAPES), rounding_mode="floor"), looks % len(SHAPES)
        shape = shape.where(there, -1)
        boxes = _place(there, generator)
        words = phrased(combination, torch.randint(len(PHRASES), (count,), generator=generator))
        image = _render(boxes, colour, shape, generator)
        return cls(image, words, (words > 0).long(), label, boxes, colour, shape, combination, asked)

    @property
    def batch(self) -> dict[str, Tensor]:
        """What a loader would give."""
        return {"image": self.image, "words": self.words, "mask": self.mask, "label": self.label}

    @property
    def asked_box(self) -> Tensor:
        """``(N, 4)`` where the object is that the question names; -1 where it is not there."""
        rows = torch.arange(len(self.asked))
        return self.boxes[rows, self.asked].where(self.asked[:, None] >= 0, -1)

    @property
    def combinations(self) -> Tensor:
        """``(N, 4)`` what each object is: ``colour * 3 + shape``; -1 for no object."""
        return (self.colour * len(SHAPES) + self.shape).where(self.colour >= 0, -1)

    def question(self, scene: int) -> str:
        """Return a question in words."""
        return " ".join(VOCABULARY[word] for word in self.words[scene].tolist() if word)


def _place(there: Tensor, generator: torch.Generator) -> Tensor:
    """Return ``(N, 4, 4)`` boxes of 9 to 13 pixels, each somewhere in a cell of its own."""
    count = len(there)
    cell = torch.rand(count, MOST, generator=generator).argsort(1)
    size = torch.randint(4, 7, (count, MOST, 1), generator=generator) * 2 + 1
    corner = (torch.rand(count, MOST, 2, generator=generator) * (CELL - size + 1)).long()
    corner = corner + CELL * torch.stack([cell % (SIDE // CELL), cell // (SIDE // CELL)], 2)
    return torch.cat([corner, corner + size], 2).where(there[:, :, None], -1)


def _render(boxes: Tensor, colour: Tensor, shape: Tensor, generator: torch.Generator) -> Tensor:
    """Return ``(N, 3, 32, 32)``: bright shapes before a dark, noisy ground."""
    low, high = boxes[..., :2].float(), boxes[..., 2:].float()
    radius, centre = (high - low - 1) / 2, (low + high - 1) / 2
    pixels = torch.arange(SIDE)
    away = pixels - centre[..., None]  # (N, 4, 2, 32)
    x, y, r = away[:, :, 0, None, :], away[:, :, 1, :, None], radius[..., 1, None, None]
    inside = torch.stack(
        [
            x.square() + y.square() <= (r + 0.3).square(),
            torch.maximum(x.abs(), y.abs()) <= r,
            (2 * x.abs() <= y + r) & (y <= r),
        ]
    )  # (3, N, 4, 32, 32)
    chosen = torch.stack([(shape == number)[..., None, None] & part for number, part in enumerate(inside)]).any(0)
    paint = torch.tensor(list(COLOURS.values()))[colour.clamp(min=0)]
    paint = paint * (0.8 + 0.2 * torch.rand(*colour.shape, 1, generator=generator))
    image = torch.einsum("nkhw,nkc->nchw", chosen.float(), paint)
    return (image + 0.1 + 0.05 * torch.randn(image.shape, generator=generator)).clamp(0, 1)


def phrased(combination: Tensor, phrase: Tensor) -> Tensor:
    """Return ``(N, T)`` word ids of questions after ``(N,)`` combinations, in the words of ``(N,)`` phrases."""
    names = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    table = torch.tensor([[_ids(words.format(*name)) for name in names] for words in PHRASES])
    return table[phrase, combination]


def _ids(text: str) -> Sequence[int]:
    ids = [VOCABULARY.index(word) for word in text.split()]
    return ids + [0] * (LONGEST - len(ids))


class SceneNet(nn.Module):
    """A convolutional network that the question's words steer (FiLM); ``forward(image, words, mask)`` -> ``(B, 2)``.

    Answers all but 1 in 500 questions rightly after 40 s on one core (:func:`trained`).
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.eyes = nn.Sequential(
            nn.Conv2d(3, width, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(), nn.Conv2d(width, 2 * width, 3, padding=1),
        )  # fmt: skip
        self.words = nn.Embedding(len(VOCABULARY), 4 * width)
        self.look = nn.Conv2d(2 * width, 2 * width, 1)
        self.head = nn.Linear(2 * width, 2)

    def forward(self, image: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        steer = (self.words(words) * mask.unsqueeze(2)).sum(1)
        scale, shift = steer[..., None, None].chunk(2, 1)
        seen = torch.relu((1 + scale) * self.eyes(image) + shift)
        return self.head(torch.relu(self.look(seen)).amax((2, 3)))


def trained(seed: int = 0, steps: int = 700, size: int = 128) -> SceneNet:
    """Train on new scenes at every step."""
    torch.manual_seed(seed)
    model = SceneNet()
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        # Seeds of the training lie below 0, where no other scenes are drawn.
        scenes = Scenes.draw(size, -1 - seed * 100_000 - step)
        optimizer.zero_grad()
        cross_entropy(model(scenes.image, scenes.words, scenes.mask), scenes.label).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, scenes: Scenes) -> float:
    """Return how many questions are answered rightly."""
    outputs = model(scenes.image, scenes.words, scenes.mask)
    return float((outputs.argmax(1) == scenes.label).double().mean())
