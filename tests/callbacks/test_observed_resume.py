"""A training that resumes goes on with the examples of its checkpoint, and with the labels that its step tells."""

from typing import Any

import pytest
import torch
from helpers.few import few
from helpers.toy import MODALITIES, SMALL, Toy, loader, trainer
from torch import nn

from mviz_lightning import MultimodalMonitor

COST = ("seconds", "rows", "overhead")


class Shifted(Toy):
    """Compares its scores with labels that it computes from a leaf."""

    def loss(self, batch: Any) -> Any:
        return nn.functional.cross_entropy(self(*batch[:2]), (batch[2] + 1) % 3)


class Outside(Toy):
    """Compares its scores with labels that it computes outside PyTorch."""

    def loss(self, batch: Any) -> Any:
        return nn.functional.cross_entropy(self(*batch[:2]), torch.tensor([(y + 1) % 3 for y in batch[2].tolist()]))


def watch(**settings: Any) -> MultimodalMonitor:
    return MultimodalMonitor(MODALITIES, on_error="raise", **SMALL | settings)


def measured(monitor: MultimodalMonitor) -> list[dict[str, float]]:
    return [{key: value for key, value in row.values.items() if key not in COST} for row in monitor.history]


@pytest.mark.parametrize("megabytes", few([32, 0]))
@pytest.mark.parametrize("kind", [Toy, Shifted, Outside])
def test_a_training_that_resumes_measures_as_one_that_never_stopped(tmp_path, kind, megabytes):
    def run(monitor: MultimodalMonitor, epochs: int, checkpoint: Any = None) -> Any:
        torch.manual_seed(0)
        chosen = trainer(tmp_path, monitor, max_epochs=epochs)
        chosen.fit(kind(), loader(), loader(seed=1), ckpt_path=checkpoint)
        return chosen

    begun, goes_on, whole = watch(checkpoint_megabytes=megabytes), watch(checkpoint_megabytes=megabytes), watch()
    run(begun, 1).save_checkpoint(tmp_path / "half.ckpt")
    run(goes_on, 2, tmp_path / "half.ckpt")
    run(whole, 2)

    first, second = goes_on._run.session.probe, begun._run.session.probe
    assert first is not None
    assert second is not None
    assert torch.equal(first.groups, second.groups)
    assert torch.equal(first.labels, second.labels)
    assert [row.note for row in goes_on.history] == ["", ""]
    for found, expected in zip(measured(goes_on), measured(whole), strict=True):
        assert found == pytest.approx(expected, abs=1e-6)
    assert "score" in measured(goes_on)[1]
