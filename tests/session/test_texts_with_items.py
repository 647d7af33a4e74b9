"""A session on texts with placeholders: which examples take part, in which groups, and what is said of the others."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mviz_lightning import explain
from mviz_lightning.batch import parse_modalities
from mviz_lightning.errors import ConfigurationError, NotMeasurableError
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

NAMED = {"image": "pixel_values", "text": "input_ids"}


class Captioner(nn.Module):
    """Scores of a text with pictures: 1 stands for a picture of 2 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.config = {"image_token_id": 1}
        torch.manual_seed(0)
        self.words, self.pixels, self.head = nn.Embedding(9, 8), nn.Linear(2, 8), nn.Linear(8, 3)

    def forward(self, input_ids: Tensor, pixel_values: Tensor, attention_mask: Tensor) -> Tensor:
        places = input_ids == 1
        if int(places.sum()) != len(pixel_values):
            raise ValueError("placeholders and pictures do not fit")
        embedded = self.words(input_ids).masked_scatter(places.unsqueeze(-1), self.pixels(pixel_values))
        return self.head((embedded * attention_mask.unsqueeze(-1)).tanh().sum(1))


MIXED = (1, 1, 1, 1, 2, 0)
"""Numbers of pictures of the texts of a batch."""


def batch(seed: int, pictures: Sequence[int] = MIXED) -> dict[str, Tensor]:
    """Return a batch of texts with so many pictures, which stand behind the first words."""
    random = torch.Generator().manual_seed(seed)
    words = [torch.randint(2, 9, (count + 2,), generator=random).tolist() for count in pictures]
    texts = [[t for k, word in enumerate(own) for t in ([word, 1] if k < len(own) - 2 else [word])] for own in words]
    ids = pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
    pixels = torch.randn(sum(pictures), 2, generator=random)
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "pixel_values": pixels}


def session_of(batches: int, pictures: Sequence[int] = MIXED, **given: Any) -> Session:
    """Return a session that has seen so many batches, with its examples fixed."""
    session, model, seen = Session(SessionConfig(parse_modalities(NAMED), task="multiclass", **given)), Captioner(), 0
    session.meet(model)
    for number in range(batches):
        first = seen
        seen += session.collect(batch(number, pictures), lambda count, first=first: range(first, first + count))
        session.dry_run(model)
        session.raise_failure()
    session.complete()
    return session


def test_groups_hold_texts_with_equally_many_pictures_and_the_others_are_counted() -> None:
    session = session_of(8, group_size=6)
    probe = session.probe
    assert probe.size == 40
    kinds = probe.kinds[probe.groups]
    assert (kinds == kinds[:, :1]).all()
    assert sorted(kinds[:, 0].tolist()) == [0, 0, 0, 0, 0, 1]
    said = session.pop_notes()
    assert "40 of 48 examples have image" in said
    assert "recombined texts get the placeholders of each item's own" in "".join(session.remarks.pop_lines())


def test_texts_with_rare_numbers_of_pictures_are_in_no_group_and_that_is_said() -> None:
    session = session_of(6, group_size=8)
    assert set(session.probe.kinds[session.probe.groups].flatten().tolist()) == {0}
    assert "6 of 30 sampled validation examples are in no group: fewer than 8 of them" in session.pop_notes()


def test_without_two_groups_of_equally_many_pictures_nothing_is_measured() -> None:
    with pytest.raises(
        NotMeasurableError, match="of 10 validation examples too few share a number of items for two groups of 4"
    ):
        session_of(2, pictures=(1, 2, 3, 4, 5), group_size=4, num_examples=8)


def test_shares_of_texts_with_several_pictures() -> None:
    found = explain(
        Captioner(), [batch(number) for number in range(8)], modalities=NAMED, task="multiclass", group_size=6
    )
    assert found.values["total/image"] > 0.01
    assert found.values["total/text"] > 0.01


def test_absent_pictures_cannot_be_measured() -> None:
    with pytest.raises(ConfigurationError, match="absence=True: the placeholders of an absent modality would stay"):
        explain(Captioner(), [batch(0)], modalities=NAMED, task="multiclass", absence=True)
