"""What is shipped."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mviz_lightning

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_the_package_and_its_types_and_no_data(tmp_path):
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "mviz_lightning/py.typed" in names
    assert any(name.endswith("LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names} == {"mviz_lightning", "mviz_lightning-0.1.0.dist-info"}


def test_the_public_names_are_there():
    assert set(mviz_lightning.__all__) >= {"MultimodalMonitor", "Modality", "explain"}
    assert all(hasattr(mviz_lightning, name) for name in mviz_lightning.__all__)
