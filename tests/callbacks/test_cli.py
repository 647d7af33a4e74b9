"""LightningCLI builds the monitor from YAML."""

from copy import deepcopy

import pytest
import torch
import yaml
from helpers.toy import Toy, examples, loader
from lightning.pytorch.cli import LightningCLI
from torch.utils.data import DataLoader, TensorDataset

from mviz_lightning import MultimodalMonitor, UnimodalCollapse, actions, explainers
from mviz_lightning.explainers import DIME

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
                    "max_overhead": 0.05,
                    "measures": ["shapley", "intershap"],
                    "predict": "helpers.cli_predict.predict",
                    "score": {
                        "class_path": "torchmetrics.classification.MulticlassF1Score",
                        "init_args": {"num_classes": 3},
                    },
                },
            }
        ],
    },
}


class Reader(Toy):
    """Takes token ids as numbers."""

    def forward(self, image, ids):
        return super().forward(image, ids.float())


def built(folder, monkeypatch, init_args=None, model=Toy, further=()):
    """Return what LightningCLI makes of the file that it saves of a file."""
    monkeypatch.chdir(folder)
    config = deepcopy(CONFIG)
    config["trainer"]["callbacks"][0]["init_args"] |= init_args or {}
    config["trainer"]["callbacks"].extend(further)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    settings = {"run": False, "save_config_callback": None}
    first = LightningCLI(model, args=["--config", "config.yaml"], **settings)
    saved = first.parser.dump(first.config, skip_none=False)
    (folder / "saved.yaml").write_text(saved)
    return LightningCLI(model, args=["--config", "saved.yaml"], **settings)


@pytest.mark.filterwarnings("ignore")
def test_the_monitor_is_built_from_yaml(tmp_path, monkeypatch):
    cli = built(tmp_path, monkeypatch)
    cli.trainer.fit(cli.model, loader(), loader(seed=1))
    assert {"mviz/emap_gap", "mviz/shapley/image", "mviz/intershap"} <= set(cli.trainer.callback_metrics)
    (watch,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, MultimodalMonitor))
    assert watch._run.measurement_run.time_budget.limit == 0.05


def modality(**said):
    return {"class_path": "mviz_lightning.Modality", "init_args": said}


def dime(**said):
    return {"class_path": "mviz_lightning.explainers.DIME", "init_args": said}


@pytest.mark.filterwarnings("ignore")
def test_explainers_and_modalities_are_built_from_yaml(tmp_path, monkeypatch):
    words = {"values": "1", "kind": "text", "decode": "helpers.cli_predict.tokens", "special_ids": [0], "baseline": 3}
    columns = {
        "values": "0",
        "kind": "tabular",
        "baseline": 0.5,
        "feature_names": ["a", "b", "c", "d"],
        "max_segments": 2,
    }
    settings = {
        "modalities": {"image": modality(**columns), "text": modality(**words)},
        "explainers": [dime(num_examples=2, outputs=[0, 2], name="mine"), dime(num_examples=1, donors=3, masks=8)],
        "class_names": ["low", "mid", "high"],
        "pin": [4],
        "show_inputs": False,
    }
    cli = built(tmp_path, monkeypatch, settings, Reader)
    (watch,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, MultimodalMonitor))
    assert list(watch.config.explainers) == [
        DIME(num_examples=2, outputs=[0, 2], name="mine"),
        DIME(num_examples=1, donors=3, masks=8),
    ]
    image, text = watch.config.modalities.values()
    assert {name: getattr(image, name) for name in columns} == columns
    assert {name: getattr(text, name) for name in words} == words
    assert (watch.show_inputs, list(watch.config.pin)) == (False, [4])
    data = [
        DataLoader(TensorDataset(x, y.sign().long() + 1, label), 16)
        for x, y, label in (examples(seed=seed).tensors for seed in range(2))
    ]
    cli.trainer.fit(cli.model, *data)
    mine, other = (entry.explanations for entry in watch.explanation_history.entries)
    assert (mine[0].position, [found.position for found in other]) == (4, [4])
    assert [output.output for output in mine[0].outputs] == [0, 2]
    assert len(mine[0].outputs[0].parts["image"].unimodal) == 2
    assert watch._run.session.modality_types["text"]._vocabulary.tokens == {0: "none", 2: "two", 3: "mask"}
    folder = tmp_path / "mviz" / "version_0"
    assert len(list(folder.rglob("example_4_over_epochs.png"))) == 2


STAGES = {
    "UnimodalImportance": {"num_examples": 2, "method": "shap", "samples": 32, "outputs": [1], "num_totals": 2},
    "CrossModalInteraction": {"num_examples": 1, "method": "second_order", "segments": {"image": [0], "text": ["x"]}},
    "MultimodalRepresentation": {"layer": "head", "every_n_validations": 2},
    "MultimodalPrediction": {"num_examples": 1, "layer": "head"},
    "ErrorAnalysis": {"num_examples": 3, "name": "mistakes"},
    "ExampleRanking": {"every_n_validations": 2},
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_stages_are_built_from_yaml_and_conducted(tmp_path, monkeypatch):
    said = [
        {"class_path": f"mviz_lightning.explainers.{name}", "init_args": options} for name, options in STAGES.items()
    ]
    cli = built(tmp_path, monkeypatch, {"explainers": said})
    (watch,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, MultimodalMonitor))
    assert list(watch.config.explainers) == [getattr(explainers, name)(**options) for name, options in STAGES.items()]
    cli.trainer.fit(cli.model, loader(), loader(seed=1))
    names = ("importance", "cross_modal", "representation", "prediction", "mistakes", "ranking")
    logged = [key.split("/")[1] for key in cli.trainer.callback_metrics if key.count("/") > 1]
    assert set(logged) >= set(names)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"explainers": [dime(num_examples=-1)]}, r"DIME\(num_examples=-1\): give 0 or more"),
        ({"max_overhead": 5}, r"max_overhead=5.*: give a share of the time between 0 and 1"),
        ({"explainers": [dime(), dime()]}, r"explainers=\['dime', 'dime'\]: give each a name= of its own"),
    ],
)
def test_what_cannot_be_explained_is_said_while_yaml_is_read(tmp_path, monkeypatch, settings, message):
    with pytest.raises(ValueError, match=message):  # jsonargparse's own, with ours in its message
        built(tmp_path, monkeypatch, settings)


ENCODERS = {"image": ["encoders.0"], "text": ["encoders.1"]}

ACTIONS = {
    "ModalityDropout": {"p": 0.25, "seed": 3},
    "GradientModulation": {"alpha": 0.2, "noise": False, "encoders": ENCODERS},
    "EncoderLearningRate": {"factor": 2.0, "others": 0.5, "encoders": ENCODERS},
    "SaveCheckpoint": {"path": "alarms"},
    "StopTraining": {},
}


@pytest.mark.filterwarnings("ignore")
def test_all_actions_of_an_alarm_are_built_from_yaml(tmp_path, monkeypatch):
    said = [{"class_path": f"mviz_lightning.actions.{name}", "init_args": options} for name, options in ACTIONS.items()]
    alarm = {"class_path": "mviz_lightning.UnimodalCollapse", "init_args": {"action": said, "expected": ["text"]}}
    cli = built(tmp_path, monkeypatch, further=[alarm])
    (watch,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, UnimodalCollapse))
    assert [type(one) for one in watch.action] == [getattr(actions, name) for name in ACTIONS]
    assert [vars(one) for one in watch.action] == [vars(getattr(actions, name)(**ACTIONS[name])) for name in ACTIONS]
    assert watch.rule.expected == ("text",)
