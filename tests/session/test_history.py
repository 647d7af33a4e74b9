"""A run's phase is called ``stage`` in files and checkpoints."""

from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.session.history import History
from mviz_lightning.sinks.records import RunRecord

ROW = RunRecord("validate", 2, 30, {"interaction": 0.25}, "drawn anew")


def test_files_and_checkpoints_keep_the_key_stage() -> None:
    assert ROW.state() == {
        "stage": "validate",
        "epoch": 2,
        "step": 30,
        "values": {"interaction": 0.25},
        "note": "drawn anew",
    }
    assert ROW.stage == ROW.phase == "validate"


def test_a_history_survives_a_checkpoint() -> None:
    history, loaded = History(["a", "b"]), History(["a", "b"])
    history.add(ROW)
    history.measure_against({"": ScoreReference(0.5, 1.0)})
    assert history.state()["rows"][0]["stage"] == "validate"
    loaded.load(history.state())
    assert list(loaded) == [ROW]
    assert loaded.score_reference == ScoreReference(0.5, 1.0)
