"""Sessions of models whose unimodal contributions, interactions or features are known."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning import Modality
from mviz_lightning.batch import parse_modalities
from mviz_lightning.batch.leaves import example_count
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

COUNT = 32
WORDS = ["[PAD]", *(f"secret{number}" for number in range(64))]
MODALITIES = {"image": Modality("image"), "text": Modality("text", decode=WORDS, pad_value=0)}

DECIDED = [
    ("right", 2.0, 0.5), ("right", 1.0, -0.5), ("rescued", -1.0, 3.0), ("spoiled", 1.0, -3.0),
    ("unrepaired", -2.0, 0.5), ("unrepaired", -2.0, 0.0), ("unrepaired", -2.0, -0.1), ("misled", -1.0, -1.0),
]  # fmt: skip
"""Category, margin of the UC alone, and what MI adds to it, of decisions of classifiers."""

VALUED = [
    ("unchanged", 1.0, 0.05), ("unchanged", 1.0, -0.05), ("lowered", 1.0, -1.5), ("raised", 1.0, 1.0),
    ("raised", 1.0, -2.5), ("lowered", -2.0, 1.0), ("unchanged", 2.0, 0.0), ("raised", -1.0, -1.0),
]  # fmt: skip
"""Category, error of the UC alone, and what MI adds to it, of regressions."""

OUTPUTS = {"multiclass": 3, "binary": 1, "multilabel": 3, "regression": 1}


class Table(nn.Module):
    """A model by table: UC is the mean over the inputs' examples; MI is added where all inputs are of one example."""

    def __init__(self, unimodal: Tensor, interaction: Tensor) -> None:
        super().__init__()
        self.unimodal, self.interaction = nn.Parameter(unimodal), nn.Parameter(interaction)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.looked_up(*map(number_of, inputs))

    def looked_up(self, *numbers: Tensor) -> Tensor:
        whole = torch.stack([numbers[0] == number for number in numbers]).all(0)
        return self.unimodal[torch.stack(numbers)].mean(0) + whole.unsqueeze(1) * self.interaction[numbers[0]]


class Pair(Table):
    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.looked_up(number_of(image), number_of(text))


def number_of(leaf: Tensor) -> Tensor:
    """Return the example that an image or a text belongs to, ``(N,)``."""
    first = leaf.flatten(1)[:, 0]
    return (64 * first).round().long() if leaf.is_floating_point() else first - 1


def inputs() -> dict[str, Tensor]:
    """Return pictures of one colour each and texts of three words, of which the first is that of no other example."""
    numbers = torch.arange(COUNT)
    red = numbers / 64
    colour = torch.stack([red, 1 - red, torch.full_like(red, 0.5)], 1)
    return {
        "image": colour[:, :, None, None].expand(-1, -1, 4, 4).clone(),
        "text": torch.stack([numbers + 1, numbers % 7 + 40, numbers % 5 + 50], 1),
    }


def errors(task: str, outputs: int | None = None) -> tuple[dict[str, Tensor], Tensor, Tensor, list[list[str]]]:
    """Return a batch, UC and MI of its examples ``(N, C)``, and the category of every decision."""
    outputs = OUTPUTS[task] if outputs is None else outputs
    columns = 1 if task == "multiclass" else outputs
    templates = VALUED if task == "regression" else DECIDED
    drawn = [[templates[(i + 3 * k) % 8] for k in range(columns)] for i in range(COUNT)]
    growth = 1 + torch.arange(COUNT).unsqueeze(1) / 100  # so that no two cost the same
    before, added = (growth * torch.tensor([[one[part] for one in row] for row in drawn]) for part in (1, 2))
    label, unimodal, interaction = _placed(task, outputs, before, added)
    batch = {**inputs(), "label": label}
    return batch, unimodal, interaction, [[one[0] for one in row] for row in drawn]


def _placed(task: str, outputs: int, before: Tensor, added: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return labels, and the UC and MI that have these margins."""
    numbers = torch.arange(COUNT)
    if task == "multiclass":
        label = numbers // 8 % outputs
        unimodal, interaction = torch.full((COUNT, outputs), -9.0), torch.zeros(COUNT, outputs)
        unimodal[numbers, (label + 1) % outputs] = 0
        unimodal[numbers, label], interaction[numbers, label] = before[:, 0], added[:, 0]
        return label, unimodal, interaction
    if task == "regression":
        target = torch.stack([(k + 1) * 10.0**k * (numbers * 7 % COUNT) for k in range(outputs)], 1)
        scale = target.std(0) if outputs > 1 else torch.ones(1)
        return target if outputs > 1 else target[:, 0], target + before * scale, added * scale
    label = torch.stack([(numbers + k) // 3 % 2 for k in range(outputs)], 1)
    signs = 2 * label - 1
    return label if task == "multilabel" else label[:, 0], signs * before, signs * added


def session(
    module: nn.Module, batch: Mapping[str, Tensor], modalities: Any = MODALITIES, state: Any = None, **options: Any
) -> Session:
    """Return a session after one run; its examples have the positions 1000, 1001, ..."""
    settings = {"num_examples": COUNT, "group_size": 8, "reference": 512, "target": "label", **options}
    found = Session(SessionConfig(parse_modalities(modalities), **settings))
    if state is not None:
        found.load(state)
    count = example_count(next(iter(batch.values())))
    found.collect(batch, lambda size: range(1000, 1000 + size))
    found.dry_run(module.eval())
    found.check()
    if found.probe is None:
        found.begin()
        found.collect(batch, lambda _: range(1000, 1000 + count))
    found.complete()
    found.run()
    return found


def plain(value: Any) -> bool:
    """Return whether a value has only types that every checkpoint can hold."""
    if type(value) is dict:
        return all(type(key) is str and plain(entry) for key, entry in value.items())
    return all(map(plain, value)) if type(value) in (list, tuple) else type(value) in (int, float, str)


def texts(records: Sequence[Any]) -> list[str]:
    """Return all text of tables, captions and Markdown records."""
    found: list[str] = []
    for record in records:
        found += [getattr(record, "caption", ""), getattr(record, "markdown", "")]
        found += [cell for row in getattr(record, "rows", ()) for cell in row if isinstance(cell, str)]
    return found
