"""From values to records: tables and pictures."""

from mviz_lightning.rendering import (  # each draws its finding
    cross_modal,
    errors,
    importance,
    prediction,
    representation,
)
from mviz_lightning.rendering.curves import share_curves
from mviz_lightning.rendering.findings import records_of
from mviz_lightning.rendering.tables import history_table, share_table

__all__ = [
    "cross_modal",
    "errors",
    "history_table",
    "importance",
    "prediction",
    "records_of",
    "representation",
    "share_curves",
    "share_table",
]
