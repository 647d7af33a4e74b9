"""The names of scores in the outputs of models: one table, and the reason for its order."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mviz_lightning.batch.rows import plain_tensors

SCORE_NAMES = (
    # The scores of the task that a head was made for.
    "logits",
    "question_answering_score",  # LXMERT; its class for pretraining returns two of the heads below as well
    # Whether two inputs belong together: one row for each example, which the token heads below do not have.
    "itm_score",  # BLIP retrieval; all pairs if its matching head is switched off
    "itm_logits",  # FLAVA
    "cross_relationship_score",  # LXMERT
    "seq_relationship_logits",  # VisualBERT
    # All pairs of two modalities. The grids of one model are transposes of each other, so any of them will do.
    "logits_per_image",  # CLIP, SigLIP, ALIGN, AltCLIP, BLIP, BLIP-2, OWL-ViT, GroupViT
    "logits_per_video",  # X-CLIP
    "logits_per_audio",  # CLAP
    "logits_per_speech",  # CLVP
    "logits_per_text",
    "contrastive_logits_per_image",  # FLAVA
    "logits_audio_text",  # Perception Encoder
    "logits_video_text",
    "logits_audio_video",
    # One row for each position: the user must choose how to read them, and the message names them.
    "prediction_logits",  # LXMERT and VisualBERT in pretraining, where only the masked words are predicted
    "mmm_text_logits",  # FLAVA
    "mlm_logits",
)
"""Names of scores in the output classes of transformers' multimodal models; the first that is present is taken."""

HEADS = ("start_logits", "end_logits")
"""Two heads of equal importance in one model: where an answer starts, and where it ends."""

FEATURE_NAMES = frozenset({
    "pooler_output",
    "pooled_output",
    "last_hidden_state",
    "hidden_states",
    "image_embeds",
    "text_embeds",
    "audio_embeds",
    "video_embeds",
    "cross_embeds",
    "image_embeddings",
    "text_embeddings",
    "multimodal_embeddings",
})  # fmt: skip
"""Names of features. They are proposed as scores only if a model returns nothing else."""


def named_scores(outputs: Any) -> tuple[str, Any]:
    """Return the code and the tensor of the first name of the table that an object or a mapping holds.

    Args:
        outputs: What a model returned.

    Returns:
        ``('["logits"]', tensor)`` or ``(".logits", tensor)``; ``("", None)`` if there is no such name.
    """
    for name in SCORE_NAMES:
        code, found = entry(outputs, name)
        if is_floating(found):
            return code, found
    return "", None


def returned_heads(outputs: Any) -> list[str]:
    """Return the code of heads between which the user must choose; empty if the scores have a name of the table."""
    if named_scores(outputs)[0]:
        return []
    entries = [entry(outputs, name) for name in HEADS]
    return [code for code, found in entries if is_floating(found)]


def entry(outputs: Any, name: str) -> tuple[str, Any]:
    """Return the code of an entry of a mapping or an attribute of an object, and what is there."""
    if isinstance(outputs, Mapping):
        return f'["{name}"]', outputs.get(name)
    return f".{name}", None if isinstance(outputs, Tensor) else getattr(outputs, name, None)


def is_floating(found: Any) -> bool:
    """Return whether something is a floating-point tensor with a dimension for the examples."""
    found = plain_tensors(found) if isinstance(found, Tensor) else None
    return found is not None and found.is_floating_point() and found.dim() > 0
