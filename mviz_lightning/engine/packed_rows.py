"""Rows of one item and many texts in one forward: the item stands once, and the texts branch off behind it.

``head | items | text 1 | text 2 | ...`` is one row. Each text sees the head, the items and itself, and its positions go
on behind the items as if it stood there alone. Nothing is kept between forwards.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.batch.interleaved.splicing import TokenPlaces
from mviz_lightning.batch.rows import to_device
from mviz_lightning.engine.devices import device_of
from mviz_lightning.engine.language_model import LanguageModel, logits_in

MASK, POSITIONS, KEPT = "attention_mask", "position_ids", "logits_to_keep"
"""Names of the arguments that tell which tokens see which, where each stands, and which logits are wanted."""

LONGEST = 4096
"""Largest number of tokens of a packed row: each of them is compared with each, also where it is not seen."""

HEAD = -1
"""Number of the row of tokens that belong to all."""


@dataclass(frozen=True)
class Branches:
    """Where the tokens of R rows are in one packed row.

    Attributes:
        head: Number of tokens that all rows have in common, up to the last of an item.
        lengths: ``(R,)`` long: number of tokens of each row.
    """

    head: int
    lengths: Tensor

    @cached_property
    def starts(self) -> Tensor:
        """``(R,)`` long: where each row's tokens behind the head start."""
        behind = self.lengths - self.head
        return self.head + behind.cumsum(0) - behind

    @cached_property
    def rows(self) -> Tensor:
        """``(T,)`` long: the row of each token; :data:`HEAD` in the head."""
        numbers = torch.arange(len(self.lengths)).repeat_interleave(self.lengths - self.head)
        return torch.cat([torch.full((self.head,), HEAD), numbers])

    @cached_property
    def positions(self) -> Tensor:
        """``(T,)`` long: the position of each token in its own row."""
        behind = [torch.arange(self.head, length) for length in self.lengths.tolist()]
        return torch.cat([torch.arange(self.head), *behind])

    @property
    def seen(self) -> Tensor:
        """``(T, T)`` bool: whether a token, in the first dimension, sees another one."""
        shared = (self.rows == HEAD) | (self.rows == self.rows.unsqueeze(1))
        return shared.tril()

    def joined(self, leaf: Tensor) -> Tensor:
        """Return ``(1, T)`` entries of a leaf ``(R, L)`` whose rows begin at 0."""
        return leaf[self.rows.clamp(min=0), self.positions].unsqueeze(0)

    def places(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Return ``(P,)`` long: where tokens are in the packed row.

        Args:
            rows: ``(P,)`` the row of each.
            positions: ``(P,)`` its position there.
        """
        return torch.where(positions < self.head, positions, self.starts[rows] + positions - self.head)


@dataclass(frozen=True)
class PackedRow:
    """R rows with the same items and the same tokens up to the last of an item.

    Attributes:
        language: The model.
        probe: The examples.
        sources: ``(R, M)`` the example that each modality of each row is taken from.
    """

    language: LanguageModel
    probe: Probe
    sources: Tensor

    @cached_property
    def branches(self) -> Branches:
        """Where the tokens are."""
        return Branches(int(heads(self._places)[0]), self._places.lengths)

    @cached_property
    def _places(self) -> TokenPlaces:
        return places_of(self.probe, self.sources)

    def rows_of(self, path: str) -> list[Tensor]:
        """Return what each row holds of a leaf by token, ``(T,)`` each."""
        lengths = self._places.lengths.tolist()
        rows = self._places.spliced(self.probe.leaves[path])
        return [row[:length] for row, length in zip(rows, lengths, strict=True)]

    def logits(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Return ``(P, V)`` logits at tokens of the rows.

        Args:
            rows: ``(P,)`` the row of each token.
            positions: ``(P,)`` its position in this row, without padding.
        """
        kept, at = torch.unique(self.branches.places(rows, positions), return_inverse=True)
        wanted = {KEPT: kept} if self.language.takes(KEPT) else {}
        device = device_of(self.language.module)
        found = logits_in(self.language.module(**to_device(self._arguments | wanted, device)))[0]
        return found[at if wanted else kept[at]]

    @cached_property
    def _arguments(self) -> dict[str, Any]:
        """The arguments of the model, those by token of the packed row."""
        longest = int(self._places.lengths.argmax())
        alone = self.language.arguments(self.probe.batch(self.sources[longest : longest + 1], {}))
        found = {name: self.branches.joined(leaf) for name, leaf in self._by_token.items()}
        packed = {name: leaf.to(alone[name].dtype) for name, leaf in found.items() if name != MASK}
        places = token_positions(self.language, alone)[..., self.branches.positions]
        return alone | packed | {MASK: self._bias, POSITIONS: places}

    @property
    def _by_token(self) -> dict[str, Tensor]:
        """Name of an argument by token -> ``(R, T)`` what the rows hold."""
        paths = self.language.by_token
        return {name: self._places.spliced(self.probe.leaves[path]) for name, path in paths.items()}

    @property
    def _bias(self) -> Tensor:
        """``(1, 1, T, T)``: what is added to the attention's logits, 0 where a token sees another one."""
        kind = next((one.dtype for one in self.language.module.parameters() if one.is_floating_point()), torch.float)
        bias = torch.zeros(self.branches.seen.shape, dtype=kind)
        return bias.masked_fill(~self.branches.seen, torch.finfo(kind).min)[None, None]


def places_of(probe: Probe, sources: Tensor) -> TokenPlaces:
    """Return where the tokens of rows come from.

    Raises:
        ValueError: The texts hold no placeholders.
    """
    if probe.splicer is None:
        raise ValueError("only rows of texts with placeholders are packed")
    return probe.splicer.places(sources)


def heads(places: TokenPlaces) -> Tensor:
    """Return ``(R,)`` long: the number of tokens of each row up to the last of an item."""
    items = places.own & ~places.of_text
    return items.shape[1] - items.flip(1).long().argmax(1)


def token_positions(language: LanguageModel, arguments: dict[str, Any]) -> Tensor:
    """Return ``(..., 1, T)`` long: the positions of the tokens of one row, as the model counts them.

    Args:
        language: The model.
        arguments: Its arguments for this row alone.
    """
    counting = next((one for one in language.module.modules() if hasattr(one, "get_rope_index")), None)
    if counting is None:
        return torch.arange(arguments[language.ids].shape[1]).unsqueeze(0)
    names = inspect.signature(counting.get_rope_index).parameters
    found: Tensor = counting.get_rope_index(**{name: leaf for name, leaf in arguments.items() if name in names})[0]
    return found


def packs(language: LanguageModel, probe: Probe, sources: Tensor) -> list[Tensor]:
    """Return which rows one packed row each holds, ``(R,)`` long each, in the order of their first rows.

    Args:
        language: The model.
        probe: The examples.
        sources: ``(R, M)`` the example that each modality of each row is taken from.
    """
    places = places_of(probe, sources)
    rows = [places.spliced(probe.leaves[path]) for path in language.by_token.values()]
    text = probe.schema.names.index(language.interleaving.text)
    others = [m for m in range(sources.shape[1]) if m != text]
    found: dict[Any, list[int]] = {}
    for row, head in enumerate(heads(places).tolist()):
        tokens = tuple(tuple(leaf[row, :head].tolist()) for leaf in rows)
        found.setdefault((*sources[row, others].tolist(), *tokens), []).append(row)
    return [part for own in found.values() for part in _short_enough(own, places)]


def _short_enough(rows: Sequence[int], places: TokenPlaces) -> list[Tensor]:
    """Return rows that share a head in parts that are not too long together; each has one row at least."""
    head = int(heads(places)[rows[0]])
    behind = places.lengths[torch.tensor(rows)] - head
    part = (behind.cumsum(0) - 1).clamp(min=0) // max(1, LONGEST - head)
    return list(torch.tensor(rows).split(torch.unique_consecutive(part, return_counts=True)[1].tolist()))
