"""LightningCLI builds the monitor from YAML."""

import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI
from toy import Toy, loader

CONFIG = {
    "seed_everything": 0,
    "trainer": {
        "max_epochs": 1,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "callbacks": [
            {
                "class_path": "mviz_lightning.MultimodalMonitor",
                "init_args": {
                    "modalities": {
                        "image": "0",
                        "text": {"class_path": "mviz_lightning.Modality", "init_args": {"values": "1"}},
                    },
                    "target": "2",
                    "num_examples": 32,
                    "group_size": 8,
                    "predict": "cli_predict.predict",
                    "score": {
                        "class_path": "torchmetrics.classification.MulticlassF1Score",
                        "init_args": {"num_classes": 3},
                    },
                },
            }
        ],
    },
}


@pytest.mark.filterwarnings("ignore")
def test_the_monitor_is_built_from_yaml(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    torch.manual_seed(0)
    cli = LightningCLI(Toy, args=["--config", "config.yaml"], run=False, save_config_callback=None)
    cli.trainer.fit(cli.model, loader(), loader(seed=1))
    assert "mviz/emap_gap" in cli.trainer.callback_metrics
