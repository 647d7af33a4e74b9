"""The report page: one self-contained HTML file for one run or several."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.report.comparison import compared_runs
from mviz_lightning.report.loading import load
from mviz_lightning.report.payload import PicturesBeside, kept_inline, page_payload, safe_json
from mviz_lightning.report.stored_lines import stored_lines
from mviz_lightning.sinks.files import replace_file

ASSETS = Path(__file__).parent / "assets"

SCRIPTS = (
    "core.js", "parts.js", "scales.js", "charts.js", "line_names.js", "cursor.js", "maps.js", "maps_drawn.js",
    "bars.js", "stage_parts.js", "comparison.js", "same_example.js", "verdict.js", "tiles.js", "alarms.js",
    "overview.js", "examples.js", "example_view.js", "example_maps.js", "importance.js", "matrix.js",
    "interactions.js", "features.js", "sparse_model.js", "errors.js", "ranked.js", "where.js", "cost.js", "main.js",
)  # fmt: skip
"""The parts of the page's script, in order; the sections of the page have the same order."""

STYLES = ("page.css", "stages.css")
"""The parts of the page's style."""

ONE_RUN, SEVERAL_RUNS = "report.html", "comparison.html"
"""Default name of the page for one run, and for several."""

PICTURES = {"inline": "data:", "beside": "data: 'self' file:"}
"""The ``pictures`` argument -> the sources from which the page may load pictures (content security policy)."""


def write_page(
    folders: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    pictures: Literal["inline", "beside"] = "inline",
) -> Path:
    """Write the page of one run, or the comparison of several, as one HTML file that loads nothing from the network.

    Args:
        folders: The logger's folder of a run or the monitor's folder inside it; several runs are compared with the
            first.
        output: The file to write; None for ``report.html`` in the monitor's folder, or, for several runs,
            ``comparison.html`` in the folder of the first.
        pictures: ``"inline"`` puts the inputs' pictures into the page; ``"beside"`` writes them into the folder
            ``<output's stem>_pictures``, which the page then needs.

    Returns:
        The path of the page.

    Raises:
        ConfigurationError: A folder contains no run, or several; a newer version wrote it; or an argument is wrong.

    Example:
        >>> write_page("lightning_logs/version_0")  # doctest: +SKIP
        PosixPath('lightning_logs/version_0/mviz/report.html')
    """
    if pictures not in PICTURES:
        raise ConfigurationError(f"pictures={pictures!r} is neither 'inline' nor 'beside': pass pictures=\"inline\"")
    runs = [load(folder) for folder in ([folders] if isinstance(folders, str | Path) else folders)]
    if not runs:
        raise ConfigurationError("folders is empty: pass the folder of a run, for example lightning_logs/version_0")
    page = Path(output) if output is not None else runs[0].folder / (ONE_RUN if len(runs) == 1 else SEVERAL_RUNS)
    keep = kept_inline if pictures == "inline" else PicturesBeside(page)
    payload = {
        "runs": [page_payload(stored_lines(run.folder), run.name, keep) for run in runs],
        "comparison": compared_runs(runs),
    }
    replace_file(page, _render(payload, PICTURES[pictures]).encode("utf-8", "replace"))
    return page


def _render(payload: dict[str, Any], picture_sources: str) -> str:
    """Return the page's HTML."""
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    style, script = _style(), _script()
    policy = (
        f"default-src 'none'; img-src {picture_sources}; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    trusted = {name: Markup(text) for name, text in (("style", style), ("script", script))}  # noqa: S704 our own files
    data = Markup(safe_json(payload))  # noqa: S704 safe_json escapes all characters of HTML
    title = " and ".join(str(run["name"]) for run in payload["runs"])
    template = Environment(loader=FileSystemLoader(ASSETS), autoescape=True).get_template("page.html.j2")
    return template.render(title=title, policy=policy, data=data, **trusted)


@cache
def _style() -> str:
    return "\n".join((ASSETS / name).read_text("utf-8") for name in STYLES)


@cache
def _script() -> str:
    """Return the page's script: all parts in one function, so that their names are not global."""
    parts = "\n".join((ASSETS / name).read_text("utf-8") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _hash(text: str) -> str:
    """Return the hash of a text for a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
