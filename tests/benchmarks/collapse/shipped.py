"""Real data that scikit-learn ships, their columns split into modalities that mean something."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor

PATCH = 16
"""Height and width of a patch of a photograph, in pixels; patches do not overlap."""


class Table(NamedTuple):
    """One data set.

    Attributes:
        columns: ``(N, D)`` numbers.
        label: ``(N,)`` what is asked.
        views: Modality -> its columns.
    """

    columns: np.ndarray
    label: np.ndarray
    views: dict[str, Any]


def breast() -> Table:
    """Tumours: mean, standard error and worst value of ten measurements."""
    found = datasets.load_breast_cancer()
    return Table(found.data, found.target, {"mean": range(10), "error": range(10, 20), "worst": range(20, 30)})


def wine() -> Table:
    """Wines of three growers: acids and minerals, phenols, colour and proline."""
    found = datasets.load_wine()
    return Table(found.data, found.target, {"minerals": range(5), "phenols": range(5, 9), "colour": range(9, 13)})


def iris() -> Table:
    """Flowers of three species."""
    found = datasets.load_iris()
    return Table(found.data, found.target, {"sepal": range(2), "petal": range(2, 4)})


def digits() -> Table:
    """Digits of 8 x 8 pixels: halves, rows and single pixels of the picture."""
    found = datasets.load_digits()
    pixels = np.arange(64).reshape(8, 8)
    views = {"left": pixels[:, :4], "right": pixels[:, 4:], "top": pixels[:4], "bottom": pixels[4:]}
    views |= {"all": pixels, "two": pixels[[2, 5], [4, 2]], "margin": pixels[:, [0, 7]]}
    return Table(found.data, found.target, {name: columns.flatten() for name, columns in views.items()})


def diabetes() -> Table:
    """Patients: what is seen (age, sex, body mass, pressure) and what blood tells of the disease's progress."""
    found = datasets.load_diabetes()
    progress = (found.target - found.target.mean()) / found.target.std()
    return Table(found.data, progress, {"body": range(4), "blood": range(4, 10)})


def photographs() -> Table:
    """Patches of two photographs: which of the two, and which half of it, from brightness and from colour."""
    columns, label = [], []
    for number, picture in enumerate(datasets.load_sample_images().images):
        tiles = _tiles(picture / 255.0)
        columns += [tile for row in tiles for tile in row]
        label += [2 * number + (place >= len(tiles) // 2) for place, row in enumerate(tiles) for _ in row]
    return Table(np.array(columns), np.array(label), {"brightness": range(16), "colour": range(16, 20)})


def _tiles(picture: np.ndarray) -> list[list[np.ndarray]]:
    """Return rows of patches: brightness in 4 x 4 fields without its mean, then mean and spread of two colours."""
    height, width = (size // PATCH for size in picture.shape[:2])
    cut = picture[: height * PATCH, : width * PATCH].reshape(height, PATCH, width, PATCH, 3).swapaxes(1, 2)
    return [[_described(patch) for patch in row] for row in cut]


def _described(patch: np.ndarray) -> np.ndarray:
    brightness = patch.mean(-1).reshape(4, 4, 4, 4).mean((1, 3)).flatten()
    colours = np.stack([patch[..., 0] - patch[..., 1], patch[..., 2] - patch[..., 1]], -1).reshape(-1, 2)
    return np.concatenate([brightness - brightness.mean(), colours.mean(0), colours.std(0)])


SETS: dict[str, Callable[[], Table]] = {
    found.__name__: found for found in (breast, wine, iris, digits, diabetes, photographs)
}
"""Name of a task -> its data. Linnerud's 20 examples are too few for a monitor."""


@cache
def table(name: str) -> Table:
    """Read a data set once."""
    return SETS[name]()


def shipped(name: str, views: tuple[str, ...], generator: torch.Generator) -> dict[str, dict[str, Tensor]]:
    """Return both splits, half of the examples each, standardised by the training part."""
    found = table(name)
    order = torch.randperm(len(found.label), generator=generator)
    parts = {"train": order[: len(order) // 2], "validation": order[len(order) // 2 :]}
    values = torch.from_numpy(found.columns).float()
    spread = values[parts["train"]].std(0)
    scaled = (values - values[parts["train"]].mean(0)) / spread.where(spread > 0, 1)
    label = torch.from_numpy(found.label)
    label = label.float() if label.is_floating_point() else label.long()
    return {
        split: {view: scaled[rows][:, list(found.views[view])] for view in views} | {"label": label[rows]}
        for split, rows in parts.items()
    }


def outputs(name: str) -> int:
    """Return the number of classes, or 1."""
    label = table(name).label
    return 1 if label.dtype.kind == "f" else int(label.max()) + 1
