"""The words of a text with placeholders: the tokens that may be masked."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mviz_lightning.batch.interleaved.interleaving import Interleaving


def maskable_words(found: Interleaving, texts: Sequence[Tensor], ends: Tensor | None, length: int) -> Tensor:
    """Return ``(N, T)`` bool: True at the tokens of questions, which may be masked.

    All other tokens are never masked: blocks, special tokens, white space, the answer, the last token of the prompt
    (whose logits are read), and the first token (which attends only to itself).

    Args:
        found: The interleaved text and its modalities.
        texts: The ids of each example's own tokens, ``(T,)`` each.
        ends: ``(N,)`` long: the end of each prompt, where the answer begins; None if texts have no answer.
        length: Number of tokens of the longest text, T.
    """
    words, others = torch.zeros(len(texts), length, dtype=torch.bool), torch.tensor(sorted(_no_words(found)))
    stops = [len(text) for text in texts] if ends is None else ends.tolist()
    for row, text, stop in zip(words, texts, stops, strict=True):
        row[1 : max(stop - 1, 1)] = True
        for block in found.blocks(text):
            row[block.start : block.stop] = False
        row[: len(text)] &= ~torch.isin(text, others)
    return words


def _no_words(found: Interleaving) -> frozenset[int]:
    tokens = found.tokens
    return tokens.special | tokens.edges | tokens.ids | tokens.blank | found.finder.wrappers
