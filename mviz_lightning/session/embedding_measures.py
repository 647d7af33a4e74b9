"""Measures of the embeddings behind scores of pairs: gap, alignment, uniformity and effective rank."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.engine.query import Query
from mviz_lightning.functional import alignment, embedding_rank, modality_gap, uniformity

OF_ONE = {"uniformity": uniformity, "effective_rank": embedding_rank}
"""Measures of the embeddings of one modality."""

OF_BOTH = {"modality_gap": modality_gap, "alignment": alignment}
"""Measures of the embeddings of both modalities."""


def embedding_keys(modalities: Iterable[str]) -> list[str]:
    """Return the names of the measures, without prefix."""
    names = list(modalities)
    return [*OF_BOTH, *(f"{measure}/{name}" for measure in OF_ONE for name in names)]


def embedding_values(evaluator: Evaluator, embeddings: Predict, probe: Probe, ranks: Ranks) -> dict[str, float]:
    """Return the measures of the recombined examples by name; each example is evaluated once, as it is.

    Args:
        evaluator: Evaluates the scores.
        embeddings: Calls the model for the embeddings of both modalities side by side, ``(B, 2 D)``.
        probe: The examples.
        ranks: The processes that share the work.

    Raises:
        RuntimeError: The model failed, or embeddings are not finite; on all processes alike.
    """
    first, second = _embeddings(evaluator, embeddings, probe, ranks).chunk(2, 1)
    values = {name: measure(first, second) for name, measure in OF_BOTH.items()}
    for measure, of in OF_ONE.items():
        values |= {
            f"{measure}/{name}": of(side) for name, side in zip(probe.schema.names, (first, second), strict=True)
        }
    return {name: float(value) for name, value in values.items()}


def _embeddings(evaluator: Evaluator, predict: Predict, probe: Probe, ranks: Ranks) -> Tensor:
    """Return ``(N, 2 D)`` embeddings of all recombined examples, on the CPU."""
    examples = probe.groups.flatten()
    share, padded = ranks.share(examples), ranks.padded_share(examples)
    plain = replace(evaluator, predict=predict, all_pairs=None, head=None, reuse=False)
    with ranks.raise_on_all_ranks():
        found = plain.plain(probe, Query.aligned(padded, len(probe.schema.names)))[: len(share)].cpu()
        evaluator.count_rows(len(share))
        if not bool(found.isfinite().all()):
            raise RuntimeError("embeddings are not finite")
    return torch.cat(ranks.gather(found))
