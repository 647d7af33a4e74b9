"""Long work shows how far it is, quick work nothing; what is found is the same."""

import io
import sys
from typing import ClassVar

import pytest
import torch

from mviz_lightning import ConfigurationError, explain
from mviz_lightning.console import progress as shown
from mviz_lightning.console.progress import WorkProgress, shown_progress
from mviz_lightning.explainers import DIME, ExampleRanking
from mviz_lightning.testing import Product


class Bar:
    """Keeps what a bar of tqdm's shows."""

    made: ClassVar[list["Bar"]] = []

    def __init__(self, total, desc, unit, leave):
        self.total, self.desc, self.unit, self.leave, self.n, self.closed = total, desc, unit, leave, 0, False
        Bar.made.append(self)

    def update(self, count):
        self.n += count

    def close(self):
        self.closed = True


@pytest.fixture(autouse=True)
def _bars(monkeypatch):
    monkeypatch.setattr(Bar, "made", [])


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_quick_work_makes_no_bar():
    work = WorkProgress("explain", Bar, Clock())
    work.begin("shares")
    work.planned(100, 0)
    work.evaluated(100)
    work.close()
    assert Bar.made == []


def test_long_work_shows_rows_and_examples_and_leaves_nothing():
    clock = Clock()
    work = WorkProgress("explain", Bar, clock)
    work.begin("shares")
    clock.now = 2.0
    work.planned(100, 0)
    work.evaluated(40)
    work.evaluated(80)  # encoded inputs are rows too
    work.begin("dime")
    work.planned(160, 16)
    work.evaluated(35)
    work.close()
    found = [(bar.desc, bar.n, bar.total, bar.unit) for bar in Bar.made]
    assert ("explain: shares", 100, 100, " rows") in found
    assert found[-1] == ("explain: dime", 3, 16, " examples")
    assert all(bar.closed and not bar.leave for bar in Bar.made)


def test_a_stream_that_fails_costs_the_bar_alone():
    class Broken(Bar):
        def update(self, count):
            raise OSError("closed")

    clock = Clock()
    work = WorkProgress("explain", Broken, clock)
    clock.now = 3.0
    work.begin("shares")
    work.evaluated(1)
    work.close()
    assert len(Bar.made) == 1


@pytest.mark.parametrize(("wanted", "terminal", "there"), [(None, True, 1), (None, False, 0), (True, False, 1)])
def test_progress_is_shown_where_somebody_watches(monkeypatch, wanted, terminal, there):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with shown_progress("explain", wanted=wanted) as progress:
        assert (progress is not None) == there


def explained(**settings):
    torch.manual_seed(0)
    batches = [(torch.randn(64, 3), torch.randn(64, 3)) for _ in range(2)]
    modalities = {"image": "0", "text": "1"}
    methods = [DIME(num_examples=4, masks=32, donors=4), ExampleRanking()]
    return explain(Product(), batches, modalities=modalities, task="regression", explainers=methods, **settings)


def test_what_is_found_is_the_same_and_each_piece_of_work_is_named(monkeypatch):
    monkeypatch.setattr(shown, "DELAY", 0.0)
    monkeypatch.setattr(shown, "_bar_class", lambda: Bar)
    watched, alone = explained(progress=True), explained(progress=False)
    assert watched.values == alone.values
    last = {bar.desc: (bar.n, bar.total, bar.unit) for bar in Bar.made}
    assert list(last) == ["explain: collecting", "explain: shares", "explain: dime", "explain: ranking"]
    assert last["explain: dime"] == (4, 4, " examples")
    assert last["explain: shares"] == (2048, 2048, " rows")


def test_a_redirected_output_gets_nothing(capsys):
    explained()
    assert "explain:" not in capsys.readouterr().err


def test_progress_is_yes_or_no():
    with pytest.raises(ConfigurationError, match="progress='bar': give True or False"):
        explained(progress="bar")
