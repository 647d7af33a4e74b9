"""The recipes for libraries that build their own Trainer: each runs where its library is installed."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "frameworks"


def shares(folder, script, library):
    """Return the contributions and the interaction that the table at the end of a recipe shows."""
    if find_spec(library) is None:
        pytest.skip(f'{library} is not installed; run: pip install -e ".[frameworks]"')
    command = [sys.executable, "-W", "ignore", str(FOLDER / script)]
    paths = os.pathsep.join([str(FOLDER.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "COLUMNS": "120"}
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=environment, timeout=280
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert len(list(folder.rglob("report.html"))) == 1
    return {
        name: float(alone) for name, alone in re.findall(r"^(\w+) +(-?\d\.\d{3})(?: |$)", ended.stdout, re.MULTILINE)
    }


@pytest.mark.slow
def test_darts_gives_the_shares_of_a_process_whose_shares_are_known(tmp_path):
    found = shares(tmp_path, "darts_sales.py", "darts")
    assert found["sales"] == pytest.approx(0.39, abs=0.11)
    assert found["weather"] == pytest.approx(0.61, abs=0.11)
    assert abs(found["interaction"]) < 0.02


@pytest.mark.slow
def test_multivi_which_averages_its_modalities_has_no_interaction(tmp_path):
    found = shares(tmp_path, "multivi_cells.py", "scvi")
    assert found["rna"] > found["atac"] > 0.05
    assert found["interaction"] == pytest.approx(0, abs=0.001)


@pytest.mark.slow
def test_pytorch_tabular_shows_numbers_categories_and_their_interaction(tmp_path):
    found = shares(tmp_path, "tabular_customers.py", "pytorch_tabular")
    assert found["numbers"] > 0.7
    assert found["categories"] > 0.02
    assert found["interaction"] > 0.03


def test_every_recipe_has_a_test():
    tested = set(re.findall(r'"(\w+\.py)"', Path(__file__).read_text("utf-8")))
    assert {path.name for path in FOLDER.glob("*.py")} == tested
