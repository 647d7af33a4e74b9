"""Letters that matplotlib's font lacks are drawn with fonts of the system; where none has them, one line says so."""

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from helpers.toy import fit, monitor
from matplotlib.font_manager import FontProperties

from mviz_lightning.plotting import system_fonts
from mviz_lightning.plotting.canvas import Canvas, title_lines, wrapped
from mviz_lightning.plotting.text_fitting import distinct, shortened
from mviz_lightning.plotting.text_rendering import Letters
from mviz_lightning.plotting.text_wrapping import wrap_words
from mviz_lightning.plotting.vector_files import drawn_as

CAT = "猫"


def square(width):
    """Return a glyph that fills its em."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 800), (width, 800), (width, 0)):
        pen.lineTo(corner)
    pen.closePath()
    return pen.glyph()


def font_file(path, letters=CAT):
    """Write a font with some letters, each a black square."""
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "letter"])
    builder.setupCharacterMap({ord(letter): "letter" for letter in f" {letters}"})
    builder.setupGlyf({name: square(1000) for name in (".notdef", "letter")})
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", "letter"), (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "One Cat", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.fixture
def fonts(monkeypatch):
    """The fonts that the system has; nothing is remembered of those that it really has."""
    found = []
    forget_fonts()
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: found)
    yield found
    forget_fonts()


def forget_fonts():
    for found in (system_fonts.font_with, system_fonts._system_fonts):
        found.cache_clear()
    for noted in (system_fonts._without_font, system_fonts._in_use):
        noted.clear()


def drawn(words, **style):
    canvas = Canvas(0.5)
    canvas.text(0.1, 0.1, words, **style)
    return canvas.pixels()


def dark(pixels):
    return int((pixels < 50).all(-1).sum())


def test_a_letter_is_drawn_with_a_font_that_has_it(fonts, tmp_path):
    boxed = dark(drawn(CAT))
    assert system_fonts.legible(CAT) == system_fonts.MISSING
    fonts.append(font_file(tmp_path / "cat.ttf"))
    forget_fonts()
    assert system_fonts.legible(f"a {CAT}") == f"a {CAT}"
    assert dark(drawn(CAT)) > 3 * boxed  # a black square
    plain, both = drawn("a"), drawn(f"a{CAT}")
    assert (plain[both.min(-1) > 200] > 200).all()  # our own letters stay where they were


def test_monospaced_letters_keep_to_the_cells(fonts, tmp_path):
    fonts.append(font_file(tmp_path / "cat.ttf"))
    style = {"family": system_fonts.FONT_FAMILY, "fontsize": 9}
    ends = [np.flatnonzero((drawn(f"{word}|", **style) < 99).all(-1).any(0)).max() for word in (CAT * 3, "a" * 6)]
    assert ends[0] == ends[1]


def test_in_files_of_vectors_it_is_text_of_that_font(fonts, tmp_path):
    fonts.append(font_file(tmp_path / "cat.ttf"))
    canvas = Canvas(0.5)
    canvas.text(0.1, 0.1, f"my {CAT}")
    with drawn_as("svg"):
        svg = canvas.picture("key").vector[1].decode()
    assert f">{CAT}</text>" in svg
    assert "One Cat" in svg


def test_what_no_font_has_is_said_with_the_packages_to_install(fonts):
    assert system_fonts.font_advice() == ""
    assert system_fonts.legible(f"{CAT} \U0001f9ff a") == "□ □ a"
    assert system_fonts.font_advice() == (
        f"no font of this system has {CAT}\U0001f9ff, so pictures show □ instead. Install fonts: apt install "
        "fonts-noto-cjk fonts-symbola"
    )


def test_a_training_says_it_once(fonts, tmp_path, caplog):
    caplog.set_level("INFO")
    fit(tmp_path, monitor(class_names=["猫", "犬", "鳥"], by_class=True))
    assert caplog.text.count("MultimodalMonitor: no font of this system has ") == 1


def test_a_broken_font_file_is_passed_by(fonts, tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    fonts += [str(tmp_path / "broken.ttf"), font_file(tmp_path / "cat.ttf")]
    assert system_fonts.font_with(CAT).endswith("cat.ttf")


@pytest.mark.parametrize(
    ("text", "width", "cut"),
    [("猫犬鳥", 6, "猫犬鳥"), ("猫犬鳥", 5, "猫犬…"), ("a猫犬", 4, "a猫…"), ("abcd", 3, "ab…")],
)
def test_wide_letters_take_two_cells(text, width, cut):
    assert shortened(text, width) == cut
    assert system_fonts.cells(cut) <= width


def test_lines_of_wide_letters_are_wrapped_by_their_width():
    lines = wrapped("猫" * 10 + " ab", 8)
    assert all(system_fonts.cells(line) <= 8 for line in lines)
    assert "".join(lines).replace(" ", "") == "猫" * 10 + "ab"
    placed = wrap_words([("猫" * 5, 0), ("ab", 1)], 8)
    assert [(one.line, one.column, one.word) for one in placed] == [(0, 0, "猫" * 4), (1, 0, "猫"), (1, 3, "ab")]


def test_lines_of_an_odd_width_hold_no_letter_too_many():
    lines = wrapped("猫" * 9 + " abc", 7)
    assert all(system_fonts.cells(line) <= 7 for line in lines)
    assert "".join(lines).replace(" ", "") == "猫" * 9 + "abc"


def test_a_title_breaks_only_words_that_are_wider_than_a_line():
    assert title_lines("validation/accuracy_of_all_the_examples of one") == [
        "validation/accuracy_of_all_the_examples of one"
    ]
    broken = title_lines("W" * 60)
    assert "".join(broken) == "W" * 60
    assert broken[0]


@pytest.mark.parametrize("format", ["png", "svg", "pdf"])
def test_ticks_and_legends_use_the_fonts_too(fonts, tmp_path, recwarn, format):  # noqa: A002
    boxed = ticked(CAT)
    fonts.append(font_file(tmp_path / "cat.ttf"))
    forget_fonts()
    assert system_fonts.legible(CAT) == CAT
    with drawn_as(format):
        picture = ticked(CAT)
    assert dark(picture.pixels) > dark(boxed.pixels) + 20
    assert not [one for one in recwarn if "Glyph" in str(one.message)]
    if format == "svg":
        assert "One Cat" in picture.vector[1].decode()


def ticked(letter):
    canvas = Canvas(0.7)
    axes = canvas.panel(0.3, 0.1, 2, 0.3)
    axes.set_yticks([0.5], [system_fonts.legible(letter)], fontsize=12)
    return canvas.picture("key")


def test_words_from_right_to_left_are_drawn_as_one(fonts, tmp_path):
    word = "שלום"
    fonts.append(font_file(tmp_path / "one.ttf", word))
    assert list(system_fonts.parts(f"a {word} {word}")) == [(None, "a "), (fonts[0], f"{word} {word}")]
    properties = FontProperties(family=system_fonts.FONT_FAMILY)
    pieces = [one.text for one in Letters(properties, 12, simple=False).placed(word)]
    assert pieces == [word]


def test_joiners_of_emojis_are_left_out(fonts):
    assert system_fonts.legible("\U0001f469\u200d\U0001f52c\ufe0f") == "□□"
    assert "\u200d" not in system_fonts.font_advice()


def test_a_letter_that_no_font_has_is_looked_up_in_few_fonts(fonts, tmp_path, monkeypatch):
    fonts += [font_file(tmp_path / f"{number}.ttf") for number in range(4)]
    monkeypatch.setattr(system_fonts, "TRIED_FONTS", 2)
    read = []
    monkeypatch.setattr(system_fonts, "_letters_of", lambda path: (read.append(path), frozenset())[1])
    monkeypatch.setattr(system_fonts, "own_letters", frozenset)
    assert system_fonts.font_with("犬") is None
    assert read == fonts[:2]


@pytest.mark.parametrize(
    ("platform", "advised"), [("linux", "apt install fonts-noto-cjk"), ("win32", "that has them.")]
)
def test_the_advice_fits_the_system(fonts, monkeypatch, platform, advised):
    monkeypatch.setattr("sys.platform", platform)
    system_fonts.legible(CAT)
    assert system_fonts.font_advice().endswith(advised)


@pytest.mark.parametrize("width", [3, 4, 5, 6])
def test_names_of_wide_letters_are_cut_by_their_width(width):
    for cut in distinct([f"猫犬鳥魚虫{number}" for number in range(3)], width):
        assert system_fonts.cells(cut) <= width
