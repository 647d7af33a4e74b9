"""What is told when a run of a trainer ends: the page, one table, the page's path last; nothing at each check."""

import json
import logging

import pytest
import torch
from helpers.few import few
from helpers.stored_runs import write_run
from helpers.toy import Toy, fit, loader, monitor, trainer
from lightning.pytorch import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_module

from mviz_lightning import ConfigurationError, MonitorWarning, UnimodalCollapse
from mviz_lightning.callbacks import closing
from mviz_lightning.report.page import write_page


@pytest.fixture(autouse=True)
def roomy_console(caplog, monkeypatch):
    """Let Lightning's lines through, whatever an example has set; on a busy machine the first line is long."""
    caplog.set_level(logging.INFO, logger=rank_zero_module.log.name)
    monkeypatch.setenv("COLUMNS", "160")


def pages(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("report.html"))


def ours(said):
    """Return the lines that are not Lightning's."""
    return [line for line in said.splitlines() if line and not line.startswith(("─", " ", "val_loss"))]


@pytest.mark.slow
def test_a_fit_ends_with_one_table_and_the_path_of_the_page(tmp_path, capsys):
    torch.manual_seed(0)  # with other weights a modality may be unused, which takes a line more
    watch = monitor()
    fit(tmp_path, watch, UnimodalCollapse(), max_epochs=3)
    heading, columns, image, text, interaction, score, where = ours(capsys.readouterr().out)
    assert heading.startswith("mviz: 3 checks, from epoch 0 (step 3) to epoch 2 (step 11); ")
    assert columns.split()[0] == "modality"
    last = watch.history[-1].values
    assert f"{last['total/image']:.3f} [{last['total_low/image']:.3f}, {last['total_high/image']:.3f}]" in image
    change = last["total/text"] - watch.history[0].values["total/text"]
    assert f"{change:+.3f}" in text
    assert interaction.split() == ["interaction", f"{last['interaction']:.3f}"]
    assert score.startswith(f"score {last['score']:.3f} (change ")
    assert where == f"mviz: report page {tmp_path / 'mviz' / 'version_0' / 'report.html'}"


def test_a_check_prints_nothing(tmp_path, capsys):
    said = []

    class Listens(Callback):
        def on_train_end(self, trainer, module):
            said.append(capsys.readouterr().out)

    fit(tmp_path, monitor(), Listens(), max_epochs=3)
    assert said == [""]


def test_without_report_there_is_no_page_and_the_table_stays(tmp_path, capsys):
    fit(tmp_path, monitor(report=False))
    said = capsys.readouterr().out
    assert pages(tmp_path) == []
    assert "mviz: 2 checks" in said
    assert "report page" not in said


@pytest.mark.parametrize("argument", ["report", "progress_bar"])
def test_the_new_arguments_are_flags(argument):
    with pytest.raises(ConfigurationError, match=f"{argument}='yes': give True or False"):
        monitor(**{argument: "yes"})


def test_who_silences_lightning_gets_no_table_but_the_page(tmp_path, capsys):
    log = rank_zero_module.log  # that of rank_zero_info; lightning and pytorch_lightning each put their own there
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        fit(tmp_path, monitor())
    finally:
        log.setLevel(before)
    assert ours(capsys.readouterr().out) == []
    assert len(pages(tmp_path)) == 1


@pytest.mark.parametrize("settings", few([{"fast_dev_run": True}, {"limit_val_batches": 0}]), ids=str)
@pytest.mark.filterwarnings("ignore:MultimodalMonitor. the monitor never ran")
def test_a_fit_without_a_check_tells_nothing_and_leaves_no_page(tmp_path, capsys, settings):
    fit(tmp_path, monitor(), **settings)
    assert ours(capsys.readouterr().out) == []
    assert pages(tmp_path) == []


def test_a_page_that_fails_costs_a_warning_and_not_the_table(tmp_path, capsys, monkeypatch):
    def fail(folder):
        raise OSError("the disk is full")

    monkeypatch.setattr(closing, "write_page", fail)
    with pytest.warns(MonitorWarning, match="the report page could not be written: OSError: the disk is full"):
        fit(tmp_path, monitor())
    said = capsys.readouterr().out
    assert "mviz: 2 checks" in said
    assert "report page" not in said


def test_a_validation_renews_the_page_and_prints_its_path_alone(tmp_path, capsys):
    watch = monitor()
    chosen = fit(tmp_path, watch, logger=True, max_epochs=1)
    (page,) = tmp_path.rglob("report.html")
    page.write_text("old")
    capsys.readouterr()
    chosen.validate(chosen.model, loader(seed=1), verbose=False)
    assert ours(capsys.readouterr().out) == [f"mviz: report page {page}"]
    assert page.read_text("utf-8").startswith("<!")
    assert [json.loads(line)["stage"] for line in (page.parent / "history.jsonl").read_text().splitlines()] == [
        "fit", "validate",
    ]  # fmt: skip


def test_a_test_alone_has_a_page(tmp_path):
    trainer(tmp_path, monitor()).test(Toy(), loader(seed=1), verbose=False)
    assert len(pages(tmp_path)) == 1


def test_a_training_that_is_interrupted_after_a_check_has_a_page_and_its_path(tmp_path, capsys):
    class Stops(Callback):
        def on_train_epoch_end(self, trainer, module):
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fit(tmp_path, monitor(), Stops())
    assert len(pages(tmp_path)) == 1
    assert ours(capsys.readouterr().out) == [f"mviz: report page {tmp_path / 'mviz/version_0/report.html'}"]


@pytest.mark.slow
@pytest.mark.parametrize("bar", ["TQDM", "Rich"])
def test_the_progress_bar_shows_the_smallest_total_of_the_last_check(tmp_path, bar):
    from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar

    seen = []

    class Looks(Callback):
        def on_train_epoch_end(self, trainer, module):
            seen.append(trainer.progress_bar_callback.get_metrics(trainer, module).get("mviz/weakest_total"))

    watch = monitor(progress_bar=True, every_n_validations=2)
    bars = {"TQDM": TQDMProgressBar, "Rich": RichProgressBar}
    if bar == "Rich":
        pytest.importorskip("rich")
    fit(tmp_path, watch, bars[bar](), Looks(), enable_progress_bar=True, max_epochs=3)
    first, third = (row.values["weakest_total"] for row in watch.history.fitted)
    shown = [float(value) for value in seen]
    assert shown == pytest.approx([first, first, third], abs=5e-3)


@pytest.mark.slow
def test_a_value_in_the_progress_bar_changes_no_bit(tmp_path):
    def weights(**settings):
        module = Toy()
        torch.manual_seed(0)
        for part in module.encoders:
            part.reset_parameters()
        module.head.reset_parameters()
        fit(tmp_path, monitor(**settings), module=module)
        return module.state_dict()

    found, expected = weights(progress_bar=True), weights()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_without_the_argument_the_progress_bar_shows_nothing_of_ours(tmp_path):
    chosen = fit(tmp_path, monitor())
    assert not any(key.startswith("mviz/") for key in chosen.progress_bar_metrics)


def test_a_page_of_a_hundred_epochs_and_sixteen_examples_stays_small(tmp_path):
    """How long it takes is measured by ``tests/benchmarks/report_page.py``."""
    folder = write_run(tmp_path / "mviz", epochs=100, examples=16, explainers=["dime"])
    assert write_page(folder).stat().st_size < 5e6
