"""The value of a metric on this process alone."""

from typing import Any

from torchmetrics import Metric

from mviz_lightning.metrics.score_forms import FittedScore


def local_value(metric: Metric) -> Any:
    """Return what a metric computes from this process's examples, without gathering from other processes.

    ``sync_on_compute`` is an argument of a metric's constructor. Setting the attribute later changes nothing in
    ``compute``, so that a metric that the user built has no switch. The class's own ``compute`` does not gather: the
    gathering is wrapped around it on each object. Metrics inside a wrapper of torchmetrics still gather.
    """
    return local_value(metric.score) if isinstance(metric, FittedScore) else type(metric).compute(metric)
