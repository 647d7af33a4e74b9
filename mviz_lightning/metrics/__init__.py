"""The estimators as torchmetrics. Knows: functional."""

from mviz_lightning.metrics.emap import EMAPGap
from mviz_lightning.metrics.example_scores import GradedAccuracy, LabelRankingAveragePrecision
from mviz_lightning.metrics.flips import PredictionFlips
from mviz_lightning.metrics.scores import PerceptualScore, default_score
from mviz_lightning.metrics.shares import ContributionShares

__all__ = [
    "ContributionShares",
    "EMAPGap",
    "GradedAccuracy",
    "LabelRankingAveragePrecision",
    "PerceptualScore",
    "PredictionFlips",
    "default_score",
]
