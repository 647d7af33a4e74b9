"""The smallest part of the benchmark of collapse: real digits, real trainings, every kind of end."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from mviz_lightning.collapse.rule import CollapseRule
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.sinks.files import append_lines
from mviz_lightning.sinks.records import RunRecord, State

FOLDER = Path(__file__).parents[1] / "benchmarks" / "collapse"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    out = tmp_path_factory.mktemp("benchmark") / "runs.jsonl"
    command = [sys.executable, FOLDER / "train.py", "--part", "small", "--jobs", "1", "--out", out]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    made = list(map(json.loads, out.read_text().splitlines()))
    return {run["recipe"] if run["family"] == "mfeat" else run["family"]: run for run in made}


def test_a_line_that_a_crash_has_cut_is_left_out_with_a_word_and_made_again(tmp_path, capsys):
    path = tmp_path / "runs.jsonl"
    path.write_text('{"seed": 0}\n{"seed": 1, "ep')
    append_lines(path, ['{"seed": 2}'])
    assert list(runpy.run_path(FOLDER / "runs.py")["read"](path)) == [{"seed": 0}, {"seed": 2}]
    said = capsys.readouterr().err
    assert said.startswith(f"{path}, line 2 is left out: Unterminated string")
    assert said.endswith("; train.py makes its run again\n")


def states(run):
    """Return what the rule says of both views, check by check."""
    epochs = enumerate(run["epochs"])
    rows = [RunRecord("fit", number, number, found["values"], evidence=found["evidence"]) for number, found in epochs]
    judge, score_reference = CollapseRule().judge, ScoreReference.load(run["yardstick"])
    judged = [judge(rows[: end + 1], score_reference, run["views"]) for end in range(len(rows))]
    return {view: [found[view].state for found in judged] for view in run["views"]}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["plain", "dropout"])
def test_a_healthy_training_raises_no_alarm_at_any_check(runs, recipe):
    assert runs[recipe]["epochs"][-1]["truth"]["reliance"]["zer"] > 0.1
    assert {state for said in states(runs[recipe]).values() for state in said} == {State.USED}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["scaled", "shuffled"])
def test_a_modality_that_the_loader_spoils_is_collapsed_within_two_checks_of_learning(runs, recipe):
    said = states(runs[recipe])
    assert runs[recipe]["epochs"][-1]["truth"]["reliance"]["zer"] < 0.05
    assert State.COLLAPSED in said["zer"][:3]
    assert said["zer"][-1] is State.COLLAPSED
    assert set(said["kar"]) == {State.USED}


@pytest.mark.slow
def test_noise_is_unused_and_never_collapsed(runs):
    said = states(runs["noise"])
    assert said["zer"][-1] is State.UNUSED
    assert State.COLLAPSED not in said["zer"]


@pytest.mark.slow
def test_a_copy_of_another_modality_is_redundant_and_never_collapsed(runs):
    said = states(runs["copies"])
    assert runs["copies"]["epochs"][-1]["truth"]["reliance"]["kar_copy"] < 0.05
    assert said["kar_copy"][-1] is State.REDUNDANT
    assert State.COLLAPSED not in said["kar_copy"]


@pytest.mark.slow
def test_half_of_what_a_hundred_classes_need_is_collapsed_though_little_skill_is_left(runs):
    run, said = runs["pairs"], states(runs["pairs"])
    assert run["epochs"][-1]["evidence"]["skill"] < 0.1
    assert run["epochs"][-1]["truth"]["reliance"]["fou"] < 0.05
    assert said["fou"][-1] is State.COLLAPSED
    assert set(said["kar"]) == {State.USED}


@pytest.mark.slow
def test_the_examples_of_a_run_can_be_found_again(runs):
    for run in runs.values():
        assert len(set(run["reference"])) == 512
