"""Examples of different shapes: the monitor's score is the user's own metric, and DIME has no weight on padding.

Each case has a model that notices how its examples are padded, and validation batches as its user makes them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from helpers.few import few
from helpers.toy import trainer
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from mviz_lightning import Modality, MultimodalMonitor, explain
from mviz_lightning.explainers import DIME
from mviz_lightning.session.explain import ShareReport

VALIDATION = 48
Batch = dict[str, Any]


class TwoInputs(LightningModule):
    """Classes of the two modalities of a batch, from an encoder of the first, ``(B, 8)``, and a vector."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.head = nn.Sequential(nn.Linear(8 + 2, 16), nn.Tanh(), nn.Linear(16, 4))

    def encode(self, batch: Batch) -> Tensor:
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        return self.head(torch.cat([self.encode(batch), batch["vector"]], 1))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        return cross_entropy(self(batch), batch["label"])

    def validation_step(self, batch: Batch, _: int) -> None:
        right = self(batch).argmax(1) == batch["label"]
        self.log("val_acc", right.float().mean(), batch_size=len(right), on_epoch=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.02)


class LastStep(TwoInputs):
    """The last step of a recurrent network, whatever stands there."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__(embedding=nn.Embedding(10, 8), recurrent=recurrent)

    def encode(self, batch: Batch) -> Tensor:
        return self.recurrent(self.embedding(batch["ids"]))[0][:, -1]


class MaskedMean(TwoInputs):
    """The mean of the tokens that PyTorch's own kind of mask leaves."""

    def __init__(self) -> None:
        super().__init__(embedding=nn.Embedding(10, 8))

    def encode(self, batch: Batch) -> Tensor:
        real = ~batch["padding"].unsqueeze(-1)
        return (self.embedding(batch["ids"]) * real).sum(1) / real.sum(1)


class MeanPixel(TwoInputs):
    """The mean over whole images, a tensor of images of one size or a list of images of any."""

    def __init__(self) -> None:
        super().__init__(convolution=nn.Conv2d(3, 8, 3, padding=1))

    def encode(self, batch: Batch) -> Tensor:
        images = batch["image"]
        if isinstance(images, Tensor):
            return self.convolution(images).relu().mean((2, 3))
        return torch.stack([self.convolution(image).relu().mean((1, 2)) for image in images])


def texts(count: int, seed: int, place: int) -> list[Batch]:
    """Return token ids of 2 to 12 tokens; the token at a place tells the class, together with a vector."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 13, (count,), generator=generator).sort().values.tolist()
    rows = []
    for length in lengths:
        ids, vector = torch.randint(1, 10, (length,), generator=generator), torch.randn(2, generator=generator)
        rows.append({"ids": ids, "vector": vector, "label": (ids[place] > 5) * 2 + (vector[0] > 0)})
    return rows


def images(count: int, seed: int) -> list[Batch]:
    """Return images of 4 to 9 pixels a side; their brightness tells the class, together with a vector."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(count):
        size = torch.randint(4, 10, (2,), generator=generator).tolist()
        bright, vector = torch.rand((), generator=generator) > 0.5, torch.randn(2, generator=generator)
        image = torch.rand(3, *size, generator=generator) + 0.6 * bright
        rows.append({"image": image, "vector": vector, "label": bright * 2 + (vector[0] > 0)})
    return rows


def joined(rows: Sequence[Batch]) -> Batch:
    """Put rows into a batch: texts padded to its own longest with a mask that is True at padding, images in a list."""
    batch: Batch = {name: torch.stack([row[name] for row in rows]) for name in ("vector", "label")}
    if "ids" not in rows[0]:
        return batch | {"image": [row["image"] for row in rows]}
    ids = nn.utils.rnn.pad_sequence([row["ids"] for row in rows], batch_first=True)
    return batch | {"ids": ids, "padding": ids == 0}


@dataclass(frozen=True)
class Case:
    """A model, the user's own examples and batches, and how the first modality is declared."""

    module: Callable[[], TwoInputs]
    rows: Callable[[int, int], list[Batch]]
    first: Any
    segments: Callable[[Batch], list[int]]
    collate: Any = None

    def loader(self, count: int, seed: int) -> DataLoader[Any]:
        """Return a loader of batches of 8, or of single examples where no function joins several."""
        size = 1 if self.collate is None else 8
        return DataLoader(self.rows(count, seed), batch_size=size, collate_fn=self.collate)  # type: ignore[arg-type]


def tokens(batch: Batch) -> list[int]:
    return (batch["ids"] != 0).sum(1).tolist()


def pixels(batch: Batch) -> list[int]:
    return [image[0].numel() for image in batch["image"]]


CASES = {
    "unpadded recurrent net": Case(
        lambda: LastStep(nn.GRU(8, 8, batch_first=True)), partial(texts, place=-1), "ids", tokens
    ),
    "inverted mask": Case(MaskedMean, partial(texts, place=0), Modality("ids", mask="padding"), tokens, joined),
    "native image sizes": Case(MeanPixel, images, Modality("image", max_segments=81), pixels),
    "lists of images": Case(MeanPixel, images, Modality("image", max_segments=81), pixels, joined),
    "unpacked BiLSTM": Case(
        lambda: LastStep(nn.LSTM(8, 4, batch_first=True, bidirectional=True)),
        partial(texts, place=-1),
        Modality("ids", pad_value=0, companions=["padding"]),
        tokens,
        joined,
    ),
}


@dataclass(frozen=True)
class Trained:
    """A trained model, its monitor and its validation batches."""

    case: Case
    module: TwoInputs
    watch: MultimodalMonitor
    validation: Sequence[Batch]

    @property
    def modalities(self) -> dict[str, Any]:
        return {"first": self.case.first, "vector": "vector"}


@pytest.fixture(scope="module", params=few(CASES))
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    case = CASES[request.param]
    torch.manual_seed(0)
    module, validation = case.module(), case.loader(VALIDATION, 1)
    watch = MultimodalMonitor(
        {"first": case.first, "vector": "vector"},
        target="label",
        num_examples=VALIDATION,
        group_size=8,
        reference=VALIDATION,
    )
    fitted = trainer(tmp_path_factory.mktemp("run"), watch, max_epochs=3 if case.collate is None else 8)
    fitted.fit(module, case.loader(240, 0), validation)
    return Trained(case, module, watch, list(validation))


def own_outputs(module: TwoInputs, batches: Sequence[Batch]) -> Tensor:
    """Return what the model returns for the user's own batches."""
    module.eval()
    with torch.no_grad():
        return torch.cat([module(batch) for batch in batches])


def accuracy(module: TwoInputs, batches: Sequence[Batch]) -> float:
    right = own_outputs(module, batches).argmax(1) == torch.cat([batch["label"] for batch in batches])
    return float(right.double().mean())


def test_the_score_is_the_users_own_metric(trained: Trained) -> None:
    own = accuracy(trained.module, trained.validation)
    assert own > 0.6
    assert trained.watch.history[-1].values["score"] == pytest.approx(own, abs=1e-6)


def explained(trained: Trained) -> ShareReport:
    return explain(
        trained.module,
        trained.validation,
        modalities=trained.modalities,
        target="label",
        num_examples=VALIDATION,
        group_size=8,
        explainers=[DIME(num_examples=8, donors=3, masks=16)],
    )


def test_no_weight_lies_on_padding(trained: Trained) -> None:
    own = [count for batch in trained.validation for count in trained.case.segments(batch)]
    found = explained(trained).explanations["dime"]
    assert len(found) == 8
    assert len({own[one.position] for one in found}) > 2
    for one in found:
        assert {len(output.parts["first"].unimodal) for output in one.outputs} == {own[one.position]}
