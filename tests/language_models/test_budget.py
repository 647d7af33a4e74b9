"""Few rows are enough for the shares of a language model, with intervals, whatever is scored."""

import pytest

pytest.importorskip("transformers")

import math

import torch
from language_models.trained import Answering, batch_of, rows_of

from mviz_lightning import explain
from mviz_lightning.session.share_report import ShareReport

BUDGET = 256


def report_of(of: str) -> ShareReport:
    """Return the shares of a model of random weights."""
    whole = batch_of(of=of)
    order = torch.randperm(len(whole["input_ids"]), generator=torch.Generator().manual_seed(0))
    named = {"image": "pixel_values", "text": "input_ids"}
    return explain(Answering(), [rows_of(whole, order)], modalities=named, budget=BUDGET)


@pytest.mark.slow
@pytest.mark.parametrize("of", ["questions", "sentences", "captions"])
def test_shares_with_intervals_come_of_256_rows(of: str) -> None:
    report = report_of(of)
    assert report.rows == 7 * 6**2 <= BUDGET
    for name in ("image", "text"):
        low, total, high = (report.values[f"{key}/{name}"] for key in ("total_low", "total", "total_high"))
        assert low < total < high
        assert high - low < 2
        assert all(map(math.isfinite, (low, high)))
    assert "budget=256 rows are enough for 42 examples in 7 groups of 6; the widest interval is " in str(report)
