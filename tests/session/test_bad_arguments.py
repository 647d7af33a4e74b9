"""Mistakes of a first day: each works as one expects, or is refused with a message that names it and what to do."""

import re
from contextlib import suppress
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MultilabelF1Score
from torchmetrics.regression import MeanSquaredError

from mviz_lightning import ConfigurationError, Modality, MultimodalMonitor, ShareReport, UnimodalCollapse, explain
from mviz_lightning.batch import parse_modalities
from mviz_lightning.explainers import DIME
from mviz_lightning.session.argument_types import checked_types
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.testing import Additive

MODALITIES = {"a": "0", "b": "1"}
ARRAY = torch.arange(6.0).view(2, 3)

COMPANIONS = "a list of paths of leaves, companions=['token_type_ids']."
LENGTHS = "the path of the leaf with the counts, or the rows of each example, 2 or more."
KIND = "the name of a kind, such as 'image', or the dotted path of its class."
DECODE = "a tokenizer, a function from ids to tokens (or its dotted path), or the vocabulary by id."


def batch(count: int = 32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(count, size, generator=generator) for size in (3, 5)]
    return (*values, torch.arange(count) % 3)


def measured(batches: Any = None, model: Any = None, **given: Any) -> ShareReport:
    options = {"modalities": MODALITIES, "target": "2", "group_size": 8} | given
    return explain(model or Additive([3, 5], 3), [batch()] if batches is None else batches, **options)


def config(**given: Any) -> SessionConfig:
    return SessionConfig(parse_modalities(MODALITIES), **given)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([0, 1, 2], ["0", "1", "2"]),
        (range(3), ["0", "1", "2"]),
        (np.array(["x", "y", "z"]), ["x", "y", "z"]),
        (torch.arange(3), ["0", "1", "2"]),
        ({0: "x", 1: "y", 2: "z"}, ["x", "y", "z"]),  # id2label
        ({"2": "z", "0": "x", "1": "y"}, ["x", "y", "z"]),  # the same from a file
        ({"z": 2, "x": 0, "y": 1}, ["x", "y", "z"]),  # class_to_idx
    ],
    ids=str,
)
def test_class_names_are_read_however_they_are_kept(given, names):
    assert config(class_names=given).class_names == names
    monitor = MultimodalMonitor(MODALITIES, class_names=given)
    assert monitor.config.class_names == names
    assert not monitor.config.by_head


def test_class_names_by_index_name_the_outputs_of_a_report():
    report = measured(class_names={0: "x", 1: "y", 2: "z"}, explainers=[DIME(num_examples=1)])
    assert report._drawing is not None
    assert list(report._drawing.labels.class_names or ()) == ["x", "y", "z"]


@pytest.mark.parametrize(
    "given", [5, "abc", {"x"}, ["x", None], {0: "x", 2: "z"}, {0: None}, {"x": 1, "y": 2}, [], [[1], [2]]], ids=str
)
def test_class_names_that_name_nothing_are_refused(given):
    with pytest.raises(ConfigurationError, match=r"^class_names=.*: give a "):
        config(class_names=given)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"reuse": "no"}, "reuse='no': give True or False."),
        ({"reuse": None}, "reuse=None: give True or False."),
        ({"pairs": "no"}, "pairs='no': give True or False."),
        ({"by_class": 1}, "by_class=1: give True or False."),
        ({"absence": "yes"}, "absence='yes': give True or False."),
        ({"seed": None}, "seed=None: give a whole number, for example seed=0."),
        ({"seed": True}, "seed=True: give a whole number, for example seed=0."),
        ({"seed": 2**70}, f"seed={2**70}: give a whole number between -2**62 and 2**62, for example seed=0."),
        ({"num_examples": True}, "num_examples=True: give a whole number, 2 or more."),
        ({"draws": True}, "draws=True: give a whole number, 1 or more."),
        ({"positions": -1}, "positions=-1: give 1 or more."),
        ({"reference": -5}, "reference=-5: give 2 or more."),
        ({"pin": [-1]}, "pin=[-1]: give whole numbers of 0 or more, the indices of validation examples."),
        ({"pin": [True]}, "pin=[True]: give whole numbers of 0 or more, the indices of validation examples."),
        (
            {"group_size": 2**40},
            f"group_size={2**40}: a group of g examples takes g * g rows; give 4096 or less.",
        ),
        ({"heads": 3}, "heads=3: give a list; [x] for a single x, [] for none."),
        ({"heads": torch.tensor(1)}, "heads=tensor(1): give a list; [x] for a single x, [] for none."),
        ({"heads": [3]}, "heads=[3]: give the names of heads, which are texts."),
        ({"target": ARRAY}, "target=<Tensor (2, 3)>: give the path of one leaf, for example 'labels'."),
        ({"subgroups": ARRAY}, "subgroups=<Tensor (2, 3)>: give the path of one leaf, for example 'metadata.site'."),
        ({"task": ["binary"]}, "task=['binary']: choose one of 'multiclass', 'binary', 'multilabel', 'regression'."),
    ],
    ids=str,
)
def test_an_argument_of_another_kind_is_named(argument, message):
    with pytest.raises(ConfigurationError) as refused:
        config(**argument)
    assert str(refused.value) == message


def test_numbers_of_numpy_are_numbers():
    found = config(seed=np.int64(3), num_examples=np.int32(64), pin=np.array([4, 1]), group_size=np.int64(8))
    assert (found.seed, found.num_examples, found.pin, found.group_size) == (3, 64, (4, 1), 8)
    assert {type(one) for one in (found.seed, found.num_examples, *found.pin)} == {int}
    model = Additive([3, 5], 3)
    assert measured(model=model, seed=np.int64(3)).values == measured(model=model, seed=3).values


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"show_inputs": "no"}, "show_inputs='no': give True or False."),
        ({"predict": 3}, "predict=3: give a function, or package.module.function."),
        ({"dataloader_idx": True}, "dataloader_idx=True: give a whole number, 0 or more."),
        ({"every_n_validations": -1}, "every_n_validations=-1: give 1 or more."),
        ({"pictures_every_n_validations": 0}, "pictures_every_n_validations=0: give 1 or more."),
    ],
    ids=str,
)
def test_an_argument_of_the_monitor_of_another_kind_is_named(argument, message):
    with pytest.raises(ConfigurationError) as refused:
        MultimodalMonitor(MODALITIES, **argument)
    assert str(refused.value) == message


def test_what_the_alarm_expects_is_a_list():
    with pytest.raises(ConfigurationError, match=r"^expected=3: give a list"):
        UnimodalCollapse(expected=3)  # type: ignore[arg-type]


def test_modalities_may_be_a_list_whose_paths_name_them():
    given = [Modality("inputs.image", max_segments=9), "text", 2]
    found = parse_modalities(given)  # type: ignore[arg-type]
    assert {name: one.leaves for name, one in found.items()} == {
        "inputs_image": ["inputs.image"],
        "text": ["text"],
        "2": ["2"],
    }
    assert found["inputs_image"] is given[0]
    assert list(parse_modalities(iter(["a", "b"]))) == ["a", "b"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ([("a", "0"), ("b", "1")], "modalities={'a': '0', 'b': '1'}"),
        ([["a", "0"], ["b", ["1", "2"]]], "modalities={'a': '0', 'b': ['1', '2']}"),
        ([None, "b"], 'modalities={"image": '),
        ([ARRAY, "b"], 'modalities={"image": '),
        ({"ab"}, '{"image": "pixel_values"'),
        (torch.tensor(1), "modalities=tensor(1): pass a mapping from names to paths"),
    ],
    ids=str,
)
def test_a_list_of_pairs_is_shown_as_the_mapping_it_should_be(given, advice):
    with pytest.raises(ConfigurationError, match=r"^modalities=.*pass a mapping from names to paths.*") as refused:
        parse_modalities(given)
    assert advice in str(refused.value)
    pasted = re.search(r"modalities=(\{'a': .*\})\.$", str(refused.value))
    if pasted is not None:
        assert list(parse_modalities(eval(pasted[1]))) == ["a", "b"]  # noqa: S307 - it is our own


def test_a_plain_mapping_is_the_arguments_of_a_modality():
    found = parse_modalities({"a": {"values": 0, "mask": "m", "max_segments": 4}, "b": "1"})  # type: ignore[dict-item]
    assert found["a"] == Modality("0", mask="m", max_segments=4)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"mask": ["m"]}, "mask=['m']): give the path of one leaf, mask='m'."),
        ({"padding_mask": ("m",)}, "padding_mask=('m',)): give the path of one leaf, padding_mask='m'."),
        ({"present": 1.5}, "present=1.5): give the path of one leaf, present='...'."),
        ({"boxes": ARRAY}, "boxes=<Tensor (2, 3)>): give the path of one leaf, boxes='...'."),
        ({"companions": 2.5}, f"companions=2.5): give {COMPANIONS}"),
        ({"companions": {"x": "y"}}, f"companions={{'x': 'y'}}): give {COMPANIONS}"),
        ({"superpixels": "no"}, "superpixels='no'): give True or False."),
        ({"blocks": "no"}, "blocks='no'): give True or False."),
        ({"lengths": 2.5}, f"lengths=2.5): give {LENGTHS}"),
        ({"time_axis": "1"}, "time_axis='1'): give the number of an axis, such as 1."),
        ({"rate": 0}, "rate=0): give a number above 0."),
        ({"rate": float("nan")}, "rate=nan): give a number above 0."),
        ({"mean": "0.5"}, "mean='0.5'): give a number, or a list with one for each channel."),
        ({"mean": [0.5, None]}, "mean=[0.5, None]): give a number, or a list with one for each channel."),
        ({"std": [0.5, 0.0]}, "std=[0.5, 0.0]): give a number above 0, or a list with one for each channel."),
        ({"pad_value": "x"}, "pad_value='x'): give a number."),
        ({"baseline": [1]}, "baseline=[1]): give 'zero', 'mean', 'blur' or a number."),
        ({"special_ids": "3"}, "special_ids='3'): give a list of the ids of tokens, special_ids=[0, 2]."),
        ({"feature_names": "abc"}, "feature_names='abc'): give a list of names, feature_names=['age', 'height']."),
        ({"feature_names": 3}, "feature_names=3): give a list of names, feature_names=['age', 'height']."),
        ({"kind": ["image"]}, f"kind=['image']): give {KIND}"),
        ({"max_segments": -1}, "max_segments=-1): give 1 or more."),
        ({"sample_rate": 0}, "sample_rate=0): give 1 or more."),
        ({"merge": -2}, "merge=-2): give 1 or more."),
        ({"decode": 3}, f"decode=3): give {DECODE}"),
    ],
    ids=str,
)  # fmt: skip
def test_an_argument_of_a_modality_of_another_kind_is_named(argument, message):
    with pytest.raises(ConfigurationError) as refused:
        Modality("x", **argument)
    assert str(refused.value) == f"Modality('x', {message}"


@pytest.mark.parametrize("given", [ARRAY, ARRAY.numpy(), [ARRAY], None])
def test_an_array_as_a_path_is_named_by_its_shape(given):
    with pytest.raises(ConfigurationError, match=r"^Modality\(values=.*: give the path of one leaf") as refused:
        Modality(given)
    assert len(str(refused.value)) < 200
    with pytest.raises(ConfigurationError, match=r"^modalities\['a'\]=.* names no leaf; give the path") as refused:
        parse_modalities({"a": given, "b": "1"})
    assert len(str(refused.value)) < 200


def test_one_companion_is_a_list_of_one():
    assert Modality("x", companions="token_type_ids").leaves == ["x", "token_type_ids"]  # type: ignore[arg-type]
    assert Modality("x", companions=3).leaves == ["x", "3"]  # type: ignore[arg-type]


class Tokenizer:
    """Names tokens as those of transformers do, and decodes to one text, as they do."""

    all_special_ids = (0,)

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [f"w{number}" for number in ids]

    def decode(self, ids: list[int]) -> str:
        return " ".join(self.convert_ids_to_tokens(ids))


def test_a_bound_method_of_a_tokenizer_stands_for_the_tokenizer():
    tokenizer = Tokenizer()
    for method in (tokenizer.decode, tokenizer.convert_ids_to_tokens):
        assert Modality("ids", decode=method).decode is tokenizer
    with pytest.raises(ConfigurationError, match=r"^Modality\('ids', decode=<class '.*Tokenizer'>\): give a tokenizer"):
        Modality("ids", decode=Tokenizer)
    own = Own()
    assert Modality("ids", decode=own.tokens).decode == own.tokens


class Own:
    def tokens(self, ids: list[int]) -> list[str]:
        return [str(number) for number in ids]


@pytest.mark.parametrize("explainers", [[], [DIME(num_examples=1)]], ids=["shares", "explained"])
def test_an_unknown_kind_is_refused_with_and_without_explainers(explainers):
    given = {"a": Modality("0", kind="picture"), "b": "1"}
    with pytest.raises(ConfigurationError, match=r"^kind='picture': choose one of image, .* or give the dotted path"):
        MultimodalMonitor(given, explainers=explainers)


@pytest.mark.parametrize(("argument", "kind"), [({"mean": 0.5}, "text"), ({"special_ids": [0]}, "image")])
def test_an_argument_that_the_given_kind_does_not_read_is_refused_at_once(argument, kind):
    (name,) = argument
    with pytest.raises(ConfigurationError, match=rf"^{name} of '0': kind '{kind}' does not use {name}="):
        MultimodalMonitor({"a": Modality("0", kind=kind, **argument), "b": "1"})


class Pictured(nn.Module):
    """An image and tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(3 * 4 * 4, 3), nn.Embedding(9, 3)

    def forward(self, image: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return self.image(image.flatten(1)) + self.text(ids).mean(1)


def pictured(image: dict[str, Any], text: dict[str, Any]) -> ShareReport:
    shown = {"image": torch.rand(32, 3, 4, 4), "ids": torch.randint(0, 9, (32, 5)), "y": torch.arange(32) % 3}
    modalities = {"image": Modality("image", **image), "text": Modality("ids", **text)}
    given = {"modalities": modalities, "target": "y", "group_size": 8, "explainers": [DIME(num_examples=1)]}
    return explain(Pictured(), [shown], **given)  # type: ignore[arg-type]


def test_a_mean_of_text_is_refused():
    with pytest.raises(ConfigurationError, match=r"^mean of 'ids': kind 'text' does not use mean=; allowed kinds"):
        pictured({}, {"mean": [0.5, 0.5, 0.5]})


@pytest.mark.parametrize("argument", ["mean", "std"])
def test_a_mean_of_another_number_of_channels_is_refused_before_a_run(argument):
    with pytest.raises(ConfigurationError, match=r"^mean= or std= has 2 values, the images have 3 channels; give one"):
        pictured({argument: [0.5, 0.5]}, {})


def test_a_mean_may_be_a_tensor():
    assert Modality("image", mean=torch.tensor([0.5, 0.25])).mean == [0.5, 0.25]  # type: ignore[arg-type]
    assert "total/image" in pictured({"mean": torch.full((3,), 0.5)}, {}).values


@pytest.mark.parametrize("classes", [2, 5])
def test_a_score_of_another_number_of_classes_is_named(classes):
    expected = f"score=MulticlassF1Score(num_classes={classes}): the model has 3 outputs; give MulticlassF1Score("
    with pytest.raises(ConfigurationError, match=f"^{re.escape(expected)}num_classes=3\\)\\.$"):
        measured(score=MulticlassF1Score(classes))


class Picky(Metric):
    """Takes nothing."""

    def update(self, preds: torch.Tensor, target: torch.Tensor) -> None:
        raise KeyError("weights")

    def compute(self) -> None:
        """Never called."""


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (Picky(), r"^score=Picky\(\.\.\.\) takes neither probabilities .* KeyError: 'weights'\. Give a torchmetric of"),
        (MultilabelF1Score(3), r"^score=MultilabelF1Score\(\.\.\.\) takes neither .* of task='multiclass'"),
        (
            MulticlassF1Score(3, average="none"),
            r"^score=MulticlassF1Score\(\.\.\.\) is not one number but <Tensor \(3,\)>",
        ),
    ],
    ids=["picky", "labels", "vector"],
)
def test_a_score_that_does_not_work_is_named_before_a_run(score, message):
    with pytest.raises(ConfigurationError, match=message):
        measured(score=score)


def test_scores_that_fit_are_kept():
    values = measured(score=MulticlassAccuracy(3, average="micro")).values
    assert 0 <= values["score"] <= 1
    inputs = batch()
    given = {
        "modalities": MODALITIES,
        "target": "2",
        "task": "regression",
        "group_size": 8,
        "score": MeanSquaredError(),
    }
    assert explain(Additive([3, 5]), [(*inputs[:2], inputs[0][:, 0])], **given).values["score"] > 0  # type: ignore[arg-type]


def test_more_examples_than_there_are_is_said():
    assert (
        "num_examples=512: the validation set has 32 examples, and 32 of them are recombined"
        in measured(num_examples=512).notes
    )
    assert "num_examples=" not in measured(num_examples=32).notes


def test_complex_labels_are_named():
    with pytest.raises(ConfigurationError, match=r"target='2': the labels are complex numbers; give real ones"):
        measured([(*batch()[:2], batch()[2] + 0j)])


def test_a_number_of_examples_that_is_a_tensor_is_named():
    with pytest.raises(ConfigurationError, match="num_examples="):
        measured(num_examples=torch.ones(2, 2))


def test_a_pin_that_no_example_has_is_said(caplog):
    with caplog.at_level("INFO"):
        report = measured(pin=[1000, 3], explainers=[DIME(num_examples=1)])
    said = "pin=[1000]: the validation set has no such example"
    assert said in report.notes
    assert said in caplog.text
    assert [one.position for one in report.results["dime"].examples] == [3]


@pytest.mark.parametrize("labels", [torch.full((32,), -100), torch.full((32,), float("nan"))])
def test_labels_that_all_are_missing_are_said(labels, caplog):
    with caplog.at_level("INFO"):
        values = measured([(*batch()[:2], labels)]).values
    assert "no example has a label: all 32 are -100 or NaN, so no scores are logged" in caplog.text
    assert not {key for key in values if "score" in key}
    assert "total/a" in values


class Listed(nn.Module):
    """Reads a list of examples."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Additive([3, 5], 3)

    def forward(self, batch: list[dict[str, Any]]) -> torch.Tensor:
        return self.model(*(torch.stack([one[name] for one in batch]) for name in "ab"))


def listed(count: int = 32) -> list[dict[str, Any]]:
    return [{"a": a, "b": b, "y": int(y)} for a, b, y in zip(*batch(count), strict=True)]


def test_a_list_of_examples_is_measured_as_their_stack():
    torch.manual_seed(0)
    model, given = Listed(), {"modalities": {"a": "a", "b": "b"}, "target": "y"}
    found = measured([listed()], model, **given).values
    a, b, y = batch()
    by_name = {"predict": lambda module, batch: module(batch["a"], batch["b"])}
    stacked = measured([{"a": a, "b": b, "y": y}], model.model, **given, **by_name).values
    assert found.keys() == stacked.keys()
    assert list(found.values()) == pytest.approx(list(stacked.values()), abs=1e-6)


def test_a_wrong_path_in_a_list_of_examples_is_named_once():
    with pytest.raises(
        ConfigurationError,
        match=r"no leaf 'q' in the batch; leaves found: a \(3,\), b \(5,\), y int in each of 32 examples\.",
    ):
        measured([listed()], Listed(), modalities={"a": "q", "b": "b"}, target="y")


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (batch()[0], "batches is a single batch; pass a loader or a list of batches"),
        (
            TensorDataset(*batch()),
            r"batches is a data set; pass a loader, for example DataLoader\(dataset, batch_size=16\)",
        ),
        (3, r"batches=3: pass a loader or a list of batches, \[batch\]\."),
        ("loader", "batches='loader': pass a loader"),
        ([], "batches holds no batch"),
        ([None], "batches holds no batch"),
    ],
)
def test_what_is_no_loader_is_named(batches, message):
    with pytest.raises(ConfigurationError, match=f"^{message}"):
        measured(batches)


@pytest.mark.parametrize("model", ["model", torch.sin, 3])
def test_what_is_no_module_is_named(model):
    with pytest.raises(ConfigurationError, match=r"^model=.*: give a torch\.nn\.Module; of a function, "):
        measured(model=model)


def test_every_number_of_a_session_has_a_smallest_value():
    given = vars(config())
    for name in ("num_examples", "group_size", "budget", "reference", "chunk_size", "positions", "draws"):
        with pytest.raises(ConfigurationError, match=rf"^{name}=-1: give \d or more\.$"):
            checked_types(given | {name: -1})


def test_no_argument_of_a_modality_fails_at_what_it_is_given():
    odd = (
        None,
        -1,
        0.5,
        "",
        "x",
        [],
        ["x"],
        [None],
        {},
        {"x": 1},
        {"x"},
        ARRAY,
        ARRAY.numpy(),
        dict,
        object(),
        b"x",
        1j,
    )
    for name in (field.name for field in fields(Modality) if field.name != "values"):
        for given in odd:
            with suppress(ConfigurationError):
                assert Modality("x", **{name: given}).leaves
