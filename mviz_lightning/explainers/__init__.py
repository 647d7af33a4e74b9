"""Methods: each plans the rows it needs and explains the outputs it gets."""

from mviz_lightning.explainers.base import Explainer, Subject
from mviz_lightning.explainers.dime import DIME
from mviz_lightning.explainers.explanation import Attribution, Explanation, OutputExplanation
from mviz_lightning.explainers.shares import Shares

__all__ = ["DIME", "Attribution", "Explainer", "Explanation", "OutputExplanation", "Shares", "Subject"]
