"""Lines for the log are given once, notes for the history each time; neither needs Lightning."""

import logging

import pytest

from mviz_lightning.session.remarks import Remarks, write_log


def test_a_line_is_given_once_and_may_be_a_note() -> None:
    remarks = Remarks()
    remarks.say("guessed", noted=False)
    remarks.say("masked")
    remarks.say("masked")
    remarks.say("")
    remarks.note("a", "b")
    assert remarks.pop_lines() == ["MultimodalMonitor: guessed", "MultimodalMonitor: masked"]
    assert remarks.pop_notes() == "masked; a; b"
    remarks.say("masked")
    assert (remarks.pop_lines(), remarks.pop_notes()) == ([], "")


def test_lines_go_into_the_log_of_the_package(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        write_log(["one", "two"])
    assert [(record.name, record.message) for record in caplog.records] == [
        ("mviz_lightning", "one"),
        ("mviz_lightning", "two"),
    ]
