"""Queries and the evaluator that answers them: the only place that runs the user's model."""

from mviz_lightning.evaluation.evaluator import Evaluator
from mviz_lightning.evaluation.isolation import isolated
from mviz_lightning.evaluation.query import Query, join

__all__ = ["Evaluator", "Query", "isolated", "join"]
