"""What is kept of a run is appended line by line: whole, once, and whatever happened to the last line."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.disk import SmallDisk

from mviz_lightning.sinks.archive import ALERTS, DESCRIPTION, EXAMPLES, EXPLANATIONS, Archive

WORDS = {"kind": "text", "segments": ["a", "b"], "view": {"view": "words"}}
"""What is kept of a text."""


def example(position: int = 7, **changed: object) -> dict:
    line = {"position": position, "stage": "fit", "target": 1, "target_name": "cat", "modalities": {"text": WORDS}}
    return line | changed


def text(*segments: str) -> dict:
    return {"text": WORDS | {"segments": list(segments)}}


def lines(folder: Path, name: str) -> list[dict]:
    path = folder / name
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def ids(folder: Path, *added: dict) -> list[str]:
    """Return the ids that an archive gives to examples which are written at once."""
    archive = Archive(folder)
    found = [archive.add_example(line) for line in added]
    archive.write()
    return found


def test_an_example_is_written_once(tmp_path):
    assert ids(tmp_path, example(), example(), example(8)) == ["7", "7", "8"]
    assert [line["id"] for line in lines(tmp_path, EXAMPLES)] == ["7", "8"]
    assert lines(tmp_path, EXAMPLES)[0] == {"id": "7", **example()}


def test_another_example_at_the_same_position_has_an_id_of_its_own(tmp_path):
    other, third = example(modalities=text("c")), example(target=2)
    assert ids(tmp_path, example(), other, example(), third, other) == ["7", "7 (2)", "7", "7 (3)", "7 (2)"]
    assert [line["id"] for line in lines(tmp_path, EXAMPLES)] == ["7", "7 (2)", "7 (3)"]


def test_a_process_that_resumes_gives_the_same_ids(tmp_path):
    other = example(modalities=text("c"))
    before = ids(tmp_path, example(), other)
    assert ids(tmp_path, other, example(), example(modalities=text("d"))) == [*before[::-1], "7 (3)"]
    assert [line["id"] for line in lines(tmp_path, EXAMPLES)] == ["7", "7 (2)", "7 (3)"]


def test_modalities_that_come_later_have_a_line_of_their_own(tmp_path):
    """A further head may read other modalities of the same examples; its target is another."""
    more = example(target=None, modalities={"text": WORDS, "image": {"view": {}}})
    assert ids(tmp_path, example(), more, more, example()) == ["7"] * 4
    assert [list(line["modalities"]) for line in lines(tmp_path, EXAMPLES)] == [["text"], ["image"]]


def test_hidden_inputs_are_told_apart_by_target_and_stage(tmp_path):
    hidden = example(inputs=False)
    tested = example(inputs=False, stage="test")
    assert ids(tmp_path, hidden, hidden, tested, tested | {"target": 2}) == ["7", "7", "7 (2)", "7 (3)"]
    assert ids(tmp_path, tested, hidden) == ["7 (2)", "7"]


def test_shown_inputs_are_the_same_example_in_each_stage(tmp_path):
    assert ids(tmp_path, example(), example(stage="validate")) == ["7", "7"]


@pytest.mark.parametrize("file", [EXAMPLES, EXPLANATIONS, ALERTS])
@pytest.mark.parametrize("half", [b'{"id": "3", "posit', b"\xff\xfe", b"[[[[", b"null", b'"text"'])
def test_a_half_line_does_not_swallow_the_next(tmp_path, file, half):
    (tmp_path / file).write_bytes(half)
    archive = Archive(tmp_path)
    archive.add_example(example())
    archive.add_explanation({"method": "dime"})
    archive.add_alert({"title": "text: collapsed"})
    archive.write()
    last = (tmp_path / file).read_bytes().split(b"\n")
    assert last[0] == half
    assert len(last) == 3
    assert isinstance(json.loads(last[1]), dict)


def test_numbers_have_six_digits_and_what_json_cannot_hold_is_null(tmp_path):
    archive = Archive(tmp_path)
    archive.add_explanation({"weights": np.array([1 / 3, np.nan, -1234567.8]), "r2": float("inf"), "head": ""})
    archive.write()
    assert lines(tmp_path, EXPLANATIONS) == [{"weights": [0.333333, None, -1234570.0], "r2": None, "head": ""}]


@pytest.mark.parametrize("word", ["\ud800 alone", "\u2028", "a\nb\r\x00\x1b[0m", "</script>", "🦉"])
def test_any_text_is_one_line_and_comes_back(tmp_path, word):
    ids(tmp_path, example(modalities=text(word), target_name=word))
    assert len((tmp_path / EXAMPLES).read_bytes().splitlines()) == 1
    (found,) = lines(tmp_path, EXAMPLES)
    assert (found["modalities"]["text"]["segments"], found["target_name"]) == ([word], word)


def test_nothing_is_created_before_the_first_line(tmp_path):
    archive = Archive(tmp_path / "mviz")
    archive.write()
    assert list(tmp_path.iterdir()) == []


def test_the_description_is_replaced_where_it_changed_alone(tmp_path):
    archive, path = Archive(tmp_path), tmp_path / DESCRIPTION
    archive.describe({"name": "mviz", "finished": None})
    written = path.stat().st_mtime_ns
    archive.describe({"name": "mviz", "finished": None})
    assert path.stat().st_mtime_ns == written
    archive.describe({"name": "mviz", "finished": "now"})
    assert json.loads(path.read_text()) == {"format": 1, "name": "mviz", "finished": "now"}
    assert list(tmp_path.iterdir()) == [path]


def written(archive: Archive, epoch: int) -> None:
    """Keep what one run finds."""
    archive.add_explanation({"method": "dime", "epoch": epoch, "example": archive.add_example(example(epoch))})
    archive.add_alert({"epoch": epoch, "text": "the model no longer relies on it"})
    archive.write()


def test_lines_of_a_full_disk_are_written_whole_and_once_when_there_is_space_again(tmp_path, monkeypatch):
    for left in range(0, 900, 13):
        folder = tmp_path / str(left)
        folder.mkdir()
        archive = Archive(folder)
        with monkeypatch.context() as patch:
            patch.setattr(io, "open", SmallDisk(left))
            for epoch in range(3):
                try:
                    written(archive, epoch)
                except OSError:
                    continue
        assert all(whole_file(folder / name) for name in (EXAMPLES, EXPLANATIONS, ALERTS))
        known = {line["id"] for line in lines(folder, EXAMPLES)}
        assert {line["example"] for line in lines(folder, EXPLANATIONS)} <= known
        written(archive, 3)
        assert [line["id"] for line in lines(folder, EXAMPLES)] == ["0", "1", "2", "3"]
        for name in (EXPLANATIONS, ALERTS):
            assert [line["epoch"] for line in lines(folder, name)] == [0, 1, 2, 3]


def whole_file(path: Path) -> bool:
    return not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
