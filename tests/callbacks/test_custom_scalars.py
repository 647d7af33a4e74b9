"""The page "Custom Scalars", as TensorBoard's own plugin serves it from the event file of a training."""

import json
import re
from types import SimpleNamespace

import pytest
from helpers.collapsing import alarm, train, watching
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext

pytestmark = pytest.mark.filterwarnings("ignore:html5lib:DeprecationWarning")

NAMES = ["image", "image2", "text"]
"""The first is the beginning of the second."""

PAIRS = ["image+image2", "image+text", "image2+text"]
CURVES = {
    "alone and in interaction": [
        *(f"contribution/{name}" for name in NAMES),
        "interaction",
        *(f"interaction/{pair}" for pair in PAIRS),
    ],
    "total effects": [f"total/{name}" for name in NAMES],
    "score, and score of the unimodal contributions alone": ["score", "emap_score"],
    "score lost when swapped": [f"perceptual/{name}" for name in NAMES],
    "0 used, 1 unused, 2 collapsed, 3 redundant": [f"collapse/{name}" for name in NAMES],
}
BANDS = {
    f"total/{name} with 95 %": [f"{kind}/{name}" for kind in ("total", "total_low", "total_high")] for name in NAMES
}


def plugin_of(provider):
    from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
    from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin

    plugins = {}
    context = TBContext(data_provider=provider, plugin_name_to_instance=plugins)
    plugins["scalars"] = ScalarsPlugin(context)
    return CustomScalarsPlugin(context)


@pytest.fixture(scope="module", params=["", "a.b+c (d)"], ids=["plain", "prefixed"])
def page(request, tmp_path_factory):
    """What the plugin serves, and the front end asks it for, of a training with three modalities."""
    folder = tmp_path_factory.mktemp("board")
    watch = watching(3, modalities=dict(zip(NAMES, "012", strict=True)), group_size=12, num_examples=72)
    logger = TensorBoardLogger(folder, name="", version="run", prefix=request.param)
    train(folder, "- -", watch, alarm(), known={"weights": (1.5, 1.0, 1.0)}, logger=logger)
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    plugin = plugin_of(MultiplexerDataProvider(multiplexer, str(folder)))
    (category,) = json.loads(plugin.layout_impl(RequestContext(), ""))["category"]

    def drawn(pattern):
        served = plugin.scalars_impl(RequestContext(), "run", pattern, "")
        assert served["regex_valid"]
        return sorted(served["tag_to_events"])

    return SimpleNamespace(
        charts={chart["title"]: chart for chart in category["chart"]},
        drawn=drawn,
        key=lambda key: f"{request.param}{request.param and '-'}mviz/{key}",
    )


def test_every_pattern_of_a_curve_matches_exactly_one_tag(page):
    for title, keys in CURVES.items():
        matched = [page.drawn(pattern) for pattern in page.charts[title]["multiline"]["tag"]]
        assert sorted(matched) == sorted([page.key(key)] for key in keys)


@pytest.mark.slow
def test_a_diagram_draws_what_belongs_there_and_nothing_else(page):
    """Of several patterns the front end makes one, ``(a)|(b)``."""
    for title, keys in CURVES.items():
        asked = "|".join(f"({pattern})" for pattern in page.charts[title]["multiline"]["tag"])
        assert page.drawn(asked) == sorted(page.key(key) for key in keys)


def test_bands_name_their_tags_as_they_are(page):
    """Of those the front end makes patterns itself, and takes the tags of the same names from what they match."""
    for title, keys in BANDS.items():
        (band,) = page.charts[title]["margin"]["series"]
        named = [band["value"], band["lower"], band["upper"]]
        assert named == [page.key(key) for key in keys]
        asked = "|".join("(" + re.sub(r"[.*+?^${}()|[\]\\]", r"\\\g<0>", tag) + ")" for tag in named)
        assert set(named) <= set(page.drawn(asked))


def test_no_diagram_is_left_out_of_these_tests(page):
    assert set(page.charts) == {*CURVES, *BANDS}
    assert {page.key(key) for keys in (CURVES | BANDS).values() for key in keys} <= set(page.drawn(".*"))
