"""Classes and subgroups in a training: logged, printed, drawn, refused before it begins."""

import pytest
import torch
from helpers.toy import Toy, examples, fit, monitor, trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch.utils.data import DataLoader, TensorDataset

from mviz_lightning import ConfigurationError, MonitorWarning
from mviz_lightning.explainers import ExampleRanking


def with_sites(seed):
    """Return a loader whose batches have a site as a fourth leaf."""
    data = examples(seed=seed)
    return DataLoader(TensorDataset(*data.tensors, torch.arange(64) % 2), batch_size=16)


class Sited(Toy):
    def loss(self, batch):
        return super().loss(batch[:3])


def trained(folder, watch, *callbacks, **settings):
    torch.manual_seed(0)
    chosen = trainer(folder, watch, *callbacks, **settings)
    chosen.fit(Sited(), with_sites(0), with_sites(1))
    return chosen


@pytest.mark.slow
def test_a_training_logs_prints_and_draws_them(tmp_path):
    watch = monitor(by_class=True, subgroups="3", class_names=["low", "mid", "high"])
    stop = EarlyStopping("mviz/subgroup/1/total/text", patience=5, check_on_train_epoch_end=False)
    chosen = trained(tmp_path, watch, stop)
    logged = {key for key in chosen.callback_metrics if key.startswith(("mviz/class/", "mviz/subgroup/"))}
    assert {f"mviz/subgroup/{s}/{kind}/image" for s in "01" for kind in ("total", "total_low", "total_high")} < logged
    assert any(key.startswith("mviz/class/") for key in logged)
    values = watch.history[-1].values
    assert float(chosen.callback_metrics["mviz/subgroup/0/total/text"]) == pytest.approx(
        values["subgroup/0/total/text"]
    )
    assert "by subgroup" in str(watch.history)
    folder = tmp_path / "mviz" / "version_0"
    assert (folder / "by_subgroup.png").is_file()
    assert (folder / "by_class.png").is_file()
    assert "by class" in (folder / "summary.md").read_text("utf-8")


@pytest.mark.slow
def test_they_change_nothing_else(tmp_path):
    watches = [monitor(), monitor(by_class=True, subgroups="3")]
    trainers = [trained(tmp_path / str(k), watch) for k, watch in enumerate(watches)]
    cost = ("seconds", "overhead")
    plain, more = (
        {key: value for key, value in watch.history[-1].values.items() if key not in cost} for watch in watches
    )
    assert plain == {key: value for key, value in more.items() if not key.startswith(("class/", "subgroup/"))}
    weights = [torch.cat([w.flatten() for w in chosen.lightning_module.parameters()]) for chosen in trainers]
    assert torch.equal(*weights)


@pytest.mark.slow
def test_what_is_left_out_is_said_once_and_noted_in_the_first_row(tmp_path):
    watch = monitor(by_class=True)
    fit(tmp_path, watch, max_epochs=3)
    assert "classes have fewer than 12 recombined examples" in watch.history[0].note
    assert [row.note for row in watch.history][1:] == ["", ""]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subgroups": "metadata.site"}, r"subgroups='metadata.site': no such leaf .*: 2 \(16,\), 3 \(16,\)"),
        ({"subgroups": "0"}, r"subgroups='0': the leaf \(16, 4\) holds several values"),
        ({"by_class": True, "target": None}, r"by_class=True: the task is 'regression'"),
    ],
)
def test_what_cannot_be_is_refused_before_the_training(tmp_path, settings, message):
    seen = []

    class Watched(Sited):
        def on_train_batch_start(self, batch, batch_idx):
            seen.append(batch_idx)

    with pytest.raises(ConfigurationError, match=message):
        trainer(tmp_path, monitor(**settings)).fit(Watched(outputs=1), with_sites(0), with_sites(1))
    assert not seen


def test_a_run_that_fails_gives_monitored_classes_a_value(tmp_path):
    def broken(module, batch):
        if len(batch[0]) > 16:
            raise RuntimeError("not today")
        return module(*batch[:2])

    stop = EarlyStopping("mviz/class/mid/total/text", patience=5, check_on_train_epoch_end=False)
    watch = monitor(by_class=True, class_names=["low", "mid", "high"], predict=broken)
    with pytest.warns(MonitorWarning, match="not today"):
        fit(tmp_path, watch, stop)
    assert len(watch.history) == 2


@pytest.mark.slow
def test_the_ranking_logs_fractions_and_writes_a_table(tmp_path):
    watch = monitor(explainers=[ExampleRanking(every_n_validations=1)])
    chosen = fit(tmp_path, watch)
    names = ("only_image", "only_text", "interaction", "mixed")
    fractions = [float(chosen.callback_metrics[f"mviz/ranking/{name}"]) for name in names]
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert sum(fractions) <= 1 + 1e-6
    table = (tmp_path / "mviz" / "version_0" / "ranking" / "examples.csv").read_text("utf-8").splitlines()
    assert len(table) == 1 + 32
    assert [row.note for row in watch.history] == ["", ""]


@pytest.mark.slow
def test_a_class_that_is_left_out_and_monitored_does_not_end_the_training(tmp_path):
    stop = EarlyStopping("mviz/class/0/total/text", patience=5, check_on_train_epoch_end=False)
    watch = monitor(by_class=True)
    chosen = fit(tmp_path, watch, stop)
    assert "class/0/total/text" not in watch.history[0].values
    assert chosen.callback_metrics["mviz/class/0/total/text"] == stop.best_score
    assert "mviz/class/0/total/image" not in chosen.callback_metrics
