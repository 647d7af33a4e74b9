"""The report page as a file: nothing in it loads or runs but our own script, it is small, and written in one step."""

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers.stored_runs import HOSTILE, write_run

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.report import write_page
from mviz_lightning.report.packing import FEWEST, pack_numbers, packed_lines
from mviz_lightning.report.page import ASSETS, SCRIPTS, STYLES
from mviz_lightning.report.payload import safe_json

MEGABYTE = 1_000_000


class Elements(HTMLParser):
    """Collects the elements of a page and the texts within scripts and styles."""

    def __init__(self, page: Path):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.is_open = False
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self.texts.append("")
        self.is_open = True

    def handle_endtag(self, tag):
        self.is_open = False

    def handle_data(self, data):
        if self.is_open:
            self.texts[-1] += data

    def named(self, name):
        return [(tag[1], text) for tag, text in zip(self.found, self.texts, strict=True) if tag[0] == name]

    @property
    def policy(self):
        return next(one["content"] for one, _ in self.named("meta") if "http-equiv" in one)

    @property
    def payload(self):
        return json.loads(next(text for one, text in self.named("script") if one.get("id") == "data"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run") / "mviz", epochs=3, examples=4)


@pytest.fixture
def page(run, tmp_path):
    return write_page(run, tmp_path / "page.html")


def test_a_page_lies_in_the_folder_of_the_run_and_that_of_several_in_the_folder_of_the_first(tmp_path):
    first, second = (write_run(tmp_path / name / "mviz", epochs=1, examples=2) for name in ("a", "b"))
    assert write_page(tmp_path / "a") == first / "report.html"
    assert write_page([tmp_path / "b", first]) == second / "comparison.html"
    assert {path.name for path in first.glob("*.html")} == {"report.html"}


def test_a_page_loads_nothing(page):
    elements = Elements(page)
    assert {tag for tag, _ in elements.found} <= {
        *("html", "head", "meta", "title", "link", "style", "body", "a", "header", "h1", "div", "main", "noscript"),
        *("p", "code", "script"),
    }
    assert [one["href"] for one, _ in elements.named("link")] == ["data:,"]
    assert not [name for _, one in elements.found for name in one if name in {"src", "style"} or name.startswith("on")]
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page.read_text("utf-8"))


def test_the_policy_allows_our_own_script_and_style_alone(page):
    elements = Elements(page)
    hashes = {
        kind: [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for one, text in elements.named(kind)]
        for kind in ("style", "script")
    }
    assert elements.policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes['style'][0]}'; "
        f"script-src 'sha256-{hashes['script'][1]}'; base-uri 'none'; form-action 'none'"
    )


def test_hostile_names_are_text_and_nothing_else(tmp_path):
    folder = write_run(tmp_path / "mviz", epochs=2, examples=15, hostile=True)
    page = write_page(folder, tmp_path / "page.html")
    elements = Elements(page)
    assert Counter(tag for tag, _ in elements.found)["script"] == 2
    assert Counter(tag for tag, _ in elements.found)["img"] == 0
    data = next(text for one, text in elements.named("script") if one.get("id") == "data")
    assert not set("<>&\u2028\u2029") & set(data)
    assert elements.payload["runs"][0]["description"]["heads"][0]["class_names"][0] == HOSTILE[0]


@pytest.mark.parametrize("text", [*HOSTILE, "\ud800", "\x00"])
def test_json_within_html_holds_no_letter_that_html_reads_and_is_the_same_text(text):
    written = safe_json({text: [text]})
    assert not set("<>&\u2028\u2029") & set(written)
    assert written.isascii()
    assert json.loads(written) == {text: [text]}


def test_a_run_whose_name_is_a_script_has_it_as_title(tmp_path):
    folder = write_run(tmp_path / "mviz", epochs=1, examples=2, name="</title><script>hacked()</script>\ud800")
    elements = Elements(write_page(folder))
    assert elements.named("title")[0][1] == "</title><script>hacked()</script>?"
    assert len(elements.named("script")) == 2


def test_numbers_that_are_not_finite_are_null():
    assert safe_json({"a": float("nan"), "b": [float("inf"), 1.5]}) == '{"a":null,"b":[null,1.5]}'


# ---- size


@pytest.mark.slow
def test_100_epochs_of_16_examples_take_less_than_5_megabytes(tmp_path):
    page = write_page(write_run(tmp_path / "mviz", epochs=100, examples=16))
    assert page.stat().st_size < 5 * MEGABYTE


def test_packed_numbers_are_the_numbers_but_for_rounding():
    numbers = np.random.default_rng(0).normal(0, 1e6, (5, 7))
    kind, scale, shape, data = pack_numbers(numbers.tolist()).split(" ")
    found = float(scale) * np.frombuffer(base64.b64decode(data), dtype="<f2").astype(float)
    assert (kind, shape) == ("f16", "5x7")
    np.testing.assert_allclose(found.reshape(5, 7), numbers, rtol=2**-11, atol=2**-24 * float(scale))


def test_missing_and_zero_numbers_are_packed_too():
    data = pack_numbers([None, 0.0]).split(" ")[3]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(data), dtype="<f2"), [np.nan, 0])


def test_only_weights_are_packed():
    many = [0.5] * FEWEST
    (table,) = packed_lines([{"result": "dime", "weights": {"image": {"uc": many, "mi": many[1:]}}, "values": many}])
    weights = table["same"]["weights"]["image"]
    assert weights["uc"].startswith("f16 0.5 8 ")
    assert weights["mi"] == many[1:]
    assert table["same"]["values"] == many


def test_tables_of_lines_hold_all_lines_in_their_order():
    lines = [{"result": "dime", "epoch": 0}, {"result": "errors", "list": "worst"}, {"result": "dime", "epoch": 1}]
    found = {}
    for table in packed_lines(lines):
        for number, row in zip(table["at"], table["rows"], strict=True):
            found[number] = table["same"] | dict(zip(table["fields"], row, strict=True))
    assert [found[number] for number in range(3)] == lines


# ---- pictures


def test_pictures_lie_in_the_page(page):
    views = [one["modalities"]["image"]["view"] for one in Elements(page).payload["runs"][0]["examples"].values()]
    assert all(base64.b64decode(view["webp"])[:4] == b"RIFF" for view in views)
    assert not list(page.parent.glob("*_pictures"))


def test_pictures_lie_beside_the_page(run, tmp_path):
    page = write_page(run, tmp_path / "my page.html", pictures="beside")
    elements = Elements(page)
    views = [one["modalities"]["image"]["view"] for one in elements.payload["runs"][0]["examples"].values()]
    files = sorted((tmp_path / "my page_pictures").iterdir())
    assert {view["href"] for view in views} == {f"my%20page_pictures/{file.name}" for file in files}
    assert all(file.read_bytes()[:4] == b"RIFF" for file in files)
    assert not any("webp" in view for view in views)
    assert "img-src data: 'self' file:;" in elements.policy


def test_pictures_of_hostile_names_lie_in_their_folder(tmp_path):
    folder = write_run(tmp_path / "mviz", epochs=1, examples=3, modalities={"../../evil": "image", "t": "text"})
    write_page(folder, tmp_path / "page.html", pictures="beside")
    assert {path.name for path in tmp_path.iterdir()} == {"mviz", "page.html", "page_pictures"}
    assert all(path.suffix == ".webp" for path in (tmp_path / "page_pictures").iterdir())


def test_a_damaged_picture_is_left_out(tmp_path):
    folder = write_run(tmp_path / "mviz", epochs=1, examples=2)
    file = folder / "examples.jsonl"
    file.write_text(re.sub(r'"webp": "[^"]*"', '"webp": "no base64!"', file.read_text("utf-8")), encoding="utf-8")
    examples = Elements(write_page(folder, pictures="beside")).payload["runs"][0]["examples"].values()
    assert not any({"href", "webp"} & set(one["modalities"]["image"]["view"]) for one in examples)


# ---- arguments and files


def test_other_places_of_pictures_are_refused(run):
    with pytest.raises(ConfigurationError, match="pictures='nowhere' is neither 'inline' nor 'beside'"):
        write_page(run, pictures="nowhere")


def test_a_page_of_no_run_is_refused():
    with pytest.raises(ConfigurationError, match="folders is empty: pass the folder of a run"):
        write_page([])


def test_a_folder_without_a_run_is_named_with_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigurationError, match=r"holds no run of the monitor.*notes\.txt"):
        write_page(tmp_path)


def test_a_page_that_cannot_be_written_leaves_the_one_before(run, tmp_path, monkeypatch):
    page = write_page(run, tmp_path / "page.html")
    before = page.read_bytes()
    written = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda path, data: (written(path, data[:100]), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        write_page(run, page)
    assert page.read_bytes() == before
    assert list(tmp_path.iterdir()) == [page]


def test_a_run_of_an_older_version_has_a_page_of_its_history(tmp_path):
    folder = write_run(tmp_path / "logs" / "version_3" / "mviz", epochs=2, examples=2)
    for file in folder.iterdir():
        if file.name != "history.jsonl":
            file.unlink()
    run = Elements(write_page(folder)).payload["runs"][0]
    assert (run["name"], len(run["history"]), run["examples"]) == ("logs/version_3", 4, {})


# ---- the parts of the script


def test_every_part_of_script_and_style_is_on_the_page_and_short():
    parts = [path for path in ASSETS.iterdir() if path.suffix in {".js", ".css"}]
    assert {path.name for path in parts} == {*SCRIPTS, *STYLES}
    long = {path.name: lines for path in parts if (lines := len(path.read_text("utf-8").splitlines())) > 350}
    assert {name for name in long if name.endswith(".js")} == set()


def test_the_parts_of_the_script_define_no_name_twice():
    text = "\n".join((ASSETS / name).read_text("utf-8") for name in SCRIPTS)
    names = re.findall(r"^(?:async )?(?:function|const|let|class)\s+([A-Za-z_$][\w$]*)", text, re.MULTILINE)
    assert [name for name, times in Counter(names).items() if times > 1] == []
    assert len(names) > 200


def test_the_script_never_makes_elements_from_text():
    text = "\n".join((ASSETS / name).read_text("utf-8") for name in SCRIPTS)
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "fetch("):
        assert word not in text, word
