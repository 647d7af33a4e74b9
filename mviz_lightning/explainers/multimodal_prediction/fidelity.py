"""The agreement of a sparse linear model of features with a model's predictions, and with the labels."""

from torch import Tensor
from torch.nn import functional

from mviz_lightning.functional import Family, SparseLinear, Task, sparse_linear
from mviz_lightning.functional.outputs import decisions
from mviz_lightning.functional.rounding import beyond_rounding, standardisation

FAMILIES: dict[Task, Family] = {
    "multiclass": "multinomial",
    "binary": "bernoulli",
    "multilabel": "bernoulli",
    "regression": "gaussian",
}
"""Task -> family of the sparse model."""


def targets_of(outputs: Tensor, target: Tensor | None, task: Task) -> Tensor:
    """Return ``(N, C)`` targets of a sparse model: one-hot classes, labels of 0 and 1, or standardised values.

    Args:
        outputs: ``(N, C)`` outputs of the model.
        target: ``(N, ...)`` labels; None for the model's own predictions.
        task: Type of the prediction task.
    """
    if task == "regression":
        values = outputs if target is None else target.view_as(outputs).double()
        mean, spread = standardisation(values)
        return (values.double() - mean) / spread
    if target is None:
        return decisions(outputs, task)
    if task == "multiclass":
        return functional.one_hot(target.view(-1).long(), outputs.shape[1]).double()
    return target.view_as(outputs).double()


def fidelities(
    model: SparseLinear, features: Tensor, predicted: Tensor, held_out: Tensor, task: Task
) -> dict[str, float]:
    """Return the agreement of the sparse model, and of one constant, with the model's predictions."""
    constant = predicted[~held_out].mean(0) - (0.5 if task in ("binary", "multilabel") else 0.0)
    return {
        "fidelity": agreement(model.scores(features[held_out]), predicted[held_out], task),
        "fidelity_baseline": agreement(constant.expand_as(predicted[held_out]), predicted[held_out], task),
    }


def accuracy(features: Tensor, labels: Tensor, held_out: Tensor, task: Task) -> float:
    """Return the accuracy of a sparse model that is fitted to labels, on held-out labels."""
    model = sparse_linear(features, labels, held_out, FAMILIES[task])
    return agreement(model.scores(features[held_out]), labels[held_out], task)


def agreement(scores: Tensor, targets: Tensor, task: Task) -> float:
    """Return the share of equal decisions; for values, the R2, averaged over the values that vary.

    Args:
        scores: ``(n, C)`` scores of the sparse model.
        targets: ``(n, C)`` from :func:`targets_of`.
        task: Type of the prediction task.

    Raises:
        RuntimeError: No value varies.
    """
    if task != "regression":
        return float(same(scores, targets, task).double().mean())
    varies = beyond_rounding(targets)
    if not bool(varies.any()):
        raise RuntimeError("values that are the same for all examples cannot be foretold from features.")
    missed, around = ((targets - guess).square().sum(0) for guess in (scores, targets.mean(0)))
    return float((1 - missed / around)[varies].mean())


def same(scores: Tensor, targets: Tensor, task: Task) -> Tensor:
    """Return ``(n, 1)`` for classes or ``(n, C)`` for labels: whether the decisions are equal."""
    if task == "multiclass":
        return (scores.argmax(1) == targets.argmax(1)).unsqueeze(1)
    return decisions(scores, task) == targets
