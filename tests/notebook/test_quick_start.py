"""The notebook of the examples: stored with its outputs, and it runs."""

import os
from pathlib import Path

import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quick_start.ipynb"

LARGEST = 300_000
"""Bytes that the notebook may take with its outputs."""


def html_of(cell):
    return "".join(output.data.get("text/html", "") for output in cell.outputs if "data" in output)


def cells_by_last_line(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return {cell.source.rstrip().splitlines()[-1]: html_of(cell) for cell in code}


def require_rich_outputs(notebook):
    cells = cells_by_last_line(notebook)
    assert "text is used most" in cells["history"]
    assert "image: collapsed since epoch" in "".join(map(html_of, of_code(notebook)))
    assert "= UC" in cells['report.explanations["dime"][0]']
    assert "trained once less repaired" in cells[")"]
    assert sum("<svg" in html_of(cell) for cell in of_code(notebook)) == 7


def of_code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_notebook_is_stored_with_its_outputs(notebook):
    assert NOTEBOOK.stat().st_size < LARGEST
    assert all(cell.execution_count for cell in of_code(notebook))
    require_rich_outputs(notebook)
    stored = NOTEBOOK.read_text("utf-8")
    assert "Traceback" not in stored
    assert "site-packages" not in stored  # paths of the machine that it ran on
    assert str(Path.home()) + "/" not in stored


def test_the_alarm_ends_after_the_repair(notebook):
    verdicts = [html_of(cell) for cell in of_code(notebook) if cell.source == 'verdicts["image"]']
    assert len(verdicts) == 2
    assert "image: collapsed" in verdicts[0]
    assert "image: used" in verdicts[1]


@pytest.mark.slow
def test_the_notebook_runs(notebook):
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    executed = client.NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    require_rich_outputs(executed)


@pytest.mark.slow
def test_the_notebook_becomes_a_page_without_further_scripts(notebook):
    exporters = pytest.importorskip("nbconvert", reason="nbconvert is not installed").exporters
    page, _ = exporters.HTMLExporter(template_name="basic").from_notebook_node(notebook)
    assert page.count("mviz-card") >= 7
    assert "<svg" in page
