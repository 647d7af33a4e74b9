"""The estimators as torchmetrics. Knows: functional, plotting."""

from mviz_lightning.metrics.coalitions import InterSHAP, ModalityShapley
from mviz_lightning.metrics.emap import EMAPGap
from mviz_lightning.metrics.embeddings import Alignment, EmbeddingRank, ModalityGap, Uniformity
from mviz_lightning.metrics.example_scores import GradedAccuracy, LabelRankingAveragePrecision
from mviz_lightning.metrics.flips import PredictionFlips
from mviz_lightning.metrics.retrieval import GroupRetrieval
from mviz_lightning.metrics.scores import PerceptualScore, default_score
from mviz_lightning.metrics.shares import ContributionShares

__all__ = [
    "Alignment",
    "ContributionShares",
    "EMAPGap",
    "EmbeddingRank",
    "GradedAccuracy",
    "GroupRetrieval",
    "InterSHAP",
    "LabelRankingAveragePrecision",
    "ModalityGap",
    "ModalityShapley",
    "PerceptualScore",
    "PredictionFlips",
    "Uniformity",
    "default_score",
]
