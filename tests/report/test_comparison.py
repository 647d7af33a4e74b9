"""Two or more runs side by side: differences with their intervals, states, sentences, and what was configured."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from mviz_lightning.functional.contribution import bound_of
from mviz_lightning.report.comparison import compared_runs, configured_differences, run_moments
from mviz_lightning.session.comparison import ShareComparison
from mviz_lightning.sinks.records import RunRecord

SHARES = ("contribution/image", "total/image", "total/text", "interaction", "class/red_ones/total/image")


@dataclass
class Run:
    """What a comparison reads of a stored run."""

    history: list[RunRecord]
    description: dict[str, Any] = field(default_factory=dict)


def values(seed: int, **others: float) -> dict[str, float]:
    """Return shares with random intervals, and scores without."""
    drawn = np.random.default_rng(seed)
    found = {"score": drawn.uniform(), "perceptual/image": drawn.uniform(), "seconds": drawn.uniform()}
    for name in SHARES:
        share, half = drawn.uniform(size=2)
        found |= {name: share, bound_of(name, "low"): share - half, bound_of(name, "high"): share + half}
    return {**found, **{name.replace("__", "/"): value for name, value in others.items()}}


def run(*rows: dict[str, float], phase: str = "fit", first: int = 0, **description: Any) -> Run:
    records = [RunRecord(phase, first + place, 10 * (first + place), row) for place, row in enumerate(rows)]
    return Run(records, description)


def share(value: float, half: float, name: str = "total/image") -> dict[str, float]:
    return {name: value, bound_of(name, "low"): value - half, bound_of(name, "high"): value + half}


def compared(first: dict[str, float], second: dict[str, float]) -> dict[str, Any]:
    """Return the main head of two runs of one record each."""
    found = compared_runs([run(first), run(second)])
    assert found is not None
    head: dict[str, Any] = found["pairs"][0]["moments"][0]["heads"][0]
    return head


@pytest.mark.parametrize("seed", range(4))
def test_differences_are_those_of_a_slow_reference_and_of_two_reports(seed):
    first, second = values(seed), values(seed + 100)
    found = {one["key"]: one for one in compared(first, second)["values"]}
    reports = ShareComparison(("b", "a"), second, first).differences
    assert found.keys() == reports.keys() == {*SHARES, "score", "perceptual/image"}
    for name, one in found.items():
        assert one["difference"] == reports[name].value == second[name] - first[name]
        assert one["clear"] == reports[name].is_clear
        assert (one["first"], one["second"]) == (first[name], second[name])
        if name not in SHARES:
            assert (one["low"], one["high"]) == (None, None)
            continue
        deviations = [(row[bound_of(name, "high")] - row[name]) / 1.96 for row in (first, second)]
        half = 1.96 * math.sqrt(sum(deviation**2 for deviation in deviations))
        assert one["low"] == pytest.approx(one["difference"] - half) == pytest.approx(reports[name].low)
        assert one["high"] == pytest.approx(one["difference"] + half) == pytest.approx(reports[name].high)


def test_equal_runs_differ_clearly_in_one_of_twenty_comparisons():
    drawn = np.random.default_rng(0)
    measured = 0.5 + drawn.normal(size=(2, 2000)) * np.array([[0.02], [0.05]])
    halves = (1.96 * 0.02, 1.96 * 0.05)
    heads = (compared(*map(share, pair, halves)) for pair in measured.T.tolist())
    held = np.mean([not head["values"][0]["clear"] for head in heads])
    assert 0.935 <= held <= 0.965


def test_a_difference_is_told_in_one_sentence():
    first, second = share(0.60, 0.03), share(0.15, 0.04)
    assert compared(first, second)["sentences"] == [
        "In run B the image is used 45 points less than in run A (95 %: 40 to 50)."
    ]
    assert compared(second, first)["sentences"] == [
        "In run B the image is used 45 points more than in run A (95 %: 40 to 50)."
    ]


@pytest.mark.parametrize(
    ("difference", "half", "said"),
    [(0.0123, 0.001, "1.2 points more"), (0.01, 0.001, "1.0 point more"), (0.0004, 0.0001, "0.04 points more")],
)
def test_a_small_clear_difference_keeps_its_decimals(difference, half, said):
    (sentence,) = compared(share(0.2, half), share(0.2 + difference, half))["sentences"]
    assert said in sentence


def test_the_largest_difference_comes_first_and_interaction_states_and_score_after_it():
    first = {**share(0.5, 0.01), **share(0.5, 0.01, "total/text"), **share(0.1, 0.01, "interaction")}
    second = {**share(0.4, 0.01), **share(0.9, 0.01, "total/text"), **share(0.3, 0.01, "interaction")}
    first |= {"score": 0.75, "collapse/image": 0.0, "collapse/text": 0.0}
    second |= {"score": 0.5, "collapse/image": 2.0, "collapse/text": 0.0}
    found = compared(first, second)
    starts = ["In run B the text", "In run B the image", "In run B interactions explain 20 points more"]
    starts += ["The image is used in run A and collapsed in run B.", "The score of run B is 0.250 lower"]
    assert [any(sentence.startswith(start) for start in starts) for sentence in found["sentences"]] == [True] * 5
    assert [sentence[: len(start)] for sentence, start in zip(found["sentences"], starts, strict=True)] == starts
    assert found["states"] == [
        {"modality": "image", "first": "used", "second": "collapsed"},
        {"modality": "text", "first": "used", "second": "used"},
    ]


def test_runs_that_do_not_differ_are_said_to_be_alike():
    both = {**share(0.5, 0.1), **share(0.5, 0.1, "total/text")}
    assert compared(both, both)["sentences"] == [
        "Runs A and B use image and text alike: no total effect differs by more than its 95 % interval."
    ]


def test_a_modality_that_one_run_did_not_judge_is_said_to_be_so():
    found = compared({"collapse/image": 1.0}, {"score": 0.5})
    assert found["sentences"] == ["The image is unused in run A and not judged in run B."]
    assert found["states"] == [{"modality": "image", "first": "unused", "second": None}]


def test_missing_numbers_are_null_and_make_no_sentence():
    first = {"score": math.nan, **share(math.nan, 0.1)}
    found = compared(first, {"score": 0.5, **share(0.5, 0.1)})
    assert {one["key"]: one["difference"] for one in found["values"]} == {"score": None, "total/image": None}
    assert not any(one["clear"] for one in found["values"])
    assert not any("nan" in sentence for sentence in found["sentences"])


def test_runs_are_compared_at_the_last_epoch_of_both_and_at_the_end_of_each():
    long, short = run(*(values(seed) for seed in range(5))), run(*(values(seed) for seed in range(3)))
    common, last = run_moments(long.history, short.history)
    assert (common.first.epoch, common.second.epoch, common.label) == (2, 2, "epoch 2, the last in both")
    assert (last.first.epoch, last.second.epoch) == (4, 2)
    assert len(run_moments(short.history, short.history)) == 1


def test_runs_without_a_common_epoch_or_stage_are_compared_at_their_ends():
    trained, later = run(values(0)), run(values(1), first=7)
    assert [(one.first.epoch, one.second.epoch) for one in run_moments(trained.history, later.history)] == [(0, 7)]
    tested = run(values(1), phase="test")
    (moment,) = run_moments(trained.history, tested.history)
    assert moment.label == "the last measurement of each run"


def test_records_without_values_are_passed_over_and_a_run_without_any_has_no_moment():
    failed = run(values(0), {})
    assert [one.first.epoch for one in run_moments(failed.history, failed.history)] == [0]
    assert run_moments(failed.history, run({}).history) == []


def test_each_head_that_both_runs_have_is_compared():
    record = RunRecord("fit", 0, 0, {**share(0.5, 0.1), "verb/score": 0.5}, heads=["verb"])
    other = RunRecord("fit", 0, 0, {**share(0.5, 0.1), "verb/score": 0.25, "noun/score": 1.0}, heads=["verb", "noun"])
    found = compared_runs([Run([record]), Run([other])])
    heads = found["pairs"][0]["moments"][0]["heads"]
    assert [head["head"] for head in heads] == ["", "verb"]
    assert [one["key"] for one in heads[1]["values"]] == ["score"]
    assert heads[1]["values"][0]["difference"] == -0.25


def test_three_runs_are_each_compared_with_the_first_and_one_run_with_none():
    runs = [run(values(seed)) for seed in range(3)]
    assert [(pair["first"], pair["second"]) for pair in compared_runs(runs)["pairs"]] == [(0, 1), (0, 2)]
    assert "run C" in " ".join(compared_runs(runs)["pairs"][1]["moments"][0]["heads"][0]["sentences"])
    assert compared_runs(runs[:1]) is None


def test_only_what_was_configured_otherwise_is_listed():
    first = {
        "run": "a",
        "started": "2026-11-28T21:30:00+00:00",
        "versions": {"torch": "2.13.0", "python": "3.12"},
        "modalities": [{"name": "image", "kind": "image"}, {"name": "text", "kind": "text"}],
        "configuration": {"monitor": {"num_examples": 128}, "alarm": None},
    }
    second = {
        "run": "b",
        "versions": {"torch": "2.14.0", "python": "3.12"},
        "modalities": [{"name": "image", "kind": "patches"}, {"name": "text", "kind": "text"}],
        "configuration": {"monitor": {"num_examples": 256, "seed": 1}, "alarm": None},
    }
    assert configured_differences(first, second) == [
        {"name": "versions.torch", "first": "2.13.0", "second": "2.14.0"},
        {"name": "configuration.monitor.num_examples", "first": "128", "second": "256"},
        {"name": "modalities.image.kind", "first": "image", "second": "patches"},
        {"name": "configuration.monitor.seed", "first": None, "second": "1"},
    ]
    assert configured_differences(first, first) == []
    assert configured_differences({}, {}) == []


def test_a_long_value_is_cut():
    (found,) = configured_differences({"observed": ["x" * 1000]}, {})
    assert len(found["first"]) == 403


def test_of_what_was_observed_only_other_lines_are_listed():
    both = "labels are batch['label']"
    first, second = {"observed": [both, "called as model(image)"]}, {"observed": ["task: multiclass", both]}
    assert configured_differences(first, second) == [
        {"name": "observed", "first": "called as model(image)", "second": "task: multiclass"}
    ]
    assert configured_differences(first, {"observed": [both]})[0]["second"] is None
