"""Trainings whose batches and outputs are MONAI's own tensors."""

from typing import Any

import pytest
import torch
from helpers.toy import MODALITIES, SMALL, Toy, examples, trainer
from torch import Tensor
from torch.utils.data import DataLoader

from mviz_lightning import MultimodalMonitor, UnimodalCollapse
from mviz_lightning.explainers import DIME, ErrorAnalysis, MultimodalPrediction

monai = pytest.importorskip("monai.data")


class MonaiToy(Toy):
    def forward(self, *modalities: Tensor) -> Tensor:
        return monai.MetaTensor(super().forward(*modalities), meta={"filename_or_obj": "out.nii.gz"})


def collate(rows: Any) -> list[Any]:
    scans = [[monai.MetaTensor(leaf, meta={"filename_or_obj": "a.nii.gz"}) for leaf in row] for row in rows]
    return [monai.list_data_collate([{"leaf": row[k]} for row in scans])["leaf"] for k in range(3)]


def test_its_checkpoint_loads_with_weights_only(tmp_path):
    stages = [DIME(num_examples=1), ErrorAnalysis(num_examples=1), MultimodalPrediction(num_examples=1)]
    monitor = MultimodalMonitor(MODALITIES, explainers=stages, on_error="raise", **SMALL)
    runs = trainer(tmp_path, monitor, UnimodalCollapse(), max_epochs=1)
    loaders = [DataLoader(examples(64, seed=seed), batch_size=16, collate_fn=collate) for seed in (0, 1)]
    assert isinstance(next(iter(loaders[0]))[0], monai.MetaTensor)
    runs.fit(MonaiToy(), *loaders)
    runs.save_checkpoint(tmp_path / "end.ckpt")
    state = torch.load(tmp_path / "end.ckpt", weights_only=True)
    (saved,) = [found for name, found in state["callbacks"].items() if "MultimodalMonitor" in name]
    leaves = saved["probe"]["leaves"]
    assert {type(leaf) for leaf in leaves.values()} == {Tensor}
    assert len(leaves["0"]) >= SMALL["num_examples"]
