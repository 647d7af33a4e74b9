"""Pictures as SVG and PDF: letters are text, and everything lies where it lies in the pixels."""

import io
import re

import numpy as np
import pytest
import resvg_py
import torch
from helpers.toy import Toy, loader
from PIL import Image

from mviz_lightning import ConfigurationError, explain
from mviz_lightning.explainers import DIME, ErrorAnalysis, MultimodalRepresentation
from mviz_lightning.plotting.canvas import DPI, PIXELS, Canvas
from mviz_lightning.plotting.vector_files import drawn_as

BLOCK = 8
"""Side in pixels of the squares whose brightness is compared: half a letter."""


@pytest.fixture(scope="module")
def report():
    torch.manual_seed(0)
    methods = [DIME(num_examples=1), ErrorAnalysis(), MultimodalRepresentation()]
    settings = {"modalities": {"image": "0", "text": "1"}, "target": "2", "task": "multiclass"}
    return explain(Toy(), loader(64, seed=1), num_examples=32, group_size=8, explainers=methods, **settings)


def files(folder, ending):
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob(f"*.{ending}")}


@pytest.fixture(scope="module")
def saved(report, tmp_path_factory):
    folders = {form: tmp_path_factory.mktemp(form) for form in ("png", "svg", "pdf")}
    for form, folder in folders.items():
        report.save(folder, format=form)
    return {form: files(folder, form) for form, folder in folders.items()}


def test_every_picture_has_a_file_of_the_format(saved):
    assert len(saved["png"]) > 3
    assert saved["svg"].keys() == saved["pdf"].keys() == saved["png"].keys()
    assert all(path.read_bytes().startswith(b"%PDF") for path in saved["pdf"].values())


def test_letters_are_text(saved):
    (name,) = [name for name in saved["svg"] if name.startswith("dime/")]
    words = re.findall(r"<text[^>]*>([^<]*)</text>", saved["svg"][name].read_text())
    assert {"alone (UC)", "together (MI)", "image", "column 1"} <= set(words)
    assert b"/Type0" in saved["pdf"][name].read_bytes()  # TrueType letters, which an editor finds


def brightness(pixels):
    """Return the mean brightness of squares of some pixels."""
    height = len(pixels) // BLOCK * BLOCK
    return pixels[:height].reshape(height // BLOCK, BLOCK, PIXELS // BLOCK, BLOCK).mean((1, 3))


def test_everything_lies_where_it_lies_in_the_pixels(saved):
    for name, path in saved["svg"].items():
        pixels = np.asarray(Image.open(saved["png"][name]).convert("L"), dtype=float)
        drawn = resvg_py.svg_to_bytes(svg_string=path.read_text(), dpi=DPI)
        vector = np.asarray(Image.open(io.BytesIO(bytes(drawn))).convert("RGBA").convert("L"), dtype=float)
        assert abs(len(vector) - len(pixels)) <= 1
        small, other = brightness(pixels), brightness(vector[: len(pixels)])
        assert np.corrcoef(small.ravel(), other.ravel())[0, 1] > 0.9, name  # letters have other hints


def test_the_same_figure_gives_the_same_bytes():
    def drawn():
        canvas = Canvas()
        canvas.text(0.1, 0.1, "$a$ & b")
        with drawn_as("svg"):
            return canvas.picture("key").vector

    assert drawn() == drawn()
    assert b"$a$ &amp; b" in drawn()[1]


def test_letters_stand_on_their_colour_and_to_the_right_of_a_place():
    canvas = Canvas()
    canvas.text(1, 0.1, "12\n345", back="#b03000", color="white", ha="right")
    with drawn_as("svg"):
        svg = canvas.picture("key").vector[1].decode()
    assert svg.count("fill: #b03000") == 2
    starts = [float(x) for x in re.findall(r"<text[^>]*translate\(([\d.]+) ", svg)]
    assert starts[0] > starts[1]


def test_outside_the_block_pictures_have_pixels_alone():
    with drawn_as("pdf"):
        pass
    assert Canvas().picture("key").vector is None


def test_another_format_is_named_and_nothing_is_written(report, tmp_path):
    with pytest.raises(ConfigurationError, match=r"format='jpg': allowed are 'png', 'svg' and 'pdf'"):
        report.save(tmp_path / "new", format="jpg")
    assert not (tmp_path / "new").exists()
