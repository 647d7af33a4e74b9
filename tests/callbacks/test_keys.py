"""What is logged, under which names, and who can see it."""

import csv
import math

import pytest
import torch
from helpers.few import spread
from helpers.towers import Pairs, loaders
from helpers.toy import MODALITIES, Toy, Unseen, examples, fit, loader, monitor, trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from mviz_lightning.functional.scores import predictions

THREE = {"image": "0", "text": "1", "audio": "2"}
COST = {"mviz/seconds", "mviz/rows", "mviz/overhead"}


def documented(modalities, *, scored=True, pairs=(), decides=True, observed=True):
    """The table of keys in the documentation, written out."""
    bounded = [f"contribution/{m}" for m in modalities] + [f"total/{m}" for m in modalities]
    bounded += ["interaction", *(f"interaction/{pair}" for pair in pairs)]
    keys = {f"mviz/{key}" for key in bounded} | {"mviz/weakest_total"} | COST
    for key in bounded:
        kind, _, of = key.partition("/")
        keys |= {f"mviz/{kind}_{side}{of and '/' + of}" for side in ("low", "high")}
    keys |= {f"mviz/flips/{m}" for m in modalities} if decides else set()
    keys |= {"mviz/agreement"} if observed else set()
    if scored:
        keys |= {f"mviz/{key}" for key in ("score", "emap_score", "emap_gap", "emap_gap_low", "emap_gap_high")}
        keys |= {f"mviz/perceptual/{m}" for m in modalities}
    return keys


def logged(chosen):
    return {key for key in chosen.callback_metrics if key.startswith("mviz/")}


def test_two_modalities_with_labels_log_the_documented_keys(tmp_path):
    assert logged(fit(tmp_path, monitor())) == documented(MODALITIES)


@pytest.mark.slow
def test_without_labels_the_score_keys_are_absent(tmp_path):
    chosen = fit(tmp_path, monitor(target=None, task="multiclass"), module=Unseen())
    assert logged(chosen) == documented(MODALITIES, scored=False, observed=False)


def test_labels_that_only_the_step_names_are_scored(tmp_path):
    assert logged(fit(tmp_path, monitor(target=None))) == documented(MODALITIES)


def test_three_modalities_log_their_pairs_in_declared_order(tmp_path):
    sizes = (4, 3, 2)
    chosen = trainer(tmp_path, monitor(modalities=THREE, target="3", group_size=12))
    chosen.fit(Toy(sizes), loader(sizes=sizes), loader(sizes=sizes, seed=1))
    assert logged(chosen) == documented(THREE, pairs=("image+text", "image+audio", "text+audio"))


def test_scores_of_pairs_log_the_keys_of_retrieval_and_of_the_embeddings(tmp_path):
    pair = {"image": "image", "text": "text"}
    chosen = trainer(tmp_path, monitor(modalities=pair, target=None, reference=64))
    chosen.fit(Pairs(), *loaders())
    sides = {f"mviz/{measure}/{m}" for measure in ("uniformity", "effective_rank") for m in pair}
    assert logged(chosen) == documented(pair, observed=False) | {"mviz/modality_gap", "mviz/alignment"} | sides


def test_shares_add_up_to_one_and_everything_is_finite(tmp_path):
    metrics = fit(tmp_path, monitor()).callback_metrics
    total = sum(float(metrics[f"mviz/{key}"]) for key in ("contribution/image", "contribution/text", "interaction"))
    assert total == pytest.approx(1, abs=1e-6)
    assert all(math.isfinite(value) for key, value in metrics.items() if key.startswith("mviz/"))
    assert metrics["mviz/rows"] == 32 * 8


def test_scores_are_those_of_the_probe_by_hand(tmp_path):
    watch, module = monitor(), Toy()
    fit(tmp_path, watch, module=module)
    probe = watch._run.session.probe
    rows = probe.groups.flatten()
    outputs = module(probe.leaves["0"][rows], probe.leaves["1"][rows])
    by_hand = (predictions(outputs, "multiclass").argmax(1) == probe.target[rows]).float().mean()
    assert watch.history[-1].values["score"] == pytest.approx(float(by_hand))


@pytest.mark.parametrize("key", spread(sorted(documented(MODALITIES)), 3))
def test_every_key_can_stop_a_training_and_choose_a_checkpoint(tmp_path, key):
    stop = EarlyStopping(key, patience=5, check_on_train_epoch_end=False)
    best = ModelCheckpoint(tmp_path, monitor=key, save_top_k=1)
    fit(tmp_path, stop, best, monitor(), enable_checkpointing=True, max_epochs=1)
    assert best.best_model_score is not None
    assert torch.isfinite(stop.best_score)


def test_a_csv_row_holds_the_shares_beside_the_validation_loss(tmp_path):
    fit(tmp_path, monitor(), logger=CSVLogger(tmp_path, name="csv"))
    with (tmp_path / "csv" / "version_0" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val_loss"]]
    assert len(rows) == 2
    assert all(row["mviz/interaction"] for row in rows)


def test_tensorboard_shows_shares_and_picture_at_the_x_of_the_validation_loss(tmp_path):
    watch = monitor()
    fit(tmp_path, watch, logger=TensorBoardLogger(tmp_path, name="tb"), max_epochs=3)
    events = EventAccumulator(str(tmp_path / "tb" / "version_0"), size_guidance={"images": 0, "scalars": 0}).Reload()
    steps = [event.step for event in events.Scalars("val_loss")]
    assert [event.step for event in events.Scalars("mviz/interaction")] == steps
    assert [row.step for row in watch.history] == steps
    assert {event.step for event in events.Images("mviz/shares")} == {steps[0], steps[-1]}


@pytest.mark.long
@pytest.mark.parametrize(("outputs", "label"), [(1, lambda y: (y > 0).float()), (1, lambda y: y.float() + 0.5)])
def test_binary_and_regression_targets_are_told_apart(tmp_path, outputs, label):
    data = examples()
    data.tensors = (*data.tensors[:2], label(data.tensors[2]))
    loaders = [DataLoader(data, batch_size=16)] * 2
    watch = monitor()
    trainer(tmp_path, watch).fit(Unseen(outputs=outputs), *loaders)
    assert watch._run.session._shares.task == ("binary" if set(data.tensors[2].tolist()) == {0, 1} else "regression")
    assert "score" in watch.history[-1].values


def test_multilabel_targets_are_scored_per_label(tmp_path):
    class Labels(Toy):
        def loss(self, batch):
            return torch.nn.functional.binary_cross_entropy_with_logits(self(*batch[:2]), batch[2].float())

    data = examples()
    data.tensors = (*data.tensors[:2], torch.nn.functional.one_hot(data.tensors[2], 3) | (data.tensors[0][:, :3] > 0))
    watch = monitor()
    trainer(tmp_path, watch).fit(Labels(), *[DataLoader(data, batch_size=16)] * 2)
    assert watch._run.session._shares.task == "multilabel"
    assert 0 <= watch.history[-1].values["score"] <= 1
