"""What tests of heads use."""

import pytest


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drawn or written, which takes most of the time."""
    monkeypatch.setattr("mviz_lightning.callbacks.trainer_run.sinks_for", lambda *_: [])
