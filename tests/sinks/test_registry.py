"""Which sink writes to which logger, and under which names MLflow keeps keys."""

import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.sinks import LoggerSink, TensorBoardSink, register, sinks_for, unregister
from mviz_lightning.sinks.mlflow import LONGEST, MLflowSink, mlflow_name
from mviz_lightning.sinks.records import Alert, Dashboard, MarkdownText, Picture

TAKEN = re.compile(r"[A-Za-z0-9_./ -]+")


class Texts(LoggerSink):
    def text(self, key, record, step):
        self.logger.append((key, record.markdown, step))


@pytest.fixture
def registered():
    names = []

    def remember(name, factory):
        register(name, factory)
        names.append(name)

    yield remember
    for name in names:
        unregister(name)


def kind_for(logger, folder):
    return [type(sink) for sink in sinks_for([logger], folder)[1:]]


def test_a_registration_counts_for_subclasses_and_can_be_taken_back(tmp_path):
    class Mine(CSVLogger):
        pass

    assert kind_for(Mine(tmp_path), tmp_path) == []
    register("CSVLogger", Texts)
    assert kind_for(Mine(tmp_path), tmp_path) == [Texts]
    unregister("CSVLogger")
    assert kind_for(Mine(tmp_path), tmp_path) == []


def test_a_registration_wins_over_a_built_in_sink(tmp_path, registered):
    registered("TensorBoardLogger", Texts)
    assert kind_for(TensorBoardLogger(tmp_path), tmp_path) == [Texts]


def test_of_two_registrations_that_of_the_nearer_class_counts(tmp_path, registered):
    class Mine(TensorBoardLogger):
        pass

    registered("Logger", LoggerSink)
    registered("Mine", Texts)
    assert kind_for(Mine(tmp_path), tmp_path) == [Texts]
    assert kind_for(TensorBoardLogger(tmp_path), tmp_path) == [LoggerSink]


def test_a_factory_that_raises_is_told_when_its_sink_is_opened(tmp_path, registered):
    def fail(logger):
        raise OSError("no server")

    registered("CSVLogger", fail)
    failed, board = sinks_for([CSVLogger(tmp_path), TensorBoardLogger(tmp_path)], tmp_path)[1:]
    assert isinstance(board, TensorBoardSink)
    with pytest.raises(OSError, match="no server"):
        failed.open(Dashboard("mviz", []))


@pytest.mark.parametrize("name", ["", "my.module.Logger", 3, "a b"])
def test_a_name_that_is_no_class_is_refused(name):
    with pytest.raises(ConfigurationError, match=r"sinks.register\(name=.*give the name of the logger's class"):
        register(name, Texts)


def test_a_factory_that_cannot_be_called_is_refused():
    with pytest.raises(ConfigurationError, match=r"sinks.register\(factory=3\): give a function"):
        register("Mine", 3)


def test_what_is_not_registered_cannot_be_taken_back(registered):
    registered("Mine", Texts)
    with pytest.raises(ConfigurationError, match=r"name='TensorBoardLogger'\): registered is .*'Mine'"):
        unregister("TensorBoardLogger")


def test_a_sink_takes_the_kinds_that_have_a_method():
    logger = []
    sink = Texts(logger)
    assert sink.takes == (MarkdownText,)
    sink.write([Picture("mviz/p", None), MarkdownText("mviz/t", "words")], 3)
    assert logger == [("mviz/t", "words", 3)]


def test_the_adapter_of_the_guide_writes_what_its_logger_takes(tmp_path):
    guide = Path(__file__).parents[2] / "examples" / "guides" / "extending.md"
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", guide.read_text("utf-8"), re.DOTALL)
        if "FolderSink" in block
    ]
    exec(compile(code, "extending.md", "exec"), {})  # noqa: S102  the page is our own

    class FolderLogger:
        experiment = tmp_path

    class Mine(FolderLogger):
        pass

    (sink,) = sinks_for([Mine()], tmp_path)[1:]
    unregister("FolderLogger")
    pixels = np.zeros((2, 2, 3), np.uint8)
    records = [Picture("mviz/p", pixels), MarkdownText("mviz/t", "wörds"), Alert("mviz/a", "title", "text")]
    assert sink.takes == tuple(map(type, records))
    sink.write(records, 3)
    assert (tmp_path / "mviz/p_3.png").read_bytes() == records[0].png
    assert (tmp_path / "mviz/t.md").read_text("utf-8") == "wörds"
    assert (tmp_path / "mviz/a_3.txt").read_text("utf-8") == "title\ntext"


KEYS = st.text("ab+-.x2/_é:", max_size=12) | st.text(max_size=20)


@settings(max_examples=1000)
@given(KEYS, KEYS)
@example("a+b", "a-b")
@example("a+b", "ab")
@example("a++b", "a--b")
@example("a+-b", "a-+b")
@example("a:b", "a.x3a.b")
@example("a//b", "a/b")
def test_no_two_keys_have_one_name_in_mlflow(left, right):
    assert (mlflow_name(left) == mlflow_name(right)) == (left == right)


@given(KEYS.filter(bool))
def test_mlflow_takes_every_name(key):
    name = mlflow_name(key)
    assert TAKEN.fullmatch(name)
    assert not {".", "..", ""} & set(name.split("/"))
    assert mlflow_name(f"mviz/{key}").startswith("mviz/")


@pytest.mark.parametrize("end", ["a", "b", "+", "é"])
def test_long_keys_are_cut_and_stay_apart(end):
    name = mlflow_name(f"mviz/{'é' * 100}{end}")
    assert len(name) <= LONGEST
    assert name != mlflow_name(f"mviz/{'é' * 100}c")


class Logger:
    def __init__(self):
        self.got = []

    def log_metrics(self, metrics, step=None):
        self.got.append((metrics, step))


def test_scalars_of_monitors_alone_are_renamed_and_the_logger_gets_its_method_back():
    logger = Logger()
    first, second = MLflowSink(logger), MLflowSink(logger)
    for sink, name in ((first, "mviz"), (second, "other"), (second, "other")):
        sink.open(Dashboard(name, []))
    logger.log_metrics({"mviz/a+b": 1, "other/a+b": 2, "loss+": 3}, step=4)
    first.close()
    logger.log_metrics({"mviz/a+b": 1, "other/a+b": 2}, 5)
    second.close()
    second.close()
    assert logger.got == [({"mviz/a-b": 1, "other/a-b": 2, "loss+": 3}, 4), ({"mviz/a+b": 1, "other/a-b": 2}, 5)]
    assert "log_metrics" not in vars(logger)


def test_lightnings_own_logger_for_mlflow_neither_warns_nor_mixes_keys_up():
    pytest.importorskip("mlflow")
    from lightning.pytorch.loggers import MLFlowLogger

    got = []
    logger = MLFlowLogger.__new__(MLFlowLogger)
    client = SimpleNamespace(log_batch=lambda run_id, metrics: got.extend(metrics))
    vars(logger).update(_prefix="run", _initialized=True, _mlflow_client=client, _run_id="1", _log_batch_kwargs={})
    sink = MLflowSink(logger)
    sink.open(Dashboard("mviz", []))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logger.log_metrics({"mviz/a+bc": 1.0, "mviz/ab+c": 2.0}, 3)
    sink.close()
    assert {metric.key: metric.value for metric in got} == {"run-mviz/a-bc": 1.0, "run-mviz/ab-c": 2.0}
