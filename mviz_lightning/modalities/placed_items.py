"""What a text with placeholders tells of the pictures that it holds: how many, and of which patches tokens are made."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from mviz_lightning.batch import BatchSchema, Modality, Probe
from mviz_lightning.modalities.companions import patch_totals

PICTURES = 5
"""Axes of the pictures of examples, ``(N, K, C, H, W)``; tiles have one more."""

TILED = (
    "{path!r} holds pictures in tiles, and tiles that show the whole picture again: a part that is masked in one tile "
    "could still be seen in another. To have pictures explained, turn tiles off in the processor: "
    "crop_to_patches=False or do_image_splitting=False."
)
"""Why pictures are not explained."""


def as_placed(schema: BatchSchema, leaves: Mapping[str, Any], name: str) -> Modality:
    """Return a modality of the schema with what a text with placeholders tells of it and the user does not.

    The tokenizer that told its special tokens names its words; its pictures are pictures, and no frames of a video.

    Args:
        schema: The schema of a batch.
        leaves: Path -> leaf.
        name: Name of the modality.
    """
    modality, found = schema.modalities[name], schema.interleaving
    if found is not None and name == found.text and modality.decode is None:
        return replace(modality, decode=found.tokens.decode)
    leaf = leaves[schema.values[name][0]]
    placed = found is not None and name in found.media and isinstance(leaf, Tensor) and modality.kind is None
    return replace(modality, kind="pictures") if placed and len(without_tiles(leaf).shape) == PICTURES else modality


def without_tiles(leaf: Tensor) -> Tensor:
    """Return ``(N, K, C, H, W)`` of ``(N, K, 1, C, H, W)``, pictures of one tile each; any other leaf as it is."""
    return leaf.squeeze(2) if leaf.dim() == PICTURES + 1 else leaf


def has_tiles(probe: Probe, name: str) -> bool:
    """Tell whether pictures come in tiles: these have an axis of their own, or several of them stand in one wrapping.

    Without wrappers, pictures that stand beside one another look the same.

    Args:
        probe: The examples.
        name: Name of a modality.
    """
    splicer, path = probe.splicer, probe.schema.values[name][0]
    values = probe.leaves[path]
    if splicer is None or name not in splicer.interleaving.media or not isinstance(values, Tensor):
        return False
    values = without_tiles(values)
    finder, bounds = splicer.interleaving.finder, probe.bounds.get(path)
    if values.dim() != PICTURES or not finder.wrappers:
        return values.dim() > PICTURES
    items = [values.shape[1]] * probe.size if bounds is None else (bounds[:, 0, 1] - bounds[:, 0, 0]).tolist()
    return any(count > finder.stretches_in(text, name) for count, text in zip(items, splicer.texts, strict=True))


def joined_patches(probe: Probe, name: str, grid: str | None) -> int | None:
    """Return how many patches along a side make one token: placeholders against patches; None where nothing tells.

    Args:
        probe: The examples.
        name: Name of a modality.
        grid: Path of the leaf that counts its patches.
    """
    splicer = probe.splicer
    if splicer is None or grid is None or name not in splicer.interleaving.media:
        return None
    tokens = sum(splicer.interleaving.finder.placeholders_in(text, name) for text in splicer.texts)
    side = math.isqrt(int(patch_totals(probe.leaves[grid]).sum()) // max(1, tokens))
    return side if side**2 * tokens == int(patch_totals(probe.leaves[grid]).sum()) else None
