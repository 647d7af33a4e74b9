"""Names and texts from a batch, a class list or an error stay names and texts, whatever shows them."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mviz_lightning.sinks import FileSink
from mviz_lightning.sinks.base import fenced
from mviz_lightning.sinks.portable_names import portable_key, portable_name
from mviz_lightning.sinks.records import Alert, MarkdownText, Picture, Table
from mviz_lightning.sinks.tensorboard import markdown_table
from mviz_lightning.sinks.wandb import WandbSink

PIXELS = np.zeros((2, 2, 3), np.uint8)

FORMULAS = [
    '=HYPERLINK("http://x","y")',
    "+1+cmd|' /C calc'!A0",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "\uff1d1",
    "\n-x",
]


def cells(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_a_text_begins_no_row(tmp_path: Path) -> None:
    FileSink(tmp_path).write([Table("mviz/t", ["a", "b"], [["x\r=1+1", 0], ["x\r\ny", 1]])], 0)
    assert cells(tmp_path / "t.csv")[1:] == [["x\n=1+1", "0"], ["x\ny", "1"]]


def test_no_text_of_a_table_is_a_formula_to_a_spreadsheet(tmp_path: Path) -> None:
    FileSink(tmp_path).write([Table("mviz/t", ["=a", "b"], [[text, -1.5] for text in FORMULAS])], 0)
    head, *rows = cells(tmp_path / "t.csv")
    assert head == ["'=a", "b"]
    assert rows == [["'" + text.replace("\r", "\n"), "-1.5"] for text in FORMULAS]


@pytest.mark.parametrize("text", ["-1", "+2.5", "-1e-05", "a=b", "word", "", "'=1", "1-2"])
def test_numbers_and_other_texts_stay_as_they_are(tmp_path: Path, text: str) -> None:
    FileSink(tmp_path).write([Table("mviz/t", ["a", "b"], [[text, 0]])], 0)
    assert cells(tmp_path / "t.csv")[1] == [text, "0"]


DEVICES = ["con", "CON", "nul", "aux", "prn", "com1", "LPT9", "com¹", "nul.x", "con .x"]


@pytest.mark.parametrize("name", DEVICES)
def test_no_file_has_the_name_of_a_device(tmp_path: Path, name: str) -> None:
    FileSink(tmp_path).write([MarkdownText(f"mviz/{name}/{name}", "x")], 0)
    (file,) = tmp_path.rglob("*.md")
    for part in file.relative_to(tmp_path).parts:
        assert part.partition(".")[0].rstrip(" ").lower() != name.partition(".")[0].rstrip(" ").lower()


@pytest.mark.parametrize("name", ["console", "com", "com10", "lpt", "auxiliary", "nul_", "a.con", "größe", "nan"])
def test_names_of_no_device_stay(name: str) -> None:
    assert portable_name(name) == name


@pytest.mark.parametrize("letter", ["a", "ä", "界", "𠀀", "☃", "\ud800"])
def test_a_file_and_its_unfinished_file_have_names_of_255_bytes_at_most(tmp_path: Path, letter: str) -> None:
    keys = [f"mviz/{letter * 300}/{letter * 300}{end}" for end in "ab"]
    FileSink(tmp_path).write([Picture(key, PIXELS, keep=True) for key in keys], 123_456_789_012)
    files = list(tmp_path.rglob("*.png"))
    assert len(files) == 2
    assert all(len(f".{path.name}.half".encode()) <= 255 for path in files)


def test_keys_that_file_systems_take_for_one_have_a_file_each(tmp_path: Path) -> None:
    sink, keys = FileSink(tmp_path), ["mviz/a:b", "mviz/a?b", "mviz/A/x", "mviz/a/x", "mviz/a/X"]
    for turn in "12":
        sink.write([MarkdownText(key, f"{key} {turn}") for key in keys], 0)
    found = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.md")}
    assert sorted(found.values()) == sorted(f"{key} 2" for key in keys)
    assert len({path.casefold() for path in found}) == len(keys)


@pytest.mark.parametrize("text", ["```\n![x](http://x/y.png)\n```", "a\n``````\n# b", "`", "~~~\n<b>"])
@pytest.mark.filterwarnings("ignore:html5lib:DeprecationWarning")
def test_nothing_in_a_text_ends_the_block_that_shows_it(text: str) -> None:
    from tensorboard.plugin_util import markdown_to_safe_html

    shown = markdown_to_safe_html(fenced(text))
    assert shown.startswith("<pre><code>")
    assert shown.count("<") == 4  # pre, code, and their ends
    assert shown.endswith("</code></pre>")


MARKUP = [
    "<script>x</script>",
    "![i](http://x/y.png)",
    "[a](javascript:x)",
    "# h",
    "a|b",
    "<img src=x onerror=y>",
    "`c`",
]


@pytest.mark.filterwarnings("ignore:html5lib:DeprecationWarning")
def test_markup_in_a_cell_is_no_markup_in_tensorboard() -> None:
    from html import unescape

    from tensorboard.plugin_util import markdown_to_safe_html

    shown = markdown_to_safe_html(markdown_table(Table("t", MARKUP, [MARKUP])))
    lines = [line for line in shown.splitlines() if line.startswith(("<td>", "<th>"))]
    assert [unescape(line[4:-5]) for line in lines] == [*MARKUP, *MARKUP]


def test_markup_in_an_alert_is_no_markup_in_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("wandb.Html", lambda page: shown.append(page))

    class Run:
        def __getattr__(self, name: str) -> Any:
            return lambda *given, **named: None

    class Logger:
        experiment = Run()

    WandbSink(Logger()).write([Alert("mviz/alarm/a", "t", "</pre><script>x</script>&amp;")], 0)
    assert "&lt;/pre&gt;&lt;script&gt;x&lt;/script&gt;&amp;amp;" in shown[0]
    assert shown[0].count("<") == 2


@pytest.mark.parametrize("key", ["mviz/total/größe", "mviz/总/图像", "mviz/चित्र", "mviz/😀", "mviz/\udcff"])
def test_keys_are_ascii_and_stay_apart(key: str) -> None:
    assert portable_key(key).isascii()
    assert portable_key(key) != portable_key(f"{key}ö")
    assert portable_key("mviz/total/image") == "mviz/total/image"
