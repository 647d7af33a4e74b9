"""Lines are coloured where a person reads them, and do nothing to a terminal."""

import io
import sys
from contextlib import redirect_stdout

import pytest

from mviz_lightning.console import terminal
from mviz_lightning.console.terminal import Span, show

LINES = [[Span("image", "alarm"), Span(" [bold]x[/bold] \x1b[31m \ud800")], []]


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def coloured(monkeypatch):
    """Shows lines on a terminal, and returns what it got."""
    pytest.importorskip("rich")
    from rich.console import Console

    stream = Terminal()
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("rich.get_console", lambda: Console(file=stream, width=200))

    def shown(lines):
        with redirect_stdout(stream):  # pytest has its own between a fixture and its test
            show(lines)
        return stream.getvalue()

    return shown


def test_a_file_gets_plain_text(capsys):
    show(LINES)
    assert capsys.readouterr().out == "image [bold]x[/bold] \\x1b[31m \\ud800\n\n"


def test_a_terminal_gets_colours_of_our_own_alone(coloured):
    assert coloured(LINES) == "\x1b[1;31mimage\x1b[0m [bold]x[/bold] \\x1b[31m \\ud800\n\n"


def test_no_colour_is_honoured(coloured, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert coloured([[Span("image", "notice")]]) == "image\n"


@pytest.mark.parametrize("lacking", ["rich", "terminal"])
def test_a_terminal_without_rich_or_without_colours_gets_plain_text(coloured, monkeypatch, lacking):
    if lacking == "rich":
        monkeypatch.setitem(sys.modules, "rich", None)
    else:
        monkeypatch.setenv("TERM", "dumb")
    assert coloured([[Span("image", "alarm")]]) == "image\n"


def test_letters_that_the_stream_cannot_encode_are_escaped(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert terminal.printable("größe") == "gr\\xf6\\xdfe"


def test_a_stream_that_cannot_be_asked_is_not_watched():
    stream = io.StringIO()
    stream.close()
    assert not terminal.is_watched(stream)
    assert not terminal.is_watched(object())
