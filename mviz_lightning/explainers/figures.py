"""How results are drawn: importing a method's figure registers it."""

from mviz_lightning.explainers.drawing import records_of

__all__ = ["records_of"]
