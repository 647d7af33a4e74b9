"""Trains pytorch_tabular, which builds its own Trainer, with the monitor: numbers beside categories."""

import numpy as np
import pandas as pd
from pytorch_tabular import TabularModel
from pytorch_tabular.config import DataConfig, OptimizerConfig, TrainerConfig
from pytorch_tabular.models import CategoryEmbeddingModelConfig

from mviz_lightning import MultimodalMonitor, UnimodalCollapse

NUMBERS, CATEGORIES = ["age", "income", "balance"], ["region", "job"]


def customers(count: int, seed: int) -> pd.DataFrame:
    """Return customers who buy by their income and their region, and more than by both alone in one region."""
    draw = np.random.default_rng(seed)
    table = pd.DataFrame(draw.normal(size=(count, 3)).astype("float32"), columns=NUMBERS)
    table["region"], table["job"] = draw.choice(list("NESW"), count), draw.choice(["cook", "smith", "clerk"], count)
    score = table["income"] + 1.5 * (table["region"] == "N") + table["balance"] * (table["region"] == "S")
    return table.assign(buys=(score + 0.3 * draw.normal(size=count) > 0.4).astype(int))


monitor = MultimodalMonitor({"numbers": "continuous", "categories": "categorical"}, class_names=["stays", "buys"])
model = TabularModel(
    data_config=DataConfig(target=["buys"], continuous_cols=NUMBERS, categorical_cols=CATEGORIES),
    model_config=CategoryEmbeddingModelConfig(task="classification", layers="32-16", seed=0),
    optimizer_config=OptimizerConfig(),
    trainer_config=TrainerConfig(
        max_epochs=6, batch_size=128, accelerator="cpu", progress_bar="none", early_stopping=None, checkpoints=None
    ),
    verbose=False,
)
model.fit(train=customers(2000, 0), validation=customers(500, 1), callbacks=[monitor, UnimodalCollapse()])
print(monitor.history)
