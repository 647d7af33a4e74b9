"""Trainings whose validation data lack a modality: in batches, in examples, in a loader, on a process."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from callbacks.test_keys import documented, logged
from helpers.few import few
from helpers.incomplete import Patient, Strict, accuracy, batches_of, everything, loader, missing, none, watching
from helpers.toy import trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader, TensorDataset

from mviz_lightning import ConfigurationError, Modality, MonitorWarning
from mviz_lightning.observation.observed_step import StepObserver
from mviz_lightning.observation.own_outputs import OwnOutputs

LINE = "48 of 64 examples have text; shares and explanations are those of examples that have all modalities"
LACKING = (0, 5)
"""Batches without text: the first one is the only one of the sanity check."""
COMPLETE = [row for row in range(64) if row // 8 not in LACKING]


def trained(folder: Path, parts: Any, *callbacks: Any, module: Any = None, **settings: Any) -> Any:
    torch.manual_seed(0)
    module = Patient() if module is None else module
    chosen = trainer(folder, *callbacks, **({"num_sanity_val_steps": 1} | settings))
    chosen.fit(module, loader(batches_of(everything(seed=0))), parts if hasattr(parts, "__next__") else loader(parts))
    return chosen


def bits(chosen: Any) -> list[float]:
    return [float(value.double().sum()) for value in chosen.lightning_module.state_dict().values()]


@pytest.mark.slow
@pytest.mark.parametrize("lacks", few([none, missing]))
def test_batches_without_a_modality_are_left_out_and_counted_once(tmp_path, lacks):
    watch, alone = watching(), watching()
    # A key that is missing in all batches of the sanity check would be taken for a wrong path.
    checked = {"num_sanity_val_steps": 2}
    chosen = trained(tmp_path / "some", batches_of(everything(), LACKING, lacks), watch, **checked)
    trained(tmp_path / "all", batches_of({name: leaf[COMPLETE] for name, leaf in everything().items()}), alone)
    found, expected = ([row.values for row in one.history] for one in (watch, alone))
    assert [values.keys() for values in found] == [values.keys() for values in expected]
    assert len(found) == 2
    # Positions differ, and with them the sample, but all 48 complete examples are kept in both.
    assert {tuple(row) for row in watch._run.session.probe.leaves["image"].tolist()} == {
        tuple(row) for row in everything()["image"][COMPLETE].tolist()
    }
    assert all(values["agreement"] == 1 for values in found)
    assert [row.note.count(LINE) for row in watch.history] == [1, 0]
    assert bits(chosen) == bits(trained(tmp_path / "none", batches_of(everything(), LACKING, lacks)))


@pytest.mark.slow
def test_a_sanity_check_without_any_complete_batch_waits_and_says_so(tmp_path, caplog):
    watch = watching()
    with caplog.at_level("INFO"):
        trained(tmp_path, batches_of(everything(), LACKING, none), watch)
    assert (
        "none of 1 batch(es) of the sanity check has all of image, text; the model is tried in the first" in caplog.text
    )
    assert [row.values["agreement"] for row in watch.history] == [1, 1]
    assert LINE in watch.history[0].note


@pytest.mark.slow
def test_a_key_that_is_missing_in_all_of_the_sanity_check_is_an_error_unless_something_says_that_it_may(tmp_path):
    parts = batches_of(everything(), (0, 1, 5), missing)
    message = r"modalities\['text'\]: no leaf 'text' in the batch; leaves found: image \(8, 4\), label \(8,\).* 2 batch"
    with pytest.raises(ConfigurationError, match=message):
        trained(tmp_path, parts, watching(), num_sanity_val_steps=2)
    more = watching()
    trained(tmp_path, parts, more, num_sanity_val_steps=3)
    flagged = [part | {"has_text": torch.full((8,), float("text" in part))} for part in parts]
    told = watching(modalities={"image": "image", "text": Modality("text", present="has_text")})
    trained(tmp_path, flagged, told, num_sanity_val_steps=2)
    assert told.history[0].values["total/text"] == more.history[0].values["total/text"]


def test_a_wrong_path_ends_the_training_before_it_begins(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no leaf 'words' in the batch; leaves found: image \(8, 4\), text"):
        trained(tmp_path, batches_of(everything(), LACKING, none), watching(modalities=["image", "words"]))


@pytest.mark.filterwarnings("ignore:absence=True")
def test_the_score_without_a_modality_is_that_of_the_users_own_step(tmp_path):
    """The step calls another part of the model without a text, which no call of the complete batch shows."""
    watch = watching(absence=True)
    chosen = trained(tmp_path, batches_of(everything(), LACKING, none), watch)
    session, module = watch._run.session, chosen.lightning_module
    rows = [session.positions[example] for example in session.probe.groups.flatten().tolist()]
    found = {name: leaf[rows] for name, leaf in everything().items()}
    with torch.no_grad():
        without, full = module.look(found["image"]), module(found["image"], found["text"])
    values = watch.history[-1].values
    assert values["score"] == pytest.approx(accuracy(full, found["label"]))
    assert values["score_without/text"] == pytest.approx(accuracy(without, found["label"]))
    assert values["score_without/text"] != values["score"]
    assert float(chosen.callback_metrics["mviz/score_without/text"]) == pytest.approx(values["score_without/text"])
    assert bits(chosen) == bits(trained(tmp_path / "none", batches_of(everything(), LACKING, none)))


@pytest.mark.filterwarnings("ignore:absence=True")
def test_keys_table_and_history_of_absence(tmp_path):
    watch = watching(absence=True)
    chosen = trained(tmp_path, batches_of(everything(), LACKING, none), watch)
    assert logged(chosen) == documented(["image", "text"]) | {"mviz/score_without/text"}
    with next(tmp_path.rglob("absence.csv")).open() as file:
        rows = list(csv.reader(file))
    last = watch.history[-1]
    score, without = (f"{last.values[key]:.3f}" for key in ("score", "score_without/text"))
    when = f"epoch 1 (step {last.step})"
    assert rows == [
        ["when", "modalities", "examples", "score"],
        [when, "image + text", "48", score],
        [when, "text only", "0", ""],
        [when, "image only", "16", without],
    ]
    lines = str(watch.history).splitlines()
    assert "score without text" in lines[0]
    assert without in lines[2]


class TwoHeads(Patient):
    """A second head tells whether the label is 0; without a text it sees the picture alone."""

    def __init__(self) -> None:
        super().__init__()
        self.zero = torch.nn.Linear(3, 2)

    def forward(self, image, text=None):
        kind = self.look(image) if text is None else super().forward(image, text)
        return {"kind": kind, "zero": self.zero(torch.tanh(kind))}

    def loss(self, batch):
        found = self(batch["image"], batch.get("text"))
        zero = (batch["label"] == 0).long()
        return sum(
            torch.nn.functional.cross_entropy(found[name], of)
            for name, of in (("kind", batch["label"]), ("zero", zero))
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:absence=True", "ignore:head zero")
def test_each_head_has_scores_without_a_modality_and_a_table_of_its_own(tmp_path):
    watch = watching(absence=True, heads=["kind", "zero"])
    chosen = trained(tmp_path, batches_of(everything(), LACKING, none), watch, module=TwoHeads())
    session, module = watch._run.session, chosen.lightning_module
    rows = [session.positions[example] for example in session.probe.groups.flatten().tolist()]
    found, last = {name: leaf[rows] for name, leaf in everything().items()}, watch.history[-1]
    with torch.no_grad():
        full, without = module(found["image"], found["text"]), module(found["image"])
    for name, prefix, label in (("kind", "", found["label"]), ("zero", "zero/", (found["label"] == 0).long())):
        scores = accuracy(full[name], label), accuracy(without[name], label)
        assert (last.values[f"{prefix}score"], last.values[f"{prefix}score_without/text"]) == pytest.approx(scores)
        (path,) = (path for path in tmp_path.rglob("absence.csv") if (path.parent.name == "zero") == bool(prefix))
        with path.open() as file:
            cells = [row[1:] for row in csv.reader(file)]
        expected = [
            ["image + text", "48", f"{scores[0]:.3f}"],
            ["text only", "0", ""],
            ["image only", "16", f"{scores[1]:.3f}"],
        ]
        assert cells == [["modalities", "examples", "score"], *expected]


def test_a_model_that_refuses_absence_is_named_once_and_what_watches_the_key_goes_on(tmp_path):
    class Refusing(Strict):
        refuses = True

    watch, stop = watching(absence=True), EarlyStopping("mviz/score_without/text", mode="max", patience=5)
    with pytest.warns(MonitorWarning) as heard:
        chosen = trained(tmp_path, batches_of(everything()), watch, stop, module=Refusing())
    texts = [str(one.message) for one in heard if "absence=True" in str(one.message)]
    assert len(texts) == 2
    assert "without text, so their score is not reported. there is nothing to read." in texts[1]
    assert chosen.current_epoch == 2
    assert "score_without/text" not in watch.history[-1].values


def test_a_loader_of_a_combined_one_that_ends_early_leaves_a_modality_out(tmp_path):
    found = everything()

    class Halves(Patient):
        def loss(self, batch: Any) -> Any:
            text = None if batch["q"] is None else batch["q"][0]
            return super().loss({"image": batch["p"][0], "text": text, "label": batch["p"][1]})

        def validation_step(self, batch: Any, _: int) -> None:
            self.log("val_loss", self.loss(batch), batch_size=8)

    def halves(rows: int) -> CombinedLoader:
        parts = {"p": TensorDataset(found["image"], found["label"]), "q": TensorDataset(found["text"][:rows])}
        return CombinedLoader({name: DataLoader(part, batch_size=8) for name, part in parts.items()}, "max_size")

    watch = watching(modalities={"image": "p.0", "text": "q.0"}, absence=True)
    torch.manual_seed(0)
    chosen = trainer(tmp_path, watch)
    with pytest.warns(MonitorWarning, match="without image"):
        chosen.fit(Halves(), halves(64), halves(48))
    assert LINE in watch.history[0].note
    session = watch._run.session
    assert sorted(session.positions) == list(range(48))
    rows = [session.positions[example] for example in session.probe.groups.flatten().tolist()]
    with torch.no_grad():
        expected = accuracy(chosen.lightning_module.look(found["image"][rows]), found["label"][rows])
    assert watch.history[-1].values["score_without/text"] == pytest.approx(expected)


class Filling(Patient):
    """Fills what is not there with zeros."""

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return super().forward(image, text.nan_to_num())


def test_a_step_is_compared_with_the_monitor_in_complete_rows_alone(tmp_path, monkeypatch):
    compared = []

    def kept(own: OwnOutputs) -> Any:
        compared.append(found := take(own))
        return found

    take = OwnOutputs.take
    monkeypatch.setattr(OwnOutputs, "take", kept)
    found = everything()
    found["text"][[0, 2, 3, 9]] = float("nan")
    watch = watching()
    chosen = trained(tmp_path, batches_of(found), watch, module=Filling(), max_epochs=1)
    ((probe, rows),) = compared
    assert torch.equal(probe.leaves["image"], found["image"][[1, 4, 5, 6, 7]])
    with torch.no_grad():
        expected = chosen.lightning_module(found["image"][[1, 4, 5, 6, 7]], found["text"][[1, 4, 5, 6, 7]])
    assert torch.allclose(rows, expected)
    assert watch.history[0].values["agreement"] == 1
    assert "60 of 64 examples have text" in watch.history[0].note


def test_a_call_of_the_step_is_watched_in_a_whole_batch_alone(tmp_path, monkeypatch):
    """The sanity check's first batch has complete examples and others, so that the step is replayed on the former."""
    watched = []
    monkeypatch.setattr(StepObserver, "watch", lambda self, module, step, batch, schema: watched.append(batch))
    found = everything()
    found["text"][[0, 2, 3]] = float("nan")
    watch = watching()
    trained(tmp_path, batches_of(found), watch, module=Filling(), max_epochs=1)
    assert watched == []
    assert watch.history[0].values["agreement"] == 1
    trained(tmp_path, batches_of(everything()), watching(), module=Filling(), max_epochs=1)
    assert len(watched) == 1


PROGRAM = Path(__file__).with_name("absence_program.py")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_process_without_any_text_takes_part_and_hangs_nobody(tmp_path):
    command = [sys.executable, "-W", "ignore", str(PROGRAM), str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    assert first["rows"] == second["rows"]
    assert len(first["rows"]) == 2
    assert {"total/text", "score", "score_without/text", "agreement"} <= first["rows"][0].keys()
    assert "32 of 64 examples have text; shares and explanations are those of" in first["notes"][0]
    assert first["notes"] == second["notes"]
    assert first["weights"] == second["weights"]
    # Only the first process has complete examples; the fixed ones are all of them, on both.
    assert first["probe"] == second["probe"]
    assert sorted(first["probe"]) == sorted(everything(32)["image"].tolist())
