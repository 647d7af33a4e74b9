"""From token ids to tokens, and from tokens to words, whichever tokenizer made them."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pkgutil import resolve_name
from typing import Any, TypeAlias

import torch
from torch import Tensor

from mviz_lightning.batch import Modality
from mviz_lightning.errors import ConfigurationError, MonitorWarning, describe_error, message_of

Decoder: TypeAlias = Callable[[list[int]], Any]
"""From ids to as many tokens; None for an id that is not known."""

PREFIXES = (("Ġ", "Ċ"), ("▁",), (" ",))
"""What a token starts with that begins a word: byte-level BPE, SentencePiece, pieces that were decoded one by one."""

CONTINUED = "##"
"""What a token starts with that goes on with a word: WordPiece."""

ENDED = "</w>"
"""What a token ends with that ends a word: CLIP."""


class Vocabulary:
    """Names of the token ids that occur.

    Args:
        modality: Says how ids are decoded.
        ids: All that may have to be named; those below 0 stand for something else than text.
    """

    def __init__(self, modality: Modality, ids: Iterable[int]) -> None:
        self.modality = modality
        self.decode = _resolved(modality)
        self.ids = sorted({number for number in ids if number >= 0})
        self.tokens: dict[int, str] = self._read()

    @property
    def special(self) -> list[int]:
        """Ids that are never masked."""
        if self.modality.special_ids is not None:
            return list(self.modality.special_ids)
        unknown = getattr(self.decode, "unk_token_id", None)
        return [number for number in getattr(self.decode, "all_special_ids", ()) if number != unknown]

    @property
    def padding(self) -> int | None:
        """The tokenizer's own."""
        number: int | None = getattr(self.decode, "pad_token_id", None)
        return number

    def token(self, number: int) -> str:
        """Return a token, or its number where it has no name."""
        return self.tokens.get(number, f"#{number}")

    def word(self, ids: Sequence[int]) -> str:
        """Return the word that tokens make up, as a person reads it."""
        tokens = [self.token(number) for number in ids]
        join = getattr(self.decode, "convert_tokens_to_string", None)
        try:
            text = str(join(tokens)) if join and all(number in self.tokens for number in ids) else _joined(tokens)
        except Exception:
            text = _joined(tokens)
        return " ".join(text.split()) or "␣"

    def bounds(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return, for every entry, whether a word begins there, and whether one ends there for certain."""
        tokens = [self.token(number) for number in self.ids]
        begins, ends = _style(tokens)
        # Ids below 0 are looked up at the place of the first, and belong to no word anyway.
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
            return self._refuse(f"returned a {type(found).__name__} that is no list of strings")
        if len(found) != len(self.ids):
            return self._refuse(f"returned {len(found)} tokens")
        return self._known(found)

    def _known(self, found: Sequence[str | None]) -> dict[int, str]:
        known = {number: token for number, token in zip(self.ids, found, strict=True) if token is not None}
        missing = sorted(set(self.ids) - set(known))
        if missing:
            self._warn(f"knows no token for {len(missing)} of the {len(self.ids)} ids that occur, {missing[0]} for one")
        return known

    def _refuse(self, problem: str) -> dict[int, str]:
        self._warn(f"{problem}; a list of {len(self.ids)} strings was expected for {len(self.ids)} ids")
        return {}

    def _warn(self, problem: str) -> None:
        warnings.warn(
            f"decode of {self.modality.values!r} {problem}. Tokens without a name are shown by their number, as #123.",
            MonitorWarning,
            stacklevel=2,
        )


def _resolved(modality: Modality) -> Any:
    """Return what the user gave, or what its dotted path leads to."""
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
    """Tell whether a vocabulary goes from tokens to ids, as that of tokenizers does."""
    return all(isinstance(token, str) for token in vocabulary)


def _is_token(token: Any) -> bool:
    return token is None or isinstance(token, str)


def _style(tokens: Sequence[str]) -> tuple[list[bool], list[bool]]:
    """Return which tokens begin a word, and which end one; every token is a word where none shows how they join."""
    for prefix in PREFIXES:
        if any(token.startswith(prefix) for token in tokens):
            return [token.startswith(prefix) for token in tokens], [False] * len(tokens)
    if any(token.endswith(ENDED) for token in tokens):
        return [False] * len(tokens), [token.endswith(ENDED) for token in tokens]
    # Without tokens there is still an entry to look up.
    return [not token.startswith(CONTINUED) for token in tokens] or [True], [False] * max(len(tokens), 1)


def _joined(tokens: Sequence[str]) -> str:
    """Return the text of a word's tokens without the marks of their tokenizer."""
    text = ""
    for token in tokens:
        inner = token[len(CONTINUED) :] if token.startswith(CONTINUED) and text else token
        text += inner.removesuffix(ENDED)
    return text.replace("Ġ", " ").replace("▁", " ").replace("Ċ", " ")
