"""Models whose modalities are parts of one tensor: encodings, replays, gradients, stray leaves, dual encoders."""

import re
import warnings
from typing import Any

import pytest
import torch
from helpers.batches import floats, integers, probe_of, seeded
from torch import Tensor, nn

from mviz_lightning import MonitorWarning
from mviz_lightning.batch import Probe, Segments
from mviz_lightning.engine.call_choice import choose_call
from mviz_lightning.engine.dry_run_checks import reused
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.output_dependence import interacting_modalities, modalities_without_effect, trace_forward
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.stray_leaves import warn_of_stray_leaves

COUNT = 12
GRID = Query(torch.cartesian_prod(torch.arange(COUNT), torch.arange(COUNT)))
IMAGE = floats(COUNT, 4, 5, 5)
PARTS = {"rgb": "image[:3]", "depth": "image[3]"}


class RGBD(nn.Module):
    """Encodes the first three channels and the last apart, and counts the rows that each encoder sees."""

    def __init__(self, cut: Any = lambda image: (image[:, :3], image[:, 3:])) -> None:
        super().__init__()
        self.rgb, self.depth, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(1, 6, 3), nn.Linear(6, 2)
        self.cut, self.rows = cut, {"rgb": [], "depth": []}
        for name, seen in self.rows.items():
            self.get_submodule(name).register_forward_pre_hook(lambda _, given, seen=seen: seen.append(len(given[0])))

    def forward(self, image: Tensor) -> Tensor:
        rgb, depth = self.cut(image)
        return self.head((self.rgb(rgb) * self.depth(depth)).mean((2, 3)))


def evaluator(module: nn.Module) -> Evaluator:
    return Evaluator(module.eval(), lambda module, batch: module(batch["image"]))


def assert_replayed(module: nn.Module, *names: str, probe: Probe | None = None, query: Query = GRID) -> Evaluator:
    """The named modules are replayed, and outputs are those of plain forwards."""
    asking, probe = evaluator(module), probe_of({"image": IMAGE}, PARTS) if probe is None else probe
    found = asking(probe, [query])[0]
    assert asking.reuse
    assert set(asking._plan.modules if asking._plan else ()) == set(names)
    torch.testing.assert_close(found, asking.plain(probe, query), rtol=1e-5, atol=1e-6)
    return asking


CUTS = {
    "slices": lambda image: (image[:, :3], image[:, 3:]),
    "split": lambda image: image.split([3, 1], 1),
    "lists": lambda image: (image[:, [0, 1, 2]], image[:, [3]]),
    "normalised, then cut": lambda image: ((image / 2 - torch.ones(4, 1, 1))[:, :3], image.double()[:, 3:].float()),
    "channels last": lambda image: image.to(memory_format=torch.channels_last).split([3, 1], 1),
    "in place": lambda image: (image.sub_(1)[:, :3], image[:, 3:]),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_encoders_of_parts_are_replayed(cut: Any) -> None:
    assert_replayed(seeded(lambda: RGBD(cut)), "rgb", "depth")


def test_an_encoder_that_sees_both_parts_runs_on_every_row() -> None:
    mixed = RGBD(lambda image: (image[:, :3] + image[:, 3:], image[:, 3:]))
    assert_replayed(mixed, "depth")


def test_encoders_of_parts_see_every_example_once() -> None:
    module = seeded(RGBD)
    asking, probe = evaluator(module), probe_of({"image": IMAGE}, PARTS)
    assert reused(asking, probe) == "rgb, depth"
    asking(probe, [GRID])
    for seen in module.rows.values():
        seen.clear()
    asking(probe, [GRID])
    assert module.rows == {"rgb": [COUNT, 16], "depth": [COUNT, 16]}  # 16 rows are recomputed plainly
