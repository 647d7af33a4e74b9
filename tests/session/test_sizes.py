"""The benchmark of sizes runs, and tells which bound is passed; methods hold little of many classes at once."""

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from mviz_lightning.functional import decomposable, design
from mviz_lightning.functional.anova import _halves, split_components, two_way_components
from mviz_lightning.functional.emap_scores import additive_parts
from mviz_lightning.functional.flips import flip_counts

SIZES: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "sizes.py"))


@pytest.mark.filterwarnings("ignore")
def test_a_small_case_is_measured_and_a_bound_that_it_passes_is_named(tmp_path: Path) -> None:
    case = SIZES["Case"](SIZES["PLAIN"], examples=24, batch=12, arguments={"num_examples": 24, "group_size": 6})
    found = SIZES["fitted"](case, tmp_path, watched=True, logger=CSVLogger)
    assert (found.rows, found.keys, found.growth) == (4 * 6 * 6, 31, 1.0)
    assert 0 < found.checkpoint < 0.3
    assert 0 < found.files < 0.5
    settled = replace(found, seconds=0, memory=0)  # which depend on what else the machine does
    assert settled.beyond(case.bounds) == []
    assert settled.beyond(replace(case.bounds, rows=143, files=0.0)) == ["rows", "files"]
    assert found.less(replace(found, rows=7)) == replace(found, seconds=0, memory=0, checkpoint=0, files=0)


def test_every_case_has_bounds_that_can_be_passed() -> None:
    assert len(SIZES["CASES"]) == 13
    assert all(case.bounds.growth == 1.5 and case.bounds.rows < 600_000 for case in SIZES["CASES"].values())


def test_the_watch_compares_the_last_validations_with_the_first() -> None:
    watch = SIZES["Watch"]()
    watch.starts = [0.0]
    for place in range(300):
        watch.starts.append(watch.starts[-1] + (1.0 if place < 150 else 3.0))
    assert watch.growth == pytest.approx(3.0)


@pytest.mark.parametrize("size", [6, 16])
def test_half_splits_of_many_outputs_in_blocks_have_the_same_bits(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = torch.randn(2, size, size, 37, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    splits = design(2, size)._splits  # type: ignore[attr-defined]
    at_once = two_way_components(_halves(grid, torch.cat([splits, splits.flip(1)]))).mean(-2)
    for entries in (1, 5 * 2 * 37 * (size // 2) ** 2, 2**30):
        monkeypatch.setattr("mviz_lightning.functional.anova.HALVES_AT_ONCE", entries)
        assert torch.equal(split_components(grid, splits), at_once)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_flips_and_contributions_of_groups_add_up_to_those_of_all(task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = design(2, 6)
    outputs = torch.randn(3, 36, 5, generator=torch.Generator().manual_seed(0))
    parts = [flip_counts(group, plan, task) for group in outputs.split(1)]
    for found, *own in zip(flip_counts(outputs, plan, task), *parts, strict=True):
        assert torch.equal(found, sum(own))
    whole = additive_parts(outputs, plan, task)
    monkeypatch.setattr("mviz_lightning.functional.emap_scores.AT_ONCE", 100)
    torch.testing.assert_close(additive_parts(outputs, plan, task), whole, rtol=1e-13, atol=1e-13)


def test_outputs_that_are_decomposed_stay_as_they_are() -> None:
    for dtype in (torch.float32, torch.float64):
        outputs = torch.randn(4, 3, dtype=dtype)
        before = outputs.clone()
        assert decomposable(outputs, "multiclass").sum(-1).abs().max() < 1e-12
        assert torch.equal(outputs, before)
