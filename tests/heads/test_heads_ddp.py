"""Two processes see of all heads what one process sees, and agree on the heads that are measured."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("ddp_heads.py")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

COST = ("seconds", "rows", "overhead")


def ran(folder: Path, devices: int, scenario: str) -> list[dict[str, Any]]:
    """Return what each process saw."""
    command = [sys.executable, "-W", "ignore", str(PROGRAM), str(folder), str(devices), scenario]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return [json.loads((folder / f"{scenario}{rank}.json").read_text()) for rank in range(devices)]


def test_two_processes_see_what_one_sees(tmp_path: Path) -> None:
    (one,), two = ran(tmp_path, 1, "plain"), ran(tmp_path, 2, "plain")
    assert two[0] == two[1] | {"rows": two[0]["rows"]}
    assert two[0]["heads"] == one["heads"] == [["verb"], ["verb"]]
    assert two[0]["states"] == one["states"]
    assert two[0]["states"]["verb/text"] == 2
    assert two[0]["explained"] == one["explained"]
    first, expected = (
        {key: value for key, value in found["rows"][0].items() if key not in COST} for found in (two[0], one)
    )
    assert first == pytest.approx(expected, abs=1e-5)
    assert two[0]["rows"][0]["rows"] == two[1]["rows"][0]["rows"]


def test_a_head_that_one_process_cannot_try_is_left_out_on_all(tmp_path: Path) -> None:
    for found in ran(tmp_path, 2, "untried"):
        assert found["heads"] == [[], []]
        assert all("total/text" in row for row in found["rows"])
        assert not any(key.startswith("verb/") for row in found["rows"] for key in row)


def test_a_head_that_fails_on_one_process_costs_itself_on_all(tmp_path: Path) -> None:
    for found in ran(tmp_path, 2, "unread"):
        assert found["heads"] == [[], []]
        assert all("total/text" in row for row in found["rows"])
        assert "head verb could not be measured" in found["notes"][0]
