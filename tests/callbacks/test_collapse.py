"""UnimodalCollapse in trainings whose model leaves a modality out when it is told to."""

import logging
import re

import pytest
from helpers.collapsing import (
    Known,
    Noted,
    Seen,
    alarm,
    blank,
    fit,
    heard,
    noted,
    refuses,
    states,
    train,
    unheard,
    watching,
)
from helpers.few import few
from helpers.toy import trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from mviz_lightning import CollapseWarning, ConfigurationError, MonitorWarning
from mviz_lightning.sinks.records import State

LEFT_OUT = "- text text -"


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    monkeypatch.setattr("mviz_lightning.callbacks.reporter.share_curves", blank)


@pytest.mark.slow
@pytest.mark.parametrize("first", few([True, False]), ids=["before", "after"])
def test_a_modality_left_out_is_told_at_the_second_check_and_until_it_comes_back(tmp_path, first):
    watch, tell = watching(), alarm()
    train(tmp_path, "- text text text -", *([tell, watch] if first else [watch, tell]))
    assert states(watch) == [0, 0, 2, 2, 0]
    assert states(watch, "image") == [0] * 5


@pytest.mark.slow
def test_what_never_was_used_is_told_as_soon_as_patience_allows(tmp_path):
    watch, tell = watching(), alarm()
    train(tmp_path, "text text", watch, tell)
    assert states(watch) == [0, 2]
    assert tell.verdicts["text"].from_start
    assert tell.verdicts["text"].since == watch.history[0]


@pytest.mark.slow
@pytest.mark.parametrize(("patience", "expected"), [(1, [0, 2, 2, 0, 2]), (2, [0, 0, 2, 0, 0]), (3, [0] * 5)])
def test_patience_is_checks_in_a_row(tmp_path, patience, expected):
    watch = watching()
    train(tmp_path, "- text text - text", watch, alarm(patience=patience))
    assert states(watch) == expected


def test_a_model_that_has_not_learned_is_not_judged_and_that_is_said(tmp_path, caplog):
    watch = watching()
    with caplog.at_level(logging.INFO):
        train(tmp_path, "unlearned,text unlearned,text unlearned,text", watch, alarm())
    assert states(watch) == [0, 0, 0]
    assert (
        "no modality was judged: the score never got 10% of the way from chance to a perfect score (min_skill=0.1). "
        "Train longer, or lower min_skill."
    ) in caplog.text


@pytest.mark.slow
def test_every_validation_has_its_keys_also_those_without_values(tmp_path):
    seen, image = Seen(), Seen("mviz/collapse/image")
    with pytest.warns(MonitorWarning, match="NaN"):
        train(tmp_path, "ill text text ill -", seen, image, watching(), alarm())
    assert seen.values == [0, 0, 2, 2, 0]
    assert image.values == [0, 0, 0, 0, 0]


@pytest.mark.slow
def test_stand_ins_last_where_not_every_validation_is_measured(tmp_path):
    seen, watch = Seen(), watching(every_n_validations=2)
    train(tmp_path, "text - text - - -", seen, watch, alarm())
    assert states(watch) == [0, 2, 0]
    assert seen.values == [0, 0, 2, 2, 0, 0]


ORDERS = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
PLANS = ["- text text -", "ill - text text"] * 3


@pytest.mark.slow
@pytest.mark.parametrize(("order", "plan"), list(zip(ORDERS, PLANS, strict=True)))
@pytest.mark.filterwarnings("ignore:MultimodalMonitor")
def test_states_stop_trainings_and_choose_checkpoints_in_every_order(tmp_path, order, plan):
    stop = EarlyStopping("mviz/collapse/text", patience=9, mode="min", check_on_train_epoch_end=False, verbose=False)
    found = [watching(), alarm(), stop]
    best = ModelCheckpoint(tmp_path, filename="{epoch}", monitor="mviz/collapse/text", mode="max")
    chosen = train(tmp_path, plan, *[found[place] for place in order], best, enable_checkpointing=True)
    assert chosen.current_epoch == 4
    assert best.best_model_score == 2
    assert f"epoch={plan.split().index('text') + 1}" in best.best_model_path
    assert stop.best_score == 0


@pytest.mark.slow
def test_an_alarm_says_what_was_found_and_what_to_try(tmp_path):
    watch = watching()
    chosen = trainer(tmp_path, watch, alarm(), max_epochs=4)
    with heard() as alarms:
        fit(chosen, Known("- text text text"))
    (said,) = alarms
    values = watch.history[2].values
    assert said.startswith("UnimodalCollapse: text: collapsed since epoch 1 (step 7); the model no longer relies on it")
    assert f"the score is {values['score']:.3f}, and {values['score']:.3f} when it is swapped" in said
    assert "swapping it changes 0.0% of the outputs' variance" in said
    assert re.search(r"explains \d+% \(standard error \d%\) of the labels' variance in 256 held-out examples", said)
    for remedy in (
        "the training loader: is text of",
        "a shortcut in image",
        "modality dropout: hide image",
        "encoder of text",
    ):
        assert remedy in said
    assert "stop" not in said.splitlines()[-1]


@pytest.mark.slow
def test_an_alarm_is_said_once_an_onset(tmp_path):
    with heard() as alarms:
        fit(trainer(tmp_path, watching(), alarm(), max_epochs=8), Known("- text text text - text text text"))
    assert [re.search(r"since epoch (\d)", said)[1] for said in alarms] == ["1", "5"]


def test_the_end_of_an_alarm_is_a_notice(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        train(tmp_path, LEFT_OUT, watching(), alarm())
    told = [record.message for record in caplog.records if "UnimodalCollapse" in record.message]
    assert [message.splitlines()[0] for message in told] == ["UnimodalCollapse: text: used since epoch 3 (step 15)"]


@pytest.mark.slow
@pytest.mark.parametrize("action", ["warn", "stop", refuses])
def test_a_modality_without_information_is_unused_which_is_a_notice_and_no_more(tmp_path, caplog, action):
    known, watch = {"weights": (1.5, 0.0)}, watching()
    with caplog.at_level(logging.INFO):  # a warning would be an error
        chosen = trainer(tmp_path, watch, alarm(action=action), max_epochs=4)
        fit(chosen, Known("-", **known), known=known)
    assert states(watch) == [0, 1, 1, 1]
    assert chosen.current_epoch == 4
    assert caplog.text.count("text: unused since epoch 0 (step 3); the model has hardly relied on it so far") == 1
    assert "otherwise name it in expected=" in caplog.text


class Flags(Callback):
    """Whether the training is to stop, behind each validation."""

    def __init__(self):
        self.seen = []

    def on_validation_end(self, trainer, module):
        self.seen.append(trainer.should_stop)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "plan", "epochs"),
    [
        ({}, "- text text text text", 3),
        ({"min_epochs": 3}, "- text text text text", 3),
        ({"min_epochs": 4}, "- text text text text", 4),
        ({"min_epochs": 4}, "- text text - - -", 6),
        ({"min_epochs": 5}, "text text text - text text -", 6),
        ({"min_steps": 14}, "- text text text text text", 4),
        ({"min_steps": 12}, "- text text text text text", 3),
        ({}, "- text - text - text", 6),
    ],
)
def test_stop_ends_the_training_with_the_epoch_of_the_alarm(tmp_path, settings, plan, epochs):
    module, flags = Known(plan), Flags()
    chosen = trainer(tmp_path, flags, watching(), alarm(action="stop"), max_epochs=len(module.plan), **settings)
    with unheard():
        fit(chosen, module)
    assert chosen.current_epoch == epochs
    assert module.steps == 4 * epochs
    assert not flags.seen[0]  # of the sanity check


@pytest.mark.slow
def test_stop_in_mid_epoch_is_immediate(tmp_path):
    module = Known("- text text")
    chosen = trainer(tmp_path, watching(), alarm(action="stop"), max_epochs=3, val_check_interval=0.5)
    with unheard():
        fit(chosen, module)
    assert module.steps == 6


@pytest.mark.slow
def test_an_alarm_in_mid_epoch_that_ends_with_the_epoch_stops_nothing(tmp_path):
    """min_epochs are met at the end of the second epoch, and then there is no alarm."""
    module = Known("- - text - - -")
    settings = {"max_epochs": 3, "min_epochs": 2, "val_check_interval": 0.5}
    chosen = trainer(tmp_path, watching(), alarm(action="stop", patience=1), **settings)
    with unheard():
        fit(chosen, module)
    assert chosen.current_epoch == 3


@pytest.mark.slow
def test_the_alarm_says_that_the_training_stops_and_when_that_has_to_wait(tmp_path):
    for folder, settings, line in (
        ("now", {}, "The training is stopped (action='stop')."),
        ("later", {"min_epochs": 4}, "The training stops when min_epochs/min_steps allow."),
    ):
        with heard() as alarms:
            chosen = trainer(tmp_path / folder, watching(), alarm(action="stop"), max_epochs=4, **settings)
            fit(chosen, Known("text"))
        assert alarms[0].splitlines()[-1] == line


@pytest.mark.slow
def test_a_function_is_called_once_an_onset_with_trainer_module_and_verdict(tmp_path):
    action, module = Noted(), Known("- text text text - text text -")
    chosen = trainer(tmp_path, watching(), alarm(action=action), max_epochs=8)
    with unheard():
        fit(chosen, module)
    assert [(t is chosen, m is module) for t, m, _ in action.calls] == [(True, True)] * 2
    assert [(v.modality, v.state, v.since.epoch) for _, _, v in action.calls] == [
        ("text", State.COLLAPSED, 1),
        ("text", State.COLLAPSED, 5),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("action", ["helpers.collapsing.noted", "helpers.collapsing:noted.__call__"])
def test_an_action_may_be_a_dotted_path(tmp_path, action):
    noted.calls.clear()
    if ":" in action:
        with pytest.raises(ConfigurationError, match="cannot be imported"):
            alarm(action=action)
        return
    train(tmp_path, "text text", watching(), alarm(action=action))
    assert len(noted.calls) == 1


@pytest.mark.slow
def test_what_an_action_raises_ends_the_training_behind_the_alarm(tmp_path):
    chosen = trainer(tmp_path, watching(), alarm(action=refuses), max_epochs=4)
    with pytest.warns(CollapseWarning), pytest.raises(RuntimeError, match="text must not collapse"):
        fit(chosen, Known("- text text"))
    assert chosen.current_epoch == 2
    folder = tmp_path / "mviz" / "version_0"
    assert (folder / "alarm" / "text.txt").exists()
    assert "text: collapsed" in (folder / "summary.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("cause", ["action", "loader"])
def test_after_a_training_that_broke_off_another_can_begin(tmp_path, cause):
    watch, tell = watching(), alarm(action=refuses)
    broken = {"action": lambda: train(tmp_path, "text text", watch, tell), "loader": lambda: chosen.fit(Known(), 3, 3)}
    chosen = trainer(tmp_path, watch, tell)
    with pytest.raises((RuntimeError, TypeError)):
        broken[cause]()
    tell.action = "warn"
    train(tmp_path, "text text", watch, tell)
    assert states(watch) == [0, 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expected", "weights", "state"),
    [
        (["text"], (1.5, 0.0), 2),  # without proof
        (["image"], (1.5, 1.0), 1),  # in spite of proof
        ([], (1.5, 1.0), 1),
        (["image", "text"], (1.5, 1.0), 2),
    ],
)
def test_expected_modalities_alone_can_collapse(tmp_path, expected, weights, state):
    known, watch = {"weights": weights}, watching()
    train(tmp_path, "text text", watch, alarm(expected=expected), known=known)
    assert states(watch) == [0, state]
