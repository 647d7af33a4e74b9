"""What several tests of the callbacks use."""

from dataclasses import replace

import pytest
from helpers.collapsing import blank

from mviz_lightning import explainers

METHODS = [
    explainers.DIME,
    explainers.CrossModalInteraction,
    explainers.ErrorAnalysis,
    explainers.ExampleRanking,
    explainers.MultimodalPrediction,
    explainers.MultimodalRepresentation,
    explainers.UnimodalImportance,
]


@pytest.fixture
def unwritten(monkeypatch):
    """Nothing is drawn or written, which takes most of the time."""
    monkeypatch.setattr("mviz_lightning.callbacks.trainer_run.sinks_for", lambda *_: [])


@pytest.fixture
def blank_pictures(monkeypatch):
    """Pictures are one pixel each, since drawing takes most of the time; they are reported and written as any other."""

    def draw(self, result, drawing, when=""):
        return [replace(blank(None, None), key=self.name)]

    monkeypatch.setattr("mviz_lightning.callbacks.reporter.share_curves", blank)
    for method in METHODS:
        for name in vars(method).keys() & {"draw", "draw_over_epochs"}:
            monkeypatch.setattr(method, name, draw)
