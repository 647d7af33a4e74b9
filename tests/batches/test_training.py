"""A training on batches of every kind: its own outputs agree, its checkpoints load, and it goes on as it was."""

import pytest
import torch
from batches.kinds import KINDS
from batches.measuring import SMALL, Model, expected_warning, twin
from batches.test_kinds import shares
from helpers.few import spread
from helpers.toy import trainer
from torch.utils.data import DataLoader

from mviz_lightning import MultimodalMonitor

REFUSED_BY_LIGHTNING = {"frozen dataclass"}
"""Kinds that no Trainer can move to its device."""

FAST = {
    "TensorDict", "list of arrays of unequal sizes", "list of example dicts", "slices of channels", "MetaTensor",
    "packed rows with a grid", "a batch of graphs beside a tensor", "None in a list",
}  # fmt: skip
"""One of each family; the others are slow, being many."""


def kinds():
    chosen = [name for name in KINDS if name not in REFUSED_BY_LIGHTNING]
    return [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in chosen]


def loader(kind):
    rows = kind.rows()
    return DataLoader(rows, 8, collate_fn=kind.collate) if kind.loader is None else kind.loader(rows)


def fit(kind, folder, epochs, ckpt_path=None):
    """Train at a learning rate of 0; return the monitor and the trainer."""
    monitor = MultimodalMonitor(kind.modalities, on_error="raise", reference=32, **SMALL)
    chosen = trainer(folder, monitor, max_epochs=epochs)
    with expected_warning(kind):
        chosen.fit(Model(kind), loader(kind), loader(kind), ckpt_path=ckpt_path)
    return monitor, chosen


@pytest.mark.parametrize("name", spread(kinds(), 3))
def test_a_training_measures_the_same_agrees_and_goes_on_from_its_checkpoint(name, tmp_path):
    kind = KINDS[name]
    monitor, begun = fit(kind, tmp_path, 1)
    expected = shares(twin(kind.twin).values)
    assert shares(monitor.history[-1].values) == pytest.approx(expected, rel=0, abs=1e-6)
    assert monitor.history[-1].values["agreement"] == 1.0
    begun.save_checkpoint(tmp_path / "half.ckpt")
    torch.load(tmp_path / "half.ckpt", weights_only=True)
    again, _ = fit(kind, tmp_path, 2, tmp_path / "half.ckpt")
    assert [row.note for row in again.history] == [row.note for row in monitor.history] + [""]
    assert shares(again.history[-1].values) == pytest.approx(expected, rel=0, abs=1e-6)
