"""One report with every method, hostile names, and a history with an alarm."""

import pytest
import torch
from torch import nn

from mviz_lightning import Modality, explain
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    ExampleRanking,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)
from mviz_lightning.session.history import History
from mviz_lightning.sinks.records import RunRecord, State

HOSTILE = ["<script>alert(1)</script>", "a & \"b\" 'c'", "nul\x00 and \x1b[31m", "half \ud800 pair"]
"""Class names that would run, close an attribute, or be refused by XML or UTF-8."""

WORDS = ["<pad>", "<img src=x onerror=alert(1)>", "]]>", "red", "{{ 7 * 7 }}", "plain"]


class Classifier(nn.Module):
    """Four classes from a picture and four words, additively and together."""

    def __init__(self):
        super().__init__()
        self.image, self.text = nn.Linear(3 * 8 * 8, 16), nn.Embedding(len(WORDS), 16)
        self.hidden, self.head = nn.Linear(32, 24), nn.Linear(24, 4)
        self.text.weight.data *= 4  # so that features tell the predictions

    def forward(self, image, tokens):
        both = torch.cat([self.image(image.flatten(1)), self.text(tokens).mean(1)], 1)
        return self.head(torch.relu(self.hidden(both)))


def batch_of(count=160):
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.rand(count, 3, 8, 8, generator=generator),
        "tokens": torch.randint(1, len(WORDS), (count, 4), generator=generator),
        "label": torch.randint(0, 4, (count,), generator=generator),
    }


@pytest.fixture(scope="session")
def report():
    torch.manual_seed(0)
    return explain(
        Classifier().eval(),
        [batch_of()],
        modalities={"image": "image", "text": Modality("tokens", decode=WORDS, kind="text")},
        target="label",
        task="multiclass",
        predict=lambda model, batch: model(batch["image"], batch["tokens"]),
        class_names=HOSTILE,
        num_examples=96,
        explainers=[
            DIME(num_examples=2),
            UnimodalImportance(num_examples=1),
            CrossModalInteraction(num_examples=1),
            MultimodalRepresentation(),
            MultimodalPrediction(num_examples=1),
            ErrorAnalysis(),
            ExampleRanking(),
        ],
    )


def run(epoch, total, state, **values):
    shares = {"contribution/image": total, "contribution/text": 1 - total, "interaction": 0.0}
    for name, share in {"image": total, "text": 1 - total}.items():
        shares |= {f"total/{name}": share, f"total_low/{name}": share - 0.05, f"total_high/{name}": share + 0.05}
    return RunRecord(
        "fit", epoch, 10 * epoch, shares | {"collapse/image": state, "score": 0.5, "perceptual/image": 0.01} | values
    )


@pytest.fixture
def history():
    found = History(["image", "text"])
    for epoch, (total, state) in enumerate([(0.4, State.USED), (0.02, State.COLLAPSED), (0.01, State.COLLAPSED)]):
        found.add(run(epoch, total, state))
    return found
