"""The value of a metric on this process alone."""

from typing import Any

from torchmetrics import Metric

from mviz_lightning.metrics.score_forms import FittedScore


def local_value(metric: Metric) -> Any:
    """Return a metric's value from this process's examples, without gathering from other processes.

    ``sync_on_compute`` is an argument of a metric's constructor. Setting the attribute later has no effect on
    ``compute``, so gathering cannot be switched off for a metric that the user built. The class's own ``compute`` does
    not gather, because torchmetrics wraps the gathering around it on each object. Metrics inside a torchmetrics wrapper
    still gather.
    """
    return local_value(metric.score) if isinstance(metric, FittedScore) else type(metric).compute(metric)
