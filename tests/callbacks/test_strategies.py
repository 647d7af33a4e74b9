"""Strategies of several processes measure what one process measures; one that fails or dies leaves none waiting."""

import json
import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("strategies_program.py")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

MEMORY = ("memory_begin", "memory_middle", "memory_end")

CONTRAST = ("contrast_lightning", "contrast_gradient", "contrast_functional", "contrast_plain")

LAUNCHES: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("one", 1, ("plain", "contrast", "positions")),
    ("ddp", 2, ("plain", "memory_middle", "explainer", "unsendable", "join", "disk")),
    ("ddp", 2, (*CONTRAST, "positions")),
    ("ddp", 3, ("plain", "streams")),
    ("fsdp2", 2, ("plain", *MEMORY, "error_middle")),
    ("tp", 2, ("plain",)),
    ("tp2d", 4, ("plain",)),
    ("ddp_spawn", 2, ("plain",)),
    ("ddp_fork", 2, ("plain",)),
)
"""Strategy, number of processes, and scenarios that run on them one after the other: to start them takes longest."""


def run(folder: Path, strategy: str, devices: int, *scenarios: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", str(PROGRAM), str(folder), strategy, str(devices), *scenarios]
    # Nobody may hang: a scenario takes seconds.
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, env=environment(folder))


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what a process saw of a scenario."""

    @cache
    def start(strategy: str, devices: int, scenarios: tuple[str, ...]) -> Path:
        folder = tmp_path_factory.mktemp(f"{strategy}{devices}")
        finished = run(folder, strategy, devices, *scenarios)
        assert finished.returncode == 0, finished.stderr[-3000:]
        return folder

    def seen(strategy: str, devices: int, scenario: str, rank: int = 0) -> dict[str, Any]:
        launches = (one[2] for one in LAUNCHES if one[:2] == (strategy, devices))
        folder = start(strategy, devices, next(one for one in launches if scenario in one))
        found: dict[str, Any] = json.loads((folder / f"{scenario}{rank}.json").read_text())
        forwards = folder / f"{scenario}{rank}.forwards"
        assert not list(folder.glob("mviz-*"))
        return found | {"forwards": forwards.read_text().split() if forwards.exists() else []}

    return seen


def exact(values: dict[str, float]) -> Any:
    return pytest.approx(values, rel=1e-5, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    ("strategy", "devices", "scenario"),
    [
        *(("ddp", 2, one) for one in ("plain", "memory_middle", "explainer", "unsendable", "disk")),
        *(("fsdp2", 2, one) for one in ("plain", *MEMORY)),
        *(("ddp", 3, one) for one in ("plain", "streams")),
        ("ddp", 2, "positions"),
        ("tp", 2, "plain"),
        ("tp2d", 4, "plain"),
    ],
)
def test_each_strategy_gives_the_values_of_one_process(ran: Any, strategy: str, devices: int, scenario: str) -> None:
    alone = ran("one", 1, "positions" if scenario == "positions" else "plain")
    everywhere = [ran(strategy, devices, scenario, rank) for rank in range(devices)]
    for found in everywhere:
        assert found["error"] is None
        assert len(found["rows"]) == 2
        assert all(row == exact(alone["rows"][0]) for row in found["rows"])
        assert found["rows"] == everywhere[0]["rows"]
        assert found["states"] == alone["states"] != {}
        assert found["explained"] == everywhere[0]["explained"]
    broken = scenario in ("explainer", "unsendable")
    assert [count for _, count in everywhere[0]["explained"]] == ([] if broken else [2, 2])


@pytest.mark.parametrize("scenario", MEMORY)
def test_all_processes_run_equally_many_forwards_where_memory_runs_out_on_one(ran: Any, scenario: str) -> None:
    first, second = (ran("fsdp2", 2, scenario, rank)["forwards"] for rank in range(2))
    assert first == second
    assert len(first) > len(ran("fsdp2", 2, "plain")["forwards"])
    assert max(map(int, first)) > 8


def test_an_error_in_a_forward_of_a_sharded_model_is_heard_by_all(ran: Any) -> None:
    first, second = (ran("fsdp2", 2, "error_middle", rank) for rank in range(2))
    assert (first["error"], second["error"]) == (None, None)
    assert [row for row in (*first["rows"], *second["rows"]) if row] == []
    assert all("rank 1 failed: ValueError: rank 1 is unwell" in note for note in first["notes"])
    assert all("ValueError: rank 1 is unwell" in note for note in second["notes"])
    assert first["forwards"] == second["forwards"]


@pytest.mark.parametrize("scenario", CONTRAST)
def test_a_step_that_gathers_embeddings_is_measured_as_on_one_process(ran: Any, scenario: str) -> None:
    alone = ran("one", 1, "contrast")
    assert "modality_gap" in alone["rows"][0]
    for rank in range(2):
        found = ran("ddp", 2, scenario, rank)
        assert all(row == exact(alone["rows"][0]) for row in found["rows"])
        assert (len(found["rows"]), found["states"], found["said"]) == (2, alone["states"], [])


def test_a_step_in_a_join_context_costs_the_monitor_alone(ran: Any) -> None:
    """The context writes the weights of the last process into all, so that only the step itself has its scores."""
    for rank in range(2):
        found = ran("ddp", 2, "join", rank)
        assert (found["error"], found["rows"]) == (None, [{}, {}])
        assert all("CollectiveInStep: the step calls c10d.allreduce_" in note for note in found["notes"])
        assert len(found["said"]) == (rank == 0)


def test_what_fails_on_one_process_is_named_on_all(ran: Any) -> None:
    told = {
        "explainer": "rank 1 cannot plan",
        "unsendable": "rank 1 cannot send what it found to the other processes",
    }
    for scenario, words in told.items():
        for rank in range(2):
            assert all(words in note for note in ran("ddp", 2, scenario, rank)["notes"])
    assert ["No space left on device" in line for line in ran("ddp", 2, "disk")["said"]] == [True]


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork"])
def test_results_come_back_from_spawned_processes(ran: Any, strategy: str) -> None:
    alone, found = ran("one", 1, "plain"), ran(strategy, 2, "plain")
    assert len(found["rows"]) == found["saved"] == 2
    assert all(row == exact(alone["rows"][0]) for row in found["rows"])
    assert found["states"] == alone["states"] != {}
    assert [count for _, count in found["explained"]] == [2, 2]


@pytest.mark.parametrize("scenario", ["exits", "killed", "silent"])
def test_a_process_that_dies_or_does_not_answer_ends_the_others_with_the_cause(tmp_path: Path, scenario: str) -> None:
    began = time.monotonic()
    finished = run(tmp_path, "ddp", 2, scenario)
    assert finished.returncode != 0
    assert time.monotonic() - began < 200
    told = tmp_path / f"{scenario}0.json"
    # Lightning ends the first process too as soon as it sees the other one dead, within 5 seconds.
    error = json.loads(told.read_text())["error"] if told.exists() else ""
    assert "LostProcessError: the monitor cannot reach another process" in error or finished.returncode == -9
