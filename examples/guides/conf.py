"""The site of guides and API: ``python -m sphinx -W -c examples/guides examples site``, then open site/README.html."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import mviz_lightning

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOMS = ("explainers", "actions", "metrics", "functional", "kinds", "batch", "sinks", "report", "loggers", "testing")
PUBLIC = ["mviz_lightning", *(f"mviz_lightning.{room}" for room in ROOMS)]
"""Modules with a page of their own; what a module imports from others is documented where users import it."""

project, author, release = "mviz_lightning", "mviz_lightning contributors", mviz_lightning.__version__
root_doc = "README"
exclude_patterns = ["data/*", "frameworks/*", "**/runs/**", "runs/**", "lightning_logs/**", "wandb/**", "mviz/**"]
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_parser"]
html_theme = "furo"
html_title = f"mviz_lightning {release}"

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_numpy_docstring, napoleon_use_ivar = False, True
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # files outside examples/; tests/test_documentation.py checks all links


def write_pages(app: Sphinx) -> None:
    """Write a page of each public module into ``api/``; a name of several modules stands in the first alone."""
    folder, shown = Path(app.srcdir) / "api", dict[int, str]()
    folder.mkdir(exist_ok=True)
    for name in PUBLIC:
        room = vars(import_module(name))
        names = room.get("__all__", [])
        objects = [one for one in names if callable(room[one])]
        again = [one for one in objects if shown.setdefault(id(room[one]), name) != name]
        members = "   :members:\n" + "   :imported-members:\n" * bool(names)
        without = f"   :exclude-members: {', '.join(again)}\n" if again else ""
        text = f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n{members}{without}"
        (folder / f"{name}.rst").write_text(text, encoding="utf-8")


def add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Add a hidden menu of all guides and pages of the API to the front page."""
    if page == root_doc:
        guides = dict.fromkeys(re.findall(r"\]\((guides/\w+)\.md\)", source[0]))
        for caption, pages in (("Guides", guides), ("API", [f"api/{name}" for name in PUBLIC])):
            lines = "\n".join(pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"


def skip_fields(_app: Sphinx, _kind: str, _name: str, member: object, *_: object) -> bool | None:
    """Leave out the fields of named tuples, which "Attributes" describes already."""
    return True if str(getattr(member, "__doc__", "")).startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    """Connect the three functions above to the build."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", add_contents)
    app.connect("autodoc-skip-member", skip_fields)
