"""A run looked at later, from its files alone: the page, and the plain objects behind it. Knows: sinks, functional."""

from mviz_lightning.report.folders import find_runs
from mviz_lightning.report.loading import load
from mviz_lightning.report.page import write_page
from mviz_lightning.report.stored_run import (
    StoredAlert,
    StoredExample,
    StoredExplanation,
    StoredModality,
    StoredRun,
)

__all__ = [
    "StoredAlert",
    "StoredExample",
    "StoredExplanation",
    "StoredModality",
    "StoredRun",
    "find_runs",
    "load",
    "write_page",
]
