"""Names of token ids, and the tokens of each word, for any tokenizer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pkgutil import resolve_name
from typing import Any, TypeAlias

import torch
from torch import Tensor

from mviz_lightning.batch import Modality
from mviz_lightning.errors import ConfigurationError, describe_error, message_of, warn_user

Decoder: TypeAlias = Callable[[list[int]], Any]
"""Maps ids to the same number of tokens; None for an unknown id."""

WORD_PREFIXES = (("Ġ", "Ċ"), ("▁",), (" ",))
"""Prefixes of a token that starts a word: byte-level BPE, SentencePiece, tokens decoded one by one."""

CONTINUATION_PREFIX = "##"
"""Prefix of a token that continues a word: WordPiece."""

BLANK = "␣"
"""Symbol for white space."""

WORD_SUFFIX = "</w>"
"""Suffix of a token that ends a word: CLIP."""


class Vocabulary:
    """The tokens of the token ids in the examples.

    Args:
        modality: Its ``decode`` maps ids to tokens.
        ids: All ids that may need a name. Ids below 0 are placeholders, not tokens.

    Attributes:
        tokens: Token by id, for every known id.

    Raises:
        ConfigurationError: ``decode`` has an unknown type, or its dotted path cannot be imported.
    """

    def __init__(self, modality: Modality, ids: Iterable[int]) -> None:
        self.modality = modality
        self.decode = _decode_of(modality)
        self.ids = sorted({number for number in ids if number >= 0})
        self.tokens: dict[int, str] = self._read()

    @property
    def special(self) -> list[int]:
        """Ids that are never masked: ``special_ids`` of the modality, otherwise the special ids of the tokenizer."""
        if self.modality.special_ids is not None:
            return list(self.modality.special_ids)
        unknown = getattr(self.decode, "unk_token_id", None)
        return [number for number in getattr(self.decode, "all_special_ids", ()) if number != unknown]

    @cached_property
    def markup(self) -> frozenset[int]:
        """Ids that are not words: special tokens, also those added to the tokenizer, and white space."""
        added = getattr(self.decode, "added_tokens_decoder", {})
        marked = [int(number) for number, token in added.items() if getattr(token, "special", False)]
        blank = [number for number in self.tokens if self.word([number]) == BLANK]
        return frozenset([*self.special, *marked, *blank])

    @property
    def padding(self) -> int | None:
        """The padding id of the tokenizer; None if it has none."""
        number: int | None = getattr(self.decode, "pad_token_id", None)
        return number

    def token(self, number: int) -> str:
        """Return the token of an id; ``"#123"`` for the unknown id 123."""
        return self.tokens.get(number, f"#{number}")

    def word(self, ids: Sequence[int]) -> str:
        """Return the word of these token ids, without the tokenizer's marks."""
        tokens = [self.token(number) for number in ids]
        join = getattr(self.decode, "convert_tokens_to_string", None)
        try:
            text = str(join(tokens)) if join and all(number in self.tokens for number in ids) else _joined(tokens)
        except Exception:
            text = _joined(tokens)
        return " ".join(text.split()) or BLANK

    def text(self, ids: Sequence[int]) -> str:
        """Return the words of these token ids, separated by spaces."""
        starts = [0, *(self.bounds(torch.tensor([list(ids)]))[0][0].nonzero()[:, 0].tolist()), len(ids)]
        parts = (ids[start:stop] for start, stop in pairwise(starts) if start < stop)
        return " ".join(map(self.word, parts))

    def bounds(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return which tokens certainly start a word, and which end one.

        Args:
            values: ``(N, T)`` token ids.

        Returns:
            Two ``(N, T)`` booleans: whether the token starts a word, whether it ends one.
        """
        tokens = [self.token(number) for number in self.ids]
        begins, ends = _word_boundaries(tokens)
        # Ids below 0 belong to no word; they get the entry of the first id.
        place = torch.searchsorted(torch.tensor(self.ids or [0]), values.long().contiguous()).clamp(max=len(begins) - 1)
        return torch.tensor(begins)[place], torch.tensor(ends)[place]

    def _read(self) -> dict[int, str]:
        if self.decode is None or not self.ids:
            return {}
        try:
            found = _decoder(self.modality, self.decode)(list(self.ids))
        except ConfigurationError:
            raise
        except Exception as error:
            return self._refuse(f"raised {describe_error(error)}")
        if isinstance(found, str) or not isinstance(found, Sequence) or not all(_is_token(token) for token in found):
            return self._refuse(f"returned a {type(found).__name__} that is not a list of strings")
        if len(found) != len(self.ids):
            return self._refuse(f"returned {len(found)} tokens")
        return self._known(found)

    def _known(self, found: Sequence[str | None]) -> dict[int, str]:
        known = {number: token for number, token in zip(self.ids, found, strict=True) if token is not None}
        missing = sorted(set(self.ids) - set(known))
        if missing:
            self._warn(
                f"has no token for {len(missing)} of the {len(self.ids)} ids that occur, for example {missing[0]}"
            )
        return known

    def _refuse(self, problem: str) -> dict[int, str]:
        """Warn about an unusable result of ``decode``; every token then appears as its id."""
        self._warn(f"{problem}; it must return a list of {len(self.ids)} strings for {len(self.ids)} ids")
        return {}

    def _warn(self, problem: str) -> None:
        warn_user(
            f"decode of {self.modality.values!r} {problem}. Tokens without a name appear as ids, for example #123."
        )


def _decode_of(modality: Modality) -> Any:
    """Return ``decode`` of the modality; a dotted path is imported."""
    if not isinstance(modality.decode, str):
        return modality.decode
    try:
        return resolve_name(modality.decode)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"decode={modality.decode!r} of {modality.values!r}: {message_of(error)}; give the dotted path of "
            "a tokenizer or of a function from ids to tokens."
        ) from error


def _decoder(modality: Modality, decode: Any) -> Decoder:
    if hasattr(decode, "convert_ids_to_tokens"):
        return decode.convert_ids_to_tokens  # type: ignore[no-any-return]
    for one in ("id_to_token", "id_to_piece"):  # of the packages tokenizers and sentencepiece
        if hasattr(decode, one):
            return lambda ids: [getattr(decode, one)(number) for number in ids]
    if isinstance(decode, Mapping):
        by_id = {number: token for token, number in decode.items()} if _is_inverted(decode) else decode
        return lambda ids: [by_id.get(number) for number in ids]
    if isinstance(decode, Sequence):
        return lambda ids: [decode[number] if number < len(decode) else None for number in ids]
    if callable(decode):
        return decode  # type: ignore[no-any-return]
    raise ConfigurationError(
        f"decode of {modality.values!r} is a {type(decode).__name__}; give a tokenizer, a function from ids to tokens "
        "(or its dotted path), or the vocabulary by id."
    )


def _is_inverted(vocabulary: Mapping[Any, Any]) -> bool:
    """Return whether a vocabulary maps tokens to ids, like the vocabularies of tokenizers."""
    return all(isinstance(token, str) for token in vocabulary)


def _is_token(token: Any) -> bool:
    return token is None or isinstance(token, str)


def _word_boundaries(tokens: Sequence[str]) -> tuple[list[bool], list[bool]]:
    """Return which tokens start a word and which end one; without any known mark, every token is a word."""
    for prefix in WORD_PREFIXES:
        if any(token.startswith(prefix) for token in tokens):
            return [token.startswith(prefix) for token in tokens], [False] * len(tokens)
    if any(token.endswith(WORD_SUFFIX) for token in tokens):
        return [False] * len(tokens), [token.endswith(WORD_SUFFIX) for token in tokens]
    # At least one entry, for lookups without any token.
    return [not token.startswith(CONTINUATION_PREFIX) for token in tokens] or [True], [False] * max(len(tokens), 1)


def _joined(tokens: Sequence[str]) -> str:
    """Return the text of a word's tokens without the marks of the tokenizer."""
    text = ""
    for token in tokens:
        inner = token[len(CONTINUATION_PREFIX) :] if token.startswith(CONTINUATION_PREFIX) and text else token
        text += inner.removesuffix(WORD_SUFFIX)
    return text.replace("Ġ", " ").replace("▁", " ").replace("Ċ", " ")
