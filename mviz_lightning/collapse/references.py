"""What scores and modalities are measured against: chance, perfection, and the raw inputs."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric

from mviz_lightning.batch.probe import Probe
from mviz_lightning.checkpoint.saved import build
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.functional import Task, gaussian_kernel, kernel_ridge_predictions, standardised_kernel
from mviz_lightning.functional.ridge import near_duplicates
from mviz_lightning.functional.targets import labelled
from mviz_lightning.functional.variation import beyond_rounding
from mviz_lightning.modalities.base import modality_type_of

FOLDS = 5
MOST = 1024
"""Examples that are asked: time grows with their cube."""

CATEGORIES = 4
"""Columns up to which a few distinct values are taken for categories."""

FEWEST = 8 * FOLDS
"""Labelled examples from which on a regression on raw inputs says anything."""


@dataclass(frozen=True)
class RawInputProof:
    """What a ridge regression on one modality's raw inputs tells about the labels, on held-out examples.

    Attributes:
        explained: Share of the labels' variance, classes as one-hot; 0 or below where it tells nothing.
        error: Standard error of ``explained``.
        examples: On how many.
    """

    explained: float
    error: float
    examples: int


@dataclass(frozen=True)
class ScoreReference:
    """What scores and modalities of one set of examples are measured against.

    Attributes:
        chance: Score of one constant answer, the labels' frequencies or mean; None where the score cannot tell.
        perfect: Score of the labels themselves; None likewise.
        alone: Modality -> what its raw inputs tell; None until it was asked for. Modalities without numbers are absent.
    """

    chance: float | None = None
    perfect: float | None = None
    alone: Mapping[str, RawInputProof] | None = None

    def skill(self, score: float) -> float | None:
        """Return where a score lies between chance (0) and perfection (1); None where that cannot be told."""
        if self.chance is None or self.perfect is None or not abs(self.perfect - self.chance) > 0:
            return None
        return (score - self.chance) / (self.perfect - self.chance)

    def state(self) -> dict[str, Any]:
        """Return plain types, for checkpoints."""
        return asdict(self)

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> "ScoreReference":
        """Take plain types."""
        found: ScoreReference = build(cls, state, "yardstick")
        return found


def anchors(score: Metric, task: Task, target: Tensor, outputs: int) -> ScoreReference:
    """Return what a score gives for one constant answer and for the labels themselves.

    Args:
        score: A torchmetric of predictions and targets, of any direction.
        task: What the outputs stand for.
        target: ``(n, ...)`` labels in the shape that metrics take.
        outputs: Scores an example, C.
    """
    right = encoded(target, task, outputs)
    usual = right.mean(0).where(beyond_rounding(right), right)  # no rounding of a mean beside labels that are one
    chance, perfect = (_scored(score, responses, target, task) for responses in (usual, right))
    if perfect is None or math.isnan(perfect):
        return ScoreReference()
    # A correlation with a constant is 0, or said to be undefined.
    return ScoreReference(0.0 if chance is not None and math.isnan(chance) else chance, perfect)


def _scored(score: Metric, responses: Tensor, target: Tensor, task: Task) -> float | None:
    """Return the score of ``(n, C)`` answers; None where it is no number or refused."""
    metric = score.clone().to(responses.device)
    metric.sync_on_compute = False
    try:
        metric.update(responses.squeeze(-1) if responses.shape[-1] == 1 and task != "multilabel" else responses, target)
        value = metric.compute()
    except Exception:  # a metric of the user's own may refuse answers that are all the same
        return None
    return float(value) if value.numel() == 1 and not bool(value.isinf()) else None


def encoded(target: Tensor, task: Task, outputs: int) -> Tensor:
    """Return ``(n, C)`` float64: classes as one-hot, labels and values as they are."""
    if task == "multiclass":
        return functional.one_hot(target.flatten(), outputs).double()
    return target.double().reshape(len(target), -1)


def fit_raw_input_proof(
    probe: Probe, target: Tensor, task: Task, outputs: int, seed: int = 0
) -> dict[str, RawInputProof]:
    """Ask the raw inputs of every modality for the labels, without a model of the user's.

    Linear and Gaussian ridge regression, kernel and penalty chosen on the training part, judged on held-out fifths.
    That it finds something is proof; that it finds nothing in photographs or long texts proves little. Near copies lie
    in one fold; examples that are alike otherwise (of a patient, of a video, sorted by label and time) look informative
    to it, as they do to any split that does not know them.

    Args:
        probe: The examples, of which up to 1,024 are used.
        target: ``(N, ...)`` their labels; examples without one are left out.
        task: What the outputs stand for.
        outputs: Scores an example, C.
        seed: Of the fifths.
    """
    known = labelled(target, task).nonzero().flatten()[:MOST]
    responses = encoded(target[known], task, outputs)
    spread = responses.std(0)
    responses = responses[:, spread > 0] / (spread[spread > 0] if task == "regression" else 1.0)
    responses = responses[:, beyond_rounding(responses)]
    responses = responses / responses.std(0) if task == "regression" else responses
    if len(responses) < FEWEST or not responses.shape[1]:
        return {}
    found = {name: _told(probe, name, known, responses, seed) for name in probe.layout.names}
    return {name: told for name, told in found.items() if told is not None}


def _told(probe: Probe, name: str, examples: Tensor, responses: Tensor, seed: int) -> RawInputProof | None:
    """Ask one modality of some examples; None where it cannot be."""
    features = _features(probe, name)
    if features is None:
        return None
    kernel = standardised_kernel(features[examples])
    folds = _folds(near_duplicates(kernel, features.shape[1]), features.shape[1], seed)
    if folds is None:
        return None
    predicted = kernel_ridge_predictions([kernel, gaussian_kernel(kernel)], responses, folds)
    usual = torch.stack([responses[folds != fold].mean(0) for fold in range(FOLDS)])[folds]
    gained = (responses - usual).square().sum(1) - (responses - predicted).square().sum(1)
    variance = (responses - usual).square().sum(1).mean()
    error = gained.std() / len(gained) ** 0.5
    return RawInputProof(float(gained.mean() / variance), float(error / variance), len(responses))


def _folds(things: Tensor, columns: int, seed: int) -> Tensor | None:
    """Return ``(N,)`` folds that share no thing, or else noise that goes with one would be remembered and not learned.

    A few values of a few columns are categories, which recur; copies of a few wide things tell nothing: None.
    """
    distinct, thing = torch.unique(things, return_inverse=True)
    if len(distinct) < FEWEST:
        if columns > CATEGORIES:
            return None
        distinct, thing = torch.arange(len(things)), torch.arange(len(things))
    return (torch.randperm(len(distinct), generator=torch.Generator().manual_seed(seed)) % FOLDS)[thing]


def _features(probe: Probe, name: str) -> Tensor | None:
    """Return a modality's raw numbers; None where it has none."""
    modality, values = probe.layout.modalities[name], probe.leaves[probe.layout.values[name][0]]
    mask = probe.leaves.get(modality.mask or "")
    try:
        return modality_type_of(modality, values).features(values, mask.bool() if isinstance(mask, Tensor) else None)
    except ConfigurationError:
        return None
