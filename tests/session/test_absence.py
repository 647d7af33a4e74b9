"""Examples that lack a modality: counted, said and left out of the shares; what their absence costs."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from helpers.batches import LateFusion, OnBatch, call_forward, floats, seeded
from session.test_session import config
from torch import Tensor, nn

from mviz_lightning import Modality
from mviz_lightning.batch import parse_modalities
from mviz_lightning.session.session import Session

COUNT = 48
LACKING = [0, 3, 4, 17, 18, 19, 20, 30, 47]
"""Examples without text."""
COMPLETE = [example for example in range(COUNT) if example not in LACKING]
NAN = float("nan")

Examples = dict[str, Any]


def data() -> Examples:
    return {"image": floats(COUNT, 4, seed=1), "text": floats(COUNT, 3, seed=2), "label": torch.arange(COUNT) * 7 % 3}


def part(examples: Examples, rows: Sequence[int]) -> Examples:
    return {name: leaf[list(rows)] for name, leaf in examples.items()}


def cut(examples: Sequence[int], size: int = 8) -> list[list[int]]:
    return [list(examples[start : start + size]) for start in range(0, len(examples), size)]


def without_text(rows: Sequence[int]) -> Tensor:
    return torch.tensor([row in LACKING for row in rows])


def nan(batch: Examples, rows: Sequence[int]) -> Examples:
    return batch | {"text": batch["text"].masked_fill(without_text(rows)[:, None], NAN)}


def flag(batch: Examples, rows: Sequence[int]) -> Examples:
    lacks = without_text(rows)
    return batch | {"text": batch["text"].masked_fill(lacks[:, None], 0.0), "has_text": (~lacks).long()}


def listed(batch: Examples, rows: Sequence[int]) -> Examples:
    lacks = without_text(rows).tolist()
    return batch | {"text": [None if lack else one for lack, one in zip(lacks, batch["text"], strict=True)]}


def emptied(batch: Examples, rows: Sequence[int]) -> Examples:
    lacks = without_text(rows).tolist()
    return batch | {"text": [one[:0] if lack else one for lack, one in zip(lacks, batch["text"], strict=True)]}


def masked(batch: Examples, rows: Sequence[int]) -> Examples:
    mask = (~without_text(rows)).long()[:, None].expand(-1, 3)
    return batch | {"text": batch["text"] * mask, "mask": mask}


FORMS: dict[str, tuple[Callable[[Examples, Sequence[int]], Examples], Any]] = {
    "nan": (nan, "text"),
    "presence leaf": (flag, Modality("text", present="has_text")),
    "None in a list": (listed, "text"),
    "empty sequence": (emptied, "text"),
    "all padding": (masked, ["text", "mask"]),
}


def by_row(form: str) -> list[tuple[Examples, list[int]]]:
    """Cut examples into batches that all hold some with text and some without."""
    make = FORMS[form][0]
    return [(make(part(data(), rows), rows), rows) for rows in cut(range(COUNT))]


def by_batch(lacking: Callable[[Examples], Examples]) -> list[tuple[Examples, list[int]]]:
    """Cut examples into batches with text, and batches without any; the first has none."""
    with_text, without = cut(COMPLETE), cut(LACKING)
    parts = [without[0], *with_text[:2], *without[1:], *with_text[2:]]
    return [(part(data(), rows) if rows in with_text else lacking(part(data(), rows)), rows) for rows in parts]


BATCHED = {
    "None": lambda batch: batch | {"text": None},
    "key missing": lambda batch: {name: leaf for name, leaf in batch.items() if name != "text"},
}


def tensor_of(text: Any) -> Tensor:
    return torch.stack(list(text)) if isinstance(text, list) else text


class Fusion(OnBatch):
    """``forward(batch)``: an image network and a text network, whatever else the batch holds."""

    def __init__(self) -> None:
        super().__init__(lambda module, batch: module.net(batch["image"], tensor_of(batch["text"])), net=LateFusion())


def settings(text: Any = "text", **options: Any) -> Any:
    modalities = parse_modalities({"image": "image", "text": text})
    return config(modalities, **{"target": "label", "task": "multiclass", **options})


def measured(
    module: nn.Module, passed: Sequence[tuple[Any, Sequence[int]]], text: Any = "text", **options: Any
) -> Session:
    session = Session(settings(text, **options))
    for batch, places in passed:
        session.collect(batch, lambda _, places=places: places)
        session.dry_run(module)
        session.raise_failure()
    session.complete()
    return session


def complete_only(form: str = "") -> list[tuple[Examples, list[int]]]:
    """The complete examples alone, in batches of another size, in the user's form."""
    make = FORMS[form][0] if form else lambda batch, _: batch
    return [(make(part(data(), rows), rows), rows) for rows in cut(COMPLETE, 11)]


LINE = "39 of 48 examples have text; shares and explanations are those of examples that have all modalities"


@pytest.mark.parametrize("form", FORMS)
def test_shares_are_those_of_the_complete_examples_alone_to_the_bit(form):
    module, text = seeded(Fusion), FORMS[form][1]
    found, alone = measured(module, by_row(form), text), measured(module, complete_only(form), text)
    assert found.positions == alone.positions
    assert set(found.positions) == set(COMPLETE)
    assert found.run().values == alone.run().values
    assert LINE in found.pop_notes()
    assert "examples have" not in alone.pop_notes()


@pytest.mark.parametrize("form", BATCHED)
def test_a_whole_batch_may_lack_a_modality_and_the_first_one_too(form):
    module = seeded(Fusion)
    found, alone = measured(module, by_batch(BATCHED[form])), measured(module, complete_only())
    assert found.positions == alone.positions
    assert found.run().values == alone.run().values
    assert [line for line in found.remarks.pop_lines() if "examples have" in line] == [f"MultimodalMonitor: {LINE}"]


def as_dicts(make: Callable[[Examples, Sequence[int]], Examples], rows: Sequence[int]) -> list[Examples]:
    """Return a batch that is a list with one dict per example."""
    batch = make(part(data(), rows), rows)
    return [{name: leaf[row] for name, leaf in batch.items()} for row in range(len(rows))]


def dropped(rows: Sequence[int]) -> list[Examples]:
    return [
        one if one["text"] is not None else {name: value for name, value in one.items() if name != "text"}
        for one in as_dicts(listed, rows)
    ]


class OfDicts(nn.Module):
    """``forward(batch)`` of a list with one dict per example."""

    def __init__(self) -> None:
        super().__init__()
        self.net = LateFusion()

    def forward(self, batch: list[Examples]) -> Tensor:
        return self.net(*(torch.stack([one[name] for one in batch]) for name in ("image", "text")))


@pytest.mark.parametrize("make", [dropped, lambda rows: as_dicts(listed, rows), lambda rows: as_dicts(nan, rows)])
def test_an_entry_of_an_example_that_is_a_dict_may_be_missing(make):
    module, call = seeded(OfDicts), {"predict": call_forward}
    found = measured(module, [(make(rows), rows) for rows in cut(range(COUNT))], **call)
    alone = measured(module, [(make(rows), rows) for rows in cut(COMPLETE, 11)], **call)
    assert found.positions == alone.positions
    assert found.run().values == alone.run().values
    assert LINE in found.pop_notes()


def test_a_list_of_arrays_with_none_is_learned_like_one_without():
    ragged = [floats(2 + row % 3, 3, seed=row) for row in range(COUNT)]

    def batch(rows: Sequence[int], *, whole: bool) -> Examples:
        texts = [ragged[row] if whole or row not in LACKING else None for row in rows]
        return part(data(), rows) | {"text": texts}

    def forward(module: nn.Module, batch: Any) -> Tensor:
        return module(batch["image"], torch.stack([text.mean(0) for text in batch["text"]]))

    found = measured(
        seeded(LateFusion), [(batch(rows, whole=False), rows) for rows in cut(range(COUNT))], predict=forward
    )
    alone = measured(
        seeded(LateFusion), [(batch(rows, whole=True), rows) for rows in cut(COMPLETE, 11)], predict=forward
    )
    assert found.positions == alone.positions
    assert found.run().values == alone.run().values
    assert torch.equal(found.probe.bounds["text"], alone.probe.bounds["text"])
