"""Texts: token ids or strings; every word is a segment."""

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.batch import Segmentation, Segments, WordSegments
from mviz_lightning.batch.masking import joined
from mviz_lightning.batch.padding import real_along
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.modalities.base import ModalityType
from mviz_lightning.modalities.segmentation import blocks, runs
from mviz_lightning.modalities.step_leaf import masked_with
from mviz_lightning.modalities.tabular import are_categories
from mviz_lightning.modalities.typical_values import mean_over
from mviz_lightning.modalities.vocabulary import BLANK, Vocabulary
from mviz_lightning.plotting.text_wrapping import SegmentedWord, draw_note, draw_words, strongest_first, wrap_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

CHARACTERS_PER_LINE = 17
"""Characters of a line in a panel of default width, at the smallest font size: 18 fit, and one stays free."""

LINE = 0.122
"""Height of a line at the smallest font size, as a fraction of the default width of a panel."""

LISTED = 4
"""Largest number of adjacent special tokens that are all drawn, in a text with placeholders."""


class Text(ModalityType):
    """Texts: token ids ``(N, T)``, or a list of N strings.

    A segment is a word, or a run of words if there are more than ``max_segments``. A masked word gets attention mask 0
    if there is an attention mask; otherwise its ids are replaced. Masked words of strings are removed. Special tokens,
    padding and ids below 0 (placeholders of images in some models) are never masked. Real numbers per token, in a
    further leaf ``(N, T, ...)`` of the modality, are replaced by their mean when the word is masked.
    """

    name = "text"
    default_baseline = "zero"
    thumbnail = False

    @classmethod
    def fits(cls, values: Any) -> bool:
        """Return whether a leaf is a table of integers ``(N, T)``, or a list of strings."""
        if isinstance(values, Tensor):
            return values.dim() == 2 and not values.is_floating_point() and values.dtype != torch.bool
        return _are_strings(values)

    @classmethod
    def fits_beside(cls, values: Any, further: Sequence[Any]) -> bool:
        """Return whether a leaf fits, and is not the categories of a table whose real numbers are in a further leaf."""
        return cls.fits(values) and not are_categories(values, further)

    @classmethod
    def features(cls, values: Any, mask: Tensor | None) -> Tensor | None:
        """Return ``log(1 + count)`` of every token or word, ``(N, V)``; the ids themselves have no numeric meaning."""
        if isinstance(values, Tensor):
            real = real_along(mask, values.shape[1])
            return counts_of_tokens(values, values.new_ones(values.shape, dtype=torch.bool) if real is None else real)
        return _counts([text.lower().split() for text in values]) if _are_strings(values) else None

    def cut(self) -> Segmentation:
        """Make every word a segment, or runs of words if there are more than ``max_segments``."""
        if not isinstance(self.values, Tensor) and _are_strings(self.values):
            return self._string_segments()
        if not (isinstance(self.values, Tensor) and self.fits(self.values)):
            raise ConfigurationError(
                f"kind='text' of {self.path!r}: expected (N, T) token ids or a list of strings; found "
                f"{tuple(getattr(self.values, 'shape', ())) or type(self.values).__name__}."
            )
        return self._token_segments()

    def _string_segments(self) -> WordSegments:
        if self.modality.baseline not in (None, "zero"):
            raise ConfigurationError(
                f"baseline={self.modality.baseline!r} of {self.path!r}: masked words of strings are left out; remove "
                "baseline=."
            )
        return WordSegments(
            self.path, [[" ".join(words) for words in self._segment_words(text)] for text in self.values]
        )

    def _segment_words(self, text: str) -> list[list[str]]:
        """Return the words of every segment of a string."""
        words = text.split()
        numbered = zip(blocks(len(words), self.modality.max_segments).tolist(), words, strict=True)
        return [[word for _, word in run] for _, run in groupby(numbered, lambda pair: pair[0])]

    def _token_segments(self) -> Segmentation:
        index = runs(self._word_starts, self.modality.max_segments)
        further = [
            _with_mean(path, leaf, index)
            for path, leaf in self.companions.items()
            if masked_with(leaf, 1, index.shape[1]) and leaf.is_floating_point()  # integers: token types, positions
        ]
        return joined([self._words_masked(index), *further])

    def _words_masked(self, index: Tensor) -> Segments:
        """Return the segments of the attention mask if it hides masked words, otherwise of the ids."""
        path = self.modality.mask_leaf
        if path is None or not self._hides:
            return Segments(self.path, index, float(self._baseline_id))
        mask = self.leaves[path]
        # A mask (N, T, 1) has one entry per token, (N, T, T) one per query and key; a masked key is hidden from all
        # queries.
        between = [1] * (mask.dim() - 2)
        shape = mask.shape if mask[0].numel() == index.shape[1] else (len(mask), *between, mask.shape[-1])
        return Segments(path, index.view(shape), self.modality.hiding)

    @cached_property
    def _hides(self) -> bool:
        """Whether the attention mask hides a masked word."""
        return self.modality.baseline is None and self._shown is not None

    @cached_property
    def _shown(self) -> Tensor | None:
        """``(N, T)`` True where the attention mask shows a token; None without such a mask."""
        return real_along(self.mask, self.values.shape[1])

    @cached_property
    def _baseline_id(self) -> int:
        """The token id that replaces masked words."""
        given = self.modality.baseline
        if isinstance(given, str) and given != "zero":
            raise ConfigurationError(f"baseline={given!r} of {self.path!r}: give 'zero' or the id of a token.")
        if given is None or isinstance(given, str):
            known = (self.modality.pad_value, self._vocabulary.padding, 0)
            return int(next(number for number in known if number is not None))
        return int(given)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        given = self.modality.baseline
        named = [] if given is None or isinstance(given, str) else [int(given)]
        return Vocabulary(self.modality, [*self.values.unique().tolist(), *named])

    @cached_property
    def _real(self) -> Tensor:
        """``(N, T)`` False at padding."""
        if self._shown is not None:
            return self._shown
        real = torch.ones_like(self.values, dtype=torch.bool) if self.own is None else self.own
        padding = self._vocabulary.padding if self.modality.pad_value is None else self.modality.pad_value
        return real if padding is None else real & (self.values != padding)

    @cached_property
    def _word_starts(self) -> Tensor:
        """``(N, T)``: 1 at the first token of a word, 0 at its other tokens, -1 at special tokens and padding."""
        special = torch.tensor(self._vocabulary.special, dtype=self.values.dtype)
        in_words = self._real & ~torch.isin(self.values, special) & (self.values >= 0)
        in_words = in_words if self.maskable is None else in_words & self.maskable
        begins, ends = self._vocabulary.bounds(self.values)
        after = torch.ones_like(begins)
        after[:, 1:] = ends[:, :-1] | ~in_words[:, :-1]
        return (begins | after).long().where(in_words, -1)

    @property
    def baseline(self) -> str:
        """The baseline of masked words, in words."""
        if isinstance(self.segments, WordSegments):
            return "left out"
        if self._hides:
            return f"left out (attention mask {self.modality.hiding})"
        # Named only if the user gave it: the name of another token would reveal which tokens occur.
        chosen = isinstance(self.modality.baseline, int | float)
        known = self._vocabulary.tokens.get(self._baseline_id) if chosen else None
        return f"token {self._baseline_id}" + (f" ({known})" if known else "")

    def _words(self, example: int) -> list[SegmentedWord]:
        """Return the words and special tokens of an example, each with its segment; special tokens have -1."""
        if isinstance(self.segments, WordSegments):
            segments = self._segment_words(self.values[example])
            return [(word, segment) for segment, words in enumerate(segments) for word in words]
        ids, starts = self.values[example].tolist(), self._word_starts[example].tolist()
        segments_of = runs(self._word_starts[[example]], self.modality.max_segments)[0].tolist()
        words: list[tuple[list[int], int]] = []
        for place in self._real[example].nonzero()[:, 0].tolist():
            if starts[place] == 0:
                words[-1][0].append(ids[place])
            elif not self._repeats(example, place):
                words.append(([ids[place]], segments_of[place]))
        return [
            (self._written(ids, segment), segment)
            for block, run in groupby(words, self._is_of_block)
            for ids, segment in (_ends(list(run)) if block else run)
        ]

    def _written(self, ids: list[int], segment: int) -> str:
        """Return a word, or a token that is not a word; dots for left-out tokens."""
        if not ids:
            return "..."
        is_word = segment >= 0 or (self.maskable is not None and ids[0] not in self._vocabulary.markup)
        return self._vocabulary.word(ids) if is_word else self._vocabulary.token(ids[0]).strip() or BLANK

    def _is_of_block(self, word: tuple[list[int], int]) -> bool:
        """Return whether an entry of a text with placeholders is a special token and not a word."""
        ids, segment = word
        return self.maskable is not None and segment < 0 and ids[0] in self._vocabulary.markup

    def _repeats(self, example: int, place: int) -> bool:
        """Return whether a token that is never masked equals the token before it, like repeated placeholders."""
        if self.maskable is None or place == 0 or bool(self.maskable[example, place]):
            return False
        return bool(self.values[example, place] == self.values[example, place - 1])

    def _numbered_segments(self, example: int) -> list[tuple[str, int]]:
        """Return the numbers of an example's segments in place of its words."""
        return [(f"{segment + 1:^3}", segment) for segment in range(self.segments.count(example))]

    def names(self, example: int, *, inputs: bool = True) -> list[str]:
        """Return the words of every segment; with ``inputs=False``, their numbers."""
        segmented = [word for word in self._words(example) if word[1] >= 0]
        names, first = [], 1
        for _, run in groupby(segmented, lambda word: word[1]):
            words = [word for word, _ in run]
            last = first + len(words) - 1
            names.append(" ".join(words) if inputs else f"word {first}" if first == last else f"words {first}-{last}")
            first = last + 1
        return names

    def view(self, example: int, *, inputs: bool = True) -> dict[str, Any]:
        """Return the view of a text; its segments are words."""
        return {"view": "words"}

    def aspect(self, example: int, *, inputs: bool = True) -> float:
        """Return height over width of a panel with room for all lines, from 0.35 to 1.6."""
        placed = wrap_words(self._words(example) if inputs else self._numbered_segments(example), CHARACTERS_PER_LINE)
        lines = placed[-1].line + 1 if placed else 1
        return min(max(LINE * lines + 0.01, 0.35), 1.6)

    def draw(self, axes: "Axes", example: int) -> None:
        """Draw the text."""
        words = self._words(example)
        if words:
            draw_words(axes, words)
        else:
            draw_note(axes, "(no text)")

    def paint(
        self, axes: "Axes", example: int, weights: npt.NDArray[Any], colours: "ScalarMappable", *, inputs: bool = True
    ) -> None:
        """Draw the words on the colours of their weights; with ``inputs=False``, draw their numbers."""
        words = self._words(example) if inputs else self._numbered_segments(example)
        if words:
            draw_words(axes, words, faces=colours.to_rgba(weights), order=strongest_first(words, weights))
        else:
            draw_note(axes, "(no text)")


def _ends(words: list[tuple[list[int], int]]) -> list[tuple[list[int], int]]:
    """Return adjacent special tokens; of more than four, only the first and last two (tiled pictures have many)."""
    half = LISTED // 2
    return words if len(words) <= LISTED else [*words[:half], ([], -1), *words[-half:]]


def _with_mean(path: str, leaf: Tensor, index: Tensor) -> Segments:
    """Return the segments of real numbers per token, ``(N, T, ...)``; their baseline is the mean over words."""
    wide = index.view(*index.shape, *[1] * (leaf.dim() - 2))
    return Segments(path, wide, mean_over(leaf, [0, 1], wide >= 0))


def _are_strings(values: Any) -> bool:
    return isinstance(values, list | tuple) and bool(values) and all(isinstance(text, str) for text in values)


def counts_of_tokens(tokens: Tensor, kept: Tensor) -> Tensor:
    """Return ``log(1 + count)``, ``(N, V)``, of every token among the kept ones of ``(N, T)`` ids."""
    return _counts([row[stays].tolist() for row, stays in zip(tokens, kept, strict=True)])


def _counts(texts: Sequence[Sequence[Any]]) -> Tensor:
    """Return ``(N, V)``: ``log(1 + count)`` of each of V tokens in each text."""
    places = {token: place for place, token in enumerate(dict.fromkeys(token for text in texts for token in text))}
    counts = torch.zeros(len(texts), len(places))
    for row, text in zip(counts, texts, strict=True):
        row.index_add_(0, torch.tensor([places[token] for token in text], dtype=torch.long), torch.ones(len(text)))
    return counts.log1p()
