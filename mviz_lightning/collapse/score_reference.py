"""The reference of scores: the score of one constant answer, and the score of the labels themselves."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.checkpoint.saved import build
from mviz_lightning.collapse.beyond_others_proof import BeyondOthersProof
from mviz_lightning.collapse.proofs import Proofs
from mviz_lightning.collapse.raw_input_proof import RawInputProof
from mviz_lightning.collapse.raw_inputs import encoded
from mviz_lightning.functional import Task
from mviz_lightning.functional.rounding import beyond_rounding
from mviz_lightning.metrics.local import local_value

TIE = 1e-9
"""Relative decrease of a label's frequency per label before it; it is just enough to order equal frequencies."""


@dataclass(frozen=True)
class ScoreReference:
    """The reference of scores, and the proofs of modalities, for one set of examples.

    Attributes:
        chance: Score of one constant answer (the labels' frequencies or mean); None if the score is not a number.
        perfect: Score of the labels themselves; None if the score is not a number.
        alone: Modality -> the proof from its raw inputs; None until it is fitted. Modalities without numbers are not
            included.
        beyond: Modality -> the proof of the gain of its raw inputs over the others'; None until it is fitted.
    """

    chance: float | None = None
    perfect: float | None = None
    alone: Mapping[str, RawInputProof] | None = None
    beyond: Mapping[str, BeyondOthersProof] | None = None

    @property
    def proven(self) -> bool:
        """Whether all proofs are fitted; proofs of older versions lack ``beyond``."""
        return self.alone is not None and self.beyond is not None

    def with_proofs(self, proofs: Proofs | None) -> "ScoreReference":
        """Return the reference with these proofs; unchanged if they could not be fitted."""
        return self if proofs is None else replace(self, alone=proofs.alone, beyond=proofs.beyond)

    def skill(self, score: float) -> float | None:
        """Return a score on the scale from chance (0) to perfection (1); None if these two are equal or unknown."""
        if self.chance is None or self.perfect is None or not abs(self.perfect - self.chance) > 0:
            return None
        return (score - self.chance) / (self.perfect - self.chance)

    def state(self) -> dict[str, Any]:
        """Return plain types, for checkpoints."""
        return asdict(self)

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> "ScoreReference":
        """Return the reference that :meth:`state` wrote.

        Raises:
            DamagedError: An entry is missing or has another type.
        """
        found: ScoreReference = build(cls, state, "yardstick")
        return found


def anchors(score: Metric, task: Task, target: Tensor, outputs: int) -> ScoreReference:
    """Return the score of one constant answer and of the labels themselves.

    Args:
        score: A torchmetric of predictions and targets; larger may be better or worse.
        task: Type of the prediction task.
        target: ``(n, ...)`` labels in the shape that metrics take.
        outputs: Number of outputs of one example, C.
    """
    right = encoded(target, task, outputs)
    usual = right.mean(0).where(beyond_rounding(right), right)  # constant labels keep their exact value
    if task == "multilabel":  # without ties, which rankings penalise
        usual = usual * (1 - TIE * torch.arange(outputs, dtype=usual.dtype, device=usual.device))
    chance, perfect = (scored(score, answers, target, task) for answers in (usual, right))
    if perfect is None or math.isnan(perfect):
        return ScoreReference()
    # The correlation with a constant is NaN in some metrics and 0 in others; use 0.
    return ScoreReference(0.0 if chance is not None and math.isnan(chance) else chance, perfect)


def scored(score: Metric, answers: Tensor, target: Tensor, task: Task) -> float | None:
    """Return the score of ``(n, C)`` answers on this process; None if the score raises or is infinite."""
    metric = score.clone().to(answers.device)
    try:
        metric.update(answers.squeeze(-1) if answers.shape[-1] == 1 and task != "multilabel" else answers, target)
        value = local_value(metric)
    except Exception:  # a user's metric may raise for constant answers
        return None
    return float(value) if value.numel() == 1 and not bool(value.isinf()) else None
