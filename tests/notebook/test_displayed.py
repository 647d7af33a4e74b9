"""What a notebook, a console and other programs get of every public result."""

import json
import math
import re
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from helpers.notebook_results import every_result, verdict

from mviz_lightning import ConfigurationError
from mviz_lightning.explainers import Attribution, Explanation, OutputExplanation
from mviz_lightning.explainers.multimodal_representation.result import Feature
from mviz_lightning.plotting.svg import WIDTH
from mviz_lightning.plotting.svg_charts import LABELS, NUMBERS
from mviz_lightning.session.history import History
from mviz_lightning.sinks.records import Picture, RunRecord

SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)

ALLOWED = {
    "div", "style", "p", "ul", "li", "details", "summary", "table", "thead", "tbody", "tr", "th", "td",
    "svg", "title", "desc", "g", "rect", "line", "path", "circle", "text", "image",
}  # fmt: skip
"""All elements that cards consist of: none runs anything or loads anything."""

SHOWN = [
    "report", "comparison", "explanation", "importance", "interactions", "feature", "features", "case", "ranked",
    "positions", "verdict", "history", *(f"result {name}" for name in (
        "dime", "importance", "cross_modal", "representation", "prediction", "errors", "ranking", "positions", "own",
    )),
]  # fmt: skip
"""One of each public result."""


@pytest.fixture
def shown(report, history):
    return every_result(report, history)


class Elements(HTMLParser):
    """Reads the elements, attributes and text of HTML; fails where one is not closed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())


def html_of(found):
    return found._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize("name", SHOWN)
def test_a_result_shows_itself_without_anything_that_runs_or_loads(shown, name):
    html = html_of(shown[name])
    elements = Elements(html)
    assert set(elements.tags) <= ALLOWED
    assert {attribute for attribute, _ in elements.attributes if attribute.startswith("on")} == set()
    links = [value for attribute, value in elements.attributes if attribute in ("href", "src")]
    assert all(link.startswith("data:image/webp;base64,") for link in links)
    assert html.encode("utf-8")  # a half of a surrogate pair could not be sent to a browser
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", html)
    assert "url(" not in html
    assert "@import" not in html


@pytest.mark.parametrize("name", SHOWN)
def test_each_diagram_is_xml_with_a_title_a_description_and_real_text(shown, name):
    drawn = SVG.findall(html_of(shown[name]))
    if name != "result own":
        assert drawn
    for svg in drawn:
        root = ET.fromstring(svg)  # noqa: S314
        spaces = {"s": "http://www.w3.org/2000/svg"}
        assert root.find("s:title", spaces).text
        assert root.find("s:desc", spaces).text
        assert root.findall(".//s:text", spaces)
        assert "nan" not in svg.lower().replace("finance", "")
        assert float(root.get("viewBox").split()[2]) <= 600


@pytest.mark.parametrize("name", SHOWN)
def test_a_repr_has_up_to_three_lines(shown, name):
    text = repr(shown[name])
    assert 0 < len(text) < 400
    assert text.count("\n") <= 2
    assert "tensor(" not in text


@pytest.mark.parametrize("name", SHOWN)
def test_a_result_is_plain_data_for_json(shown, name):
    found = shown[name].to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert "_origin" not in json.dumps(found)


@pytest.mark.parametrize("name", SHOWN)
def test_a_result_is_a_long_data_frame(shown, name):
    frame = shown[name].to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert len(frame) > 0
    assert frame.columns.is_unique
    assert not any(isinstance(cell, list | dict | torch.Tensor) for cell in frame.to_numpy().flatten())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SHOWN if name != "result own"])
def test_a_result_is_drawn_into_new_axes_or_given_ones(shown, name):
    figure, axes = shown[name].plot()
    try:
        assert axes.figure is figure
        drawn = [*axes.patches, *axes.lines, *axes.images, *axes.collections]
        assert drawn
        own, given = plt.subplots()
        assert shown[name].plot(ax=given) == (own, given)
    finally:
        plt.close("all")


def test_only_the_asked_mime_types_are_written(history):
    assert list(history._repr_mimebundle_(include={"text/plain"})) == ["text/plain"]
    assert list(history._repr_mimebundle_(exclude={"text/html"})) == ["text/plain"]
    assert history._repr_mimebundle_()["text/plain"] == str(history)


# -- What is said ------------------------------------------------------------------------------------------------------


def test_a_report_says_first_which_modality_is_used_most(report):
    values, elements = report.values, Elements(html_of(report))
    most, least = sorted(report.modalities, key=lambda name: -values[f"total/{name}"])
    share, low, high = (f"{100 * values[f'{key}/{most}']:.0f}" for key in ("total", "total_low", "total_high"))
    said = f"{most} is used most: {share} % [{low}, {high}] of the outputs' variance would be lost without it; {least} "
    assert said in elements.text
    assert elements.text.index(said) < elements.text.index("Lost without a modality")


def test_the_numbers_of_the_frame_are_those_of_the_report(report):
    frame = report.to_pandas().set_index("name")
    for name in ("total/image", "contribution/text", "interaction", "score"):
        assert frame.loc[name, "value"] == report.values[name]
    assert frame.loc["total/image", "low"] == report.values["total_low/image"]
    assert math.isnan(frame.loc["score", "low"])
    assert not {"total_low/image", "total_high/image"} & set(frame.index)


def test_bars_are_as_long_as_the_shares(report):
    (svg, *_) = SVG.findall(html_of(report))
    spaces = {"s": "http://www.w3.org/2000/svg"}
    found = {}
    for group in ET.fromstring(svg).findall("s:g", spaces):  # noqa: S314
        name = group.find("s:text", spaces).text
        found[name] = float(group.find("s:rect", spaces).get("width"))
    whole = WIDTH - LABELS - NUMBERS
    low, high = report._card().diagrams[0].span
    totals = {name: report.values[f"total/{name}"] for name in report.modalities}
    assert found == {name: pytest.approx(whole * total / (high - low), abs=0.06) for name, total in totals.items()}


def test_an_explanation_names_its_words_and_shows_its_weights(report):
    explanation = report.explanations["dime"][0]
    frame = explanation.to_pandas()
    part = explanation.outputs[0].parts["text"]
    rows = frame[(frame.modality == "text") & (frame.output == explanation.outputs[0].output)]
    assert rows.weight_UC.tolist() == part.unimodal.tolist()
    assert rows.weight_MI.tolist() == part.interaction.tolist()
    assert set(rows.segment_name) <= set(WORDS)
    assert (frame.UC + frame.MI).to_numpy() == pytest.approx(frame.value.to_numpy())
    text = Elements(html_of(explanation)).text
    assert "= UC" in text
    assert f"Example {explanation.position}" in text


WORDS = ("<img src=x onerror=alert(1)>", "]]>", "red", "{{ 7 * 7 }}", "plain")


def test_hostile_names_are_shown_as_text(report):
    text = Elements(html_of(report)).text
    assert "<script>alert(1)</script>" in text
    assert "{{ 7 * 7 }}" in text


def test_an_explanation_outside_a_report_numbers_its_segments():
    part = Attribution(torch.tensor([1.0, -0.5]), torch.tensor([0.0, math.nan]), 0.9, math.nan)
    explanation = Explanation(0, 7, 2, 2, 0.8, [OutputExplanation(2, "predicted", 1.0, 0.75, 0.25, {"x": part}, 0.1)])
    assert explanation.to_pandas().segment_name.tolist() == ["segment 1", "segment 2"]
    text = Elements(html_of(explanation)).text
    assert "output 2 (predicted): 1 = UC 0.75 + MI 0.25" in text
    assert "no effect" in text
    assert "0.75 [0.554, 0.946]" in text


def test_a_bound_explanation_equals_the_one_that_was_computed(report):
    (bound, *_), (computed, *_) = report.explanations["dime"], report._runs[0].result.examples
    assert bound._origin is not None
    assert computed._origin is None
    assert bound.state().keys() == computed.state().keys()
    assert "_origin" not in bound.state()


# -- A training --------------------------------------------------------------------------------------------------------


def test_a_history_says_first_which_alarm_stands(history):
    elements = Elements(html_of(history))
    assert elements.text.index("image is collapsed, alarm since epoch 1 (step 10)") < elements.text.index(
        "text is used most"
    )
    assert ("class", "mviz-verdict mviz-urgent") in elements.attributes
    assert "epoch 1, image: 2 % [-3, 7]; image collapsed" in elements.text


def test_a_history_without_a_run_says_so():
    empty = History(["image", "text"])
    assert "no run of the monitor yet" in html_of(empty)
    assert repr(empty) == "History(['image', 'text']: 0 runs)"
    assert list(empty.to_pandas().columns[:5]) == ["phase", "epoch", "step", "head", "name"]
    with pytest.raises(
        ConfigurationError, match=r"History.plot: there is nothing to draw \(no run of the monitor yet\)"
    ):
        empty.plot()


def test_one_run_is_a_point_with_its_interval(history):
    one = History(["image", "text"])
    one.add(history[0])
    (svg, *_) = SVG.findall(html_of(one))
    assert svg.count("<circle") == 3  # two totals and the score
    assert svg.count('stroke-opacity="0.8"') == 2  # intervals


def test_runs_without_values_and_values_of_nan_leave_gaps(history):
    history.add(RunRecord("fit", 3, 30, {}, note="it failed"))
    history.add(RunRecord("fit", 4, 40, {**history[0].values, "total/image": math.nan}))
    text = Elements(html_of(history)).text
    assert "fit, epoch 3: it failed" in text
    assert "epoch 4: text is used most" in text
    (svg, *_) = SVG.findall(html_of(history))
    assert "nan" not in svg


def test_a_run_in_which_nothing_varies_names_no_modality():
    found = History(["image", "text"])
    found.add(RunRecord("fit", 0, 0, {"total/image": 0.0, "total/text": 0.0, "interaction": 0.0}))
    assert "no modality is used: swapping it among examples changes nothing" in html_of(found)


def test_further_heads_are_parts_of_their_own():
    values = {"total/image": 0.4, "total/text": 0.6, "noun/total/image": 0.9, "noun/total/text": 0.1}
    found = History(["image", "text"])
    found.add(RunRecord("fit", 0, 0, values, heads=["noun"]))
    text = Elements(html_of(found)).text
    assert "head noun" in text
    assert "image is used most: 90 %" in text
    frame = found.to_pandas()
    assert frame[frame["head"] == "noun"].set_index("name").loc["total/image", "value"] == 0.9


def test_answers_of_a_language_model_are_told_in_nats():
    values = {"total/image": 0.4, "total/text": 0.6, "nats/image": 0.53, "nats_low/image": 0.4, "nats_high/image": 0.6}
    found = History(["image", "text"])
    found.add(RunRecord("fit", 0, 0, values | {"retrieval/image": 0.75}))
    text = Elements(html_of(found)).text
    assert "own answers' variance" in text
    assert "image retrieval" in text


def test_a_history_as_data_holds_every_run(history):
    found = history.to_dict()
    assert found["modalities"] == ["image", "text"]
    assert [run["epoch"] for run in found["runs"]] == [0, 1, 2]
    assert found["runs"][1]["values"] == history[1].values


def test_a_verdict_shows_its_evidence_and_what_to_try(history):
    text = Elements(html_of(verdict(history))).text
    assert text.index("image: collapsed since epoch 1 (step 10)") < text.index("What to try:")
    assert "modality dropout" in text
    assert str(verdict(history)).startswith("image: collapsed since epoch 1")


# -- Single classes ----------------------------------------------------------------------------------------------------


def test_a_picture_shows_itself():
    picture = Picture("mviz/shares", np.zeros((4, 5, 3), np.uint8), "epoch 3")
    assert picture._repr_png_().startswith(b"\x89PNG")
    named = "key='mviz/shares', pixels=<ndarray (4, 5, 3)>, caption='epoch 3', keep=False, note='', vector=None"
    assert repr(picture) == f"Picture({named})"


@pytest.mark.slow
def test_a_feature_and_an_example_are_plotted_as_the_method_draws_them(report):
    feature, explanation = report.results["representation"].shown[1], report.explanations["dime"][1]
    pictures = {picture.key: picture.pixels for picture in report.pictures()}
    for found, key in (
        (feature, f"representation/feature_{feature.number}"),
        (explanation, f"dime/example_{explanation.position}"),
        (report.results["representation"], "representation/overview"),
    ):
        _, axes = found.plot()
        assert np.array_equal(axes.images[0].get_array(), pictures[key])
    plt.close("all")


def test_a_feature_outside_a_report_takes_the_names_of_its_parts():
    feature = Feature(7, 0, [0.6, 0.3, 0.1], [0.5, 0.2, 0.0], [0.7, 0.4, 0.2], 1.0, [], [], None)
    assert "feature 7 follows modality 1 alone: 60 % [50, 70] of its variance" in Elements(html_of(feature)).text


def test_what_shows_itself_writes_nothing_into_a_checkpoint(history):
    assert "_origin" not in json.dumps(history.state())


def test_without_pandas_the_error_says_how_to_install_it(history, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r"to_pandas\(\) needs pandas.*pip install pandas"):
        history.to_pandas()


def test_a_very_wide_interval_does_not_squeeze_the_shares():
    found = History(["image", "text"])
    found.add(RunRecord("fit", 0, 0, {"total/image": 0.4, "total_low/image": -3.0, "total_high/image": 4.0}))
    assert found._card().diagrams[0].span == (-0.25, 1.25)
    assert "epoch 0, image: 40 % [-300, 400]" in Elements(html_of(found)).text
