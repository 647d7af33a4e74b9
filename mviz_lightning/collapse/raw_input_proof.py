"""Whether a modality carries information about the label: a ridge regression on its raw inputs, without the model."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mviz_lightning.batch.probe import Probe
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.functional import Task, gaussian_kernel, kernel_ridge_predictions, standardised_kernel
from mviz_lightning.functional.ridge import near_duplicates
from mviz_lightning.functional.rounding import beyond_rounding
from mviz_lightning.functional.targets import labelled
from mviz_lightning.modalities.base import modality_type_of

FOLDS = 5
"""Parts of the examples; each is held out once."""

MOST = 1024
"""Largest number of examples in the regression; its time grows with the cube of this number."""

CATEGORIES = 4
"""Largest number of columns of a modality whose few distinct values are treated as categories."""

FEWEST = 8 * FOLDS
"""Smallest number of labelled examples for a regression: eight in every fold."""


@dataclass(frozen=True)
class RawInputProof:
    """How much of the labels' variance a ridge regression on one modality's raw inputs explains, on held-out examples.

    Attributes:
        explained: Share of the labels' variance, classes as one-hot; 0 or below where the regression explains nothing.
        error: Standard error of ``explained``.
        examples: Number of held-out examples.
    """

    explained: float
    error: float
    examples: int


def encoded(target: Tensor, task: Task, outputs: int) -> Tensor:
    """Return ``(n, C)`` float64: classes as one-hot, soft labels, labels and values as they are."""
    if task == "multiclass" and target[:1].numel() == 1:
        return functional.one_hot(target.flatten(), outputs).double()
    return target.double().reshape(len(target), -1)


def fit_raw_input_proof(
    probe: Probe, target: Tensor, task: Task, outputs: int, seed: int = 0
) -> dict[str, RawInputProof]:
    """Predict the labels from the raw inputs of each modality alone, without the user's model.

    Linear and Gaussian ridge regression; kernel and penalty are chosen on the training part and judged on held-out
    fifths. A large share proves information. A share near 0 proves little for photographs or long texts. Near copies
    lie in one fold. Examples that are alike for another reason (the same patient, the same video, sorted by label and
    time) look informative, as in every split that does not group them.

    Args:
        probe: The examples, of which up to 1,024 are used.
        target: ``(N, ...)`` their labels; examples without one are left out.
        task: What the outputs stand for.
        outputs: Scores of one example, C.
        seed: Seed of the folds.

    Returns:
        Modality -> its proof. A modality without numbers is absent, and all are where there are too few labels.
    """
    known = labelled(target, task).nonzero().flatten()[:MOST]
    wanted = _standardised(encoded(target[known], task, outputs), task)
    if len(wanted) < FEWEST or not wanted.shape[1]:
        return {}
    found = {name: _fitted(probe, name, known, wanted, seed) for name in probe.schema.names}
    return {name: proof for name, proof in found.items() if proof is not None}


def _standardised(encodings: Tensor, task: Task) -> Tensor:
    """Return the columns that vary beyond rounding; of a regression, each with standard deviation 1."""
    spread = encodings.std(0)
    encodings = encodings[:, spread > 0] / (spread[spread > 0] if task == "regression" else 1.0)
    if not encodings.shape[1]:
        return encodings
    encodings = encodings[:, beyond_rounding(encodings)]
    return encodings / encodings.std(0) if task == "regression" else encodings


def _fitted(probe: Probe, name: str, examples: Tensor, wanted: Tensor, seed: int) -> RawInputProof | None:
    """Fit one modality; None where it holds no numbers, or copies of few examples."""
    features = _features(probe, name)
    if features is None:
        return None
    kernel = standardised_kernel(features[examples])
    folds = _folds(near_duplicates(kernel, features.shape[1]), features.shape[1], seed)
    if folds is None:
        return None
    predicted = kernel_ridge_predictions([kernel, gaussian_kernel(kernel)], wanted, folds)
    usual = torch.stack([wanted[folds != fold].mean(0) for fold in range(FOLDS)])[folds]
    gained = (wanted - usual).square().sum(1) - (wanted - predicted).square().sum(1)
    variance = (wanted - usual).square().sum(1).mean()
    error = gained.std() / len(gained) ** 0.5
    return RawInputProof(float(gained.mean() / variance), float(error / variance), len(wanted))


def _folds(things: Tensor, columns: int, seed: int) -> Tensor | None:
    """Return ``(N,)`` folds such that copies of one thing lie in one fold; None where too few things are distinct.

    Otherwise the regression would remember the noise of a thing instead of learning. A few distinct values of up to
    four columns are categories, which recur in every fold.
    """
    distinct, thing = torch.unique(things, return_inverse=True)
    if len(distinct) < FEWEST:
        if columns > CATEGORIES:
            return None
        distinct, thing = torch.arange(len(things)), torch.arange(len(things))
    return (torch.randperm(len(distinct), generator=torch.Generator().manual_seed(seed)) % FOLDS)[thing]


def _features(probe: Probe, name: str) -> Tensor | None:
    """Return a modality's raw numbers; None where it has none."""
    modality, values = probe.schema.modalities[name], probe.leaves[probe.schema.values[name][0]]
    try:
        return modality_type_of(modality, values).features(values, probe.real_entries(name))
    except ConfigurationError:
        return None
