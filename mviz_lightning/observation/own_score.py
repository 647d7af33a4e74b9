"""The user's own torchmetric as the score."""

import warnings

from torchmetrics import Metric

from mviz_lightning.functional.scores import comparable
from mviz_lightning.functional.targets import labelled
from mviz_lightning.observation.heads import ObservedHead


def own_score(head: ObservedHead, metric: Metric) -> Metric | None:
    """Return a fresh copy of a metric that can serve as the score; None if it cannot.

    It has to take predictions and labels of examples, and to return one finite number that is larger if better.

    Args:
        head: The scores that the metric got, with some rows of them.
        metric: The user's metric.
    """
    if metric.higher_is_better is not True or head.rows is None or head.labels is None or head.task is None:
        return None
    try:
        copy = metric.clone()
        copy.reset()
        trial = _alone(copy.clone().cpu())
        rows, labels = head.rows.cpu(), head.labels.cpu()
        if head.axes is not None:
            known = labelled(labels, head.task)
            rows, labels = rows[known], labels[known]
        trial.update(comparable(rows if rows.dim() == 2 else rows.unsqueeze(1), head.task), labels)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metrics that lack positive examples among a few rows
            value = trial.compute()
    except Exception:  # it needs predictions other than the recombined ones
        return None
    return copy if value.numel() == 1 and bool(value.isfinite()) else None


def _alone(metric: Metric) -> Metric:
    """Let a metric compute without the other processes; one of them may fail where this one does not."""
    for part in metric.modules():
        if isinstance(part, Metric):
            vars(part).update(sync_on_compute=False)
    return metric
