"""Two processes on the CPU see what one process sees, and hear of one another's errors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.unprintable import UNPRINTABLE

PROGRAM = Path(__file__).with_name("ddp_program.py")
COST = ("seconds", "rows", "overhead")


def run(scenario: str, folder: Path, devices: int = 2) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    command = [sys.executable, "-W", "ignore", str(PROGRAM), scenario, str(folder), str(devices)]
    # Nobody may hang: a run takes seconds.
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def seen(folder: Path, rank: int) -> dict:
    return json.loads((folder / f"rank{rank}.json").read_text())


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("scenario", "devices"),
    [
        ("plain", 2),
        pytest.param("all_methods", 2, marks=SLOW),
        pytest.param("uneven", 2, marks=SLOW),
        pytest.param("one_group_each", 2, marks=SLOW),
        pytest.param("idle", 3, marks=SLOW),
    ],
)
def test_several_processes_give_the_values_of_one(tmp_path, scenario, devices):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, processes in ((one, 1), (two, devices)):
        finished = run(scenario, folder, processes)
        assert finished.returncode == 0, finished.stderr[-2000:]
    alone, first, second = seen(one, 0), seen(two, 0), seen(two, 1)
    assert first["probe"] == second["probe"] == alone["probe"]
    expected = without_cost(alone["validated"][0])
    if scenario == "all_methods":  # other chunks, in which derivatives are rounded otherwise
        assert set(expected) > {"importance/share/image", "bent/total/image+text", "errors/spoiled"}
        expected = pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert without_cost(first["validated"][0]) == expected
    assert without_cost(second["validated"][0]) == expected
    # Training on two processes goes other ways than on one, but both processes go the same way.
    assert first["weights"] == second["weights"]
    assert [without_cost(row) for row in first["rows"]] == [without_cost(row) for row in second["rows"]]
    assert len(first["rows"]) == 2


def without_cost(values: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in values.items() if key not in COST}


def test_several_processes_explain_as_one_does_and_only_the_first_writes(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, processes in ((one, 1), (two, 2)):
        finished = run("explained", folder, processes)
        assert finished.returncode == 0, finished.stderr[-2000:]
    alone, first, second = seen(one, 0), seen(two, 0), seen(two, 1)
    assert [(entry["by"], len(entry["found"])) for entry in alone["explained"]] == [("three", 3), ("one", 1)]
    for entries in (first["explained"], second["explained"]):
        for entry, expected in zip(entries, alone["explained"], strict=True):
            assert list(entry["found"]) == list(expected["found"])
            assert next(iter(entry["found"])) == "50"
            for position, outputs in expected["found"].items():
                for left, right in zip(entry["found"][position], outputs, strict=True):
                    assert left == pytest.approx(right, rel=1e-5, abs=1e-6)
    # Both agree through the training, and at its end.
    assert first["album"] == second["album"]
    assert [entry["by"] for entry in first["album"]] == ["three", "one", "one", "three"]
    assert (alone["sinks"], first["sinks"], second["sinks"]) == (1, 1, 0)
    assert len(list(two.rglob("example_50_over_epochs.png"))) == 2


def test_a_rank_that_fails_is_heard_by_all_and_the_training_goes_on(tmp_path):
    folder = tmp_path / "two"
    finished = run("raises", folder)
    assert finished.returncode == 0, finished.stderr[-2000:]
    first, second = seen(folder, 0), seen(folder, 1)
    assert all("rank 1 failed: RuntimeError: rank 1 is unwell" in note for note in first["notes"])
    assert all("rank 1 is unwell" in note for note in second["notes"])
    assert len(first["notes"]) == 2


def test_an_error_that_cannot_be_printed_hangs_nobody(tmp_path):
    folder = tmp_path / "two"
    finished = run("unprintable", folder)
    assert finished.returncode == 0, finished.stderr[-2000:]
    first, second = seen(folder, 0), seen(folder, 1)
    assert [f"rank 1 failed: {UNPRINTABLE}" in note for note in first["notes"]] == [True, True]
    assert [UNPRINTABLE in note for note in second["notes"]] == [True, True]
    assert first["weights"] == second["weights"]


@pytest.mark.slow
def test_callbacks_are_handed_to_processes_that_are_spawned(tmp_path):
    finished = run("spawned", tmp_path / "two")
    assert finished.returncode == 0, finished.stderr[-2000:]
    first, second = seen(tmp_path / "two", 0), seen(tmp_path / "two", 1)
    assert len(first["rows"]) == 2
    assert [without_cost(row) for row in first["rows"]] == [without_cost(row) for row in second["rows"]]


@pytest.mark.parametrize(
    ("scenario", "devices", "note"),
    [
        ("empty", 2, "no validation batch came from"),
        pytest.param(
            "idle_auroc",
            3,
            "score=MulticlassAUROC keeps predictions, and this process has no labelled group",
            marks=SLOW,
        ),
    ],
)
def test_a_rank_without_work_hangs_nobody(tmp_path, scenario, devices, note):
    folder = tmp_path / "several"
    finished = run(scenario, folder, devices)
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert all(note in heard for rank in range(devices) for heard in seen(folder, rank)["notes"])
    assert len(seen(folder, 0)["notes"]) == 2


def test_a_rank_that_is_misconfigured_stops_all_before_the_training(tmp_path):
    folder = tmp_path / "two"
    finished = run("misconfigured", folder)
    assert finished.returncode != 0
    assert "rank 1 failed: ConfigurationError" in (folder / "rank0.error").read_text()
    assert "the model returned 'str'" in (folder / "rank1.error").read_text()
