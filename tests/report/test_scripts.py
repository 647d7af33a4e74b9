"""The scripts and styles of the page: all are part of it, each name is defined once, and no file is long."""

import re
from collections import defaultdict
from collections.abc import Mapping

import pytest

from mviz_lightning.report.page import ASSETS, SCRIPTS, STYLES

DEFINED = re.compile(r"^(?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)
"""A name at the top level of a script: all scripts share one scope, in which the last function of a name wins."""

LONGEST = 300
"""Largest number of lines of a script."""


def texts() -> dict[str, str]:
    return {name: (ASSETS / name).read_text("utf-8") for name in (*SCRIPTS, *STYLES)}


def repeated_names(files: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the names that are defined twice, with the files that do so."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, text in files.items():
        for name in DEFINED.findall(text):
            found[name].append(path)
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def test_each_name_is_defined_once():
    assert repeated_names({name: text for name, text in texts().items() if name in SCRIPTS}) == {}


@pytest.mark.parametrize("second", ["const tile = 1;", "function tile() {\n}", "async function tile() {\n}"])
def test_a_repeated_name_would_be_found(second):
    files = {"a.js": "function tile() {\n  const name = 1;\n}\n", "b.js": f"const name = 2;\n{second}\n"}
    assert repeated_names(files) == {"tile": ["a.js", "b.js"]}


def test_all_files_are_part_of_the_page():
    assert {path.name for path in ASSETS.iterdir()} == {*SCRIPTS, *STYLES, "page.html.j2"}


def test_no_script_is_long():
    assert [name for name, text in texts().items() if name in SCRIPTS and text.count("\n") > LONGEST] == []


def test_scripts_write_texts_and_never_markup():
    written = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function")
    assert {name: written.findall(text) for name, text in texts().items() if written.search(text)} == {}
