"""UnimodalCollapse in every kind of training, validation, task and configuration."""

import logging

import pytest
import torchmetrics
from helpers.collapsing import (
    RULE,
    Known,
    Noted,
    Seen,
    alarm,
    blank,
    data,
    fit,
    heard,
    states,
    train,
    unheard,
    watching,
)
from helpers.few import few
from helpers.toy import trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from mviz_lightning import ConfigurationError, MonitorWarning
from mviz_lightning.explainers.contribution_shares.explainer import Shares

THREE = (1.5, 1.0, 1.0)


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    monkeypatch.setattr("mviz_lightning.callbacks.reporter.share_curves", blank)


def told(caplog):
    """What UnimodalCollapse said through Lightning's log, first lines."""
    found = [record.message for record in caplog.records if record.message.startswith("UnimodalCollapse: ")]
    return [message.removeprefix("UnimodalCollapse: ").splitlines()[0] for message in found]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "epochs"),
    [({"val_check_interval": 0.5, "max_epochs": 2}, [0, 0, 1, 1]), ({"check_val_every_n_epoch": 2}, [1, 3, 5, 7])],
)
def test_checks_are_validations_and_not_epochs(tmp_path, settings, epochs):
    watch = watching()
    train(tmp_path, "- text text -", watch, alarm(), **({"max_epochs": 8} | settings))
    assert [row.epoch for row in watch.history] == epochs
    assert states(watch) == [0, 0, 2, 0]


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["validate", "test"])
def test_one_check_alone_is_judged_at_once_and_costs_nothing_more(tmp_path, entry):
    watch, action = watching(), Noted()
    chosen = trainer(tmp_path, watch, alarm(action=action))
    with heard() as alarms:
        getattr(chosen, entry)(Known("text"), data(seed=1), verbose=False)
    assert states(watch) == [2]
    assert chosen.callback_metrics["mviz/collapse/text"] == 2
    assert len(alarms) == 1
    assert action.calls == []
    assert watch.history.score_reference is None


@pytest.mark.slow
def test_validation_alone_stops_nothing_and_tells_each_time(tmp_path):
    chosen, module = trainer(tmp_path, watching(), alarm(action="stop")), Known("text")
    with heard() as alarms:
        for _ in range(2):
            chosen.validate(module, data(seed=1), verbose=False)
    assert (chosen.should_stop, len(alarms)) == (False, 2)
    assert not any("stop" in said.splitlines()[-1] for said in alarms)


@pytest.mark.slow
def test_a_validation_between_trainings_is_no_check_of_theirs(tmp_path):
    watch, module = watching(), Known("- text text text")
    chosen = trainer(tmp_path, watch, alarm(), max_epochs=2)
    with heard() as alarms:
        fit(chosen, module)
        chosen.validate(module, data(seed=1), verbose=False)  # told, being judged by itself
        chosen.fit_loop.max_epochs = 3
        fit(chosen, module)
    assert [(row.stage, row.values["collapse/text"]) for row in watch.history] == [
        ("fit", 0),
        ("fit", 0),
        ("validate", 2),
        ("fit", 2),
    ]
    assert ["since epoch 1 (step 7)" in said for said in alarms] == [False, True]


@pytest.mark.slow
def test_another_training_begins_with_nothing_told_and_another_yardstick(tmp_path):
    watch, tell = watching(), alarm()
    with heard() as alarms:
        for seed in (0, 1):
            train_known(tmp_path, watch, tell, seed)
    assert states(watch) == [0, 2]
    assert len(alarms) == 2


def train_known(folder, watch, tell, seed):
    chosen = trainer(folder, watch, tell, max_epochs=2)
    chosen.fit(Known("text"), data(64), data(seed=seed))


same_folder = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")


def resumed(folder, plan, then, first, second, **settings):
    """Train for as long as a plan is, save, and go on with another monitor and alarm."""
    train(folder, plan, *first, ModelCheckpoint(folder, filename="last"), enable_checkpointing=True)
    known = Known(then)
    epochs = len(plan.split()) + len(known.plan)
    chosen = trainer(folder, *second, ModelCheckpoint(folder), enable_checkpointing=True, max_epochs=epochs)
    chosen.fit(known, data(64), data(seed=settings.get("seed", 1)), ckpt_path=folder / "last.ckpt")
    return chosen


@pytest.mark.slow
@same_folder
@pytest.mark.parametrize(("then", "said"), [("text text", 0), ("- text text", 1)])
def test_an_alarm_that_stood_at_the_checkpoint_is_not_told_again(tmp_path, then, said):
    first, second = watching(), watching()
    with heard() as alarms:
        resumed(tmp_path, "- text text", then, (first, alarm()), (second, alarm()))
    assert len(alarms) == said
    assert states(second)[:4] == [0, 0, 2, 2 if then[0] == "t" else 0]
    assert second.history.score_reference == first.history.score_reference
    assert second.history.score_reference.alone["text"].explained > RULE["min_alone"]


@pytest.mark.slow
@same_folder
def test_raw_inputs_are_asked_once_also_by_a_training_that_is_resumed(tmp_path, monkeypatch):
    calls, whole = [], Shares.fit_proofs
    monkeypatch.setattr(Shares, "fit_proofs", lambda *given: (calls.append(given), whole(*given))[1])
    with unheard():
        resumed(tmp_path, "- text text - text text", "- text text", (watching(), alarm()), (watching(), alarm()))
    assert len(calls) == 1


@pytest.mark.slow
@same_folder
def test_silent_checks_before_the_checkpoint_count_after_it(tmp_path):
    second = watching()
    with heard() as alarms:
        chosen = resumed(tmp_path, "- text", "text text", (watching(), alarm()), (second, alarm(action="stop")))
    assert states(second) == [0, 0, 2]
    assert chosen.current_epoch == 3
    assert "since epoch 1 (step 7)" in alarms[0]


@pytest.mark.slow
@same_folder
def test_a_probe_drawn_anew_brings_a_yardstick_of_its_own(tmp_path):
    first, second = (watching(checkpoint_megabytes=0) for _ in range(2))
    with unheard():
        resumed(tmp_path, "- text text", "text", (first, alarm()), (second, alarm()), seed=5)
    assert "probe drawn anew" in second.history[-1].note
    old, new = first.history.score_reference, second.history.score_reference
    assert old.alone["text"] != new.alone["text"]
    assert states(second) == [0, 0, 2, 2]


@pytest.mark.slow
@same_folder
def test_a_training_that_is_resumed_when_it_is_over_says_nothing_wrong(tmp_path, caplog):
    with caplog.at_level(logging.INFO), unheard():
        resumed(tmp_path, "- text text", "-", (watching(), alarm()), (watching(), alarm()))
        caplog.clear()
        chosen = trainer(
            tmp_path, watching(), alarm(), ModelCheckpoint(tmp_path), enable_checkpointing=True, max_epochs=3
        )
        chosen.fit(Known(), data(64), data(seed=1), ckpt_path=tmp_path / "last.ckpt")
    assert "no modality was judged" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel", "regression"])
def test_collapse_is_seen_in_every_task(tmp_path, kind):
    watch, known = watching(), {"kind": kind}
    train(tmp_path, "- text text -", watch, alarm(), known=known)
    assert watch._run.session.task == kind
    assert (states(watch), states(watch, "image")) == ([0, 0, 2, 0], [0] * 4)


@pytest.mark.slow
def test_of_three_modalities_two_may_collapse(tmp_path, caplog):
    watch, known = watching(3, group_size=12, num_examples=72), {"weights": THREE}
    chosen = trainer(tmp_path, watch, alarm(), max_epochs=3)
    with heard() as alarms:
        fit(chosen, Known("- audio,text audio,text", **known), known=known)
    assert [states(watch, name) for name in ("image", "text", "audio")] == [[0, 0, 0], [0, 0, 2], [0, 0, 2]]
    assert ["a shortcut in image and audio" in alarms[0], "a shortcut in image and text" in alarms[1]] == [True] * 2


@pytest.mark.slow
@pytest.mark.parametrize("cut", [2.31, 2.96], ids=["90%", "95%"])
def test_a_majority_does_not_hide_a_collapse(tmp_path, cut):
    watch, known = watching(num_examples=256), {"cut": cut}
    train(tmp_path, "- text text - -", watch, alarm(expected=["text"]), known=known)
    assert watch.history.score_reference.chance == pytest.approx(0.9 if cut < 2.5 else 0.95, abs=0.015)
    assert (states(watch), states(watch, "image")) == ([0, 0, 2, 0, 0], [0] * 5)


def test_without_labels_swaps_alone_are_judged_from_the_third_check_on(tmp_path, caplog):
    watch = watching(target=None, task="multiclass")
    with caplog.at_level(logging.INFO):
        train(tmp_path, "text text text text -", watch, alarm())
    assert states(watch) == [0, 0, 0, 1, 0]
    assert [message for message in told(caplog) if "without labels" in message] == [told(caplog)[0]]


def test_another_training_is_told_again_what_is_not_judged(tmp_path, caplog):
    callbacks = watching(target=None, task="multiclass"), alarm()
    for _ in range(2):
        with caplog.at_level(logging.INFO):
            train(tmp_path, "- -", *callbacks)
    assert sum("without labels" in message for message in told(caplog)) == 2


def test_without_labels_expected_modalities_collapse_and_no_score_is_spoken_of(tmp_path):
    watch = watching(target=None, task="multiclass")
    with heard() as alarms:
        fit(trainer(tmp_path, watch, alarm(expected=["text"]), max_epochs=4), Known("text"))
    assert states(watch) == [0, 0, 0, 2]
    assert "score" not in alarms[0]


def test_a_short_training_without_labels_is_not_told_of_a_score(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        train(tmp_path, "- -", watching(target=None, task="multiclass"), alarm())
    assert not any("the score never came" in message for message in told(caplog))


class Correlation(torchmetrics.PearsonCorrCoef):
    """Refuses constant predictions."""

    def update(self, preds, target):
        if preds.std() == 0:
            raise ValueError("constant")
        super().update(preds, target)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "score", "expected"),
    [
        ("binary", torchmetrics.classification.BinaryAUROC(), [0, 0, 2, 2, 0]),
        ("regression", torchmetrics.MeanSquaredError(), [0, 0, 2, 2, 0]),
        ("regression", Correlation(), [0, 0, 0, 0, 0]),
    ],
)
def test_scores_of_the_user_s_own(tmp_path, caplog, kind, score, expected):
    watch = watching(score=score)
    with caplog.at_level(logging.INFO):
        train(tmp_path, "- text text text -", watch, alarm(), known={"kind": kind})
    refuses_constants = isinstance(score, Correlation)
    # Judged from the third check on where the score does not tell: two silent checks are the third and the fourth.
    assert states(watch) == ([0, 0, 0, 2, 0] if refuses_constants else expected)
    said = [message for message in told(caplog) if "gives a constant answer the same value" in message]
    assert len(said) == refuses_constants


@pytest.mark.slow
@pytest.mark.parametrize("method", few(["score_reference", "fit_proofs"]))
def test_an_error_in_judging_costs_the_judgement_and_not_the_training(tmp_path, monkeypatch, method):
    monkeypatch.setattr(Shares, method, broken)
    watch, seen = watching(), Seen()
    stop = EarlyStopping("mviz/collapse/text", patience=9, check_on_train_epoch_end=False)
    with pytest.warns(MonitorWarning, match="no such luck"):
        chosen = train(tmp_path, "text text text", watch, alarm(patience=1), stop, seen)
    assert chosen.current_epoch == 3
    assert all("score" in row.values for row in watch.history)
    assert None not in seen.values


def broken(*_):
    raise KeyError("no such luck")


def test_without_the_raw_inputs_an_expected_modality_still_collapses(tmp_path, monkeypatch):
    monkeypatch.setattr(Shares, "fit_proofs", broken)
    watch = watching()
    with pytest.warns(MonitorWarning, match="no such luck"):
        train(tmp_path, "text text text", watch, alarm(expected=["text"]))
    assert states(watch) == [0, 2, 2]


def test_a_training_is_not_stopped_without_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(Shares, "fit_proofs", broken)
    chosen = trainer(tmp_path, watching(), alarm(expected=["text"], action="stop"), max_epochs=4)
    with heard() as alarms, pytest.warns(MonitorWarning, match="no such luck"):
        fit(chosen, Known("text"))
    assert (chosen.current_epoch < 4) == bool(alarms)


@pytest.mark.parametrize("method", ["score_reference", "fit_proofs"])
def test_errors_in_judging_can_be_asked_for(tmp_path, monkeypatch, method):
    monkeypatch.setattr(Shares, method, broken)
    with pytest.raises(KeyError, match="no such luck"):
        train(tmp_path, "text text", watching(on_error="raise"), alarm())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["score_reference", "fit_proofs"])
def test_what_fails_once_is_asked_again(tmp_path, monkeypatch, method):
    asked, real = [], getattr(Shares, method)

    def fails_once(*args):
        asked.append(method)
        return broken() if len(asked) == 1 else real(*args)

    monkeypatch.setattr(Shares, method, fails_once)
    watch = watching()
    with pytest.warns(MonitorWarning, match="no such luck"):
        train(tmp_path, "text text text text", watch, alarm(patience=1))
    assert len(asked) == 2
    assert states(watch)[-1] == 2


def test_another_score_is_measured_anew_when_a_training_goes_on(tmp_path):
    first = trainer(tmp_path, watching(task="regression"), alarm(), max_epochs=1)
    fit(first, Known(kind="regression"), known={"kind": "regression"})
    first.save_checkpoint(tmp_path / "last.ckpt")
    watch = watching(task="regression", score=torchmetrics.MeanSquaredError())
    second = trainer(tmp_path, watch, alarm(), max_epochs=2)
    fit(second, Known(kind="regression"), known={"kind": "regression"}, path=tmp_path / "last.ckpt")
    assert watch.history.score_reference.chance > 1
    assert watch.history.score_reference.perfect == 0


@pytest.mark.parametrize("settings", [{"max_total": -1}, {"max_flips": float("nan")}, {"patience": 0}])
def test_impossible_thresholds_are_refused_by_name(settings):
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        alarm(**settings)


def test_a_name_alone_is_no_list_of_names():
    with pytest.raises(ConfigurationError, match=r"give a list of names, \['text'\]"):
        alarm(expected="text")
