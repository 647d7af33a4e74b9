"""Monitor and alarm find each other by what they are, and the alarm writes nothing into the monitor's history."""

from types import SimpleNamespace
from typing import Any

from helpers.toy import monitor

from mviz_lightning import MultimodalMonitor, UnimodalCollapse
from mviz_lightning.callbacks.alarm_pairing import alarm_of, monitors
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.sinks.records import RunRecord


class Mine(MultimodalMonitor):
    """A monitor of a user's own."""


def of(*callbacks: Any) -> Any:
    return SimpleNamespace(callbacks=list(callbacks))


def test_a_name_makes_no_monitor_and_a_subclass_is_one() -> None:
    stranger = type("MultimodalMonitor", (), {"name": "stranger"})()
    mine = Mine({"image": "0", "text": "1"}, name="mine")
    assert monitors(of(stranger, mine)) == ["mine"]


def test_the_alarm_is_found_on_either_side_and_begins() -> None:
    for first in (True, False):
        watch, alarm = monitor(), UnimodalCollapse()
        callbacks = (watch, alarm) if first else (alarm, watch)
        alarm.verdicts = {"image": None}  # type: ignore[dict-item]
        assert alarm_of(of(*callbacks), watch.name, watch.config.modalities, watch.history) is alarm
        assert alarm.verdicts == {}
    assert alarm_of(of(watch), watch.name, watch.config.modalities, watch.history) is None


def test_a_judgement_is_returned_and_not_written_into_the_history() -> None:
    watch, alarm = monitor(), UnimodalCollapse()
    found = {"ranks": Ranks(), "heads": {}, "unread": (), "class_names": None}
    session = SimpleNamespace(score_reference=lambda: ScoreReference(0.5, 1.0), **found)
    names = watch.history.modalities
    values = {"score": 0.9} | {f"total/{name}": 0.8 for name in names} | {f"perceptual/{name}": 0.3 for name in names}
    row = RunRecord("fit", 0, 10, values)
    found = alarm.judge(row, watch.history, session, lambda action, _: action())  # type: ignore[arg-type]
    assert found.score_references == {"": ScoreReference(0.5, 1.0)}
    assert [found.row.values[f"collapse/{name}"] for name in names] == [0.0, 0.0]
    assert watch.history.score_reference is None
    assert row.values == values
