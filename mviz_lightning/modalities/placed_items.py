"""What a text with placeholders determines about its pictures: their number, and the patches of a token."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from mviz_lightning.batch import BatchSchema, Modality, Probe
from mviz_lightning.batch.interleaved.media_leaves import KINDS
from mviz_lightning.errors import NotMeasurableError
from mviz_lightning.modalities.companions import patch_totals

PICTURES = 5
"""Number of axes of the pictures of examples, ``(N, K, C, H, W)``; a separate tile axis is one more."""

AUDIO, SOUNDS = "audio", (3, 4)
"""The kind of a modality with one sound per example; numbers of axes of a leaf with several sounds per example.

Such a leaf has ``(N, K, T)`` waveforms or ``(N, K, F, T)`` spectrograms.
"""

TILED = (
    "{path!r} has pictures in tiles that are not the parts of a further tile with the whole picture, so a part that is "
    "masked in one tile may be visible in another. Turn tiles off in the processor: crop_to_patches=False or "
    "do_image_splitting=False."
)
"""Warning if pictures are not explained because of their tiles."""


def as_placed(schema: BatchSchema, leaves: Mapping[str, Any], name: str) -> Modality:
    """Return a modality of the schema, with arguments that the user left out filled in from a text with placeholders.

    The tokenizer decodes the text's words. Its pictures get the kind ``pictures`` (not frames of a video), and its
    sounds the kind ``sounds`` (not a series).

    Args:
        schema: The schema of a batch.
        leaves: Path -> leaf.
        name: Name of the modality.
    """
    modality, found = schema.modalities[name], schema.interleaving
    if found is not None and name == found.text and modality.decode is None:
        return replace(modality, decode=found.tokens.decode)
    path = schema.values[name][0]
    kind = _kind_of(f"{name} {path}", leaves[path]) if found is not None and name in found.media else None
    return replace(modality, kind=kind) if kind is not None and modality.kind in (None, AUDIO) else modality


def _kind_of(said: str, leaf: Any) -> str | None:
    """Return the kind of items, from the names of their modality and leaf and from its axes; None for other kinds."""
    if not isinstance(leaf, Tensor):
        return None
    if KINDS[AUDIO].search(said):
        return "sounds" if leaf.dim() in SOUNDS and leaf.is_floating_point() else None
    return "pictures" if leaf.dim() in (PICTURES, PICTURES + 1) else None


def require_whole_pictures(probe: Probe, name: str, counts: Sequence[int]) -> None:
    """Check that each example has no more pictures than its text; further ones would be tiles of one picture.

    Args:
        probe: The examples.
        name: Name of the modality of the pictures.
        counts: Number of pictures that were found in each example.

    Raises:
        NotMeasurableError: An example has more.
    """
    told = _told_counts(probe, name)
    if any(count > most for count, most in zip(counts, told, strict=False)):
        raise NotMeasurableError(TILED.format(path=probe.schema.values[name][0]))


def _told_counts(probe: Probe, name: str) -> list[int]:
    """Return the largest possible number of pictures of every example; an empty list if it is unknown.

    Between two wrappers there is one picture, or one of its tiles. Without wrappers, adjacent pictures cannot be
    distinguished in the text, but tiles with their own axis belong to one picture.
    """
    splicer, path = probe.splicer, probe.schema.values[name][0]
    if splicer is None or name not in splicer.interleaving.media:
        return []
    finder, values = splicer.interleaving.finder, probe.leaves[path]
    if all(finder.are_wrapped(text, name) for text in splicer.texts):
        return [finder.stretches_in(text, name) for text in splicer.texts]
    if not isinstance(values, Tensor) or values.dim() <= PICTURES:
        return []
    bounds = probe.bounds.get(path)
    return [values.shape[1]] * probe.size if bounds is None else (bounds[:, 0, 1] - bounds[:, 0, 0]).tolist()


def joined_patches(probe: Probe, name: str, grid: str | None) -> int | None:
    """Return the number of patches along a side of a token, from placeholders and patches; None if unknown.

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
