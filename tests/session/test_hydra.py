"""Hydra's ``instantiate`` builds the callbacks, as projects with a folder of configurations do."""

import pytest
import torch
from helpers.toy import Toy, loader, trainer

from mviz_lightning import Modality, MultimodalMonitor, UnimodalCollapse, actions, explainers
from mviz_lightning.batch import parse_modalities

instantiate = pytest.importorskip("hydra.utils").instantiate
create = pytest.importorskip("omegaconf").OmegaConf.create

EXPLAINERS = {
    "DIME": {"num_examples": 2, "outputs": [0, 2], "masks": 16},
    "UnimodalImportance": {"num_examples": 2, "outputs": [1]},
    "CrossModalInteraction": {"num_examples": 1, "segments": {"image": [0], "text": ["b"]}},
    "MultimodalRepresentation": {"layer": "head"},
    "MultimodalPrediction": {"num_examples": 1, "layer": "head"},
    "ErrorAnalysis": {"num_examples": 2, "name": "mistakes"},
    "ExampleRanking": {"every_n_validations": 2},
}
ACTIONS = {
    "ModalityDropout": {"p": 0.25},
    "GradientModulation": {"alpha": 0.2, "encoders": {"image": ["encoders.0"], "text": ["encoders.1"]}},
    "EncoderLearningRate": {"factor": 2.0, "encoders": {"image": ["encoders.0"], "text": ["encoders.1"]}},
    "SaveCheckpoint": {"path": "alarms"},
    "StopTraining": {},
}
TEXT = {"kind": "tabular", "feature_names": ["a", "b", "c"], "max_segments": 3}
PLAIN = {
    "num_examples": 32,
    "group_size": 8,
    "target": "2",
    "reference": 48,
    "class_names": ["low", "mid", "high"],
    "measures": ["shapley"],
    "pin": [4],
}


def target(path, arguments):
    return {"_target_": f"mviz_lightning.{path}", **arguments}


def configuration():
    """Return what lies in ``configs/callbacks/mviz.yaml``."""
    modalities = {"image": "0", "text": {"values": "1", **TEXT}}
    score = {"_target_": "torchmetrics.classification.MulticlassF1Score", "num_classes": 3}
    monitor = {"modalities": modalities, **PLAIN, "num_examples": "${examples}", "score": score}
    monitor["predict"] = {"_target_": "hydra.utils.get_method", "path": "helpers.cli_predict.predict"}
    monitor["explainers"] = [target(f"explainers.{name}", given) for name, given in EXPLAINERS.items()]
    alarm = {"action": [target(f"actions.{name}", given) for name, given in ACTIONS.items()], "expected": ["text"]}
    callbacks = {"mviz": target("MultimodalMonitor", monitor), "alarm": target("UnimodalCollapse", alarm)}
    return create({"examples": 32, "callbacks": callbacks})


def built(how):
    made = {name: instantiate(one, _convert_=how) for name, one in configuration().callbacks.items()}
    return made["mviz"], made["alarm"]


@pytest.mark.parametrize("how", ["none", "partial", "object", "all"])
def test_explainers_actions_and_modalities_are_those_of_the_configuration(how):
    monitor, alarm = built(how)
    assert list(monitor.config.explainers) == [getattr(explainers, name)(**given) for name, given in EXPLAINERS.items()]
    assert monitor.config.modalities == parse_modalities({"image": "0", "text": Modality("1", **TEXT)})
    assert [type(one) for one in alarm.action] == [getattr(actions, name) for name in ACTIONS]
    assert [vars(one) for one in alarm.action] == [vars(getattr(actions, name)(**ACTIONS[name])) for name in ACTIONS]
    assert alarm.rule.expected == ("text",)
    assert (monitor.config.num_examples, list(monitor.config.pin)) == (32, [4])


def test_a_part_of_a_method_may_be_given_later():
    part = instantiate({**target("explainers.DIME", {"masks": 16}), "_partial_": True})
    assert part(num_examples=2) == explainers.DIME(masks=16, num_examples=2)


@pytest.mark.slow
def test_a_training_measures_and_keeps_what_it_does_without_hydra(tmp_path):
    def fitted(folder, *callbacks):
        torch.manual_seed(0)
        chosen = trainer(folder, *callbacks, max_epochs=1)
        chosen.fit(Toy(), loader(), loader(seed=1))
        return chosen

    monitor, alarm = built("none")
    chosen = fitted(tmp_path / "hydra", monitor, alarm)
    chosen.save_checkpoint(tmp_path / "last.ckpt")
    assert monitor.state_key in torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]
    own = MultimodalMonitor(
        {"image": "0", "text": Modality("1", **TEXT)},
        predict="helpers.cli_predict.predict",
        score=monitor.config.score,
        explainers=[getattr(explainers, name)(**given) for name, given in EXPLAINERS.items()],
        **PLAIN,
    )
    own_actions = [getattr(actions, name)(**given) for name, given in ACTIONS.items()]
    fitted(tmp_path / "own", own, UnimodalCollapse(own_actions, expected=["text"]))
    clock = {"seconds", "overhead"}
    (row,), (other,) = monitor.history, own.history
    assert {"dime", "importance", "cross_modal", "representation", "prediction", "mistakes", "ranking"} <= {
        key.split("/")[0] for key in row.values
    } | {entry.explainer for entry in monitor.explanation_history.entries}
    assert {key: value for key, value in row.values.items() if key not in clock} == {
        key: value for key, value in other.values.items() if key not in clock
    }
