"""The only room that runs the user's model: rows in, outputs out. Knows: batch."""

from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.query import Query, join

__all__ = ["Evaluator", "Query", "isolated", "join"]
