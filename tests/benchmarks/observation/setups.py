"""Trainers, weights and networks out of the ordinary."""

import copy
import warnings
from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.harness import loader
from benchmarks.observation.parts import SIZE, Net, User, by_name, named
from torch import Tensor, nn
from torch.nn import functional


class Plain(User):
    def forward(self, image, text):
        return self.net(image, text)

    def step(self, batch):
        return functional.cross_entropy(self(batch["image"], batch["text"]), batch["y"])


class NoLoss(Plain):
    """The validation logs how sure the model is, and no loss."""

    def validation_step(self, batch, batch_idx):
        sure = self(batch["image"], batch["text"]).softmax(-1).amax(-1).mean()
        self.log("confidence", sure, batch_size=SIZE)


class Early(Plain):
    """The sanity check is over before it begins."""

    def validation_step(self, batch, batch_idx):
        if not self.trainer.sanity_checking:
            super().validation_step(batch, batch_idx)


class TwoLoaders(Plain):
    """The second loader has texts alone."""

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        if dataloader_idx == 0:
            self.log("val_loss", self.step(batch), batch_size=SIZE, add_dataloader_idx=False)
        else:
            self.net.text(batch["text"])


def two(batches: list[Any]) -> list[Any]:
    return [loader(batches), loader([{"text": batch["text"]} for batch in batches])]


class Manual(Plain):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.step(batch))
        optimizer.step()


class TwoOptimizers(Plain):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(self.step(batch))
            optimizer.step()

    def configure_optimizers(self):
        encoders = [*self.net.image.parameters(), *self.net.text.parameters()]
        return [torch.optim.SGD(encoders, lr=0.1), torch.optim.SGD(self.net.head.parameters(), lr=0.05)]


class Tested(Plain):
    """The test uses another network than the validation."""

    def __init__(self):
        super().__init__()
        self.other = Net()

    def test_step(self, batch, batch_idx):
        loss = functional.cross_entropy(self.other(batch["image"], batch["text"]), batch["y"])
        self.log("test_loss", loss, batch_size=SIZE)


class Prepared(Plain):
    """The batch changes on its way to the device."""

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch | {"image": batch["image"] * 3 - 1}


class Averaged(Plain):
    """The validation uses a moving average of the network."""

    def __init__(self):
        super().__init__()
        self.average = copy.deepcopy(self.net).requires_grad_(requires_grad=False)

    def on_train_batch_end(self, *arguments):
        for mean, value in zip(self.average.parameters(), self.net.parameters(), strict=True):
            mean.lerp_(value.detach(), 0.5)

    def forward(self, image, text):
        return (self.net if self.training else self.average)(image, text)


class SwappedForEpoch(Averaged):
    """The averaged weights are swapped in for the validation."""

    def forward(self, image, text):
        return self.net(image, text)

    def on_validation_epoch_start(self):
        self.own = copy.deepcopy(self.net.state_dict())
        self.net.load_state_dict(self.average.state_dict())

    def on_validation_epoch_end(self):
        self.net.load_state_dict(self.own)


class SwappedInStep(Averaged):
    """The averaged weights are swapped in by the step itself."""

    def forward(self, image, text):
        return self.net(image, text)

    def validation_step(self, batch, batch_idx):
        own = copy.deepcopy(self.net.state_dict())
        self.net.load_state_dict(self.average.state_dict())
        super().validation_step(batch, batch_idx)
        self.net.load_state_dict(own)


class Hidden(User):
    """The network lies in a list, where Lightning does not see it."""

    def __init__(self):
        super().__init__()
        self.nets = [self.__dict__["_modules"].pop("net")]

    def step(self, batch):
        return functional.cross_entropy(self.nets[0](batch["image"], batch["text"]), batch["y"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.nets[0].parameters(), lr=0.05)


class CompiledPart(User):
    def __init__(self):
        super().__init__()
        self.model = torch.compile(self.net, backend="eager")

    def step(self, batch):
        return functional.cross_entropy(self.model(batch["image"], batch["text"]), batch["y"])


class ScriptedPart(User):
    def __init__(self):
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scripting is deprecated, and still in use
            self.model = torch.jit.script(self.net)

    def step(self, batch):
        return functional.cross_entropy(self.model(batch["image"], batch["text"]), batch["y"])


class Unlogged(Plain):
    """Lightning 2.6 cannot log from a compiled step."""

    def validation_step(self, batch, batch_idx):
        return self.step(batch)


class Alpha(User):
    """A constant that a schedule changes is an argument of the network."""

    def __init__(self):
        super().__init__()
        self.model, self.alpha = Scaled(), 0.2

    def on_train_epoch_start(self):
        self.alpha = 0.2 + 0.7 * self.current_epoch

    def step(self, batch):
        return functional.cross_entropy(self.model(batch["image"], batch["text"], self.alpha), batch["y"])


class Scaled(nn.Module):
    """A network whose words count as much as an argument says."""

    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, image, text, alpha):
        return self.net(image, text) + alpha * self.net.head(self.net.text(text).mean(1))


class Reassigned(Alpha):
    """The constant is a tensor that is assigned anew."""

    def on_train_epoch_start(self):
        self.alpha = torch.tensor(0.2 + 0.7 * self.current_epoch)


class InStep(Alpha):
    """The constant is computed from the epoch in the step."""

    def step(self, batch):
        logits = self.net(batch["image"], batch["text"])
        words = self.net.head(self.net.text(batch["text"]).mean(1))
        return functional.cross_entropy(logits + (0.2 + self.alpha) * words, batch["y"])


class OtherNet(User):
    """From the second epoch on, another network is called."""

    def __init__(self):
        super().__init__()
        self.other, self.late = Net(), False

    def on_train_epoch_start(self):
        self.late = self.current_epoch > 0

    def step(self, batch):
        net = self.other if self.late else self.net
        return functional.cross_entropy(net(batch["image"], batch["text"]), batch["y"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


def of_alpha(module: Any, batch: Any) -> Tensor:
    return module.model(batch["image"], batch["text"], module.alpha)


def in_step(module: Any, batch: Any) -> Tensor:
    words = module.net.head(module.net.text(batch["text"]).mean(1))
    return by_name(module, batch) + (0.2 + module.alpha) * words


def of_epoch(module: Any, batch: Any) -> Tensor:
    return (module.other if module.late else module.net)(batch["image"], batch["text"])


def of(attribute: str) -> Any:
    """Return the scores of another network of the module."""
    return lambda module, batch: getattr(module, attribute)(batch["image"], batch["text"])


EPOCHS = {"max_epochs": 2}

CASES: list[Case] = [
    named("validation without a loss", "setups", NoLoss, target=None, expect="ask"),
    named("nothing in the sanity check", "setups", Early),
    named("no sanity check", "setups", Plain, trainer={"num_sanity_val_steps": 0}),
    named("two loaders", "setups", TwoLoaders, loaders=two),
    named("manual optimisation", "setups", Manual),
    named("two optimizers", "setups", TwoOptimizers),
    named("bf16", "setups", Plain, trainer={"precision": "bf16-mixed"}, tolerance=2e-2),
    named("validate alone", "setups", Plain, entry="validate"),
    named("a test of another network", "setups", Tested, scores=of("other"), entry="test"),
    named("a batch changed on transfer", "setups", Prepared),
    named("an averaged copy", "weights", Averaged, scores=of("average")),
    named("averaged weights for the epoch", "weights", SwappedForEpoch),
    named("averaged weights in the step", "weights", SwappedInStep, scores=of("average"), expect="refuse"),
    named("a network in a list", "weights", Hidden, scores=lambda m, b: m.nets[0](b["image"], b["text"])),
    named("a compiled submodule", "weights", CompiledPart),
    named("a scripted submodule", "weights", ScriptedPart),
    named("a compiled module", "weights", lambda: torch.compile(Unlogged(), backend="eager")),
    named("a constant by schedule", "schedules", Alpha, scores=of_alpha, trainer=EPOCHS),
    named("a tensor by schedule", "schedules", Reassigned, scores=of_alpha, trainer=EPOCHS),
    named("a constant inside the step", "schedules", InStep, scores=in_step, trainer=EPOCHS),
    named("another network later", "schedules", OtherNet, scores=of_epoch, trainer=EPOCHS),
]
