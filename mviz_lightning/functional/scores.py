"""From logits to what scores are computed on."""

from torch import Tensor

from mviz_lightning.functional.outputs import Task


def predictions(outputs: Tensor, task: Task) -> Tensor:
    """Return probabilities for classification, values for regression.

    Explicitly, since a metric that guesses from the range whether it was given logits guesses wrong on some batches.

    Args:
        outputs: ``(n, C)`` logits or values.
        task: What the outputs stand for.

    Returns:
        ``(n, C)`` for several classes or labels, ``(n,)`` for one output.
    """
    if task == "multiclass":
        return outputs.softmax(-1)
    values = outputs.sigmoid() if task in ("binary", "multilabel") else outputs
    return values.squeeze(-1) if values.shape[-1] == 1 and task != "multilabel" else values
