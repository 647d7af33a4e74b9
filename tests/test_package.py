"""What is shipped."""

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import mviz_lightning

ROOT = Path(__file__).parents[1]

CONTRIBUTORS = "mviz_lightning contributors"

ASSETS = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "mviz_lightning").rglob("*")
    if path.is_file() and path.suffix not in {".py", ".pyc"}
}
"""Files of the package that are no Python: of the report page and of notebooks."""


def _built(kind, folder):
    """Build a distribution with hatchling, and return its file."""
    pytest.importorskip("hatchling")
    pytest.importorskip("hatch_fancy_pypi_readme")
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
    assert {name.partition("/")[0] for name in names} == {
        "mviz_lightning",
        f"mviz_lightning-{mviz_lightning.__version__}.dist-info",
    }


@pytest.mark.slow
def test_the_source_distribution_holds_what_the_page_is_made_of(tmp_path):
    with tarfile.open(_built("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= ASSETS
    assert {path.rpartition("/")[2] for path in ASSETS} >= {"page.html.j2", "page.css", "core.js", "py.typed"}


def test_the_metadata_of_a_wheel_name_the_project_and_show_the_readme_with_its_pictures(tmp_path):
    metadata = message_from_string(_read(_built("wheel", tmp_path), "METADATA"))
    assert (metadata["Name"], metadata["Version"]) == ("mviz-lightning", mviz_lightning.__version__)
    assert (metadata["Author"], metadata["Description-Content-Type"]) == (CONTRIBUTORS, "text/markdown")
    urls = dict(entry.split(", ") for entry in metadata.get_all("Project-URL"))
    assert set(urls) == {"Homepage", "Documentation", "Changelog", "Issues"}
    shown, (owner, name) = metadata.get_payload(), urls["Homepage"].split("/")[-2:]
    raw = f"https://raw.githubusercontent.com/{owner}/{name}/main/"
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", shown)
    assert len(pictures) == 2
    assert all((ROOT / picture.removeprefix(raw)).is_file() for picture in pictures)
    links = re.findall(r"(?<!!)\[[^\]]*\]\((.*?)\)", shown)
    own = [link.removeprefix(f"{urls['Homepage']}/blob/main/") for link in links if link.startswith(urls["Homepage"])]
    assert all(link.startswith("https://") for link in links)
    assert len(own) > 20
    assert all((ROOT / link).exists() for link in own)


def test_the_citation_in_the_readme_is_that_of_this_version():
    (entry,) = re.findall(r"^```bibtex\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert f"version = {{{mviz_lightning.__version__}}}" in entry
    assert f'Homepage = "{re.search("url = {(.*?)}", entry)[1]}"' in project
    assert CONTRIBUTORS.replace("_", "\\_") in entry
    assert entry.count("{") == entry.count("}")


def test_the_core_depends_on_few_packages():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    needed = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)[1]
    names = re.findall(r'^    "([\w-]+)', needed, re.MULTILINE)
    assert names[:6] == ["torch", "lightning", "torchmetrics", "numpy", "scipy", "matplotlib"]
    assert names[6:] == ["pillow", "jinja2", "tensorboard", "wandb"]


def test_the_public_names_are_there():
    assert set(mviz_lightning.__all__) >= {"MultimodalMonitor", "Modality", "explain"}
    assert all(hasattr(mviz_lightning, name) for name in mviz_lightning.__all__)
