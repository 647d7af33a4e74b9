"""What pyproject.toml promises of versions is what the scripts and the workflow run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text("utf-8"))
MATRIX = WORKFLOW["jobs"]["tests"]["strategy"]["matrix"]


def test_the_workflow_runs_every_python_that_is_declared():
    declared = re.findall(r"Programming Language :: Python :: (3\.\d+)", PROJECT)
    assert MATRIX["python"] == declared
    assert f'requires-python = ">={declared[0]}"' in PROJECT


def test_the_workflow_runs_the_oldest_versions_that_are_declared_too():
    assert MATRIX["versions"] == ["newest"]
    assert {job["versions"] for job in MATRIX["include"]} == {"oldest", "oldest-torch"}


def test_ci_runs_the_oldest_versions_too():
    assert re.search(r"^tests/run_with\.sh \S+ oldest\b", (ROOT / ".ci/run").read_text("utf-8"), re.MULTILINE)


def test_ci_and_the_workflow_read_the_loggers_back_that_are_no_dependency():
    ran = [line for line in (ROOT / ".ci/run").read_text("utf-8").splitlines() if "with_loggers.sh" in line]
    assert ran == ["tests/with_loggers.sh python"]
    steps = [step.get("run", "") for step in WORKFLOW["jobs"]["tests"]["steps"]]
    assert "tests/with_loggers.sh python" in steps
    assert '".[loggers]"' in (ROOT / "tests/with_loggers.sh").read_text("utf-8")


def test_the_oldest_versions_are_the_floors_of_the_dependencies():
    command = [sys.executable, str(ROOT / "tests/floors.py")]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    block = PROJECT.partition("\ndependencies = [\n")[2].partition("\n]\n")[0].splitlines()
    floors = [re.sub(r'\s+"([\w-]+)>=([\d.]+)",.*', r"\1==\2", line) for line in block]
    assert len(floors) == 10
    assert lines == [*floors, "scikit-image==0.22"]


@pytest.mark.skipif(sys.platform == "win32", reason="a script of bash")
def test_an_unknown_word_for_versions_is_refused_at_once():
    command = ["bash", str(ROOT / "tests/run_with.sh"), sys.executable, "-x"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "tests/run_with.sh: -x given; say newest, oldest or oldest-torch.\n"
