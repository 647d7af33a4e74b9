"""Which classes and subgroups are measured, how they are called, and what is said of the others."""

import math

import numpy as np
import pytest
import torch
from helpers.planted import MODALITIES
from torch import nn

from mviz_lightning import ConfigurationError, explain
from mviz_lightning.batch.categories import categories_of
from mviz_lightning.explainers.contribution_shares.subset_keys import key_parts
from mviz_lightning.session.subsets import Subset, Subsets

COUNT = 96


class Sum(nn.Module):
    """As many outputs as asked for: sums of both inputs' first columns, shifted so that no two are equal."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, image, text):
        return torch.stack([image[:, k] + text[:, k] * image[:, 0] for k in range(self.outputs)], 1)


def batch(label, **leaves):
    generator = torch.Generator().manual_seed(0)
    image, text = torch.randn(2, COUNT, 6, generator=generator)
    return {"image": image, "text": text, "label": label, **leaves}


def found(label, outputs=3, *, leaves=None, **settings):
    chosen = {"modalities": {name: name for name in MODALITIES}, "target": "label", "num_examples": 64, **settings}
    return explain(Sum(outputs), [batch(label, **(leaves or {}))], **chosen)


def subsets(report, kind="class"):
    """Return the names of the subsets that have values."""
    return list(dict.fromkeys(key.split("/")[1] for key in report.values if key.startswith(f"{kind}/")))


CYCLE = torch.arange(COUNT)


def test_every_class_has_totals_and_bounds_and_all_else_stays_as_it_is() -> None:
    plain, report = found(CYCLE % 3), found(CYCLE % 3, by_class=True)
    more = {key: value for key, value in report.values.items() if key not in plain.values}
    assert {key: report.values[key] for key in plain.values} == plain.values
    assert report.rows == plain.rows
    assert set(more) == {
        f"class/{k}/{kind}/{m}" for k in range(3) for kind in ("total", "total_low", "total_high") for m in MODALITIES
    }
    for k in range(3):
        low, value, high = (more[f"class/{k}/{kind}/image"] for kind in ("total_low", "total", "total_high"))
        assert low < value < high


def test_classes_are_called_by_their_names_in_keys_that_every_logger_takes() -> None:
    assert subsets(found(CYCLE % 3, by_class=True, class_names=["a/b", "T shirt", "T_shirt"])) == [
        "a_b",
        "T_shirt",
        "T_shirt_",
    ]


def test_labels_that_are_strings_name_the_classes() -> None:
    words = [["cat", "dog", "ant"][k % 3] for k in range(COUNT)]
    assert subsets(found(words, by_class=True)) == ["ant", "cat", "dog"]


def test_labels_that_are_numbers_in_strings_do_not_name_them_out_of_order() -> None:
    numbers = [str(k % 3) for k in range(COUNT)]
    assert subsets(found(numbers, by_class=True)) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("names", "expected"), [(["no", "yes"], ["no", "yes"]), (["ill"], ["not_ill", "ill"]), (None, ["0", "1"])]
)
def test_one_logit_has_two_classes(names, expected) -> None:
    assert subsets(found(CYCLE % 2, outputs=1, by_class=True, class_names=names)) == expected


def test_an_example_with_several_labels_belongs_to_each_of_them() -> None:
    labels = torch.stack([CYCLE % 2 == 0, CYCLE % 3 == 0, torch.zeros(COUNT)], 1).long()
    report = found(labels, by_class=True, task="multilabel")
    assert subsets(report) == ["0", "1"]
    assert "1 of 3 classes have fewer than 12 recombined examples and get no shares of their own: 2 (0)" in report.notes


def test_soft_labels_count_for_their_largest_class() -> None:
    hard = nn.functional.one_hot(CYCLE % 3, 3).double()
    soft = (
        0.6 * hard + 0.4 / 3 + torch.rand(COUNT, 1, generator=torch.Generator().manual_seed(1)) * 0.1 * (hard - 1 / 3)
    )
    report = found(soft, by_class=True, task="multiclass")
    assert subsets(report) == ["0", "1", "2"]


def test_examples_without_a_label_belong_to_no_class() -> None:
    label = (CYCLE % 2).where(CYCLE % 4 != 0, -100)
    counted = found(label, by_class=True, task="multiclass", num_examples=COUNT)
    assert subsets(counted) == ["0", "1"]
    assert "2 (0)" in counted.notes


def test_classes_with_too_few_examples_are_counted_named_and_left_out_once() -> None:
    label = torch.where(CYCLE % 12 == 0, 2, CYCLE % 2)
    report = found(label, by_class=True)
    assert subsets(report) == ["0", "1"]
    line = "1 of 3 classes have fewer than 12 recombined examples and get no shares of their own: 2 ("
    assert report.notes.count(line) == 1
    share = int(report.notes.partition(line)[2].partition(")")[0])
    wanted = 16 * math.ceil(4 * 12 / share)  # whole groups of 16
    assert f"pass num_examples={wanted} if the validation set has that many" in report.notes
    assert wanted * share / 64 >= 12


def test_of_positions_the_examples_count() -> None:
    """Class 2 stands at all 9 pixels of 8 examples; 72 positions of 8 examples are no 12 examples."""
    few = torch.arange(64) % 8 == 0
    members = few.view(4, 16, 1).expand(4, 16, 9)
    found = [Subset("class", name, one.flatten(1), 9) for name, one in (("2", members), ("0", ~members))]
    assert [(one.count, one.is_measured) for one in found] == [(8, False), (56, True)]
    assert "2 (8); pass num_examples=96" in Subsets(found, ["image"]).lines[0]


SITES = ["north", "south wing", "west"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        ([SITES[k % 3] for k in range(COUNT)], ["north", "south_wing", "west"]),
        (np.array([SITES[k % 3] for k in range(COUNT)]), ["north", "south_wing", "west"]),
        ([k % 3 * 5 for k in range(COUNT)], ["0", "5", "10"]),
        (CYCLE % 3 * 5, ["0", "5", "10"]),
        ((CYCLE % 3 * 5).unsqueeze(1), ["0", "5", "10"]),
        ((CYCLE % 3 * 5).double(), ["0", "5", "10"]),
        (CYCLE % 2 == 0, ["False", "True"]),
        ([k % 2 == 0 for k in range(COUNT)], ["False", "True"]),
        ([None if k % 3 == 2 else SITES[k % 3] for k in range(COUNT)], ["north", "south_wing"]),
    ],
)
def test_a_leaf_of_any_plain_kind_names_subgroups(leaf, expected) -> None:
    report = found(CYCLE % 3, subgroups="metadata.site", leaves={"metadata": {"site": leaf}})
    assert subsets(report, "subgroup") == expected
    assert not subsets(report)


def test_subgroups_need_no_labels_and_no_classes() -> None:
    report = found(CYCLE.double(), 1, task="regression", subgroups="site", leaves={"site": (CYCLE % 2).tolist()})
    assert subsets(report, "subgroup") == ["0", "1"]
    bare = found(CYCLE % 3, target=None, task="multiclass", subgroups="label")
    assert subsets(bare, "subgroup") == ["0", "1", "2"]


def test_a_leaf_with_many_values_says_that_they_have_too_few_examples() -> None:
    report = found(CYCLE % 3, subgroups="id", leaves={"id": CYCLE})
    assert not subsets(report, "subgroup")
    assert "64 of 64 subgroups have fewer than 12 recombined examples" in report.notes
    assert report.notes.endswith("and 58 more; give a leaf with fewer different values")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"subgroups": "site"},
            r"subgroups='site': no such leaf with one entry per example; leaves that name groups: label \(16,\)",
        ),
        ({"subgroups": "age"}, r"subgroups='age': the leaf holds real numbers, such as 0\.5, which form no groups"),
        ({"subgroups": "image"}, r"subgroups='image': the leaf \(16, 6\) holds several values for each example"),
        ({"subgroups": "boxes"}, r"subgroups='boxes': the leaf holds objects of type dict"),
        ({"by_class": True, "target": "age", "task": "regression"}, r"by_class=True: the task is 'regression'"),
        ({"by_class": True, "target": None, "task": "multiclass"}, r"by_class=True: there are no labels"),
        ({"by_class": 1}, r"by_class=1: give True or False"),
        ({"subgroups": ["a"]}, r"subgroups=\['a'\]: give the path of one leaf"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(settings, message) -> None:
    leaves = {"age": CYCLE + 0.5, "boxes": [{"x": 1} for _ in range(COUNT)]}
    with pytest.raises(ConfigurationError, match=message):
        found(CYCLE % 3, 1 if settings.get("task") == "regression" else 3, leaves=leaves, **settings)


@pytest.mark.parametrize("leaf", [torch.tensor([1.0, math.nan]), [1, None], ["1", ""], [torch.tensor(1), math.nan]])
def test_an_example_without_a_value_belongs_to_no_subgroup(leaf) -> None:
    assert categories_of(leaf) == ["1", None]


def test_no_two_parts_of_keys_are_the_same() -> None:
    names = ["a b", "a/b", "a_b", "a_b_", "", "/", "ü", "x.1-2"]
    parts = key_parts(names)
    assert len(set(parts)) == len(names)
    assert parts[-2:] == ["ü", "x.1-2"]
    assert all("/" not in part and part for part in parts)


def test_the_report_prints_a_table_and_draws_a_picture(tmp_path) -> None:
    report = found(CYCLE % 3, by_class=True, subgroups="site", leaves={"site": (CYCLE % 2).tolist()})
    values = report.values
    line = next(line for line in str(report).splitlines() if line.startswith("2 "))
    interval = [f"{values[f'class/2/{kind}/image']:.3f}" for kind in ("total", "total_low", "total_high")]
    assert "{} [{}, {}]".format(*interval) in line
    assert [picture.key for picture in report.pictures()] == ["by_class", "by_subgroup"]
    report.save(tmp_path)
    assert {path.name for path in (tmp_path).glob("*.png")} == {"by_class.png", "by_subgroup.png"}
