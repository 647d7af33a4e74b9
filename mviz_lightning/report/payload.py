"""The data of the page: runs as plain data with packed weights, as JSON that is safe inside HTML."""

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from mviz_lightning.report.packing import packed_lines
from mviz_lightning.report.stored_lines import StoredLines
from mviz_lightning.sinks.files import replace_file
from mviz_lightning.sinks.portable_names import portable_name

Plain: TypeAlias = dict[str, Any]
"""A dict that JSON can represent."""

ESCAPES = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}
"""Character that could end the script element, or that is a line break in scripts -> its JSON escape."""


def safe_json(found: Any) -> str:
    r"""Return plain data as ASCII JSON that cannot end an HTML element; numbers that are not finite become null.

    Example:
        >>> safe_json({"</script>": float("nan")})
        '{"\\u003c/script\\u003e":null}'
    """
    return json.dumps(_finite(found), separators=(",", ":"), allow_nan=False).translate(ESCAPES)


def _finite(found: Any) -> Any:
    if isinstance(found, float):
        return found if math.isfinite(found) else None
    if isinstance(found, Mapping):
        return {str(name): _finite(value) for name, value in found.items()}
    return [_finite(value) for value in found] if isinstance(found, list | tuple) else found


def page_payload(run: StoredLines, name: str, keep: Callable[[str, str], Plain]) -> Plain:
    """Return one run for the page.

    Args:
        run: The content of its files.
        name: Name of the run on the page.
        keep: Modality and base64 picture -> the entries of its view with the picture or its address.
    """
    return {
        "name": name,
        "description": run.description,
        "history": run.history,
        "alerts": run.alerts,
        "examples": {one: _with_pictures(example, keep) for one, example in run.examples.items()},
        "explanations": packed_lines(run.explanations),
        "remarks": run.remarks,
    }


def _with_pictures(example: Plain, keep: Callable[[str, str], Plain]) -> Plain:
    shown = {}
    for name, modality in example["modalities"].items():
        view = dict(modality["view"])
        webp = view.pop("webp", None)
        shown[name] = modality | {"view": view | (keep(name, webp) if isinstance(webp, str) else {})}
    return example | {"modalities": shown}


def kept_inline(modality: str, webp: str) -> Plain:
    """Keep a picture inside the page."""
    return {"webp": webp}


class PicturesBeside:
    """Writes the pictures of a page as files beside it.

    Args:
        page: The page's file; the pictures get the folder ``<stem>_pictures`` beside it.
    """

    def __init__(self, page: Path) -> None:
        self.folder = page.with_name(f"{page.stem}_pictures")
        self._written: dict[str, str] = {}

    def __call__(self, modality: str, webp: str) -> Plain:
        """Write a picture once, and return its address relative to the page; a damaged picture is left out."""
        try:
            data = base64.b64decode(webp, validate=True)
        except (binascii.Error, ValueError):
            return {}
        if webp not in self._written:
            self._written[webp] = f"{len(self._written):04d}-{portable_name(modality)}.webp"
            replace_file(self.folder / self._written[webp], data)
        return {"href": quote(f"{self.folder.name}/{self._written[webp]}", errors="replace")}
