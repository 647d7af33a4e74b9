"""Methods: each plans the rows it needs and explains the outputs it gets."""

from mviz_lightning.explainers.shares import Shares

__all__ = ["Shares"]
