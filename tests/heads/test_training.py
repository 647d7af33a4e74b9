"""Heads in a training: keys, alarm, files, checkpoints, and what ends nothing."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.collapsing import heard, unheard
from helpers.few import few
from helpers.headed import MODALITIES, Headed, loader
from helpers.toy import trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from mviz_lightning import ConfigurationError, MonitorWarning, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.actions import Action
from mviz_lightning.explainers import DIME
from mviz_lightning.sinks.records import State


def monitor(**settings: Any) -> MultimodalMonitor:
    return MultimodalMonitor(MODALITIES, **{"num_examples": 64, **settings})


def fit(folder: Path, *callbacks: Any, module: Headed | None = None, epochs: int = 1, **settings: Any) -> Any:
    given = trainer(folder, *callbacks, max_epochs=epochs, **settings)
    given.fit(Headed() if module is None else module, loader(64), loader())
    return given


@pytest.mark.usefixtures("unwritten")
def test_the_main_head_has_no_prefix_and_costs_are_logged_once(tmp_path: Path) -> None:
    watch = monitor()
    values = fit(tmp_path, watch, UnimodalCollapse()).callback_metrics
    own = {key.removeprefix("mviz/") for key in values if key.startswith("mviz/")}
    main, further = {key for key in own if not key.startswith("verb/")}, {key for key in own if key.startswith("verb/")}
    assert {key.removeprefix("verb/") for key in further} == main - {"rows", "seconds", "overhead"}
    assert {"total/image", "collapse/image", "score", "agreement", "flips/text"} <= main
    assert values["mviz/total/text"] > 0.3
    assert values["mviz/verb/total/text"] == 0
    assert watch.history.heads == ["verb"]
    assert watch.history[0].of_head("verb").values["total/image"] == 1
    assert "\nhead verb\nepoch" in str(watch.history)


class Unlearned(Headed):
    """Head ``verb`` never learns: it always gives the same scores, or those of random weights."""

    def __init__(self, weight: float) -> None:
        super().__init__(text=1.0)
        self.weight = weight

    def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        both = torch.cat([image[:, 2:], text[:, 2:]], 1)  # what the labels do not depend on
        return super().forward(image, text) | {"verb": 0.3 + self.weight * both}


@pytest.mark.slow
@pytest.mark.parametrize("weight", [0.0, 1.0], ids=["constant", "untrained"])
def test_a_head_that_never_learns_raises_no_alarm_and_is_named_once(tmp_path: Path, weight: float, caplog: Any) -> None:
    watch, tell = monitor(), UnimodalCollapse(patience=1)
    with unheard(), caplog.at_level("INFO"):
        fit(tmp_path, watch, tell, module=Unlearned(weight), epochs=3)
    assert set(tell.verdicts) == {"image", "text", "verb/image", "verb/text"}
    assert {verdict.state for verdict in tell.verdicts.values()} == {State.USED}
    assert caplog.text.count("UnimodalCollapse: head verb: no modality was judged: the score never got 10%") == 1
    assert "UnimodalCollapse: no modality was judged" not in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("unwritten")
def test_the_alarm_of_a_collapsed_head_names_it_and_spares_the_other(tmp_path: Path) -> None:
    watch, tell = monitor(), UnimodalCollapse(patience=1)
    with heard() as alarms:
        fit(tmp_path, watch, tell)
    (alarm,) = alarms
    assert "text (head verb): collapsed" in alarm
    assert {name: one.state for name, one in tell.verdicts.items()} == {
        "image": State.USED,
        "text": State.USED,
        "verb/image": State.USED,
        "verb/text": State.COLLAPSED,
    }
    last = watch.history[-1]
    assert [last.values[key] for key in ("collapse/text", "verb/collapse/text")] == [0, 2]
    assert last.evidence["verb/skill"] < last.evidence["skill"]
    assert tell.verdicts["verb/text"].alone.explained > 0.1  # type: ignore[union-attr]


@pytest.mark.usefixtures("unwritten")
def test_no_alarm_where_both_heads_are_healthy(tmp_path: Path) -> None:
    with unheard():
        fit(tmp_path, monitor(), UnimodalCollapse(patience=1), module=Headed(text=1.0))


class Noted(Action):
    """Keeps the modalities that stand collapsed."""

    def __init__(self) -> None:
        self.silent: list[list[str]] = []

    def after_check(self, alarms: Any) -> None:
        self.silent.append(list(alarms.silent))


@pytest.mark.slow
@pytest.mark.usefixtures("unwritten")
def test_an_alarm_of_a_further_head_acts(tmp_path: Path) -> None:
    noted, told = Noted(), list[str]()
    with heard():
        fit(
            tmp_path,
            monitor(),
            UnimodalCollapse([noted, lambda _trainer, _module, verdict: told.append(verdict.subject)], patience=1),
        )
    assert noted.silent == [["text"]]
    assert told == ["text (head verb)"]


@pytest.mark.slow
@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize("entry", few(["validate", "test"]))
def test_validate_and_test_measure_all_heads(tmp_path: Path, entry: str) -> None:
    watch, tell = monitor(), UnimodalCollapse()
    with heard() as alarms:
        given = trainer(tmp_path, watch, tell)
        getattr(given, entry)(Headed(), loader(), verbose=False)
    assert len(alarms) == 1
    assert given.callback_metrics["mviz/verb/total/image"] == 1
    assert given.callback_metrics["mviz/verb/collapse/text"] == 2


@pytest.mark.long
@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize("sanity", [0, 2])
def test_a_key_of_a_further_head_can_be_monitored_from_the_first_validation_on(tmp_path: Path, sanity: int) -> None:
    watched = ModelCheckpoint(tmp_path, monitor="mviz/verb/total/image", mode="max")
    stop = EarlyStopping("mviz/verb/total/image", mode="max", patience=10)
    fit(tmp_path, watched, stop, monitor(), enable_checkpointing=True, num_sanity_val_steps=sanity, epochs=2)
    assert watched.best_model_score == 1
    assert stop.best_score == 1


@pytest.mark.usefixtures("unwritten")
def test_a_head_that_fails_in_a_run_costs_itself_and_no_callback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, stop = monitor(), EarlyStopping("mviz/verb/total/image", mode="max", patience=10)
    run = type(watch._fit_session).run

    def failing(session: Any) -> Any:
        if session.name == "verb" and len(watch.history) == 1:
            raise RuntimeError("unwell")
        return run(session)

    monkeypatch.setattr(type(watch._fit_session), "run", failing)
    with pytest.warns(MonitorWarning, match="head verb could not be measured: RuntimeError: unwell"):
        fit(tmp_path, watch, stop, UnimodalCollapse(), module=Headed(text=1.0), epochs=3)
    assert [row.heads for row in watch.history] == [["verb"], [], ["verb"]]
    assert all("total/image" in row.values for row in watch.history)
    assert "head verb" in watch.history[1].note


@pytest.mark.usefixtures("unwritten")
def test_errors_of_heads_are_raised_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = monitor(on_error="raise")
    run = type(watch._fit_session).run

    def failing(session: Any) -> Any:
        if session.name == "verb":
            raise RuntimeError("unwell")
        return run(session)

    monkeypatch.setattr(type(watch._fit_session), "run", failing)
    with pytest.raises(RuntimeError, match="unwell"):
        fit(tmp_path, watch)


@pytest.mark.usefixtures("unwritten")
def test_an_unknown_head_ends_the_training_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no head 'adverb'.*\['noun', 'verb'\]"):
        fit(tmp_path, monitor(heads=["adverb"]))


@pytest.mark.slow
def test_pictures_tables_and_files_lie_under_the_name_of_the_head(tmp_path: Path) -> None:
    with heard():
        fit(
            tmp_path,
            monitor(explainers=[DIME(num_examples=1)], class_names={"verb": ["run", "sit"]}),
            UnimodalCollapse(patience=1),
            logger=CSVLogger(tmp_path),
            log_every_n_steps=1,
        )
    (folder,) = tmp_path.glob("lightning_logs/*/mviz")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*.*")}
    of_verb = {name.removeprefix("verb/") for name in files if name.startswith("verb/")}
    assert {"shares.png", "dime/examples.csv", "alarm/text.txt"} <= of_verb
    assert any(name.startswith("dime/example_") for name in of_verb)
    assert "alarm/text.txt" not in files
    assert b"head verb" in next((folder / "verb" / "dime").glob("example_*.png")).read_bytes()
    (row,) = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert row["heads"] == ["verb"]
    assert row["values"]["verb/total/image"] == 1
    with (folder.parent / "metrics.csv").open() as file:
        rows = [one for one in csv.DictReader(file) if one["mviz/verb/total/image"]]
    assert [float(one["mviz/verb/collapse/text"]) for one in rows] == [2]
    table = (folder / "verb" / "dime" / "examples.csv").read_text()
    assert ",run," in table or ",sit," in table


def weights(module: Headed) -> list[Tensor]:
    return [one.detach().clone() for one in module.parameters()]


@pytest.mark.usefixtures("unwritten")
def test_the_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    plain, watched = Headed(rate=0.1), Headed(rate=0.1)
    fit(tmp_path, module=plain, epochs=2)
    fit(tmp_path, monitor(), UnimodalCollapse(), module=watched, epochs=2)
    assert all(map(torch.equal, weights(plain), weights(watched)))


@pytest.mark.slow
@pytest.mark.usefixtures("unwritten")
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_training_that_resumes_goes_on_with_all_heads(tmp_path: Path) -> None:
    def callbacks() -> tuple[MultimodalMonitor, UnimodalCollapse, ModelCheckpoint]:
        saving = ModelCheckpoint(tmp_path, filename="last", enable_version_counter=False)
        return monitor(explainers=[DIME(num_examples=1)]), UnimodalCollapse(), saving

    whole, _, _ = first = callbacks()
    with heard() as alarms:
        fit(tmp_path, *first, enable_checkpointing=True, epochs=3, module=Headed(rate=1e-4))
    begun, resumed = callbacks(), callbacks()
    fit(tmp_path, *begun, enable_checkpointing=True, epochs=1, module=Headed(rate=1e-4))
    with heard() as later:
        given = trainer(tmp_path, *resumed, max_epochs=3, enable_checkpointing=True)
        given.fit(Headed(rate=1e-4), loader(64), loader(), ckpt_path=tmp_path / "last.ckpt")
    cost = {"seconds", "rows", "overhead"}
    found, expected = (
        [{key: value for key, value in row.values.items() if key not in cost} for row in watch.history]
        for watch in (resumed[0], whole)
    )
    assert found == expected
    assert [one.splitlines()[0] for one in later] == [one.splitlines()[0] for one in alarms]
    assert resumed[0].history.score_references.keys() == {"", "verb"}
    assert resumed[0].history.score_references == whole.history.score_references
    entries = [(entry.explainer, [one.position for one in entry.explanations]) for entry in
               resumed[0].explanation_history.entries]  # fmt: skip
    assert entries == [
        (entry.explainer, [one.position for one in entry.explanations]) for entry in whole.explanation_history.entries
    ]
    assert {name for name, _ in entries} == {"dime", "verb/dime"}


class Auxiliary(Headed):
    """Head ``verb`` reads the image alone, by construction."""

    def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        verb = 4 * self.image(image)[:, 1]
        return super().forward(image, text) | {"verb": torch.stack([-verb, verb], 1)}


@pytest.mark.slow
@pytest.mark.usefixtures("unwritten")
def test_a_head_that_reads_one_modality_by_construction_raises_no_alarm(tmp_path: Path) -> None:
    watch, tell = monitor(), UnimodalCollapse(patience=1)
    with unheard():
        fit(tmp_path, watch, tell, module=Auxiliary())
    assert tell.verdicts["verb/text"].state is State.UNUSED
    assert watch.history[-1].values["verb/collapse/text"] == 1
