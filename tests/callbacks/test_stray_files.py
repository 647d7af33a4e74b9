"""Whatever fails outside a training, or before it brought anything new, leaves nothing behind."""

import pytest
from helpers.few import few
from helpers.toy import Toy, loader, monitor, trainer
from lightning.pytorch import Callback

from mviz_lightning.callbacks.trainer_facts import run_folder
from mviz_lightning.sinks.records import MarkdownText
from mviz_lightning.testing import MemorySink


class Fails(Callback):
    """Raises in one hook, once it is told to."""

    def __init__(self, hook):
        self.ready = True
        setattr(self, hook, self.fail)

    def fail(self, *given, **named):
        if self.ready:
            raise RuntimeError("on purpose")


class Pairs(Toy):
    def predict_step(self, batch, _):
        return self(*batch[:2])


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def runs(chosen, stage, module, **settings):
    if stage == "fit":
        chosen.fit(module, loader(shuffle=True), loader(seed=1), **settings)
    else:
        getattr(chosen, stage)(module, loader(seed=1), **settings)


@pytest.fixture
def saved(tmp_path):
    """The checkpoint of a training of one epoch, whose files lie in another folder."""
    folder = tmp_path / "first"
    chosen = trainer(folder, monitor(), max_epochs=1)
    runs(chosen, "fit", Pairs())
    chosen.save_checkpoint(folder / "last.ckpt")
    return folder / "last.ckpt"


@pytest.mark.long
@pytest.mark.parametrize(
    ("stage", "hook"),
    [
        ("predict", "on_predict_start"),
        ("predict", "on_predict_batch_end"),
        ("validate", "on_validation_start"),
        ("validate", "on_validation_batch_start"),
        ("test", "on_test_start"),
        ("fit", "on_train_start"),
    ],
)
def test_what_fails_after_a_training_leaves_no_folder(tmp_path, saved, stage, hook):
    there = tmp_path / "second"
    with pytest.raises(RuntimeError, match="on purpose"):
        runs(trainer(there, monitor(), Fails(hook), max_epochs=2), stage, Pairs(), ckpt_path=saved)
    assert not files(there)


@pytest.mark.parametrize("hook", few(["setup", "on_predict_start"]))
def test_a_trainer_that_fails_to_predict_what_it_has_trained_touches_no_file(tmp_path, hook):
    fails, module = Fails(hook), Pairs()
    fails.ready = False
    chosen = trainer(tmp_path, fails, monitor(), max_epochs=1)
    runs(chosen, "fit", module)
    before, fails.ready = files(tmp_path), True
    assert [path.name for path in before if path.name == "summary.md"] == ["summary.md"]
    with pytest.raises(RuntimeError, match="on purpose"):
        runs(chosen, "predict", module)
    assert files(tmp_path) == before


def test_what_fails_at_the_end_of_a_training_has_nothing_told_twice(tmp_path):
    watch, sink = monitor(), MemorySink()

    class Attach(Callback):
        def on_fit_start(self, trainer, module):
            watch._run.reporter.sinks = [sink]

    with pytest.raises(RuntimeError, match="on purpose"):
        runs(trainer(tmp_path, watch, Attach(), Fails("on_fit_end"), max_epochs=1), "fit", Pairs())
    written = [record.key for record, *_ in sink.records if isinstance(record, MarkdownText)]
    assert written == ["mviz/how_to_read", "mviz/summary"]


def test_a_training_that_breaks_off_after_a_validation_is_told(tmp_path):
    with pytest.raises(RuntimeError, match="on purpose"):
        runs(trainer(tmp_path, monitor(), Fails("on_train_epoch_end"), max_epochs=1), "fit", Pairs())
    assert {path.name for path in tmp_path.rglob("*.*")} == {
        "history.jsonl",
        "how_to_read.md",
        "report.html",
        "run.json",
        "shares.png",
        "summary.md",
    }


@pytest.mark.parametrize(("there", "chosen"), [([], 0), (["version_²", "version_٣", "version_7x", "version_3"], 4)])
def test_a_run_has_the_next_numbered_folder_whatever_else_is_there(tmp_path, there, chosen):
    for name in there:
        (tmp_path / "mviz" / name).mkdir(parents=True)
    assert run_folder(trainer(tmp_path), "mviz") == tmp_path / "mviz" / f"version_{chosen}"
