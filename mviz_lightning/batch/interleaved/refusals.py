"""Errors for interleaved texts that cannot be recombined, each with a remedy."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch.interleaved.dealing import DealtItems
from mviz_lightning.batch.interleaved.placeholders import PlaceholderTokens
from mviz_lightning.batch.modality import Modality
from mviz_lightning.batch.rows import describe_leaf
from mviz_lightning.errors import ConfigurationError


def refuse_hidden_placeholders(
    ids: Tensor, own: Tensor, tokens: PlaceholderTokens, mask: str | None, ids_path: str
) -> None:
    """Raise if placeholders are at padding.

    Args:
        ids: ``(B, T)``.
        own: ``(B, T)`` bool, False at padding.
        tokens: The placeholders.
        mask: Path of the mask.
        ids_path: Path of the ids.

    Raises:
        ConfigurationError: Some are at padding.
    """
    placed = torch.isin(ids, torch.tensor(list(tokens.ids)))
    hidden = int((placed & ~own).sum())
    if hidden:
        remedy = (
            f"If it marks padding, say so: Modality({ids_path!r}, padding_mask={mask!r})."
            if hidden == int(placed.sum())
            else "Give a pad_token of its own to the tokenizer, and its own attention_mask to the batch."
        )
        raise ConfigurationError(
            f"{hidden} placeholder token(s) stand where the mask {mask!r} hides them, so items and placeholders do not "
            f"fit together. {remedy}"
        )


def refuse_positions(tokenwise: Collection[str], arrays: Mapping[str, Tensor]) -> None:
    """Raise for leaves with positions, which are wrong for rebuilt rows, and for numbers of packed samples.

    Args:
        tokenwise: Paths of the leaves with an entry for each token.
        arrays: Path -> array of the batch.

    Raises:
        ConfigurationError: A leaf contains them.
    """
    for path, array in arrays.items():
        name = path.rpartition(".")[2]
        numbered = path in tokenwise and name.endswith("attention_mask") and bool((array > 1).any())
        if name == "position_ids" or numbered:
            what = "packed samples" if name != "position_ids" or _restarts(array) else "positions"
            raise ConfigurationError(
                f"{path!r} holds {what}, which change when a text gets the items of another example. Leave it out of "
                "the batch, one example a row: models compute positions from attention_mask."
            )


def _restarts(positions: Tensor) -> bool:
    return bool((positions.diff(dim=-1) < 0).any())


def refuse_leftovers(
    arrays: Mapping[str, Tensor], owned: Collection[str], ids: Tensor, ids_path: str, text: str
) -> None:
    """Raise for arrays whose entries cannot be assigned to rows or tokens.

    Args:
        arrays: Path -> array of the batch.
        owned: Paths that belong to a modality.
        ids: ``(B, T)``.
        ids_path: Path of the ids.
        text: Name of the text's modality.

    Raises:
        ConfigurationError: There is such a leaf.
    """
    size, length = ids.shape
    for path, array in arrays.items():
        if path in owned or (len(array) == size and length not in array.shape[1:]):
            continue
        said = f"{path!r} {describe_leaf(array)} has no entry for each of {size} examples or of the tokens"
        if len(array) == size or (array.dim() > 1 and length in array.shape[1:]):
            raise ConfigurationError(
                f"{said} of {ids_path!r} {tuple(ids.shape)}, so it cannot follow when a text gets the items of another "
                "example. Leave it out of the batch; give a mask (B, T) in place of one of more dimensions."
            )
        raise ConfigurationError(
            f"{said}. Name it with the modality it belongs to, {{{text!r}: [{ids_path!r}, {path!r}]}} for example, or "
            "leave it out of the batch."
        )


def refuse_unnamed_media(
    kind: str, seen: Sequence[int], ids_path: str, modalities: Mapping[str, Modality], leaf: str
) -> None:
    """Raise for placeholders of items that no modality has.

    Args:
        kind: Kind of the placeholders.
        seen: The ids that occur in the text.
        ids_path: Path of the ids.
        modalities: Name -> modality.
        leaf: Path of the leaf that may contain the items.

    Raises:
        ConfigurationError: Some occur.
    """
    if seen:
        raise ConfigurationError(
            f"{ids_path!r} holds placeholders of {kind} (id {seen[0]}), but modalities={list(modalities)} names no "
            f'leaf of it alone. Name it: modalities={{..., "{kind}": "{leaf}"}}.'
        )


def refuse_unknown_names(given: Iterable[str], ids_path: str, text: str, names: Collection[str]) -> None:
    """Raise for ``placeholders`` names of the user that are not other modalities.

    Args:
        given: The names that the user gave.
        ids_path: Path of the ids.
        text: Name of the text's modality.
        names: Names of all modalities.

    Raises:
        ConfigurationError: A name is not another modality.
    """
    others = [name for name in names if name != text]
    for name in given:
        if name not in others:
            raise ConfigurationError(
                f"placeholders= of Modality({ids_path!r}) names {name!r}, which is no modality beside {text!r}; "
                f'allowed are {", ".join(map(repr, others))}: placeholders={{"{others[0]}": ...}}.'
            )


def refuse_lists(paths: Sequence[str], name: str) -> None:
    """Raise for leaves of items that are not arrays.

    Args:
        paths: Their paths.
        name: Name of the modality.

    Raises:
        ConfigurationError: There is such a leaf.
    """
    if paths:
        raise ConfigurationError(
            f"modalities[{name!r}]: {paths[0]!r} is no array, and the items of all examples stand one behind another "
            f"in the others. Give a tensor with an entry for each item: torch.tensor(batch[{paths[0]!r}])."
        )


def refuse_unknown_wrappers(dealt: DealtItems, tokens: PlaceholderTokens, batch: Any, ids_path: str) -> None:
    """Raise for items in several parts (tiles) if no tokenizer names the tokens between the parts.

    Args:
        dealt: Assigns the items of a modality to rows.
        tokens: The placeholders.
        batch: A first batch.
        ids_path: Path of the ids.

    Raises:
        ConfigurationError: A text has more blocks than items, and no special tokens are known.
    """
    if not tokens.special and dealt.has_parts(batch):
        raise ConfigurationError(
            f"{ids_path!r} has several stretches of placeholders for one {dealt.modality}, and nothing tells which "
            f"tokens between them belong to it; give the tokenizer: Modality({ids_path!r}, decode=tokenizer)."
        )
