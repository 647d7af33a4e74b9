"""How to read pictures, as one text for each kind: dashboards shrink pictures, so small print is not legible there."""

from collections.abc import Sequence

from mviz_lightning.sinks.base import markdown_escaped
from mviz_lightning.sinks.records import MarkdownText, Picture, Record

NAME = "how_to_read"
"""Last part of the key of such a text; the first part is that of the pictures: ``dime/how_to_read``."""

MOST = 12
"""Largest number of different notes in the text of a kind of pictures, such as one note for each pair of modalities."""


class PictureNotes:
    """Turns the notes of pictures into texts; a text is written once, and again only if it changes."""

    def __init__(self) -> None:
        self._written: dict[str, str] = {}

    def of(self, records: Sequence[Record]) -> list[MarkdownText]:
        """Return the texts for the pictures among some records, except texts that were returned before.

        Args:
            records: Records of one step; their keys have no prefix yet.
        """
        found: dict[str, dict[str, None]] = {}
        for record in records:
            if isinstance(record, Picture) and record.note:
                folder = record.key.rpartition("/")[0]
                found.setdefault(f"{folder}/{NAME}" if folder else NAME, {})[markdown_escaped(record.note)] = None
        texts = {key: "\n\n".join(list(notes)[:MOST]) for key, notes in found.items()}
        changed = {key: text for key, text in texts.items() if self._written.get(key) != text}
        self._written |= changed
        return [MarkdownText(key, text) for key, text in changed.items()]
