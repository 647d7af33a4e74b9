"""Hide the other modalities in some training examples (modality dropout)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.actions.base import Action, Alarms, generator_of, require_number
from mviz_lightning.batch import BatchSchema, Modality, Probe
from mviz_lightning.batch.answered import AnsweredTexts, finder_in
from mviz_lightning.batch.holdings import padded
from mviz_lightning.batch.masking import parts_of
from mviz_lightning.batch.padding import own_bounds
from mviz_lightning.batch.presence import gaps_of, nodes_of, present_examples
from mviz_lightning.batch.probe import NO_GROUPS
from mviz_lightning.batch.rows import plain_tensors, to_device
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.modalities import Text
from mviz_lightning.modalities.base import ModalityType, modality_in, type_in


class ModalityDropout(Action):
    """Hides the other modalities in some training examples, so that the collapsed one must predict alone.

    After ModDrop (Neverova, Wolf, Taylor and Nebout, "ModDrop: adaptive multi-modal gesture recognition", IEEE TPAMI
    2016). ModDrop hides each modality of each example independently; here all modalities that are not collapsed are
    hidden together, and the collapsed one is never hidden.

    A hidden modality is 0 as in the paper, or ``Modality(baseline=...)``. Words become the padding token, strings
    become empty, and integer columns get the batch's most frequent value. Padding, special tokens, attention masks,
    labels and all other leaves do not change. In texts with placeholders of pictures or sounds, placeholders and
    answers do not change either, and hidden pictures become the smallest number above 0, because models drop tiles that
    are 0. The training step gets a changed copy of the batch; callbacks and other code see the unchanged batch.
    Validation and test batches are never changed. On a GPU, the leaves of the hidden modalities are copied to the CPU
    once per batch.

    Args:
        p: Probability with which the other modalities of a training example are hidden, from 0 to 1.
        seed: Seed of the draws; PyTorch's global generators are not used. A resumed training makes the same draws.

    Raises:
        ConfigurationError: An argument has a value that is not allowed.

    Example:
        >>> from mviz_lightning import UnimodalCollapse
        >>> from mviz_lightning.actions import ModalityDropout
        >>> alarm = UnimodalCollapse(action=ModalityDropout(p=0.5))
    """

    def __init__(self, p: float = 0.5, seed: int = 0) -> None:
        self.p = require_number(f"ModalityDropout(p={p!r})", p, 1, 0.5)
        self.seed = seed

    def announce(self, alarms: Alarms) -> str:
        """Return the hidden modalities and their probability, in words."""
        if not alarms.others:
            return ""
        return f"Until the alarm ends, {' and '.join(alarms.others)}: hidden in {self.p:.0%} of the training examples."

    def change_batch(self, batch: Any, alarms: Alarms, number: int) -> Any:
        """Return the batch with the other modalities of drawn examples hidden, for examples with all modalities.

        Raises:
            ConfigurationError: The keys of a modality's leaves are missing in the training batch; or the start of the
                answers in a text with placeholders is unknown.
        """
        gaps = gaps_of(alarms.modalities, nodes_of(batch, alarms.modalities))
        if gaps and not any(gap.missing for found in gaps.values() for gap in found):
            return batch
        schema = BatchSchema.learn(batch, alarms.modalities, tokens=alarms.tokens)
        leaves = schema.leaves(batch)
        drawn = torch.rand(schema.size(leaves), generator=generator_of(self.seed, number)) < self.p
        drawn &= present_examples(schema, leaves).all(1)
        if not alarms.others or not drawn.any():
            return batch
        padded_leaves = {path: padded(leaf) for path, leaf in leaves.items()}
        probe = Probe(schema, padded_leaves, NO_GROUPS, bounds=own_bounds(schema, [leaves]))
        changed = [pair for name in alarms.others for pair in _hidden(probe, name, drawn)]
        return schema.with_leaves(batch, dict(changed))


def _hidden(probe: Probe, name: str, rows: Tensor) -> Iterator[tuple[str, Any]]:
    """Yield path and new content of the leaves of a modality that is hidden in some examples, ``(N,)`` bool."""
    schema, leaves = probe.schema, probe.leaves
    path = schema.values[name][0]
    if schema.interleaving is not None and name in schema.interleaving.media:
        yield path, _nearly_zero(leaves[path], rows)
        return
    held = {one: to_device(plain_tensors(leaf), "cpu") for one, leaf in leaves.items() if one in schema.values[name]}
    own = probe.own_entries(path)
    modality_type = type_in(schema, held, name, own)
    modality = _whole(modality_in(schema, held, name, own), modality_type, held[path])
    segments = modality_type(modality, {**leaves, **held}, path, own, _maskable(probe, name)).segments
    count = max((segments.count(example) for example in range(len(rows))), default=0)
    kept = ~rows.unsqueeze(1).expand(-1, max(count, 1))
    for part in parts_of(segments):
        yield part.leaf, part.mask(leaves[part.leaf], kept, torch.arange(len(rows)))


def _nearly_zero(items: Tensor, rows: Tensor) -> Tensor:
    """Return items that are nearly 0 in some examples ``(N,)`` bool; zeros, such as padding, remain 0."""
    hidden = rows.to(items.device).view(-1, *[1] * (items.dim() - 1))
    return items.masked_fill(hidden & (items != 0), torch.finfo(items.dtype).tiny)


def _maskable(probe: Probe, name: str) -> Tensor | None:
    """Return ``(N, T)`` bool, True at words that may be hidden in a text with placeholders; None for others.

    Raises:
        ConfigurationError: The start of its answers is unknown.
    """
    found = probe.schema.interleaving
    if found is None or name != found.text:
        return None
    finder = finder_in(probe.schema)
    if finder is None:
        raise ConfigurationError(
            f"ModalityDropout: nothing tells where the answers begin in {name!r}, which must not be hidden. Give "
            f"labels that are -100 outside the answers, or Modality({found.ids!r}, answer_start=) with the tokens in "
            "front of them."
        )
    texts = {path: to_device(probe.leaves[path], "cpu") for path in found.tokenwise}
    told = replace(probe, leaves={**probe.leaves, **texts})
    return replace(told, prompt_ends=AnsweredTexts(told, finder).spans[:, 0]).maskable(name)


def _whole(modality: Modality, modality_type: type[ModalityType], values: Any) -> Modality:
    """Return a modality whose masked segments hide all of it.

    Blurred images would still have information, so the default baseline replaces ``"blur"``. An attention mask of zeros
    gives NaN in some models, so words become the padding token. For integers that are not tokens, 0 may not be a valid
    value, so they keep the default of their type.
    """
    given = None if modality.baseline == "blur" else modality.baseline
    zero = issubclass(modality_type, Text) or (isinstance(values, Tensor) and values.is_floating_point())
    return replace(modality, baseline="zero" if zero and given is None else given, superpixels=False)
