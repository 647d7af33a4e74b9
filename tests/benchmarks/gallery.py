"""Draw every kind of modality by every method, so that one can look at all pictures.

    python tests/benchmarks/gallery.py pictures [--only DIME]

Small synthetic data with known answers, small models trained for a moment. Writes ``index.html``, a sheet of each
method's first pictures (``DIME.png``), and below them everything that the methods save, once without inputs. Takes
about two minutes on two cores.
"""

import argparse
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.image import imread, imsave
from torch import Tensor, nn
from torch.nn import functional

from mviz_lightning import Modality, explain, explainers
from mviz_lightning.explainers.dime.over_epochs import picture_over_epochs
from mviz_lightning.explainers.dime.result import Moment
from mviz_lightning.session.explain import ShareReport
from mviz_lightning.sinks import FileSink

METHODS: dict[str, dict[str, Any]] = {
    "DIME": {"num_examples": 2},
    "UnimodalImportance": {"num_examples": 2},
    "CrossModalInteraction": {"num_examples": 2},
    "MultimodalRepresentation": {},
    "MultimodalPrediction": {},
    "ErrorAnalysis": {},
}

COUNT, FEATURES, CLASSES = 384, 16, ["red", "green", "blue"]
STEPS = (5, 25, 90)
"""Steps of training after which the example of the picture over the epochs is explained."""


class Made(NamedTuple):
    """One modality: its leaves, what is said of it, and an encoder of the first leaf to ``(B, FEATURES)``."""

    leaves: dict[str, Any]
    modality: Modality
    encoder: nn.Module


# -- Modalities, each of which tells a number in 0..2 ------------------------------------------------------------------


def discs(x: Tensor, y: Tensor, colour: Tensor, size: int) -> Tensor:
    """Return ``(..., 3, size, size)`` pictures in 0..1 of a disc each on a slope of grey."""
    places = torch.linspace(0, 1, size)
    inside = ((places - x[..., None, None]) ** 2 + (places[:, None] - y[..., None, None]) ** 2 < 0.04).float()
    ground = (0.25 + 0.3 * places[:, None] * places).expand_as(inside)
    paint = (0.15 + 0.75 * torch.eye(3))[colour][..., None, None]
    return ground[..., None, :, :] * (1 - inside[..., None, :, :]) + paint * inside[..., None, :, :]


def make_image(told: Tensor, **said: Any) -> Made:
    """Return pictures of discs of three colours, anywhere."""
    x, y = torch.rand(2, len(told)) * 0.6 + 0.2
    pictures = discs(x, y, told, 42) + 0.05 * torch.randn(len(told), 3, 42, 42)
    layers = [nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(), nn.AdaptiveMaxPool2d(1)]
    modality = Modality("image", mean=0.5, std=0.25, **said)
    return Made({"image": (pictures.clamp(0, 1) - 0.5) / 0.25}, modality, nn.Sequential(*layers, nn.Flatten()))


def make_video(told: Tensor) -> Made:
    """Return discs that move to the left, stand still, or move to the right."""
    way = (told - 1)[:, None] * torch.linspace(-0.3, 0.3, 12)
    y = (torch.rand(len(told), 1) * 0.6 + 0.2).expand_as(way)
    pictures = discs(0.5 + way, y, torch.randint(3, (len(told), 1)).expand_as(way), 32)
    layers = [nn.Conv3d(3, 8, 5, 2), nn.ReLU(), nn.Conv3d(8, 16, 3, 2), nn.ReLU(), nn.AdaptiveMaxPool3d((2, 1, 2))]
    encoder = nn.Sequential(Swap(), *layers, nn.Flatten(), nn.Linear(64, FEATURES))
    return Made({"video": (pictures - 0.5) / 0.25}, Modality("video", mean=0.5, std=0.25, rate=8), encoder)


class Swap(nn.Module):
    """From ``(B, T, C, ...)`` to ``(B, C, T, ...)`` and back."""

    def forward(self, values: Tensor) -> Tensor:
        return values.transpose(1, 2)


class Strongest(nn.Module):
    """The largest of every feature along an axis."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, values: Tensor) -> Tensor:
        return values.amax(self.axis)


FILLERS = ["the", "small", "disc", "lies", "on", "a", "table", "near", "some", "window", "and", "internationally"]


def make_text(told: Tensor) -> Made:
    """Return sentences with one word that tells."""
    words = ["<pad>", *FILLERS, *CLASSES]
    lengths = torch.randint(4, 19, (len(told),))
    tokens = torch.randint(1, 1 + len(FILLERS), (len(told), 18))
    place = (torch.rand(len(told)) * lengths).long()
    tokens[torch.arange(len(told)), place] = 1 + len(FILLERS) + told
    mask = (torch.arange(18) < lengths[:, None]).long()
    leaves = {"tokens": tokens * mask, "mask": mask}
    encoder = nn.Sequential(nn.Embedding(len(words), FEATURES, padding_idx=0), Strongest(1))
    return Made(leaves, Modality("tokens", mask="mask", decode=words, baseline=0), encoder)


def make_waveform(told: Tensor) -> Made:
    """Return noise with a tone of one of three pitches somewhere."""
    time, start = torch.arange(4000) / 8000, torch.rand(len(told), 1) * 0.35
    tone = torch.sin(2 * torch.pi * torch.tensor([500.0, 1200, 2600])[told, None] * time)
    waves = 0.6 * tone * ((time > start) & (time < start + 0.12)) + 0.03 * torch.randn(len(told), 4000)
    layers = [nn.Conv1d(1, 12, 64, 16), nn.ReLU(), nn.Conv1d(12, FEATURES, 4, 2), nn.ReLU(), Strongest(2)]
    return Made({"sound": waves}, Modality("sound", sample_rate=8000), nn.Sequential(nn.Unflatten(1, (1, -1)), *layers))


def make_spectrogram(told: Tensor) -> Made:
    """Return spectrograms with a patch in one of three bands."""
    start, band = torch.randint(40, (len(told), 1, 1)), torch.arange(32)[:, None] // 11
    step = torch.arange(50)
    loud = (band == told[:, None, None]) & (step >= start) & (step < start + 10)
    leaves = {"mel": 2.0 * loud - 4 + 0.3 * torch.randn(len(told), 32, 50)}
    layers = [nn.Linear(32, FEATURES), nn.ReLU(), Strongest(1)]
    return Made(leaves, Modality("mel", kind="audio", rate=100), nn.Sequential(Swap(), *layers))


def make_series(told: Tensor) -> Made:
    """Return three channels, in one of which there is a bump."""
    step, start = torch.arange(40), torch.randint(30, (len(told), 1))
    bump = ((step >= start) & (step < start + 8)).float()[:, :, None] * functional.one_hot(told, 3)[:, None]
    layers = [nn.Linear(3, FEATURES), nn.ReLU(), Strongest(1)]
    names = ["pulse", "temperature", "blood pressure"]
    leaves = {"series": 2 * bump + 0.4 * torch.randn(len(told), 40, 3)}
    return Made(leaves, Modality("series", feature_names=names, rate=4), nn.Sequential(*layers))


def make_tabular(told: Tensor) -> Made:
    """Return six columns, two of which tell."""
    values = torch.randn(len(told), 6)
    values[:, 1] += 2.0 * told
    values[:, 4] -= 1.0 * told
    names = ["age", "income last year", "x", "children", "distance to work", "y"]
    return Made(
        {"table": values}, Modality("table", feature_names=names), nn.Sequential(nn.Linear(6, FEATURES), nn.Tanh())
    )


def make_regions(told: Tensor) -> Made:
    """Return five regions of a picture, one of which is a disc that tells."""
    x, y = torch.rand(2, len(told)) * 0.6 + 0.2
    corners = torch.rand(len(told), 5, 2) * 0.6
    boxes = torch.cat([corners, corners + 0.2 + 0.2 * torch.rand(len(told), 5, 2)], 2)
    boxes[:, 2] = torch.stack([x, y, x, y], 1) + torch.tensor([-0.2, -0.2, 0.2, 0.2])
    values = 0.3 * torch.randn(len(told), 5, 8)
    values[:, 2, :3] += 2.0 * functional.one_hot(told, 3)
    leaves = {"regions": values, "boxes": boxes.clamp(0, 1), "picture": discs(x, y, told, 64)}
    modality = Modality("regions", boxes="boxes", picture="picture")
    return Made(leaves, modality, nn.Sequential(nn.Linear(8, FEATURES), nn.ReLU(), Strongest(1)))


MAKERS: dict[str, Callable[[Tensor], Made]] = {
    "image": make_image,
    "superpixels": lambda told: make_image(told, superpixels=True),
    "video": make_video,
    "text": make_text,
    "sound": make_waveform,
    "mel": make_spectrogram,
    "series": make_series,
    "table": make_tabular,
    "regions": make_regions,
}

TASKS = [
    ("image", "text"),
    ("superpixels", "table"),
    ("sound", "series"),
    ("mel", "regions"),
    ("video", "text"),
    ("video", "sound", "table"),
]
"""Modalities of one model each."""


# -- Models ------------------------------------------------------------------------------------------------------------


class Model(nn.Module):
    """An encoder for each modality, and an MLP on all of them."""

    def __init__(self, made: Mapping[str, Made]) -> None:
        super().__init__()
        self.paths = {name: found.modality.values for name, found in made.items()}
        self.encoders = nn.ModuleDict({name: found.encoder for name, found in made.items()})
        self.fusion = nn.Sequential(nn.Linear(FEATURES * len(made), 24), nn.ReLU(), nn.Linear(24, len(CLASSES)))

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        found = [self.encoders[name](batch[path]) for name, path in self.paths.items()]
        return self.fusion(torch.cat(found, 1))


def predict(module: nn.Module, batch: Any) -> Any:
    """Predict: the batch as it stands."""
    return module(batch)


@dataclass
class Task:
    """A model, its data and what is said of them."""

    made: Mapping[str, Made]
    batch: dict[str, Any]
    model: Model

    @classmethod
    def of(cls, names: Sequence[str]) -> "Task":
        """Make one whose label is what the first modality tells, unless another one turns it."""
        torch.manual_seed(len(names) + sum(map(ord, names[0])))
        told = torch.randint(3, (len(names), COUNT))
        label = (told[0] + (told[1:] == 2).sum(0)) % 3
        made = {name: MAKERS[name](number) for name, number in zip(names, told, strict=True)}
        leaves = {path: leaf for found in made.values() for path, leaf in found.leaves.items()}
        return cls(made, {**leaves, "label": label}, Model(made))

    def train(self, steps: int) -> None:
        """Fit the first two thirds."""
        optimizer = torch.optim.Adam(self.model.parameters(), 5e-3)
        for _ in range(steps):
            rows = torch.randint(COUNT * 2 // 3, (64,))
            batch = {path: leaf[rows] for path, leaf in self.batch.items()}
            loss = functional.cross_entropy(self.model(batch), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def report(self, method: Any) -> ShareReport:
        """Apply a method to the last third."""
        batch = {path: leaf[COUNT * 2 // 3 :] for path, leaf in self.batch.items()}
        modalities = {name: found.modality for name, found in self.made.items()}
        said = {"target": "label", "predict": predict, "class_names": CLASSES, "explainers": [method], "pin": [0]}
        return explain(self.model.eval(), [batch], modalities=modalities, **said)


# -- Pictures ----------------------------------------------------------------------------------------------------------


def draw(names: Sequence[str], methods: Sequence[str], folder: Path) -> None:
    """Draw what all methods find in one model, with inputs and without."""
    task, moments, label = Task.of(names), [], "+".join(names)
    for done, steps in zip((0, *STEPS), STEPS, strict=False):
        task.train(steps - done)
        if "DIME" in methods:
            report = task.report(explainers.DIME(num_examples=1))
            (explained,) = report.explanations["dime"]
            moments.append(Moment(f"step {steps}", steps, explained))
    for method in methods:
        report = task.report(getattr(explainers, method)(**METHODS[method]))
        report.save(folder / method / label)
        hidden = replace(report, _drawing=replace(report._drawing, show_inputs=False))
        hidden.save(folder / method / f"{label} (hidden)")
        if method == "DIME":
            strip = picture_over_epochs(moments, report._drawing, "mviz/dime/over_epochs")
            FileSink(folder / method / label).write([strip], 0)


def sheet(files: Sequence[Path], file: Path, across: int = 3) -> None:
    """Lay pictures out in columns, each at its own size."""
    pictures = [(imread(found)[..., :3] * 255).round().astype(np.uint8) for found in files]
    columns = [np.concatenate([_framed(picture) for picture in pictures[k::across]]) for k in range(across)]
    height = max(map(len, columns))
    padded = [np.pad(column, ((0, height - len(column)), (0, 0), (0, 0)), constant_values=255) for column in columns]
    imsave(file, np.concatenate(padded, 1))


def _framed(picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.pad(picture, ((4, 4), (4, 4), (0, 0)), constant_values=120)


def page(folder: Path, methods: Sequence[str]) -> str:
    """Return a page with all pictures at their own size."""
    lines = ['<!doctype html><meta charset="utf-8"><title>Every kind by every method</title>']
    for method in methods:
        for task in sorted((folder / method).iterdir()):
            lines.append(f"<h2>{method}: {escape(task.name)}</h2>")
            files = [*sorted(task.rglob("*.png")), *sorted(task.rglob("*.wav"))]
            for file in files:
                source = escape(file.relative_to(folder).as_posix())
                tag = f'<img src="{source}">' if file.suffix == ".png" else f'<audio controls src="{source}"></audio>'
                lines.append(f'<figure style="display: inline-block">{tag}<figcaption>{source}</figcaption></figure>')
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", choices=METHODS, default=list(METHODS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    methods = [name for name in arguments.only if hasattr(explainers, name)]
    for names in TASKS:
        draw(names, methods, arguments.folder)
        print(*names)
    for method in methods:
        shown = sorted(path for path in (arguments.folder / method).iterdir() if "hidden" not in path.name)
        sheet([min(path.rglob("*.png")) for path in shown], arguments.folder / f"{method}.png")
    (arguments.folder / "index.html").write_text(page(arguments.folder, methods), encoding="utf-8")


if __name__ == "__main__":
    main()
