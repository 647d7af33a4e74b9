"""Find in a first batch what belongs to an interleaved text, or raise if it cannot be recombined."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.arrays import as_tensor, empty_like
from mviz_lightning.batch.discovery import NamedNodes
from mviz_lightning.batch.holdings import Holding
from mviz_lightning.batch.interleaved.blocks import BlockFinder
from mviz_lightning.batch.interleaved.dealing import ItemTokens
from mviz_lightning.batch.interleaved.interleaving import Interleaving
from mviz_lightning.batch.interleaved.media_leaves import KINDS, MEDIA, MediaSearch, leaves_below
from mviz_lightning.batch.interleaved.placeholders import PlaceholderTokens
from mviz_lightning.batch.interleaved.refusals import (
    refuse_hidden_placeholders,
    refuse_leftovers,
    refuse_positions,
    refuse_unknown_names,
    refuse_unnamed_media,
)
from mviz_lightning.batch.interleaved.tokenwise import OwnTokens, Tokenwise, default_padding
from mviz_lightning.batch.modality import Modality
from mviz_lightning.errors import ConfigurationError


@dataclass(frozen=True)
class FoundInterleaving:
    """An interleaved text in a first batch.

    Attributes:
        interleaving: Its description in the schema.
        modalities: Name -> modality, with its mask and all companions that were found.
        holdings: Path of a node -> how it stores its examples.
    """

    interleaving: Interleaving
    modalities: Mapping[str, Modality]
    holdings: Mapping[str, Holding]


def find_interleaving(
    nodes: NamedNodes, modalities: Mapping[str, Modality], tokens: PlaceholderTokens, ask: ItemTokens | None = None
) -> FoundInterleaving | None:
    """Return what belongs to an interleaved text; None if no text contains placeholders.

    Args:
        nodes: The nodes of a first batch.
        modalities: Name -> modality, as the user named them.
        tokens: The placeholders of the model.
        ask: Returns the number of placeholders of each item; None if the model has no rule.

    Raises:
        ConfigurationError: The text cannot be recombined.
    """
    texts = [name for name, one in modalities.items() if _holds_placeholders(nodes, one, tokens.of_modality(one))]
    if not texts:
        _refuse_unseen(modalities)
        return None
    if len(texts) > 1:
        raise ConfigurationError(
            f"modalities: the texts of {texts[0]!r} and of {texts[1]!r} both hold placeholders of other modalities; "
            "allowed is one such text. Put both leaves into one modality."
        )
    name = texts[0]
    return _Search(nodes, modalities, name, tokens.of_modality(modalities[name])).found(ask)


def _holds_placeholders(nodes: NamedNodes, modality: Modality, tokens: PlaceholderTokens) -> bool:
    ids = _ids_at(nodes, modality.values)
    return ids is not None and bool(torch.isin(ids.cpu(), torch.tensor(list(tokens.ids), dtype=torch.long)).any())


def _ids_at(nodes: NamedNodes, path: str) -> Tensor | None:
    """Return the ids ``(B, T)`` at a path; None if it has none."""
    place, value = nodes.found.get(path, (None, None))
    ids = as_tensor(value)
    plain = place is not None and not place.inner and isinstance(ids, Tensor) and ids.dim() == 2 and not ids.is_nested
    return ids if plain and not (ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool) else None


def _refuse_unseen(modalities: Mapping[str, Modality]) -> None:
    for name, modality in modalities.items():
        if modality.placeholders:
            raise ConfigurationError(
                f"modalities[{name!r}]: {modality.values!r} holds none of placeholders={dict(modality.placeholders)} "
                "in the first batch that has all modalities. Give the ids that stand for items in that leaf."
            )


class _Search:
    """Finds all that belongs to the text of one modality.

    Args:
        nodes: The nodes of a first batch.
        modalities: Name -> modality, as the user named them.
        text: Name of the text's modality.
        tokens: The placeholders.
    """

    def __init__(
        self, nodes: NamedNodes, modalities: Mapping[str, Modality], text: str, tokens: PlaceholderTokens
    ) -> None:
        self.nodes, self.modalities, self.text, self.tokens = nodes, modalities, text, tokens
        self.batch = nodes.found[""][1]
        self.ids_path = modalities[text].values
        self.ids = as_tensor(nodes.found[self.ids_path][1]).detach().cpu()
        listed = tuple(f"{path}." for one in modalities.values() for path in one.leaves if self._is_list(path))
        self.arrays = {path: array for path, array in _arrays(nodes) if not path.startswith(listed)}

    def _is_list(self, path: str) -> bool:
        """Return whether a leaf is a list with one entry per example."""
        value = self.nodes.found[path][1] if path in self.nodes.found else None
        return isinstance(value, list | tuple) and len(value) == len(self.ids)

    def found(self, ask: ItemTokens | None) -> FoundInterleaving:
        """Return what was found."""
        refuse_hidden_placeholders(self.ids, self.own.of(self.batch), self.tokens, self.mask, self.ids_path)
        refuse_positions(self.tokenwise, self.arrays)
        media = {name: self.media.leaves(name) for name in self.placeholders}
        finder = BlockFinder(self.placeholders, self.tokens.edges, self.tokens.blank)
        whole = Interleaving(
            self.text, self.ids_path, self.own, self.labels, self.tokenwise, media, finder, self.tokens
        )
        completed = {name: whole.completed(name, one) for name, one in self.modalities.items()}
        known = {path for modality in completed.values() for path in modality.leaves} | {*self.tokenwise}
        refuse_leftovers(self.arrays, known, self.ids, self.ids_path, self.text)
        holdings: dict[str, Holding] = {path: self._tokenwise_holding(path) for path in self.tokenwise}
        return FoundInterleaving(whole, completed, holdings | self.media.holdings(self.own, finder, self.tokens, ask))

    @cached_property
    def media(self) -> MediaSearch:
        """The leaves of the modalities with placeholders."""
        return MediaSearch(self.nodes, self.arrays, self.modalities, tuple(self.placeholders), self.tokenwise)

    @cached_property
    def placeholders(self) -> dict[str, tuple[int, ...]]:
        """Modality -> ids of its placeholders, for modalities that have some in the text or could have."""
        seen = set(torch.unique(self.ids).tolist())
        found: dict[str, tuple[int, ...]] = {}
        for kind, ids in self.tokens.kinds.items():
            name = self._modality_of(kind)
            if name is None:
                refuse_unknown_names([kind] if kind in self.given else [], self.ids_path, self.text, self.modalities)
                found_ids = [one for one in ids if one in seen]
                refuse_unnamed_media(kind, found_ids, self.ids_path, self.modalities, self._leaf_of(kind))
            else:
                found[name] = tuple(dict.fromkeys((*found.get(name, ()), *ids)))
        return found

    @property
    def given(self) -> Mapping[str, Any]:
        """The ``placeholders`` that the user gave."""
        return self.modalities[self.text].placeholders or {}

    def _leaf_of(self, kind: str) -> str:
        """Return the path of the leaf that most likely contains a kind of items."""
        special = [one for name, one in KINDS.items() if name in ("video", "audio") and name != kind]
        fitting = (
            path
            for path, array in self.arrays.items()
            if kind in KINDS and KINDS[kind].search(path) and array.is_floating_point()
            if not any(one.search(path) for one in special)
        )
        return next(fitting, "...")

    def _modality_of(self, kind: str) -> str | None:
        """Return the modality of a kind of placeholders; None if no other modality has such items."""
        others = [name for name in self.modalities if name != self.text]
        if kind in others:
            return kind
        pattern, special = KINDS.get(kind), [KINDS[one] for one in ("video", "audio") if one != kind]
        leaves = {name: f"{name} {self.modalities[name].values}" for name in others}
        fitting = [name for name, said in leaves.items() if pattern and pattern.search(said)]
        own = [name for name in fitting if kind != "image" or not any(one.search(leaves[name]) for one in special)]
        if own:
            return own[0]
        named = any(one.search(said) for one in KINDS.values() for said in [*leaves.values(), *self.arrays])
        return others[0] if len(others) == 1 and not named else None

    @cached_property
    def mask(self) -> str | None:
        """Path of the mask of the text.

        Raises:
            ConfigurationError: Several leaves may be the mask.
        """
        modality = self.modalities[self.text]
        if modality.mask_leaf is not None:
            return modality.mask_leaf
        placed = torch.isin(self.ids, torch.tensor(list(self.tokens.ids)))
        names = {path: path.rpartition(".")[2] for path in self._by_token}
        fitting = [path for path, name in names.items() if name.endswith("mask") or name.isdigit()]  # of tuples
        arrays = {path: self.arrays[path].cpu() for path in fitting}
        masks = {path: array for path, array in arrays.items() if bool(((array == 0) | (array == 1)).all())}
        named = [path for path in masks if "attention" in path]
        named = named or [path for path, array in masks.items() if bool((array[placed] == 1).all())]
        padding = [path for path, array in masks.items() if "pad" in path and not bool(array[placed].any())]
        if padding and not named:
            raise ConfigurationError(
                f"modalities[{self.text!r}]: {padding[0]!r} seems to mark padding; say so: "
                f"Modality({self.ids_path!r}, padding_mask={padding[0]!r})."
            )
        if len(named) > 1:
            raise ConfigurationError(
                f"modalities[{self.text!r}]: {named[0]!r} and {named[1]!r} could both tell what is padded; say which: "
                f"Modality({self.ids_path!r}, mask={named[0]!r})."
            )
        return named[0] if named else None

    @property
    def labels(self) -> str | None:
        """Path of the labels: a leaf that contains -100, otherwise a leaf named ``labels``."""
        ignoring = [path for path in self.tokenwise if default_padding([self.arrays[path]])]
        named = [path for path in self.tokenwise[1:] if path.rpartition(".")[2] == "labels"]
        return next(iter([*ignoring, *named]), None)

    @property
    def own(self) -> OwnTokens:
        """The tokens of a row that are not padding."""
        keys = None if self.mask is None else self.nodes.found[self.mask][0].keys
        return OwnTokens(self.nodes.found[self.ids_path][0].keys, keys, self.modalities[self.text].hiding)

    @cached_property
    def tokenwise(self) -> tuple[str, ...]:
        """Paths of the leaves with an entry for each token, the ids first."""
        return (self.ids_path, *(path for path in self._by_token if path != self.ids_path))

    @cached_property
    def _by_token(self) -> list[str]:
        """Paths of the leaves in the shape of the ids, without leaves of items that have this shape by chance."""
        media = [path for name in self.modalities if name != self.text for path in self.below(name)]
        sizes = {size for path in media if path in self.arrays for size in self.arrays[path].shape[1:]}
        alike = (path for path, array in self.arrays.items() if array.shape == self.ids.shape and path not in media)
        return [path for path in alike if self.ids.shape[1] not in sizes or not MEDIA.search(path)]

    def below(self, name: str) -> list[str]:
        """Return the leaves that the user named for a modality; for a container, the arrays below it."""
        return leaves_below(self.modalities[name], self.arrays)

    def _tokenwise_holding(self, path: str) -> Tokenwise:
        place, value = self.nodes.found[path]
        modality, mask = self.modalities[self.text], path == self.mask
        default = modality.hiding if mask else default_padding([self.arrays[path]])
        given = modality.pad_value if path == self.ids_path else None
        found = Tokenwise(self.own, empty_like(value), default=given if given is not None else default)
        return found.settled(self.batch, tree.get(self.batch, place.keys))


def _arrays(nodes: NamedNodes) -> Iterator[tuple[str, Tensor]]:
    """Yield the plain arrays of a batch by path."""
    for path, (place, value) in nodes.found.items():
        array = as_tensor(value)
        if path and not place.inner and isinstance(array, Tensor) and array.dim() and not array.is_nested:
            yield path, array
