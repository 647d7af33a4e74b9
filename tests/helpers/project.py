"""A project as users have it: a model, its data, and a LightningCLI of its own; test_explain.py names them in YAML."""

from helpers.toy import Toy, examples
from lightning.pytorch import LightningDataModule
from lightning.pytorch.cli import LightningCLI
from torch.utils.data import DataLoader


class Net(Toy):
    """Does not use the text, which tells the label too; its step reads the logger and the epoch."""

    def __init__(self, outputs: int = 3, batch_size: int = 0):
        super().__init__(outputs=outputs)
        self.batch_size, self.seen = batch_size, []

    def forward(self, image, text):
        return super().forward(image, text * 0)

    def validation_step(self, batch, index):
        super().validation_step(batch, index)
        self.seen.append((self.current_epoch, self.global_step))
        if self.logger is not None:
            self.logger.experiment.add_scalar("mine", 0.0, self.global_step)


class Data(LightningDataModule):
    """Examples of the toy."""

    def __init__(self, batch_size: int = 16, count: int = 64):
        super().__init__()
        self.batch_size, self.count = batch_size, count

    def _loader(self, seed):
        return DataLoader(examples(self.count, seed=seed), self.batch_size, shuffle=seed == 0)

    def train_dataloader(self):
        return self._loader(0)

    def val_dataloader(self):
        return self._loader(1)

    def test_dataloader(self):
        return self._loader(2)


class OwnCLI(LightningCLI):
    """Has a key of its own, and gives the model an argument of the data."""

    def add_arguments_to_parser(self, parser):
        parser.add_argument("--note", default="")
        parser.link_arguments("data.batch_size", "model.batch_size")
