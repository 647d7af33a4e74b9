"""Every way in which a Trainer validates."""

import re

import pytest
import torch
from helpers.toy import MODALITIES, SMALL, Toy, Unseen, examples, fit, loader, monitor, trainer
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.utils.data import DataLoader, IterableDataset

from mviz_lightning import ConfigurationError, MonitorWarning, MultimodalMonitor, explain


def test_the_sanity_check_rehearses_and_collects_nothing(tmp_path):
    class Look(Callback):
        def on_sanity_check_end(self, trainer, module):
            self.seen = (
                watch._run.session.dry_run_done,
                watch._run.session.probe,
                watch._run.session._sampler._reservoir,
                len(watch.history),
            )

    watch, look = monitor(), Look()
    fit(tmp_path, watch, look)
    assert look.seen == (True, None, None, 0)


def test_validate_and_test_measure_as_fit_does(tmp_path):
    module, watch = Toy(), monitor()
    chosen = trainer(tmp_path, watch)
    chosen.validate(module, loader(seed=1), verbose=False)
    validated = watch.history[-1]
    chosen.test(module, loader(seed=1), verbose=False)
    tested = watch.history[-1]
    assert (validated.stage, tested.stage) == ("validate", "test")
    assert "mviz/interaction" in chosen.callback_metrics
    for key in ("interaction", "total/image", "score"):
        assert tested.values[key] == validated.values[key]


def test_explain_without_a_trainer_gives_the_same_values(tmp_path):
    module, watch = Toy(), monitor(reference=32)
    trainer(tmp_path, watch).validate(module, loader(seed=1), verbose=False)
    alone = explain(module, loader(seed=1), modalities=MODALITIES, target="2", num_examples=32, group_size=8)
    for key in watch.config.keys:
        assert alone.values[key] == watch.history[-1].values[key]


@pytest.mark.slow
def test_examples_come_from_the_chosen_loader(tmp_path):
    module, watch, second = Toy(), monitor(dataloader_idx=1), monitor(name="second")
    loaders = [loader(seed=1), loader(seed=2)]
    trainer(tmp_path, watch, second).fit(module, loader(), loaders)
    rows = {tuple(row.tolist()) for row in examples(seed=2).tensors[0]}
    assert {tuple(row.tolist()) for row in watch._run.session.probe.leaves["0"]} <= rows
    assert not {tuple(row.tolist()) for row in second._run.session.probe.leaves["0"]} & rows


@pytest.mark.slow
def test_validation_in_mid_epoch_gives_a_row_each(tmp_path):
    watch = monitor()
    fit(tmp_path, watch, val_check_interval=2)
    assert len(watch.history) == 4
    assert len({row.step for row in watch.history}) == 4


def test_a_loader_of_unknown_length_is_measured_at_its_last_batch(tmp_path):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(examples(seed=1))

    when = []

    class Look(Callback):
        def on_validation_epoch_end(self, trainer, module):
            when.append(watch._run.row is not None)

    watch = monitor()
    trainer(tmp_path, Look(), watch).fit(Toy(), loader(), DataLoader(Stream(), batch_size=16))
    assert len(watch.history) == 2
    assert when[-1]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(lightning_callbacks, "WeightAveraging"), reason="came with Lightning 2.6")
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_averaged_weights_are_measured_whatever_the_order_of_callbacks(tmp_path, first):
    module, watch = Toy(), monitor()
    averaging = lightning_callbacks.WeightAveraging()
    order = (watch, averaging) if first else (averaging, watch)
    torch.manual_seed(0)
    chosen = trainer(tmp_path, *order, max_epochs=3)

    class Keep(Callback):
        def on_validation_start(self, trainer, module):
            self.averaged = None

        def on_validation_batch_start(self, trainer, module, *_):
            self.averaged = {name: value.clone() for name, value in module.state_dict().items()}

    keep = Keep()
    chosen.callbacks.append(keep)
    chosen.fit(module, loader(shuffle=True), loader(seed=1))
    same = MultimodalMonitor(MODALITIES, target="2", **SMALL)
    twin = Toy()
    twin.load_state_dict(keep.averaged)
    trainer(tmp_path, same).validate(twin, loader(seed=1), verbose=False)
    assert watch.history[-1].values["total/image"] == same.history[-1].values["total/image"]


@pytest.mark.slow
def test_the_probe_stays_the_same_while_the_loader_shuffles(tmp_path):
    probes = []

    class Look(Callback):
        def on_validation_end(self, trainer, module):
            if not trainer.sanity_checking:
                probes.append(watch._run.session.probe)

    watch = monitor()
    trainer(tmp_path, watch, Look(), max_epochs=3).fit(Toy(), loader(), loader(shuffle=True, seed=1))
    assert len(probes) == 3
    assert probes[0] is probes[2]


def test_every_second_validation_is_measured_when_asked(tmp_path):
    watch = monitor(every_n_validations=2)
    fit(tmp_path, watch, max_epochs=4)
    assert [row.epoch for row in watch.history] == [0, 2]


def test_a_validation_loader_that_never_runs_is_said(tmp_path):
    with pytest.warns(MonitorWarning, match="there was no validation; check limit_val_batches"):
        fit(tmp_path, monitor(), limit_val_batches=0)


def test_fast_dev_run_works_and_writes_nothing(tmp_path):
    watch = monitor(num_examples=16, group_size=8)
    fit(tmp_path, watch, fast_dev_run=True)
    assert len(watch.history) == 1
    assert not list(tmp_path.rglob("history.jsonl"))


same_folder = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")


def saved(folder, watch):
    """Train for an epoch and return the checkpoint's path."""
    checkpoint = ModelCheckpoint(folder, filename="last")
    fit(folder, watch, checkpoint, enable_checkpointing=True, max_epochs=1)
    return folder / "last.ckpt"


def resume(folder, watch, path, seed=1):
    chosen = trainer(folder, watch, ModelCheckpoint(folder), max_epochs=2, enable_checkpointing=True)
    chosen.fit(Toy(), loader(shuffle=True), loader(seed=seed), ckpt_path=path)


def resumed(folder, first, second):
    resume(folder, second, saved(folder, first))


@same_folder
def test_a_resumed_training_goes_on_with_history_and_probe(tmp_path):
    first, second = monitor(), monitor()
    resumed(tmp_path, first, second)
    assert [row.epoch for row in second.history] == [0, 1]
    assert second.history[0] == first.history[0]
    assert all(
        torch.equal(first._run.session.probe.leaves[k], second._run.session.probe.leaves[k]) for k in ("0", "1", "2")
    )


@same_folder
def test_a_probe_too_large_for_the_checkpoint_is_drawn_again_and_known_to_be_the_same(tmp_path):
    first, second = monitor(checkpoint_megabytes=0), monitor(checkpoint_megabytes=0)
    resumed(tmp_path, first, second)
    assert "leaves" not in first.state_dict()["probe"]
    assert torch.equal(first._run.session.probe.leaves["0"], second._run.session.probe.leaves["0"])
    assert second.history[1].note == ""


@same_folder
def test_a_probe_that_changed_marks_the_break(tmp_path):
    second = monitor(checkpoint_megabytes=0)
    resume(tmp_path, second, saved(tmp_path, monitor(checkpoint_megabytes=0)), seed=7)
    assert "probe drawn anew" in second.history[1].note


def test_the_state_is_plain_enough_for_weights_only_loading(tmp_path):
    watch = monitor()
    fit(tmp_path, watch)
    torch.save(watch.state_dict(), tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True)["history"] == watch.state_dict()["history"]


def test_validate_from_a_checkpoint_leaves_the_history_of_fit_alone(tmp_path):
    first, second = monitor(), monitor()
    path = saved(tmp_path, first)
    chosen = trainer(tmp_path, second, ModelCheckpoint(tmp_path), enable_checkpointing=True)
    chosen.validate(Toy(), loader(seed=1), ckpt_path=path, verbose=False)
    assert second.history.fitted == first.history.fitted
    assert second.history[-1].stage == "validate"


@pytest.mark.slow
def test_a_second_training_starts_a_history_of_its_own(tmp_path):
    watch = monitor()
    fit(tmp_path, watch)
    fit(tmp_path, watch, max_epochs=1)
    assert len(watch.history) == 1


@pytest.mark.slow
def test_monitors_of_two_names_work_side_by_side(tmp_path):
    chosen = fit(tmp_path, monitor(), monitor(name="other", seed=1))
    assert {"mviz/interaction", "other/interaction"} <= set(chosen.callback_metrics)


def test_a_trainer_of_pytorch_lightning_takes_the_monitor(tmp_path):
    pytorch_lightning = pytest.importorskip("pytorch_lightning")

    class Other(pytorch_lightning.LightningModule):
        __init__, forward, loss = Toy.__init__, Toy.forward, Toy.loss
        training_step, validation_step = Toy.training_step, Toy.validation_step
        configure_optimizers = Toy.configure_optimizers

    Other.__init__ = lambda self: (pytorch_lightning.LightningModule.__init__(self), _build(self))[0]
    watch = monitor()
    chosen = pytorch_lightning.Trainer(
        default_root_dir=tmp_path,
        callbacks=[watch],
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    chosen.fit(Other(), loader(), loader(seed=1))
    assert "mviz/interaction" in chosen.callback_metrics


def _build(module):
    toy = Toy()
    module.encoders, module.head = toy.encoders, toy.head


def test_the_history_prints_a_row_for_each_run(tmp_path):
    watch = monitor()
    fit(tmp_path, watch)
    lines = str(watch.history).splitlines()
    assert lines[0].split()[:2] == ["epoch", "step"]
    assert len(lines) == 4
    assert "for +-0.05 set num_examples to about" in lines[3]
    assert re.match(r"0 +3 ", lines[1])


def test_a_combined_loader_whose_other_half_ends_early_is_watched(tmp_path):
    from lightning.pytorch.utilities import CombinedLoader

    class Half(Unseen):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            super().validation_step(batch["p"], batch_idx)

    watch = monitor(modalities={"image": "p.0", "text": "p.1"}, target="p.2")
    halves = CombinedLoader({"p": loader(seed=1), "q": loader(16)}, "max_size")
    with pytest.warns(MonitorWarning, match="in the order in which modalities were declared"):
        trainer(tmp_path, watch).fit(Half(), loader(), halves)
    assert all(row.values for row in watch.history)


def test_a_table_with_as_many_rows_as_the_batch_is_no_example(tmp_path):
    class WithTable(Toy):
        def forward(self, batch):
            return super().forward(batch["image"], batch["text"]) + 0 * batch["table"].sum()

        def loss(self, batch):
            return torch.nn.functional.cross_entropy(self(batch), batch["label"])

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.loss(batch), batch_size=len(batch["image"]))

    def collate(rows):
        image, text, label = (torch.stack(column) for column in zip(*rows, strict=True))
        return {"image": image, "text": text, "label": label, "table": torch.eye(16)}

    watch = monitor(modalities=["image", "text"], target="label")
    loaders = [DataLoader(examples(40), batch_size=16, collate_fn=collate) for _ in range(2)]
    trainer(tmp_path, watch).fit(WithTable(), *loaders)
    assert set(watch._run.session.probe.leaves) == {"image", "text", "label"}


@pytest.mark.long
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_the_model_is_asked_under_the_trainer_s_precision(tmp_path, precision):
    seen = []

    class Look(Toy):
        def forward(self, *modalities):
            outputs = super().forward(*modalities)
            seen.append(outputs.dtype)
            return outputs

    watch = monitor()
    fit(tmp_path, watch, module=Look(), precision=precision)
    assert set(seen) == {torch.bfloat16}
    assert all(row.values for row in watch.history)


def test_a_training_that_ends_before_its_first_validation_says_so(tmp_path):
    with pytest.warns(MonitorWarning, match="the monitor never ran, because there was no validation"):
        fit(tmp_path, monitor(), check_val_every_n_epoch=5)


def test_a_loader_that_does_not_exist_is_said_in_the_sanity_check(tmp_path):
    with pytest.raises(ConfigurationError, match="dataloader_idx=1: that loader gave no batch; 0 is the first, and 0"):
        fit(tmp_path, monitor(dataloader_idx=1))


def test_a_loader_that_does_not_exist_is_said_without_a_sanity_check_too(tmp_path):
    with pytest.warns(MonitorWarning, match="no validation batch came from the loader that dataloader_idx= names"):
        fit(tmp_path, monitor(dataloader_idx=1), num_sanity_val_steps=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:swapping:mviz_lightning.errors.MonitorWarning")
def test_another_model_in_the_same_trainer_is_measured_itself(tmp_path):
    watch = monitor()
    chosen = fit(tmp_path, watch)
    chosen.fit_loop.max_epochs = 4
    second = Toy()
    with torch.no_grad():
        second.encoders[1].weight.zero_()
    second.encoders[1].requires_grad_(False)
    chosen.fit(second, loader(), loader(seed=1))
    assert watch.history[-1].values["total/text"] == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
def test_fit_goes_on_with_its_own_probe_after_a_test(tmp_path):
    watch, module = monitor(), Toy()
    chosen = fit(tmp_path, watch, module=module)
    before = watch._run.session.probe
    chosen.test(module, loader(seed=5), verbose=False)
    assert watch._run.session.probe is not before
    chosen.fit_loop.max_epochs = 3
    chosen.fit(module, loader(shuffle=True), loader(seed=1))
    assert watch._run.session.probe is before
    assert [row.epoch for row in watch.history.fitted] == [0, 1, 2]


def test_a_test_from_a_checkpoint_keeps_the_history_of_the_training(tmp_path):
    watch, module = monitor(), Toy()
    checkpoint = ModelCheckpoint(tmp_path, save_top_k=-1)
    chosen = fit(tmp_path, watch, checkpoint, module=module, enable_checkpointing=True)
    first = min(tmp_path.glob("epoch=0*.ckpt"))
    chosen.test(module, loader(seed=5), ckpt_path=first, verbose=False)
    assert [row.epoch for row in watch.history.fitted] == [0, 1]


def test_a_first_validation_that_broke_off_is_forgotten(tmp_path):
    class Breaks(Toy):
        broken = True

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            if self.broken and not self.trainer.sanity_checking and batch_idx == 2:
                raise KeyError("broken step")
            super().validation_step(batch, batch_idx)

    watch, module = monitor(), Breaks()
    chosen = trainer(tmp_path, watch)
    with pytest.raises(KeyError, match="broken step"):
        chosen.fit(module, loader(), loader(seed=1))
    module.broken = False
    chosen.fit(module, loader(), loader(seed=1))
    assert all(row.values for row in watch.history)


@same_folder
def test_a_changed_configuration_draws_the_groups_anew_and_says_so(tmp_path):
    second = monitor(group_size=4, num_examples=16)
    resume(tmp_path, second, saved(tmp_path, monitor()))
    assert second._run.session.probe.groups.shape == (4, 4)
    assert "groups drawn anew" in second.history[1].note


@same_folder
@pytest.mark.parametrize("key", ["mviz/weakest_total", "mviz/score"])
def test_a_resumed_training_that_is_not_due_can_still_be_monitored(tmp_path, key):
    path = saved(tmp_path, monitor(every_n_validations=2))
    stop = lightning_callbacks.EarlyStopping(key, patience=9, mode="max", check_on_train_epoch_end=False)
    callbacks = [monitor(every_n_validations=2), stop, ModelCheckpoint(tmp_path)]
    chosen = trainer(tmp_path, *callbacks, max_epochs=2, enable_checkpointing=True)
    chosen.fit(Toy(), loader(shuffle=True), loader(seed=1), ckpt_path=path)
    assert chosen.current_epoch == 2


def test_lazy_layers_are_tried_after_the_first_step_has_made_them(tmp_path):
    class Lazy(Toy):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.LazyLinear(3)

    watch = monitor()
    fit(tmp_path, watch, module=Lazy())
    assert all(row.values for row in watch.history)


@pytest.mark.filterwarnings("ignore:swapping:mviz_lightning.errors.MonitorWarning")
def test_a_model_whose_outputs_do_not_vary_is_qualified(tmp_path):
    module, watch = Toy(), monitor()
    torch.nn.init.zeros_(module.head.weight)
    trainer(tmp_path, watch).validate(module, loader(seed=1), verbose=False)
    assert watch.history[-1].note == "shares below 1 may be rounding"
    assert watch.history[-1].values["weakest_total"] == 0


def test_a_validation_by_itself_is_always_measured(tmp_path):
    watch, module = monitor(every_n_validations=2), Toy()
    chosen = fit(tmp_path, watch, module=module, max_epochs=1)
    chosen.validate(module, loader(seed=1), verbose=False)
    assert watch.history[-1].stage == "validate"
