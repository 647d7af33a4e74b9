"""From values to records: tables and pictures."""

from mviz_lightning.rendering.curves import share_curves
from mviz_lightning.rendering.tables import history_table, share_table

__all__ = ["history_table", "share_curves", "share_table"]
