"""A training with the Lightning package that is there when others are blocked: FOLDER PACKAGE BLOCKED,BLOCKED,..."""

# ruff: noqa: T201 - its answer

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

folder, package, blocked = Path(sys.argv[1]), sys.argv[2], set(filter(None, sys.argv[3].split(",")))


class Blocker:
    """Finds no blocked package, as where it is not installed."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


sys.meta_path.insert(0, Blocker())

# In the order of sorted imports, the monitor comes before pytorch_lightning.
import torch  # noqa: E402

from mviz_lightning import MultimodalMonitor, UnimodalCollapse, explain, functional, metrics  # noqa: E402

if package == "none":
    bilinear = torch.nn.Bilinear(4, 3, 2)
    batches = [(torch.randn(32, 4), torch.randn(32, 3), torch.randint(2, (32,))) for _ in range(2)]
    settings = {"modalities": {"a": "0", "b": "1"}, "target": "2", "predict": lambda net, batch: net(*batch[:2])}
    report = explain(bilinear, batches, num_examples=32, group_size=8, **settings)
    print("explain", round(sum(report.values[name] for name in ("contribution/a", "contribution/b", "interaction")), 6))
    a, b = torch.randn(2, 8, 16, dtype=torch.float64)
    shares = metrics.ContributionShares(["a", "b"], task="regression", group_size=16)
    rows, columns = shares.design.tuples.T
    shares.update((a[:, rows] + b[:, columns]).unsqueeze(-1))
    print("metrics", abs(round(float(shares.compute()["interaction"]), 6)))
    print("functional", round(float(functional.effective_rank(torch.eye(8)))))
    for name in (MultimodalMonitor, UnimodalCollapse):
        try:
            name({"a": "a", "b": "b"})
        except ModuleNotFoundError as error:
            print(error)
    sys.exit()

lightning = import_module(package)


class Net(lightning.LightningModule):
    """Two vectors and their product."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 3), torch.nn.Linear(3, 3)

    def forward(self, a, b):
        return self.first(a) + self.second(b) + self.first(a) * self.second(b)

    def training_step(self, batch, _):
        return torch.nn.functional.cross_entropy(self(batch[0], batch[1]), batch[2])

    def validation_step(self, batch, _):
        self.log("val_loss", self.training_step(batch, 0))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(seed):
    draw = torch.Generator().manual_seed(seed)
    label = torch.randint(3, (64,), generator=draw)
    values = torch.randn(64, 4, generator=draw) + label[:, None]
    rows = torch.utils.data.TensorDataset(values, torch.randn(64, 3, generator=draw), label)
    return torch.utils.data.DataLoader(rows, batch_size=16)


logger = import_module(f"{package}.loggers").CSVLogger(folder)
quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
settings = {"max_epochs": 1, "accelerator": "cpu", "logger": logger} | quiet
arguments = {"modalities": {"a": "0", "b": "1"}, "num_examples": 32, "group_size": 8}


def fitted(trainer, module):
    trainer.fit(module, loader(0), loader(1))
    assert trainer.callback_metrics["mviz/interaction"].isfinite()


torch.manual_seed(0)
fitted(lightning.Trainer(callbacks=MultimodalMonitor(**arguments), **settings), Net())
fitted(lightning.Trainer(callbacks=[MultimodalMonitor(**arguments), UnimodalCollapse()], **settings), Net())
print("pages", len(list(folder.rglob("report.html"))))


if find_spec("jsonargparse"):  # an extra of Lightning
    cli = import_module(f"{package}.cli")

    class Command(cli.LightningCLI):
        """A command line that has the alarm as an argument of its own."""

        def add_arguments_to_parser(self, parser):
            parser.add_lightning_class_args(UnimodalCollapse, "alarm")

    monitor = {"class_path": "mviz_lightning.MultimodalMonitor", "init_args": arguments}
    for callbacks in (monitor, [monitor]):
        given = {"trainer": {**settings, "logger": False, "default_root_dir": str(folder), "callbacks": callbacks}}
        made = Command(Net, args=given | {"alarm": {"patience": 3}}, run=False, save_config_callback=None)
        fitted(made.trainer, made.model)
        assert {"MultimodalMonitor", "UnimodalCollapse"} <= {type(one).__name__ for one in made.trainer.callbacks}
    print("commands", 2)
print("imported", *(name for name in ("lightning", "pytorch_lightning") if name in sys.modules))
