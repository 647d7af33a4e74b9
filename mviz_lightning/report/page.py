"""The report page: one self-contained HTML file of one run or several."""

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any, Literal

from mviz_lightning.report.comparison import PlainRun, compared_runs
from mviz_lightning.report.folders import monitor_folder
from mviz_lightning.report.payload import PicturesBeside, kept_inline, page_payload, safe_json
from mviz_lightning.sinks.files import replace_file

ASSETS = Path(__file__).parent / "assets"

SCRIPTS = (
    "core.js", "parts.js", "scales.js", "charts.js", "line_names.js", "cursor.js", "maps.js", "maps_drawn.js", "bars.js",
    "stage_parts.js", "comparison.js", "same_example.js", "verdict.js", "tiles.js", "alarms.js", "groups.js",
    "overview.js", "examples.js", "example_view.js", "example_maps.js", "importance.js", "matrix.js", "interactions.js",
    "features.js", "sparse_model.js", "errors.js", "ranked.js", "where.js", "cost.js", "main.js",
)  # fmt: skip
"""The parts of the page's script, in the order in which they stand in it, which is that of the page's sections."""

STYLES = ("page.css", "stages.css")
"""The parts of the page's style."""

PICTURES = {"inline": "data:", "beside": "data: 'self' file:"}
"""Where pictures lie -> sources that the page may load pictures from."""


def write_page(
    folders: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    pictures: Literal["inline", "beside"] = "inline",
) -> Path:
    """Write the page of one run, or of several that are compared, as one HTML file that loads nothing.

    Args:
        folders: The logger's folder of a run or the monitor's folder inside it; several are compared with the first.
        output: The file to write; None for ``report.html`` in the monitor's folder, of several runs ``comparison.html``
            in the folder of the first.
        pictures: ``"inline"`` holds the inputs' pictures in the page; ``"beside"`` writes them into the folder
            ``<output's stem>_pictures``, which the page then needs.

    Returns:
        The path of the page.

    Raises:
        ValueError: ``pictures`` is another word, or ``folders`` is empty.
        ConfigurationError: A folder holds no run, or several; or a newer version wrote it.

    Example:
        >>> write_page("lightning_logs/version_0")  # doctest: +SKIP
        PosixPath('lightning_logs/version_0/mviz/report.html')
    """
    if pictures not in PICTURES:
        raise ValueError(f'pictures={pictures!r} is none of {", ".join(map(repr, PICTURES))}: pass pictures="inline"')
    paths = [monitor_folder(folder) for folder in ([folders] if isinstance(folders, str | Path) else folders)]
    if not paths:
        raise ValueError("folders is empty: pass the folder of a run, for example lightning_logs/version_0")
    page = Path(output) if output is not None else paths[0] / ("report.html" if len(paths) == 1 else "comparison.html")
    keep = kept_inline if pictures == "inline" else PicturesBeside(page)
    runs = [page_payload(path, _short_name(path), keep) for path in paths]
    payload = {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "runs": runs,
        "comparison": compared_runs([PlainRun.of(run) for run in runs]),
    }
    replace_file(page, _render(payload, PICTURES[pictures]).encode("utf-8", "replace"))
    return page


def _short_name(folder: Path) -> str:
    """Return the last two folders of a run, without the monitor's own."""
    return "/".join(folder.resolve().parts[-3:-1])


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
    data = Markup(safe_json(payload))  # noqa: S704 safe_json leaves no letter that HTML reads
    title = " and ".join(run["name"] for run in payload["runs"])
    template = Environment(loader=FileSystemLoader(ASSETS), autoescape=True).get_template("page.html.j2")
    return template.render(title=title, policy=policy, data=data, **trusted)


@cache
def _style() -> str:
    return "\n".join((ASSETS / name).read_text("utf-8") for name in STYLES)


@cache
def _script() -> str:
    """Return the page's script: all parts in one function, so that they share names with nothing else."""
    parts = "\n".join((ASSETS / name).read_text("utf-8") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _hash(text: str) -> str:
    """Return what a content security policy calls this text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
