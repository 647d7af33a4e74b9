"""Two reports side by side: shares on the training examples and on others."""

import math

import pytest
import torch
from torch import nn

from mviz_lightning import ConfigurationError, explain


class ByHeart(nn.Module):
    """Uses the image everywhere, and above all the texts that it has seen: those with an even number."""

    def forward(self, image, text):
        trust = torch.where(text % 2 == 0, 2.0, 0.02)
        return (image + trust * (text * 0.37).sin()).unsqueeze(1)


def report(texts, seed, **settings):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(len(texts), generator=generator, dtype=torch.float64)
    site = torch.arange(len(texts)) % 2
    batch = {"image": image, "text": texts, "site": site, "y": image}
    chosen = {"modalities": {"image": "image", "text": "text"}, "target": "y", "task": "regression", **settings}
    return explain(ByHeart(), [batch], **chosen)


@pytest.fixture(scope="module")
def reports():
    numbers = torch.arange(256)
    return report(2 * numbers + 1, 0, subgroups="site"), report(2 * numbers, 1, subgroups="site")


def test_what_was_learned_by_heart_differs_and_what_generalises_does_not(reports):
    validation, training = reports
    found = validation.compared_with(training).differences
    assert validation.values["total/text"] == pytest.approx(0, abs=1e-3)
    assert found["total/text"].value == validation.values["total/text"] - training.values["total/text"]
    assert found["total/text"].high < 0
    assert found["total/text"].is_clear
    assert found["subgroup/1/total/text"].is_clear
    assert not validation.compared_with(report(2 * torch.arange(256) + 1, 5)).differences["total/image"].is_clear


def test_the_interval_of_a_difference_adds_the_squares_of_the_half_widths(reports):
    validation, training = reports
    found = validation.compared_with(training).differences["contribution/image"]
    halves = [
        (one.values["contribution_high/image"] - one.values["contribution_low/image"]) / 2
        for one in (validation, training)
    ]
    assert (found.high - found.low) / 2 == pytest.approx(math.hypot(*halves))
    assert (found.high + found.low) / 2 == pytest.approx(found.value)


def test_scores_have_a_difference_without_an_interval(reports):
    found = reports[0].compared_with(reports[1]).differences["score"]
    assert found.value == reports[0].values["score"] - reports[1].values["score"]
    assert math.isnan(found.low)
    assert not found.is_clear


def test_the_comparison_prints_a_table(reports):
    lines = str(reports[0].compared_with(reports[1])).splitlines()
    assert lines[0].split() == ["validation", "training", "difference", "[95", "%]"]
    (line,) = [line for line in lines if line.startswith("total/text")]
    assert line.endswith("differs")
    named = str(reports[0].compared_with(reports[1], names=("night", "day"))).splitlines()
    assert named[0].split()[:2] == ["night", "day"]


def test_reports_of_other_modalities_are_refused(reports):
    other = report(torch.arange(256), 3, modalities={"text": "text", "image": "image"})
    with pytest.raises(ConfigurationError, match=r"other: its modalities are text, image, and this report has image"):
        reports[0].compared_with(other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None,), r"^other=None: give a report"),
        (("training",), r"^other='training': give a report"),
        ((report(torch.arange(64), 3), ("a",)), r"^names=\('a',\): give two names"),
        ((report(torch.arange(64), 3), "ab"), r"^names='ab': give two names"),
    ],
)
def test_what_is_no_report_is_refused_by_name(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        report(torch.arange(64), 3).compared_with(*arguments)
