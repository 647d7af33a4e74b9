"""Placeholder tokens: ids in a text at the positions of items of another modality."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mviz_lightning.batch.modality import Modality


@dataclass(frozen=True)
class PlaceholderTokens:
    """Ids of tokens that are not words, from a model's configuration, its tokenizer and the user.

    Attributes:
        kinds: Kind of placeholder (``image``, ``video``, ``audio`` or the name of a modality) -> its ids.
        edges: Ids that begin or end a block, from the configuration.
        special: Special tokens of the tokenizer; empty if no tokenizer is known.
        blank: Tokens that are only white space.
        decode: The tokenizer; None if unknown.
    """

    kinds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    edges: frozenset[int] = frozenset()
    special: frozenset[int] = frozenset()
    blank: frozenset[int] = frozenset()
    decode: Any = field(default=None, compare=False)

    def of_modality(self, modality: Modality) -> "PlaceholderTokens":
        """Return the tokens, with the user's placeholders for the text in place of the model's own.

        Kinds that the user did not name are kept, because their tokens still belong to items.
        """
        given = modality.placeholders or {}
        told = {one for ids in given.values() for one in ids}
        left = {kind: tuple(one for one in ids if one not in told) for kind, ids in self.kinds.items()}
        return replace(self, kinds={**{kind: ids for kind, ids in left.items() if ids}, **given})

    @property
    def ids(self) -> frozenset[int]:
        """The ids of all placeholders."""
        return frozenset(one for ids in self.kinds.values() for one in ids)


NO_TOKENS = PlaceholderTokens()
"""The tokens of a model that names no placeholders."""
