"""A model of one's own that follows the convention of vision-language models, and its batches."""

from typing import Any

import torch
from torch import Tensor, nn


class OwnModel(nn.Module):
    """A model of one's own that follows the convention: a config, and arguments by name.

    Args:
        tokens: Number of placeholders of a picture.
    """

    def __init__(self, tokens: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.config = {"image_token_id": 1, "tokens": tokens}
        self.words, self.patches = nn.Embedding(12, 8), nn.Linear(4, 8 * tokens)
        self.mixed, self.head = nn.GRU(8, 8, batch_first=True), nn.Linear(8, 12)

    def forward(self, input_ids: Tensor, image: Tensor, mask: Tensor) -> Tensor:
        embedded, features = self.words(input_ids), self.patches(image).view(-1, 8)
        if int((input_ids == 1).sum()) != len(features):
            raise ValueError("placeholders and features do not fit")
        places = (input_ids == 1).unsqueeze(-1).expand_as(embedded)
        return self.head(self.mixed(embedded.masked_scatter(places, features))[0]) * mask.unsqueeze(-1)


def own_batch(texts: list[list[int]], pictures: Tensor) -> dict[str, Tensor]:
    """Return a batch in which 1 stands for a placeholder, padded behind."""
    longest = max(map(len, texts))
    ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
    return {"input_ids": ids, "mask": (ids != 0).long(), "image": pictures}


def asked(seed: int, *, texts: int = 8, answer: int = 1, words: int = 4) -> dict[str, Tensor]:
    """Return a batch of questions of up to some words, each with a picture and an answer, which 2 stands in front of.

    Args:
        seed: Seed of the words.
        texts: Number of questions.
        answer: Number of tokens of an answer, 9 to 11 each.
        words: Largest number of words, 3 to 8 each.
    """
    random, rows = torch.Generator().manual_seed(seed), list[list[int]]()
    for number in range(texts):
        question = torch.randint(3, 9, (1 + number % words,), generator=random).tolist()
        rows.append([1, 1, 1, *question, 2, *torch.randint(9, 12, (answer,), generator=random).tolist()])
    batch = own_batch(rows, torch.randn(texts, 4, generator=random))
    behind = (batch["input_ids"] == 2).long().cumsum(1) - (batch["input_ids"] == 2).long()
    return batch | {"labels": batch["input_ids"].where((behind > 0) & (batch["mask"] > 0), -100)}


NAMED: dict[str, Any] = {"image": "image", "text": "input_ids"}
