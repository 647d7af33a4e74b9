"""Whether the rows of a language model may be packed: its items must not see the text behind them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.engine.agreement import agree
from mviz_lightning.engine.language_model import LanguageModel
from mviz_lightning.engine.packed_rows import MASK, POSITIONS, PackedRow, heads, token_places

TRIED = 2
"""Number of rows whose text is changed."""

COMPARED = 8
"""Number of tokens up to the last of an item whose logits are compared: all layers before them enter these."""

MASKLESS = "flash"
"""Part of the names of attentions that take no mask of all pairs of tokens."""

OTHER_TOKENS = "its forward has no arguments 'attention_mask' and 'position_ids'"
RETOLD = "your step makes arguments from its tokens"
OTHER_TEXT = "{path!r} belongs to the text, but has no entry for each token"
ATTENTION = "its attention {name!r} takes no mask of all pairs of tokens"
NO_TEXT = "no text goes on behind an item"
BIDIRECTIONAL = "its items see the text behind them"


def reason_against_packing(language: LanguageModel, probe: Probe, sources: Tensor) -> str:
    """Return why rows cannot be packed; ``""`` where they can. Call it inside ``isolated``.

    Args:
        language: The model.
        probe: The examples.
        sources: ``(R, M)`` the example that each modality of each row is taken from.
    """
    found = next(_reasons_of_arguments(language, probe), "")
    if found:
        return found
    places = token_places(probe, sources)
    going_on = (places.lengths > heads(places)).nonzero()[:TRIED, 0]
    if not len(going_on):
        return NO_TEXT
    moves = (_items_move(PackedRow.of(language, probe, sources[row : row + 1])) for row in going_on.tolist())
    return BIDIRECTIONAL if any(moves) else ""


def _reasons_of_arguments(language: LanguageModel, probe: Probe) -> Iterator[str]:
    if not (language.takes(MASK) and language.takes(POSITIONS)):
        yield OTHER_TOKENS
    if language.given is not None and language.given.retold:
        yield RETOLD
    text, by_token = language.interleaving.text, set(language.interleaving.tokenwise)
    for path in probe.schema.values[text]:
        if path not in by_token and path in language.taken.values():
            yield OTHER_TEXT.format(path=path)
    for child in language.module.modules():
        name = getattr(getattr(child, "config", None), "_attn_implementation", None)
        if isinstance(name, str) and MASKLESS in name:
            yield ATTENTION.format(name=name)


def _items_move(row: PackedRow) -> bool:
    """Tell whether the logits at the last tokens of an item change once the text behind them is another one."""
    places = torch.arange(max(0, row.head - COMPARED), row.head)
    whole = {path: rows[0] for path, rows in row.texts.items()}
    return not agree(_logits(row, whole, places), _logits(row, _reversed(row, whole), places))


def _reversed(row: PackedRow, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what a row holds with a shorter text behind the item, its tokens in the reverse order."""
    places = torch.cat([torch.arange(row.head), torch.arange(row.head + 1, len(row.ids[0])).flip(0)])
    return {path: leaf[places] for path, leaf in leaves.items()}


def _logits(row: PackedRow, leaves: dict[str, Tensor], places: Tensor) -> Tensor:
    """Return ``(P, V)`` logits at some tokens of one row alone, in which the leaves by token are these."""
    language, given = row.language, dict(row.alone)
    for name, path in language.by_token.items():
        given[name] = leaves[path].unsqueeze(0).to(row.alone[name].dtype)
    return language.logits_of(given, places)[0]
