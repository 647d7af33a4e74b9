"""The site of guides and API: ``python -m sphinx -W -c examples/guides examples site``, then open site/README.html."""

from importlib import import_module
from pathlib import Path

from sphinx.application import Sphinx

import mviz_lightning

PUBLIC = ["mviz_lightning"] + [
    f"mviz_lightning.{room}"
    for room in "explainers actions metrics functional kinds batch sinks report notebook loggers testing".split()
]
"""Modules with a page of their own; what a module imports from others is documented where users import it."""

project, author, release = "mviz_lightning", "mviz_lightning contributors", mviz_lightning.__version__
root_doc = "README"
exclude_patterns = ["data/*", "frameworks/*"]
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_parser"]
html_theme = "furo"
html_title = f"mviz_lightning {release}"

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring, napoleon_numpy_docstring = True, False
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]


def write_pages(app: Sphinx) -> None:
    """Write a page of each public module; ``api/`` is made anew by each build."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    for name in PUBLIC:
        members = ", ".join(getattr(import_module(name), "__all__", []))
        title = f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n"
        options = f"   :members: {members}\n   :imported-members:\n" if members else "   :members:\n"
        (folder / f"{name}.rst").write_text(title + options, encoding="utf-8")


def add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Put all pages into the menu: the list that the front page is for readers of the repository."""
    if page == root_doc:
        guides = sorted(f"guides/{path.stem}" for path in Path(app.srcdir, "guides").glob("*.md"))
        for caption, pages in (("Guides", guides), ("API", [f"api/{name}" for name in PUBLIC])):
            lines = "\n".join(pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"


def setup(app: Sphinx) -> None:
    """Connect both to the build."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", add_contents)
