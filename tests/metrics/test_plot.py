"""Metrics draw their values with intervals."""

import matplotlib.pyplot as plt
import pytest
import torch

from mviz_lightning import metrics
from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.metrics import ContributionShares, EmbeddingRank, GradedAccuracy

MEASURED = sorted(name for name in metrics.__all__ if isinstance(getattr(metrics, name), type))


@pytest.fixture
def shares():
    metric = ContributionShares(["x", "y"], task="regression", group_size=16)
    x, y = torch.randn(2, 8, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows, columns = metric.design.tuples.T
    metric.update((x[:, rows] + y[:, columns]).unsqueeze(-1))
    yield metric
    plt.close("all")


def test_bars_are_the_values_and_lines_their_intervals(shares):
    values = shares.compute()
    figure, axes = shares.plot()
    assert axes.figure is figure
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["contribution/x", "contribution/y", "total/x", "total/y", "interaction", "weakest_total"]
    assert [bar.get_width() for bar in axes.patches] == [pytest.approx(float(values[name])) for name in names]
    ends = [segment for collection in axes.collections for segment in collection.get_segments()]
    (first, *_) = ends
    bounds = [float(values[bound_name("contribution/x", side)]) for side in ("low", "high")]
    assert first[:, 0].tolist() == pytest.approx(bounds)


def test_a_list_of_values_is_drawn_as_curves_over_the_steps(shares):
    values = shares.compute()
    _, given = plt.subplots()
    _, axes = shares.plot([values, values, values], ax=given)
    assert axes is given
    curves = {line.get_label(): line.get_ydata() for line in axes.lines if not line.get_label().startswith("_")}
    assert curves["total/x"].tolist() == pytest.approx([float(values["total/x"])] * 3)


def test_a_metric_of_one_value_is_drawn_as_torchmetrics_does():
    metric = GradedAccuracy()
    metric.update(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]))
    figure, axes = metric.plot()
    assert axes.figure is figure
    assert axes.lines
    plt.close("all")


@pytest.mark.parametrize("name", MEASURED)
def test_every_metric_has_a_plot(name):
    assert "plottable" in getattr(metrics, name).plot.__module__
    assert EmbeddingRank.plot is ContributionShares.plot
