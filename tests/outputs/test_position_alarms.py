"""An alarm of outputs with positions: only of a sensor that is not used although it tells of some positions."""

import pytest
import torch
from collapse.test_position_proofs import Planted, beyond, nothing, redundant
from lightning.pytorch import LightningModule
from outputs.watching import Watched, watched
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, StackDataset

from mviz_lightning import UnimodalCollapse
from mviz_lightning.sinks.records import State

SENSORS = {"optical": "optical", "radar": "radar"}


class Segmenting(LightningModule):
    """Scores of each pixel from what both sensors show there, or from the radar alone."""

    def __init__(self, dead: bool) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(4, 24, 1), nn.ReLU(), nn.Conv2d(24, 3, 1))
        self.dead = dead

    def forward(self, optical: Tensor, radar: Tensor) -> Tensor:
        seen = torch.cat([optical * (0 if self.dead else 1), radar], 1)
        rows = torch.linspace(-1, 1, seen.shape[-1]).expand_as(seen[:, :1])
        found: Tensor = self.net(torch.cat([seen, rows, rows * rows], 1))
        return found

    def training_step(self, batch: dict[str, Tensor], batch_idx: int = 0) -> Tensor:
        return cross_entropy(self(batch["optical"], batch["radar"]), batch["land"])

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int = 0) -> Tensor:
        return self.training_step(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.02)


def trained(planted: Planted, folder: object, *, seed: int = 0, dead: bool = True) -> tuple[State, State, Watched]:
    """Train a model, and return the states of optical and radar."""
    torch.manual_seed(seed)
    loaders = []
    for place, count in enumerate((128, 96)):
        maps, land = planted(torch.Generator().manual_seed(2 * seed + place), count)
        loaders.append(DataLoader(StackDataset(**maps, land=land), 16))
    small = {"num_examples": 64, "group_size": 16, "positions": 16}
    found = watched(Segmenting(dead), tuple(loaders), SENSORS, folder, UnimodalCollapse(), epochs=5, **small)
    return *(State(int(found.values[f"collapse/{name}"])) for name in SENSORS), found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
class TestDeadSensor:
    def test_that_tells_of_half_the_pixels_alarms(self, seed, tmp_path):
        optical, radar, found = trained(beyond, tmp_path, seed=seed)
        assert (optical, radar) == (State.COLLAPSED, State.USED)
        (said,) = (text for text in found.warned if "collapsed" in text)
        assert "optical: collapsed" in said
        assert found.same

    def test_that_tells_what_the_other_tells_is_redundant(self, seed, tmp_path):
        assert trained(redundant, tmp_path, seed=seed)[:2] == (State.REDUNDANT, State.USED)

    def test_that_tells_nothing_is_unused(self, seed, tmp_path):
        assert trained(nothing, tmp_path, seed=seed)[:2] == (State.UNUSED, State.USED)

    def test_no_alarm_where_both_are_used(self, seed, tmp_path):
        assert trained(beyond, tmp_path, seed=seed, dead=False)[:2] == (State.USED, State.USED)
