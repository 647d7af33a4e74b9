"""Nothing is unpickled, imported or run that comes from a batch, a log or a checkpoint; no name leaves its folder."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.toy import SMALL, Toy, examples, trainer
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

import mviz_lightning
from mviz_lightning import MultimodalMonitor

FOLDER = Path(mviz_lightning.__file__).parent

BUILT_IN = {"eval", "exec", "compile", "__import__"}
"""Functions that run the text that they get."""

MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "subprocess", "runpy", "importlib"}
"""Modules whose functions run, import or build what their argument says."""

FUNCTIONS = {"torch.load", "np.load", "numpy.load", "os.system", "os.popen", "pkgutil.resolve_name", "torch.hub"}
"""Such functions of other modules."""

ALLOWED = {
    ("engine/model_call.py", "importlib"): "imports a dotted path that the user passes as an argument",
    ("errors/deprecations.py", "pkgutil.resolve_name"): "finds the new place of a name of ours that has moved",
    ("modalities/base.py", "pkgutil.resolve_name"): "finds a type that the user names as Modality(kind=)",
    ("modalities/vocabulary.py", "pkgutil.resolve_name"): "finds a tokenizer that the user names as Modality(decode=)",
    ("callbacks/return_address.py", "pickle"): "reads what a process of the same run left in a file of this user's",
    ("engine/processes.py", "pickle"): "reads what a process of the same run sent, as every collective of objects",
    ("session/run_description.py", "importlib"): "reads the versions of packages, whose names are written there",
    ("cli/commands.py", "importlib"): "reads the version of this package",
    ("callbacks/lightning_packages.py", "importlib"): "imports one of the two packages of Lightning, named there",
    ("cli/configuration.py", "yaml"): "reads what the user passes as --config, by safe_load, which builds plain data",
    ("cli/lightning_cli.py", "pkgutil.resolve_name"): "finds the classes that the user names as --model and --data",
    ("session/shared_start.py", "pickle"): "reads what a process of the same run sent, as every collective of objects",
}
"""File and what it uses -> why."""


def dangerous(path: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield what a file uses that may run what its argument says."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = [f"{node.value.id}.{node.attr}"]
        else:
            names = []
        yield from ((path, name) for name in names if name in FUNCTIONS)
        yield from ((path, first) for first in (name.partition(".")[0] for name in names) if first in MODULES)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BUILT_IN:
            yield path, node.func.id


WORDS = [*MODULES, *(f"{name}(" for name in BUILT_IN), *(name.rpartition(".")[2] for name in FUNCTIONS)]
"""What a file holds that is worth parsing."""


def test_nothing_runs_what_a_batch_a_log_or_a_checkpoint_says() -> None:
    files = {path.relative_to(FOLDER).as_posix(): path.read_text("utf-8") for path in FOLDER.rglob("*.py")}
    suspect = {path: text for path, text in files.items() if any(word in text for word in WORDS)}
    assert {one for path, text in suspect.items() for one in dangerous(path, text)} == set(ALLOWED)


@pytest.mark.parametrize(
    "text",
    [
        "import pickle\npickle.loads(x)",
        "from pickle import loads",
        "eval(x)",
        "torch.load(x)",
        "import torch\ntorch.load(x, weights_only=True)",
        "from torch import load",
        "import importlib.util",
        "os.system(x)",
        "import subprocess as s",
    ],
)
def test_what_runs_code_is_found(text: str) -> None:
    assert list(dangerous("x.py", text))


HOSTILE = ["../../../x", "..", "=1+1", "<script>x</script>", "a/b\\c\x00d", "con"]


def batches(examples_: Any) -> list[dict[str, Any]]:
    image, text, label = examples_.tensors
    sites = [HOSTILE[index % len(HOSTILE)] for index in range(len(label))]
    cut = [slice(first, first + 16) for first in range(0, len(label), 16)]
    return [{"image": image[one], "text": text[one], "label": label[one], "site": sites[one]} for one in cut]


class Keyed(Toy):
    """Takes batches that are dicts."""

    def loss(self, batch: Any) -> torch.Tensor:
        return super().loss((batch["image"], batch["text"], batch["label"]))

    def validation_step(self, batch: Any, _: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", self.loss(batch), batch_size=16)


def test_names_from_a_batch_make_no_path_and_no_key_that_leaves_its_folder(tmp_path: Path) -> None:
    watch = MultimodalMonitor({"image": "image", "text": "text"}, subgroups="site", **SMALL | {"num_examples": 96})
    data = [DataLoader(batches(examples(96, seed=seed)), batch_size=None) for seed in (0, 1)]
    home = tmp_path / "a" / "b" / "c" / "d"
    chosen = trainer(home, watch, logger=CSVLogger(home, name="csv"), max_epochs=1)
    chosen.fit(Keyed(), *data)
    keys = [key for key in chosen.callback_metrics if "/subgroup/" in key]
    assert len(keys) == len(HOSTILE) * 2 * 3
    assert not any({"..", ".", ""} & set(key.split("/")) or "\\" in key or "\x00" in key for key in keys)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert {path.relative_to(home).parts[0] for path in home.rglob("*")} == {"csv"}
