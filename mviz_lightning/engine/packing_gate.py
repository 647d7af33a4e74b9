"""Whether the rows of a language model may be packed: its items must not attend to the text behind them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.engine.agreement import number_type
from mviz_lightning.engine.language_model import LanguageModel
from mviz_lightning.engine.packed_rows import MASK, POSITIONS, PackedRow, heads
from mviz_lightning.engine.pair_attention import other_attentions, taking_pairs
from mviz_lightning.engine.query import Query

TRIED = 2
"""Number of rows whose text is changed."""

COMPARED = 8
"""Number of an item's last tokens whose logits are compared: they change if text enters any layer."""

NARROW, WIDE = 2e-2, 1e-3
"""Smallest relative change of these logits that shows that items attend to the text: in 16 bits, and in more.

The change is a ratio of root mean squares. The limits were chosen on LLaVA, LLaVA-NeXT and Qwen2-VL with random weights
in bfloat16. With the models' own attention the logits change by up to 0.003; where every token attends to every other,
they change by 0.14 or more. In six other families of models the two numbers are 0.001, and 0.038 or more.
"""

OTHER_TOKENS = "its forward has no arguments 'attention_mask' and 'position_ids'"
RETOLD = "your step computes arguments from its tokens"
OTHER_TEXT = "{path!r} belongs to the text, but has no entry for each token"
ATTENTION = "its attention {name!r} does not accept a mask of all pairs of tokens"
NO_TEXT = "no text follows an item"
BIDIRECTIONAL = "its items attend to the text after them"


def reason_against_packing(language: LanguageModel, probe: Probe, query: Query) -> str:
    """Return why rows cannot be packed; ``""`` where they can. Call it inside ``isolated``.

    Args:
        language: The model.
        probe: The examples.
        query: Rows; their masks are not used.
    """
    found = next(_reasons_of_arguments(language, probe), "")
    if found:
        return found
    rows = Query(query.sources)
    places = probe.tokens(rows.sources, {})[0]
    going_on = (places.lengths > heads(places)).nonzero()[:TRIED, 0]
    if not len(going_on):
        return NO_TEXT
    moves = (_items_move(PackedRow.of(language, probe, rows[row : row + 1])) for row in going_on.tolist())
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
    with taking_pairs(language.module):
        for name in other_attentions(language.module):
            yield ATTENTION.format(name=name)


def _items_move(row: PackedRow) -> bool:
    """Return whether the logits at the last tokens of an item change when the text behind them is replaced."""
    places = torch.arange(max(0, row.head - COMPARED), row.head)
    whole = {path: rows[0] for path, rows in row.texts.items()}
    before, after = _logits(row, whole, places), _logits(row, _other_text(row, whole), places)
    least = NARROW if torch.finfo(number_type(before)).bits < 32 else WIDE
    return bool((before.double() - after.double()).norm() > least * before.double().norm())


def _other_text(row: PackedRow, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a row in which the last token replaces every token behind the item; a single token there is removed.

    Two or more tokens are replaced and not removed: the row keeps its length, so that logits which do not depend on
    these tokens stay bit-identical.
    """
    last, count = len(row.ids[0]) - 1, len(row.ids[0]) - row.head
    places = torch.cat([torch.arange(row.head), torch.full((count if count > 1 else 0,), last)])
    return {path: leaf[places] for path, leaf in leaves.items()}


def _logits(row: PackedRow, leaves: dict[str, Tensor], places: Tensor) -> Tensor:
    """Return ``(P, V)`` logits at some tokens of one row alone, with these per-token leaves."""
    language, given = row.language, dict(row.alone)
    for name, path in language.by_token.items():
        given[name] = leaves[path].unsqueeze(0).to(row.alone[name].dtype)
    return language.logits_of(given, places)[0]
