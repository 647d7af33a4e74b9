"""An inert logger can be read like the original, and nothing that is done to it reaches the original."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

from mviz_lightning.engine.inert import Inert, inert_packages


class Board:
    """A logger that tells whatever is done to it."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.config: dict[str, int] = {}
        self.name, self.step, self.parent = "run", 3, None

    def add(self, *values: Any) -> "Board":
        self.done.append(values)
        return self

    def __getitem__(self, key: str) -> "Board":
        self.done.append(key)
        return self


@pytest.fixture
def board() -> Board:
    return Board()


def test_calls_assignments_and_chains_have_no_effect(board: Board) -> None:
    inert = Inert(board)
    inert.add(1).add(2).anything["x"].add(3)
    inert["key"].add(1)
    inert.config["a"] = 1
    inert.config.update(a=1)
    inert.name = "other"
    del inert.name
    del inert.config["a"]
    with inert.config as opened:
        opened.write("x")
    assert (board.done, board.config, board.name) == ([], {}, "run")


def test_plain_attributes_are_the_originals(board: Board) -> None:
    inert = Inert(board)
    assert (inert.name, inert.step, inert.parent) == ("run", 3, None)


def test_what_the_original_lacks_is_missing(board: Board) -> None:
    assert not hasattr(Inert(board), "log_image")
    assert hasattr(Inert(board), "add")


def test_it_is_empty_and_true(board: Board) -> None:
    inert = Inert(board)
    assert bool(inert)
    assert list(inert.add()) == []
    assert len(inert.config) == 0
    assert "a" not in inert.config


def test_it_is_of_the_originals_class(board: Board) -> None:
    assert isinstance(Inert(board), Board)
    assert not isinstance(Inert(board), CSVLogger)
    assert isinstance(Inert(board).add(), Inert)


def test_functions_of_trackers_do_nothing_inside(monkeypatch: pytest.MonkeyPatch, board: Board) -> None:
    package = ModuleType("wandb")
    package.log, package.run, package.Image = board.add, board, Board
    monkeypatch.setitem(sys.modules, "wandb", package)
    before = dict(vars(package))
    with pytest.raises(ZeroDivisionError), inert_packages():  # noqa: PT012 - fails after it has logged
        package.log({"loss": 1.0})
        package.run.add(1)
        assert package.run.name == "run"
        assert package.Image is Board
        _ = 1 / 0
    assert vars(package) == before
    assert board.done == []
    package.log(1)
    assert board.done == [(1,)]


def test_a_tensorboard_logger_writes_nothing(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="board", version=0)
    written = logger.experiment.file_writer.event_writer._async_writer._byte_queue
    before = written.qsize()
    inert: Any = Inert(logger)
    assert isinstance(inert, TensorBoardLogger)
    assert isinstance(inert.experiment, SummaryWriter)
    assert inert.log_dir == logger.log_dir
    assert inert.version == 0
    inert.experiment.add_scalar("a", 1.0, 0)
    inert.log_metrics({"a": 1.0})
    inert.log_hyperparams({"lr": 0.1})
    assert written.qsize() == before
    assert logger.hparams == {}
