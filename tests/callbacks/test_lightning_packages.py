"""The monitor with `lightning` alone, with `pytorch_lightning` alone, with both, and with neither."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from helpers.toy import loader, monitor
from lightning.pytorch import Callback
from torch import nn

from mviz_lightning import MultimodalMonitor, UnimodalCollapse
from mviz_lightning.callbacks import lightning_packages

PROGRAM = Path(__file__).with_name("packages_program.py")


def lines(folder, package, *blocked):
    """Return what the program prints of itself."""
    command = [sys.executable, "-W", "ignore", str(PROGRAM), str(folder), package, ",".join(blocked)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert ended.returncode == 0, ended.stderr[-3000:]
    heads = ("explain", "metrics", "functional", "pages", "commands", "imported", "MultimodalM", "UnimodalC")
    return [line for line in ended.stdout.splitlines() if line.startswith(heads)]


@pytest.mark.slow
def test_without_lightning_the_rest_works_and_a_callback_names_the_line_to_install(tmp_path):
    needs = "needs Lightning, and neither lightning nor pytorch_lightning can be imported; run: pip install lightning"
    assert lines(tmp_path, "none", "lightning", "pytorch_lightning", "lightning_fabric") == [
        "explain 1.0",
        "metrics 0.0",
        "functional 8",
        f"MultimodalMonitor {needs}",
        f"UnimodalCollapse {needs}",
    ]


def test_with_pytorch_lightning_alone_and_no_logger_package_trainings_are_monitored(tmp_path):
    assert lines(tmp_path, "pytorch_lightning", "lightning", "wandb", "tensorboard") == [
        "pages 1",
        "commands 2",
        "imported pytorch_lightning",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "blocked", "imported"),
    [
        ("lightning.pytorch", ["pytorch_lightning", "lightning_fabric"], "lightning"),
        ("lightning.pytorch", [], "lightning"),  # the other package is not imported for it
        ("pytorch_lightning", [], "lightning pytorch_lightning"),
    ],
)
def test_with_either_or_both_packages_trainings_are_monitored(tmp_path, package, blocked, imported):
    ends = lines(tmp_path, package, *blocked)
    assert ends[:2] == ["pages 1", "commands 2"]
    assert ends[2].split()[1:][: len(imported.split())] == imported.split()
    assert ("pytorch_lightning" in ends[2].split()) == (package == "pytorch_lightning")


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_a_bare_callback_is_taken_by_either_package(tmp_path, package):
    lightning = import_module(package)

    class Late(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.image, self.text = nn.Linear(4, 3), nn.Linear(3, 3)

        def forward(self, image, text):
            return self.image(image) + self.text(text)

        def training_step(self, batch, _):
            return nn.functional.cross_entropy(self(*batch[:2]), batch[2])

        def validation_step(self, batch, _):
            self.log("val_loss", self.training_step(batch, 0))

        def configure_optimizers(self):
            return import_module("torch").optim.SGD(self.parameters(), lr=0.1)

    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    settings = {"default_root_dir": tmp_path, "max_epochs": 1, "logger": False, "accelerator": "cpu"} | quiet
    chosen = lightning.Trainer(callbacks=monitor(), **settings)
    chosen.fit(Late(), loader(), loader(seed=1))
    assert "mviz/interaction" in chosen.callback_metrics
    assert issubclass(MultimodalMonitor, lightning.Callback)
    assert issubclass(UnimodalCollapse, lightning.Callback)


def test_a_package_that_is_imported_later_is_joined_and_others_are_left_alone(monkeypatch):
    class Other:
        def on_a_new_hook(self):
            return "new"

    class Grown(lightning_packages.Joining, Callback):
        pass

    monkeypatch.setattr(lightning_packages, "PackageCallback", Grown)
    monkeypatch.setattr(lightning_packages, "PACKAGES", ("one", "two"))
    finder = lightning_packages.JoiningFinder("two")
    assert finder.find_spec("two.callbacks.x") is None
    module = type(sys)("two.callbacks.callback")
    monkeypatch.setitem(sys.modules, "two.callbacks.callback", module)
    finder.find_spec("json")
    assert Other not in Grown.__mro__
    module.Callback = Other
    finder.find_spec("json")
    finder.find_spec("json")
    assert (Grown().on_a_new_hook(), Grown.__mro__.count(Other)) == ("new", 1)


def test_a_class_whose_bases_would_clash_costs_no_import(monkeypatch):
    class Other:
        pass

    class Grown(lightning_packages.Joining, Callback):
        pass

    class Clash(Other, Grown):
        pass

    monkeypatch.setattr(lightning_packages, "PackageCallback", Grown)
    monkeypatch.setattr(lightning_packages, "imported_callbacks", lambda: [Callback, Clash])
    monkeypatch.setitem(sys.modules, "two.callbacks.callback", type("M", (), {"Callback": Other}))
    assert lightning_packages.JoiningFinder("two").find_spec("json") is None
    assert Grown.__bases__ == (lightning_packages.Joining, Callback)


def test_a_package_that_cannot_be_searched_for_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "no_such_package", None)
    assert not lightning_packages.is_installed("no_such_package")
    assert lightning_packages.is_installed("json.decoder")
