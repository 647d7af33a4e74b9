"""Arguments from Hydra's configurations."""

import pytest
import torch
from helpers.toy import SMALL, Toy, loader

from mviz_lightning import ConfigurationError, Modality, MultimodalMonitor, UnimodalCollapse, explain
from mviz_lightning.actions import EncoderLearningRate
from mviz_lightning.batch import parse_modalities
from mviz_lightning.explainers import DIME, CrossModalInteraction

create = pytest.importorskip("omegaconf").OmegaConf.create

LISTS = {
    "companions": ["ids"],
    "special_ids": [0, 1],
    "mean": [0.5, 0.5],
    "std": [1.0, 2.0],
    "feature_names": ["a", "b"],
}


@pytest.mark.parametrize(
    "given",
    [
        {"image": "x", "text": ["ids", "mask"]},
        ["x", "ids"],
        {"image": {"values": "x", **LISTS}, "text": {"values": "words", "decode": {"a": 0}, "baseline": 1}},
    ],
)
def test_modalities_are_those_of_lists_and_dicts(given):
    found = parse_modalities(create(given))
    assert found == parse_modalities(given)
    assert {type(value).__module__ for one in found.values() for value in vars(one).values()} == {"builtins"}


@pytest.mark.parametrize(("name", "value"), LISTS.items())
def test_lists_of_a_modality_are_lists(name, value):
    modality = Modality("x", **{name: create(value)})
    assert getattr(modality, name) == value
    assert type(getattr(modality, name)) is list


def test_a_placeholder_in_a_list_is_refused_there_too():
    with pytest.raises(ConfigurationError, match="mean of 'x' is still `...`"):
        Modality("x", mean=[..., 1.0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"vales": "x"}, "'vales' is not an argument of Modality"),
        ({"mask": "m"}, "it lacks 'values', the path of a leaf"),
    ],
)
def test_a_mapping_that_is_no_modality_is_refused(given, message):
    with pytest.raises(ConfigurationError, match=rf"modalities\['image'\].*{message}; allowed are values, mask"):
        parse_modalities({"image": given, "text": "ids"})


def test_an_action_may_be_a_list_of_a_configuration():
    assert UnimodalCollapse(create(["warn", "stop"])).action == ["warn", "stop"]
    assert UnimodalCollapse(expected=create(["image"])).rule.expected == ("image",)
    assert EncoderLearningRate(encoders=create({"image": ["a", "b"], "text": "c"})).encoders == {
        "image": ["a", "b"],
        "text": ["c"],
    }


@pytest.mark.slow
def test_a_measurement_of_a_configuration_finds_the_same():
    names = {"modalities": {"image": "0", "text": "1"}, "class_names": ["a", "b", "c"], "pin": [0, 3]}
    methods = {"outputs": [0, 2]}, {"outputs": [1], "segments": {"image": [0, 1]}}

    def found(made):
        explainers = [
            DIME(num_examples=1, **made(methods[0])),
            CrossModalInteraction(num_examples=1, **made(methods[1])),
        ]
        settings = {key: value for key, value in SMALL.items() if key != "reference"}
        report = explain(Toy().eval(), loader(64), target="2", explainers=explainers, **made(names), **settings)
        return report.values.keys(), len(report.pictures())

    torch.manual_seed(0)
    expected = found(dict)
    torch.manual_seed(0)
    assert found(create) == expected


def test_a_monitor_takes_a_whole_configuration():
    settings = create(
        {"modalities": {"image": "0", "text": "1"}, "pin": [1], "class_names": ["a"], "measures": ["shapley"]}
    )
    monitor = MultimodalMonitor(**settings)
    assert type(monitor.config.class_names) is list
