"""One of each public result that shows itself."""

import math

import torch

from mviz_lightning.collapse.verdict import Verdict
from mviz_lightning.explainers.found import Result
from mviz_lightning.explainers.position_effects.result import PositionEffectsResult, PositionMaps
from mviz_lightning.sinks.records import State


def positions():
    effects = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(0))
    return PositionMaps(0, 3, 1, 1, 0.9, effects, None, None)


def verdict(history):
    return Verdict("image", State.COLLAPSED, history[1], history[2], ["text"], 0.5, 0.01)


def every_result(report, history):
    """Return the results by what they are."""
    results = {f"result {name}": result for name, result in report.results.items()}
    return {
        "report": report,
        "comparison": report.compared_with(report),
        "explanation": report.explanations["dime"][0],
        "importance": report.results["importance"].examples[0],
        "interactions": report.results["cross_modal"].examples[0],
        "feature": report.results["representation"].shown[0],
        "features": report.results["prediction"].examples[0],
        "case": report.results["errors"].worst[0],
        "ranked": report.results["ranking"].ranked[0],
        "positions": positions(),
        "verdict": verdict(history),
        "history": history,
        **results,
        "result positions": PositionEffectsResult(effects=[positions()], modalities=["image", "text"]),
        "result own": Result(values={"mine": 0.25, "other": math.nan}),
    }
