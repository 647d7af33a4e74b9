"""Trains MULTIVI of scvi-tools, which builds its own Trainer, with the monitor: RNA beside ATAC of the same cells."""

from typing import Any

import anndata
import numpy as np
import scvi
from mudata import MuData
from torch import Tensor

from mviz_lightning import MultimodalMonitor

scvi.settings.seed = 0


def cells(count: int = 800, genes: int = 60, regions: int = 80) -> MuData:
    """Return counts of cells of four types; the RNA tells the types apart better than the ATAC."""
    draw = np.random.default_rng(0)
    kind = draw.integers(4, size=count)
    expressed = np.exp(draw.normal(size=(4, genes)))
    accessible = 1 / (1 + np.exp(-draw.normal(size=(4, regions))))
    rna = anndata.AnnData(draw.poisson(3 * expressed[kind]).astype("float32"))
    atac = anndata.AnnData(draw.binomial(1, accessible[kind]).astype("float32"))
    return MuData({"rna": rna, "atac": atac})


def latent(plan: Any, batch: dict[str, Tensor]) -> Tensor:
    """Return the mean of the latent distribution of each cell."""
    found: Tensor = plan.module.inference(**plan.module._get_inference_input(batch))["qz_m"]
    return found


data = cells()
scvi.model.MULTIVI.setup_mudata(data, modalities={"rna_layer": "rna", "atac_layer": "atac"})
model = scvi.model.MULTIVI(data, n_genes=60, n_regions=80)
monitor = MultimodalMonitor({"rna": "X", "atac": "atac"}, predict=latent, task="regression")
model.train(
    max_epochs=12,
    batch_size=64,
    accelerator="cpu",
    callbacks=[monitor],
    check_val_every_n_epoch=2,
    early_stopping=False,
)
print(monitor.history)
