"""One log line about an interleaved text."""

from collections.abc import Sequence

from mviz_lightning.batch.interleaved.interleaving import Interleaving
from mviz_lightning.batch.interleaved.tokenwise import Tokenwise
from mviz_lightning.batch.schema import BatchSchema

SIDES = {True: "padded in front", False: "padded behind", None: "never padded so far"}
"""Whether batches are padded on the left -> words."""


def interleaving_line(schema: BatchSchema) -> str:
    """Return one line about how rows are rebuilt; empty for batches without placeholders."""
    found = schema.interleaving
    if found is None:
        return ""
    media = "; ".join(f"each {name} brings {_listed(paths)}" for name, paths in found.media.items())
    answers = f"; answers begin where {found.labels!r} stops being -100" if found.labels else ""
    count = len(found.finder.wrappers)
    wrappers = f", with {count} kind{'s' * (count > 1)} of tokens around them," if count else ""
    return (
        f"the placeholders of {' and '.join(found.media)} in {found.ids!r}{wrappers} are replaced by those of the "
        f"example that each comes from; {media}; by token: {_listed(found.tokenwise)}, {SIDES[_side(schema, found)]}"
        f"{answers}"
    )


def _side(schema: BatchSchema, found: Interleaving) -> bool | None:
    holdings = [reader.holding for reader in schema.readers if found.ids in reader.places]
    return next((one.in_front for one in holdings if isinstance(one, Tokenwise)), None)


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(map(repr, paths))
