"""Steps that do something between batch and loss that a trace may miss, or may take for something else."""

import copy
from typing import Any

import numpy as np
import torch
from benchmarks.observation.case import Case
from benchmarks.observation.parts import CLASSES, SIZE, Net, User, by_name, dicts, named
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric


class Plain(User):
    """Cross entropy of the network's logits; a case changes one thing."""

    def logits(self, batch: Any) -> Tensor:
        return self.net(batch["image"], batch["text"])

    def labels(self, batch: Any) -> Tensor:
        return batch["y"]

    def step(self, batch):
        return functional.cross_entropy(self.logits(batch), self.labels(batch))


class NoIndex(Plain):
    def validation_step(self, batch):
        self.log("val_loss", self.step(batch), batch_size=SIZE)


class Inference(Plain):
    @torch.inference_mode()
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.step(batch), batch_size=SIZE)


class MeanOfLoss(Plain):
    """A metric averages the loss."""

    def __init__(self):
        super().__init__()
        self.mean_loss, self.sure = MeanMetric(), MeanMetric()

    def validation_step(self, batch, batch_idx):
        logits = self.logits(batch)
        self.mean_loss.update(functional.cross_entropy(logits, batch["y"]))
        self.sure.update(logits.softmax(-1).amax(-1))
        self.log_dict({"val_loss": self.mean_loss, "sure": self.sure}, batch_size=SIZE)


class InPlace(Plain):
    """The picture is normalised in the batch's own memory."""

    def logits(self, batch):
        batch["image"].sub_(0.5).mul_(1.5)
        return super().logits(batch)


class Filled(Plain):
    """Entries of the batch are replaced before the model gets it whole."""

    def forward(self, batch):
        return self.net(batch["image"], batch["text"])

    def logits(self, batch):
        batch["image"] = batch["image"] * 2 + batch["image"].flip(-1)
        return self(batch)


class Copied(Plain):
    def logits(self, batch):
        return super().logits(copy.deepcopy(batch))


class Bytes(Plain):
    """The picture comes in bytes."""

    def logits(self, batch):
        return self.net(batch["image"].float() / 127.5 - 1, batch["text"])


class ThroughNumPy(Plain):
    """The picture is transformed outside torch."""

    def logits(self, batch):
        spectrum = np.abs(np.fft.fft2(batch["image"].cpu().numpy())).astype(np.float32)
        return self.net(torch.from_numpy(spectrum) / 4, batch["text"])


class BatchMean(Plain):
    """The picture is normalised by the batch's own mean."""

    def logits(self, batch):
        return self.net(3 * (batch["image"] - batch["image"].mean(0)), batch["text"])


class PythonScale(Plain):
    """A number that the batch gave scales the logits."""

    def logits(self, batch):
        return super().logits(batch) * float(batch["weight"].mean())


class StartState(User):
    """The step makes the first state of a recurrent network, a row for each example."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRU(8, 8, batch_first=True)

    def step(self, batch):
        words = self.net.text(batch["text"]) * self.net.image(batch["image"].flatten(1)).unsqueeze(1)
        _, state = self.cell(words, torch.full((1, len(words), 8), 0.3))
        return functional.cross_entropy(self.net.head(state[-1]), batch["y"])


def of_start_state(module: Any, batch: Any) -> Tensor:
    words = module.net.text(batch["text"]) * module.net.image(batch["image"].flatten(1)).unsqueeze(1)
    return module.net.head(module.cell(words, torch.full((1, len(words), 8), 0.3))[1][-1])


class Positioned(nn.Module):
    """A network that gets the positions of its words."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.place = Net(), nn.Embedding(5, CLASSES)

    def forward(self, image, text, positions, mask):
        placed = self.place(positions) * mask.unsqueeze(2) * (text > 9).unsqueeze(2)
        return self.net(image, text) + placed.sum(1)


class Positions(Plain):
    """The step makes positions, a row for each example, and a mask."""

    def __init__(self):
        super().__init__()
        self.model = Positioned()

    def logits(self, batch):
        count, length = batch["text"].shape
        positions = torch.arange(length).unsqueeze(0).expand(count, -1)
        return self.model(batch["image"], batch["text"], positions, torch.ones(count, length))


def in_bytes() -> list[Any]:
    return [batch | {"image": (batch["image"] * 60 + 128).clamp(0, 255).byte()} for batch in dicts()]


def of(change: Any) -> Any:
    """Return the scores of a picture that the step changes first."""
    return lambda module, batch: module.net(change(batch["image"]), batch["text"])


def spectrum(image: Tensor) -> Tensor:
    return torch.fft.fft2(image).abs() / 4


CASES: list[Case] = [
    named("a step without batch_idx", "surprises", NoIndex),
    named("a step in inference mode", "surprises", Inference),
    named("a metric that averages the loss", "surprises", MeanOfLoss),
    named("normalised in place", "surprises", InPlace, scores=of(lambda image: (image - 0.5) * 1.5)),
    named("entries replaced in the batch", "surprises", Filled, scores=of(lambda image: image * 2 + image.flip(-1))),
    named("a copied batch", "surprises", Copied),
    named("a picture in bytes", "surprises", Bytes, batches=in_bytes, scores=of(lambda image: image / 127.5 - 1)),
    named("a picture through NumPy", "surprises", ThroughNumPy, scores=of(spectrum)),
    named("normalised by the batch's mean", "surprises", BatchMean, scores=None, expect="refuse"),
    named("scaled by a number of the batch", "surprises", PythonScale, scores=None, expect="refuse"),
    named("a first state made in the step", "surprises", StartState, scores=of_start_state),
    named(
        "positions made in the step",
        "surprises",
        Positions,
        scores=lambda module, batch: by_name(module.model, batch) + placed(module.model, batch["text"]),
    ),
]


def placed(model: Positioned, text: Tensor) -> Tensor:
    return (model.place.weight * (text > 9).unsqueeze(2)).sum(1)
