"""What scores are measured against: the score of one constant answer, and the score of the labels themselves."""

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
"""By how much, relative to itself, the frequency of a label is lowered per label before it: enough to order labels."""


@dataclass(frozen=True)
class ScoreReference:
    """What scores and modalities of one set of examples are measured against.

    Attributes:
        chance: Score of one constant answer, the labels' frequencies or mean; None where the score gives no number.
        perfect: Score of the labels themselves; None where the score gives no number.
        alone: Modality -> the proof from its raw inputs; None until the proof is fitted. A modality without numbers is
            absent.
        beyond: Modality -> the proof of what its raw inputs add to those of the others; None until it is fitted.
    """

    chance: float | None = None
    perfect: float | None = None
    alone: Mapping[str, RawInputProof] | None = None
    beyond: Mapping[str, BeyondOthersProof] | None = None

    @property
    def proven(self) -> bool:
        """Whether the proofs are fitted; those of an older version lack what is beyond the others."""
        return self.alone is not None and self.beyond is not None

    def with_proofs(self, proofs: Proofs | None) -> "ScoreReference":
        """Return the reference with these proofs; as it is where they could not be fitted."""
        return self if proofs is None else replace(self, alone=proofs.alone, beyond=proofs.beyond)

    def skill(self, score: float) -> float | None:
        """Return where a score lies between chance (0) and perfection (1); None where the two are not told apart."""
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
    """Return what a score gives for one constant answer and for the labels themselves.

    Args:
        score: A torchmetric of predictions and targets; larger may be better or worse.
        task: What the outputs stand for.
        target: ``(n, ...)`` labels in the shape that metrics take.
        outputs: Scores of one example, C.
    """
    right = encoded(target, task, outputs)
    usual = right.mean(0).where(beyond_rounding(right), right)  # a mean of equal labels is the label, without rounding
    if task == "multilabel":  # one constant answer has no ties, which rankings count against it
        usual = usual * (1 - TIE * torch.arange(outputs, dtype=usual.dtype, device=usual.device))
    chance, perfect = (scored(score, answers, target, task) for answers in (usual, right))
    if perfect is None or math.isnan(perfect):
        return ScoreReference()
    # The correlation with a constant is 0 in some metrics and NaN in others.
    return ScoreReference(0.0 if chance is not None and math.isnan(chance) else chance, perfect)


def scored(score: Metric, answers: Tensor, target: Tensor, task: Task) -> float | None:
    """Return the score of ``(n, C)`` answers on this process; None where the score refuses them or is not finite."""
    metric = score.clone().to(answers.device)
    try:
        metric.update(answers.squeeze(-1) if answers.shape[-1] == 1 and task != "multilabel" else answers, target)
        value = local_value(metric)
    except Exception:  # a user's own metric may refuse answers that are all equal
        return None
    return float(value) if value.numel() == 1 and not bool(value.isinf()) else None
