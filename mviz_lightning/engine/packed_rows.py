"""Rows of one item and many texts in one forward: the item appears once, and the texts branch off behind it.

``head | items | text 1 | text 2 | ...`` is one row. Each text attends to the head, the items and itself. Its positions
continue behind the items as if it were the only text. Nothing is kept between forwards.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.batch.interleaved.splicing import TokenPlaces
from mviz_lightning.batch.rows import to_device
from mviz_lightning.engine.devices import device_of
from mviz_lightning.engine.language_model import LanguageModel
from mviz_lightning.engine.pair_attention import taking_pairs
from mviz_lightning.engine.query import Query, row_numbers

MASK, POSITIONS = "attention_mask", "position_ids"
"""Names of the arguments with the attention mask, and with the position of each token."""

LONGEST = 4096
"""Largest number of tokens of a packed row: attention is computed for all pairs of them, also for hidden pairs."""

HEAD = -1
"""Row number of the tokens that belong to all rows."""


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
        """``(T, T)`` bool: whether a token, in the first dimension, attends to another one."""
        shared = (self.rows == HEAD) | (self.rows == self.rows.unsqueeze(1))
        return shared.tril()

    def joined(self, rows: Sequence[Tensor]) -> Tensor:
        """Return ``(1, T)`` entries of a per-token leaf, joined from all rows; the head is that of the first row."""
        return torch.cat([rows[0][: self.head], *(row[self.head :] for row in rows)]).unsqueeze(0)

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
        alone: The arguments of the model for one of the rows, without masked words.
        head: Number of tokens that they have in common.
        texts: Path of each per-token leaf -> its entries in each row, ``(T,)`` each, without padding. Masked words are
            0 in the attention mask.
    """

    language: LanguageModel
    alone: Mapping[str, Any]
    head: int
    texts: Mapping[str, Sequence[Tensor]]

    @classmethod
    def of(cls, language: LanguageModel, probe: Probe, query: Query) -> "PackedRow":
        """Pack rows.

        Args:
            language: The model.
            probe: The examples.
            query: R rows, see :func:`packs`; words and items may be masked.
        """
        places, leaves = probe.tokens(query.sources, query.masks)
        items = {name: kept[:1] for name, kept in query.masks.items() if name != language.interleaving.text}
        device = device_of(language.module)  # the step may compute arguments with weights
        alone = to_device(language.arguments(probe.batch(query.sources[:1], items, device)), "cpu")
        pairs = {path: zip(leaf, places.lengths.tolist(), strict=True) for path, leaf in leaves.items()}
        found = {path: [row[:length] for row, length in rows] for path, rows in pairs.items()}
        return cls(language, alone, int(heads(places)[0]), found)

    def followed_by(self, endings: Mapping[str, Sequence[Tensor]]) -> "PackedRow":
        """Return R * E rows: each row with each ending. Rows with the same beginning are consecutive.

        Args:
            endings: Path of a per-token leaf -> its entries in E endings; the other leaves are dropped.
        """
        given = {path: [one.to(self.texts[path][0].dtype) for one in own] for path, own in endings.items()}
        pairs = {path: product(self.texts[path], own) for path, own in given.items()}
        return replace(self, texts={path: list(map(torch.cat, own)) for path, own in pairs.items()})

    @property
    def ids(self) -> Sequence[Tensor]:
        """The ids of each row, ``(T,)`` each."""
        return self.texts[self.language.interleaving.ids]

    @property
    def lengths(self) -> Tensor:
        """``(R,)`` long: the number of tokens of each row."""
        return self.branches.lengths

    @cached_property
    def branches(self) -> Branches:
        """Where the tokens are."""
        return Branches(self.head, torch.tensor([len(row) for row in self.ids]))

    def logits(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Return ``(P, V)`` logits at tokens of the rows.

        Args:
            rows: ``(P,)`` the row of each token.
            positions: ``(P,)`` its position in this row.
        """
        kept, at = torch.unique(self.branches.places(rows, positions), return_inverse=True)
        with taking_pairs(self.language.module):
            found = self.language.logits_of(self.arguments, kept)[0]
        return found[at.to(found.device)]

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the model for all rows at once."""
        longest, branches = int(self.branches.lengths.argmax()), self.branches
        alone, packed = dict(self.alone), {}
        for name, path in self.language.by_token.items():
            alone[name] = self.texts[path][longest].unsqueeze(0).to(self.alone[name].dtype)
            packed[name] = branches.joined(self.texts[path]).to(self.alone[name].dtype)
        alone[MASK] = torch.ones_like(alone[self.language.ids])  # masked words must not move the others
        places = token_positions(self.language, alone)[..., branches.positions]
        return alone | packed | {MASK: self._bias, POSITIONS: places}

    @property
    def _bias(self) -> Tensor:
        """``(1, 1, T, T)``: what is added to the attention's logits; 0 where a token attends to another one."""
        kind = self.language.number_type
        bias = torch.zeros(self._seen.shape, dtype=kind)
        return bias.masked_fill(~self._seen, torch.finfo(kind).min)[None, None]

    @cached_property
    def _seen(self) -> Tensor:
        """``(T, T)`` bool: whether a token, in the first dimension, attends to another one; never to a masked word."""
        mask = self.language.by_token.get(MASK)
        return (
            self.branches.seen if mask is None else self.branches.seen & self.branches.joined(self.texts[mask]).bool()
        )


def heads(places: TokenPlaces) -> Tensor:
    """Return ``(R,)`` long: the number of tokens of each row up to the last of an item."""
    items = places.own & ~places.of_text
    return items.shape[1] - items.flip(1).long().argmax(1)


def token_positions(language: LanguageModel, arguments: Mapping[str, Any]) -> Tensor:
    """Return ``(..., 1, T)`` long: the positions of the tokens of one row, as the model counts them.

    Args:
        language: The model.
        arguments: Its arguments for this row alone.
    """
    methods = (getattr(child, "get_rope_index", None) for child in language.module.modules())
    count: Callable[..., Any] | None = next((one for one in methods if callable(one)), None)
    if count is None:
        return torch.arange(arguments[language.ids].shape[1]).unsqueeze(0)
    names = inspect.signature(count).parameters
    found: Tensor = count(**{name: leaf for name, leaf in arguments.items() if name in names})[0]
    return found


def packs(language: LanguageModel, probe: Probe, query: Query, branches: int = 1) -> list[Tensor]:
    """Return the rows of each packed row, ``(R,)`` long each: rows of the same items, masked alike.

    Args:
        language: The model.
        probe: The examples.
        query: R rows.
        branches: How many times each row's text appears, each time with another ending.
    """
    places, leaves = probe.tokens(query.sources, query.masks)
    found: dict[Any, list[int]] = {}
    for row, (item, head) in enumerate(zip(_item_numbers(language, probe, query), heads(places).tolist(), strict=True)):
        tokens = (tuple(leaves[path][row, :head].tolist()) for path in language.by_token.values())
        found.setdefault((item, *tokens), []).append(row)
    return [part for own in found.values() for part in _short_enough(torch.tensor(own), places, branches)]


def _item_numbers(language: LanguageModel, probe: Probe, query: Query) -> list[int]:
    """Return a number for each row; rows with the same items, masked alike, have the same number."""
    text = language.interleaving.text
    others = [m for m, name in enumerate(probe.schema.names) if name != text]
    masks = {name: kept for name, kept in query.masks.items() if name != text}
    return row_numbers(Query(query.sources[:, others], masks).columns).tolist()


def _short_enough(rows: Tensor, places: TokenPlaces, branches: int) -> Sequence[Tensor]:
    """Split rows that share a head into parts that are short enough to be packed; each has at least one row."""
    head = int(heads(places)[rows[0]])
    most = int(places.lengths[rows].max()) - head
    return torch.split(rows, max(1, (LONGEST - head) // max(1, branches * most)))


def token_counts(places: TokenPlaces, found: Sequence[Tensor], branches: int = 1) -> tuple[int, int]:
    """Return the number of tokens of packed rows, and that of the rows without packing; endings are not counted.

    Args:
        places: Where the tokens of all rows come from.
        found: The rows of each packed row, see :func:`packs`.
        branches: How many times each row's text appears.
    """
    common = heads(places)
    shared, behind = common[torch.stack([rows[0] for rows in found])].sum(), (places.lengths - common).sum()
    return int(shared + branches * behind), branches * int(places.lengths.sum())
