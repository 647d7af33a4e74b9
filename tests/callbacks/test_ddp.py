"""Two processes on the CPU see what one process sees, and hear of one another's errors."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from helpers.unprintable import UNPRINTABLE

from mviz_lightning.report import load

PROGRAM = Path(__file__).with_name("ddp_program.py")
COST = ("seconds", "rows", "overhead")


TOGETHER = (
    (1, ("plain", "explained", "subsets", "unsharded", "pairs")),
    (2, ("plain", "explained", "subsets", "empty", "raises", "unprintable", "unobserved", "observed", "pairs")),
    (2, ("empty_first", "dealt", "unsharded")),
    (2, ("observed_uneven", "observed_replay")),
    (1, ("all_methods", "uneven", "one_group_each", "idle")),
    (2, ("all_methods", "uneven", "one_group_each")),
    (3, ("idle", "idle_auroc")),
)
"""Numbers of processes, and scenarios that run one after the other on the same ones: to start them takes longest."""


def run(folder: Path, devices: int, *scenarios: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", str(PROGRAM), str(folder), str(devices), *scenarios]
    # Nobody may hang: a scenario takes seconds.
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Return the folder of what the processes of a scenario saw."""

    @cache
    def start(devices: int, scenarios: tuple[str, ...]) -> Path:
        folder = tmp_path_factory.mktemp("processes")
        finished = run(folder, devices, *scenarios)
        assert finished.returncode == 0, finished.stderr[-2000:]
        return folder

    def folder(scenario: str, devices: int) -> Path:
        return start(*next(one for one in TOGETHER if one[0] == devices and scenario in one[1])) / scenario

    return folder


def seen(folder: Path, rank: int) -> dict:
    return json.loads((folder / f"rank{rank}.json").read_text())


pytestmark = pytest.mark.timeout(600)
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("scenario", "devices"),
    [
        ("plain", 2),
        pytest.param("subsets", 2, marks=SLOW),
        ("pairs", 2),
        pytest.param("all_methods", 2, marks=SLOW),
        pytest.param("uneven", 2, marks=SLOW),
        pytest.param("one_group_each", 2, marks=SLOW),
        pytest.param("idle", 3, marks=SLOW),
    ],
)
def test_several_processes_give_the_values_of_one(ran, scenario, devices):
    one, two = ran(scenario, 1), ran(scenario, devices)
    alone, first, second = seen(one, 0), seen(two, 0), seen(two, 1)
    assert first["probe"] == second["probe"] == alone["probe"]
    expected = without_cost(alone["validated"][0])
    if scenario in {"plain", "all_methods", "one_group_each", "idle"}:
        assert set(expected) > {"shapley/image", "shapley_low/image", "intershap"}
    if scenario == "subsets":
        assert {"class/2/total/image", "subgroup/2/total_low/text", "ranking/mixed"} <= set(expected)
    if scenario == "pairs":
        assert set(expected) > {"score", "emap_gap_low", "perceptual/image", "flips/text", "modality_gap"}
        expected = pytest.approx(expected, rel=1e-5, abs=1e-6)
    if scenario == "all_methods":  # other chunks, in which derivatives are rounded otherwise
        assert set(expected) > {"importance/share/image", "bent/total/image+text", "errors/spoiled", "mm_shap/text"}
        expected = pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert without_cost(first["validated"][0]) == expected
    assert without_cost(second["validated"][0]) == expected
    # Training on two processes goes other ways than on one, but both processes go the same way.
    assert first["weights"] == second["weights"]
    assert [without_cost(row) for row in first["rows"]] == [without_cost(row) for row in second["rows"]]
    assert len(first["rows"]) == 2


def without_cost(values: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in values.items() if key not in COST}


@pytest.mark.slow
@pytest.mark.parametrize(
    "scenario",
    [
        "observed",
        pytest.param("observed_uneven", marks=SLOW),
        pytest.param("observed_replay", marks=SLOW),
    ],
)
def test_several_processes_observe_a_step_alike_and_leave_no_trace(ran, scenario):
    first, second = (seen(ran(scenario, 2), rank) for rank in range(2))
    assert [row["agreement"] for row in first["rows"]] == [1.0, 1.0]
    assert {"score", "flips/image", "perceptual/text"} <= set(first["rows"][0])
    assert [without_cost(row) for row in first["rows"]] == [without_cost(row) for row in second["rows"]]
    assert first["notes"] == second["notes"]
    if scenario == "observed":
        alone = [seen(ran("unobserved", 2), rank) for rank in range(2)]
        assert [found["weights"] for found in (first, second)] == [found["weights"] for found in alone]
        assert own_values(first) == own_values(alone[0])


def own_values(found: dict) -> dict[str, float]:
    return {key: value for key, value in found["logged"].items() if not key.startswith("mviz/")}


def test_several_processes_explain_as_one_does_and_only_the_first_writes(ran):
    one, two = ran("explained", 1), ran("explained", 2)
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


@SLOW
def test_one_process_keeps_the_explanations_of_all(ran):
    folder = ran("explained", 2)
    runs = [load(history.parent) for history in folder.rglob("history.jsonl")]
    assert [run.remarks for run in runs] == [[]] * len(runs)
    for entry in seen(folder, 0)["explained"]:
        kept = [{one.example for one in run.explained(entry["by"]) if one.step == entry["step"]} for run in runs]
        assert any(set(entry["found"]) == found for found in kept)
    for run in runs:
        ids = [json.loads(line)["id"] for line in (run.folder / "examples.jsonl").read_text().splitlines()]
        assert len(ids) == len(set(ids)) == len(run.examples)


def test_a_rank_that_fails_is_heard_by_all_and_the_training_goes_on(ran):
    folder = ran("raises", 2)
    first, second = seen(folder, 0), seen(folder, 1)
    assert all("rank 1 failed: RuntimeError: rank 1 is unwell" in note for note in first["notes"])
    assert all("rank 1 is unwell" in note for note in second["notes"])
    assert len(first["notes"]) == 2


def test_an_error_that_cannot_be_printed_hangs_nobody(ran):
    folder = ran("unprintable", 2)
    first, second = seen(folder, 0), seen(folder, 1)
    assert [f"rank 1 failed: {UNPRINTABLE}" in note for note in first["notes"]] == [True, True]
    assert [UNPRINTABLE in note for note in second["notes"]] == [True, True]
    assert first["weights"] == second["weights"]


@pytest.mark.slow
def test_callbacks_are_handed_to_processes_that_are_spawned(tmp_path):
    finished = run(tmp_path, 2, "spawned")
    assert finished.returncode == 0, finished.stderr[-2000:]
    first, second = seen(tmp_path / "spawned", 0), seen(tmp_path / "spawned", 1)
    assert len(first["rows"]) == 2
    assert [without_cost(row) for row in first["rows"]] == [without_cost(row) for row in second["rows"]]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["empty", "empty_first", "dealt", "unsharded"])
def test_streams_without_a_length_are_read_on_several_processes_as_on_one(ran, scenario):
    """One process gets no example at all, each gets its share, or all get all: the fixed examples are the same 64."""
    alone, found = seen(ran("unsharded", 1), 0), [seen(ran(scenario, 2), rank) for rank in range(2)]
    assert sorted(found[0]["probe"]) == sorted(found[1]["probe"]) == sorted(alone["probe"])
    expected = without_cost(alone["validated"][0])
    assert expected["agreement"] == 1
    assert [without_cost(one["validated"][0]) for one in found] == [expected, expected]
    for validation in range(2):
        first, second = (without_cost(one["rows"][validation]) for one in found)
        assert first == second
        assert first["total/text"] > 0
    assert found[0]["weights"] == found[1]["weights"]
    repeated = "64 of 128 sampled validation examples repeat others" if scenario == "unsharded" else ""
    assert repeated in found[0]["notes"][0]
    assert found[0]["notes"][1] == ""


@pytest.mark.slow
def test_a_rank_without_work_hangs_nobody(ran):
    note = "score=MulticlassAUROC keeps predictions, and this process has no labelled group"
    folder = ran("idle_auroc", 3)
    assert all(note in heard for rank in range(3) for heard in seen(folder, rank)["notes"])
    assert len(seen(folder, 0)["notes"]) == 2


@pytest.mark.slow
def test_a_rank_that_is_misconfigured_stops_all_before_the_training(tmp_path):
    finished = run(tmp_path, 2, "misconfigured")
    assert finished.returncode != 0
    assert "rank 1 failed: ConfigurationError" in (tmp_path / "misconfigured" / "rank0.error").read_text()
    assert "the model returned 'str'" in (tmp_path / "misconfigured" / "rank1.error").read_text()
