"""The benchmark's data: real digits and emojis in two or three modalities, spoiled as a recipe says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import shipped
import torch
from recipes import MISFED, RunSpec
from torch import Tensor
from torch.nn import functional
from two_digits import OUTPUTS, two_digits

from mviz_lightning.functional import Task

FOLDER = Path(__file__).parents[3] / "examples" / "data"
AV_PAIRS = {"train": 2500, "validation": 800}
MISHEARD = 1.0
"""Standard deviation of the noise on pictures of digits: clear words beside blurred pictures."""


@dataclass(frozen=True)
class Data:
    """One task.

    Attributes:
        train: Modality -> ``(N, ...)``, the weak one last; and ``label``.
        validation: The validation examples, in the same form.
        task: What the outputs stand for.
        outputs: How many there are.
    """

    train: Mapping[str, Tensor]
    validation: Mapping[str, Tensor]
    task: Task
    outputs: int

    @property
    def modalities(self) -> list[str]:
        """Names, the weak one last."""
        return [name for name in self.train if name != "label"]


@cache
def arrays(name: str) -> dict[str, np.ndarray]:
    """Read an array file once."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def load(spec: RunSpec) -> Data:
    """Return the data of a run, spoiled as its recipe says."""
    generator = torch.Generator().manual_seed(spec.seed)
    made = FAMILIES[spec.family](spec, generator)
    spoiled = {
        split: _spoiled(spec, part, made, generator, trains=split == "train")
        for split, part in (("train", made.train), ("validation", made.validation))
    }
    return replace(made, **spoiled)


def _mfeat(spec: RunSpec, generator: torch.Generator) -> Data:
    """Views of handwritten digits; of two digits where their sum is asked for."""
    labels, parts = _digits()
    if spec.task == "majority95":
        keep = torch.rand(len(labels), generator=generator) < torch.where(labels == 3, 0.5, 1.0)
        parts = {split: rows[keep[rows]] for split, rows in parts.items()}
    scaled = {view: _view(view, parts["train"]) for view in (*spec.views, "fac")}
    splits = {}
    for split, rows in parts.items():
        drawn = dict.fromkeys(spec.views, rows)
        if spec.task == "sum":
            drawn = {view: rows[torch.randint(len(rows), (4 * len(rows),), generator=generator)] for view in spec.views}
        digits = [labels[chosen] for chosen in drawn.values()]
        label = _label(spec.task, digits, scaled["fac"][rows])
        splits[split] = {view: scaled[view][chosen] for view, chosen in drawn.items()} | {"label": label}
    return Data(splits["train"], splits["validation"], *TASKS[spec.task])


def _digits() -> tuple[Tensor, dict[str, Tensor]]:
    """Return the labels of all handwritten digits, and the rows of both splits."""
    found = arrays("mfeat")
    labels = torch.from_numpy(found["labels"].astype(np.int64))
    return labels, {split: torch.from_numpy(found[split].astype(np.int64)) for split in ("train", "validation")}


PARTS_OF_VIEWS = {"copy": slice(None), "few": slice(8)}
"""Ending of a modality's name -> the columns of the view that it repeats, such as ``kar_few``."""


def _view(name: str, training: Tensor) -> Tensor:
    """Return a view of all handwritten digits, standardised by the training part."""
    view, _, part = name.partition("_")
    values = torch.from_numpy(arrays("mfeat")[view].astype(np.float32))[:, PARTS_OF_VIEWS.get(part, slice(None))]
    return (values - values[training].mean(0)) / values[training].std(0)


def _pairs(spec: RunSpec, generator: torch.Generator) -> Data:
    """Two digits, each in a view of its own."""
    labels, parts = _digits()
    views = {view: _view(view, parts["train"]) for view in spec.views}
    splits = two_digits(views, labels, parts, spec.task, generator)
    task: Task = "multilabel" if spec.task in ("rare", "one_of_40") else "multiclass"
    return Data(splits["train"], splits["validation"], task, OUTPUTS[spec.task])


def _shipped(spec: RunSpec, generator: torch.Generator) -> Data:
    """Data that scikit-learn ships."""
    splits, outputs = shipped.shipped(spec.task, spec.views, generator), shipped.outputs(spec.task)
    return Data(splits["train"], splits["validation"], "multiclass" if outputs > 1 else "regression", outputs)


TASKS: dict[str, tuple[Task, int]] = {
    "digit": ("multiclass", 10),
    "three": ("multiclass", 10),
    "sum": ("multiclass", 2),
    "majority90": ("binary", 1),
    "majority95": ("multiclass", 2),
    "attributes": ("multilabel", 4),
    "value": ("regression", 1),
    "sum4": ("multiclass", 4),
}
LEAKS = {"leak": 3.0, "loud": 10.0}
"""Recipe -> how far the label that is written into a modality stands out."""
ATTRIBUTES = torch.tensor([[d % 2 == 0, d > 4, d in (2, 3, 5, 7), d in (0, 6, 8, 9)] for d in range(10)]).float()
"""Of a digit: even, large, prime, with a loop."""


def _label(task: str, digits: list[Tensor], other: Tensor) -> Tensor:
    """Return what is asked of the digits."""
    if task == "sum":
        return sum(digits) % 2  # type: ignore[return-value]
    if task == "sum4":
        return sum(digits) % 4  # type: ignore[return-value]
    if task == "majority90":
        return (digits[0] == 3).float()
    if task == "majority95":
        return (digits[0] == 3).long()
    if task == "attributes":
        return ATTRIBUTES[digits[0]]
    return other[:, :20].mean(1) * 3 if task == "value" else digits[0]


def _openmoji(spec: RunSpec, generator: torch.Generator) -> Data:
    """Pictures of emojis and their names."""
    import openmoji  # the example

    data = openmoji.load_data()
    parts = {"train": data.train._columns, "validation": data.validation._columns}
    named = {"image": "image", "text": "tokens"}
    splits = {
        split: {view: columns[named[view]] for view in spec.views} | {"label": columns["label"]}
        for split, columns in parts.items()
    }
    return Data(splits["train"], splits["validation"], "multiclass", len(data.class_names))


def _av(spec: RunSpec, generator: torch.Generator) -> Data:
    """Pictures of digits under noise, and spoken words."""
    found, splits = arrays("av_digits"), {}
    sources = {
        view: (
            torch.from_numpy(found[f"{view}s"]).unsqueeze(1).float() / 255,
            torch.from_numpy(found[f"{view}_labels"].astype(np.int64)),
        )
        for view in ("image", "mel")
    }
    for split, count in AV_PAIRS.items():
        pools = {view: torch.from_numpy(found[f"{view}_{split}"].astype(np.int64)) for view in sources}
        digits, drawn = torch.randint(10, (count,), generator=generator), {}
        told = []
        for view in spec.views:
            wanted = torch.randint(10, (count,), generator=generator) if spec.task == "sum4" else digits
            drawn[view] = sources[view][0][_matching(wanted, sources[view][1], pools[view], generator)]
            told.append(wanted)
        noise = MISHEARD if spec.noise is None else spec.noise
        drawn["image"] = drawn["image"] + noise * torch.randn(drawn["image"].shape, generator=generator)
        splits[split] = drawn | {"label": _label(spec.task, told, digits)}
    return Data(splits["train"], splits["validation"], *TASKS[spec.task])


def _matching(wanted: Tensor, labels: Tensor, pool: Tensor, generator: torch.Generator) -> Tensor:
    """Draw an example of every wanted label."""
    order = pool[labels[pool].argsort()]
    counts = torch.bincount(labels[pool], minlength=10)
    starts = counts.cumsum(0) - counts
    return order[starts[wanted] + (torch.rand(len(wanted), generator=generator) * counts[wanted]).long()]


def _spoiled(
    spec: RunSpec, part: Mapping[str, Tensor], data: Data, generator: torch.Generator, *, trains: bool
) -> dict[str, Tensor]:
    """Return one split as the recipe leaves it."""
    made, strong, weak = dict(part), spec.views[0], spec.weak
    rows = len(made["label"])
    if spec.recipe in LEAKS:
        loudness = LEAKS[spec.recipe]
        made[strong] = _leaked(made[strong], made["label"], data.outputs, spec.strength, generator, loudness)
    elif spec.recipe in ("scaled", MISFED) and made[weak].is_floating_point():
        made[weak] = made[weak] / (spec.strength or 255**2)
    elif spec.recipe == "shuffled" and trains:
        made[weak] = made[weak][torch.randperm(rows, generator=generator)]
    elif spec.recipe == "noise":
        made[weak] = _noise(made[weak], generator)
    elif spec.recipe == "faint" and made[weak].is_floating_point():
        made[weak] = made[weak] + spec.strength * torch.randn(made[weak].shape, generator=generator)
    return made


def _noise(values: Tensor, generator: torch.Generator) -> Tensor:
    """Return values of the same kind that tell nothing."""
    if values.is_floating_point():
        return torch.randn(values.shape, generator=generator) * values.std()
    return values[torch.randperm(len(values), generator=generator)]


def _leaked(
    values: Tensor, label: Tensor, classes: int, right: float, generator: torch.Generator, loudness: float
) -> Tensor:
    """Write the label into a modality, right with a probability: into columns of their own, or a row of pixels."""
    guessed = torch.randint(classes, label.shape, generator=generator)
    said = torch.where(torch.rand(label.shape, generator=generator) < right, label, guessed)
    code = loudness * functional.one_hot(said, classes).float()
    if values.dim() == 2 and values.is_floating_point():
        return torch.cat([values, code], 1)
    made = values.clone()
    if values.dim() == 2:  # tokens: a word for every class in the last place
        made[:, -1] = 2 + said
    else:
        made[..., 0, : 2 * classes] = code.repeat_interleave(2, 1).unsqueeze(1)
    return made


FAMILIES: dict[str, Callable[[RunSpec, torch.Generator], Data]] = {
    "mfeat": _mfeat,
    "openmoji": _openmoji,
    "av": _av,
    "copies": _mfeat,
    "pairs": _pairs,
    "shipped": _shipped,
}
