"""What is shipped."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import mviz_lightning

ROOT = Path(__file__).parents[1]

ASSETS = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "mviz_lightning").rglob("*")
    if path.is_file() and path.suffix not in {".py", ".pyc"}
}
"""Files of the package that are no Python: of the report page and of notebooks."""


def _built(kind, folder):
    """Build a distribution with hatchling, and return its file."""
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, timeout=120)
    (built,) = folder.iterdir()
    return built


def _read(wheel, name):
    archive = zipfile.ZipFile(wheel)
    return next(archive.read(one).decode() for one in archive.namelist() if one.endswith(name))


def test_the_wheel_holds_the_package_and_its_types_and_no_data(tmp_path):
    wheel = _built("wheel", tmp_path)
    names = zipfile.ZipFile(wheel).namelist()
    assert "mviz_lightning/py.typed" in names
    assert set(names) >= ASSETS
    assert "[console_scripts]\nmviz-lightning = mviz_lightning.cli:main" in _read(wheel, "entry_points.txt")
    assert any(name.endswith("LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names} == {"mviz_lightning", "mviz_lightning-0.1.0.dist-info"}


@pytest.mark.slow
def test_the_source_distribution_holds_what_the_page_is_made_of(tmp_path):
    with tarfile.open(_built("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= ASSETS
    assert {path.rpartition("/")[2] for path in ASSETS} >= {"page.html.j2", "page.css", "core.js", "py.typed"}


def test_the_core_depends_on_few_packages():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    needed = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)[1]
    names = re.findall(r'^    "([\w-]+)', needed, re.MULTILINE)
    assert names[:6] == ["torch", "lightning", "torchmetrics", "numpy", "scipy", "matplotlib"]
    assert names[6:] == ["pillow", "jinja2", "tensorboard", "wandb"]


def test_the_public_names_are_there():
    assert set(mviz_lightning.__all__) >= {"MultimodalMonitor", "Modality", "explain"}
    assert all(hasattr(mviz_lightning, name) for name in mviz_lightning.__all__)
