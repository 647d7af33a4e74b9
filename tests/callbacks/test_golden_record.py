"""Moving code about changes nothing that users see: two whole runs leave behind what they left before."""

import math
import re
from functools import partial

import pytest
from helpers import golden_record
from helpers.versions import WHOLE_PIXELS

EXACT = partial(math.isclose, rel_tol=1e-5, abs_tol=1e-7)
"""The last digits of a float64 training move from processor to processor, and those of any training on one do not."""

ALIKE = partial(math.isclose, abs_tol=16) if WHOLE_PIXELS else EXACT
"""Grey levels, of 255, of the cells of pictures with the labels of another matplotlib than the record's."""


@pytest.mark.slow
def test_three_modalities_with_all_stages_leave_what_they_left(tmp_path):
    (_, before), now = golden_record.read("toy"), golden_record.toy(tmp_path)
    drawn = before.pop("pictures"), now.pop("pictures")
    assert list(golden_record.differences(before, now, EXACT)) == []
    assert list(golden_record.differences(*drawn, ALIKE)) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_openmoji_example_leaves_what_it_left(tmp_path):
    machine, before = golden_record.read("openmoji")
    now = golden_record.openmoji(tmp_path)
    if machine == golden_record.machine():
        assert list(golden_record.differences(before, now, EXACT)) == []
    else:  # a float32 training takes another way there, and other examples are mistakes
        assert [row["values"].keys() for row in before["rows"]] == [row["values"].keys() for row in now["rows"]]
        assert unnumbered(before["files"]) == unnumbered(now["files"])
        assert unnumbered(before["tags"]["scalars"]) == unnumbered(now["tags"]["scalars"])


def unnumbered(names):
    return {re.sub(r"\d+", "#", name) for name in names}


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        ({"a": 1.0}, {"a": 1.0 + 1e-9}, 0),
        ({"a": 1.0}, {"a": 1.001}, 1),
        ({"a": 1.0}, {"b": 1.0}, 2),
        ({"a": []}, {"a": {}}, 1),
        (["red +0.25"], ["red +0.25"], 0),
        (["red +0.25"], ["red +0.35"], 1),
        (["red +0.25"], ["blue +0.25"], 1),
        ([1, 2], [1], 1),
        ("a", 1, 1),
    ],
)
def test_a_difference_would_be_found(before, now, found):
    assert len(list(golden_record.differences(before, now, EXACT))) == found
