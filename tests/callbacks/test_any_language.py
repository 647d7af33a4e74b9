"""Names in letters of any language: keys and files are in ASCII, pictures and tables show the names."""

import csv
import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.toy import Toy, loader, trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger

from mviz_lightning import ConfigurationError, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.explainers import DIME

IMAGE, TEXT = "图像", "größe"


@pytest.fixture(scope="module")
def run(tmp_path_factory: Any) -> SimpleNamespace:
    """One training whose modalities, classes and monitor have such names."""
    folder = tmp_path_factory.mktemp("run")
    watch = MultimodalMonitor(
        {IMAGE: "0", TEXT: "1"},
        name="चित्र",
        class_names=["猫", "..", "=1+1"],
        by_class=True,
        explainers=[DIME(num_examples=1)],
        num_examples=64,
        group_size=8,
    )
    stop = EarlyStopping("-u091a-u093f-u0924-u094d-u0930/total/gr-xf6-xdfe", patience=9)
    torch.manual_seed(0)
    chosen = trainer(folder, watch, UnimodalCollapse(), stop, logger=CSVLogger(folder, name="csv"), max_epochs=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen.fit(Toy(), loader(128), loader(128, seed=1))
    said = [
        str(one.message) for one in caught if "Glyph" in str(one.message) or "MultimodalMonitor" in str(one.message)
    ]
    return SimpleNamespace(folder=folder, watch=watch, said=said, keys=list(chosen.callback_metrics))


def test_keys_are_in_ascii_and_values_have_their_names(run: SimpleNamespace) -> None:
    keys = [key for key in run.keys if key.startswith("-u091a-u093f-u0924-u094d-u0930/")]
    assert all(key.isascii() and ".." not in key.split("/") for key in run.keys)
    assert len(keys) > 30
    values = run.watch.history[-1].values
    assert {f"total/{IMAGE}", f"total/{TEXT}", f"class/猫/total/{IMAGE}", f"class/_/total/{TEXT}"} <= values.keys()
    assert len([name for name in values if name != "overhead"]) <= len(keys)


def test_files_are_in_ascii_and_hold_the_names(run: SimpleNamespace) -> None:
    (folder,) = run.folder.rglob("-u091a*")
    paths = [path.relative_to(run.folder).as_posix() for path in folder.rglob("*")]
    assert all(path.isascii() for path in paths)
    assert {"shares.png", "history.jsonl", "summary.md", "by_class.png"} <= {path.name for path in folder.iterdir()}
    assert f"total/{IMAGE}" in json.loads((folder / "history.jsonl").read_text())["values"]
    with (folder / "dime" / "examples.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert any(IMAGE in cell for row in rows for cell in (*row, *row.values()))
    assert not any(cell.startswith("=") for row in rows for cell in row.values())


@pytest.mark.slow
def test_pictures_show_boxes_for_letters_without_a_glyph_and_nothing_is_warned(run: SimpleNamespace) -> None:
    assert run.said == []


def test_a_name_of_101_letters_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"modalities: the name '图{20}'\.\.\. has 101 letters; use up to 100\."
    ):
        MultimodalMonitor({"图" * 101: "0", "text": "1"})


def test_a_monitor_has_its_folder_whatever_its_name(tmp_path: Path) -> None:
    watch = MultimodalMonitor({"a": "0", "b": "1"}, name="con", num_examples=16, group_size=8)
    trainer(tmp_path, watch).validate(Toy(), loader(seed=1), verbose=False)
    assert [path.name for path in tmp_path.iterdir()] == ["con_"]
