"""Placeholder tokens: ids in a text that stand for the items of another modality."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mviz_lightning.batch.modality import Modality


@dataclass(frozen=True)
class PlaceholderTokens:
    """Ids of tokens with a meaning beyond words, as a model's configuration, its tokenizer and the user name them.

    Attributes:
        kinds: What a placeholder stands for, ``image``, ``video``, ``audio`` or the name of a modality -> its ids.
        edges: Ids that begin or end a block, as the configuration says.
        special: Special tokens of the tokenizer; empty where no tokenizer is known.
        blank: Tokens of white space alone.
        decode: The tokenizer; None where none is known.
    """

    kinds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    edges: frozenset[int] = frozenset()
    special: frozenset[int] = frozenset()
    blank: frozenset[int] = frozenset()
    decode: Any = field(default=None, compare=False)

    def of_modality(self, modality: Modality) -> "PlaceholderTokens":
        """Return the tokens with those that the user named for the modality of the text, in place of the model's own.

        A kind that the user says nothing of stays: its tokens stand for items whether they are named or not.
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
"""Of a model that names no placeholders."""
