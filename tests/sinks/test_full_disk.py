"""Files on a disk that is full: each is whole, as it was before or as it should be, and nothing is lost for good."""

import io
import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from helpers.disk import SmallDisk

from mviz_lightning.sinks import FileSink, SinkError
from mviz_lightning.sinks.records import Alert, MarkdownText, Picture, RunRecord, Sound, Table

ROWS = [RunRecord("fit", epoch, 10 * epoch, {"total/image": epoch / 7, "score": float("nan")}) for epoch in range(4)]


def records(step: int) -> list:
    """Return a record of each kind, whose file tells the step."""
    return [
        Picture("mviz/shares", np.full((4, 5, 3), step, np.uint8)),
        Table("mviz/table", ["step", "text"], [(float(step), "a, b")]),
        MarkdownText("mviz/summary", f"# {step}"),
        Sound("mviz/sound", np.full((10, 1), step, np.int16), 8000),
        Alert("mviz/collapse/image/alert", f"at {step}", "two\nlines"),
    ]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def whole(folder: Path, step: int) -> dict[str, bytes]:
    """Return what files hold after some steps."""
    sink = FileSink(folder)
    for one in range(1, step + 1):
        sink.write(records(one), one)
    return content(folder)


@pytest.mark.parametrize("eighths", range(9))
def test_a_full_disk_leaves_each_file_as_it_was_or_as_it_should_be(tmp_path, monkeypatch, eighths):
    first, second = whole(tmp_path / "first", 1), whole(tmp_path / "second", 2)
    sink = FileSink(tmp_path / "found")
    sink.write(records(1), 1)
    with monkeypatch.context() as patch:
        patch.setattr(io, "open", SmallDisk(sum(map(len, second.values())) * eighths // 8))
        full = pytest.raises(SinkError, match="not written: OSError: .*No space left on device")
        with full if eighths < 8 else nullcontext():
            sink.write(records(2), 2)
    found = content(tmp_path / "found")
    assert found.keys() == first.keys()
    assert all(data in (first[name], second[name]) for name, data in found.items())
    assert found == {0: first, 8: second}.get(eighths, found)


def rows_in(path: Path) -> list[int]:
    return [json.loads(line)["epoch"] for line in path.read_text().splitlines()] if path.exists() else []


def test_runs_of_a_full_disk_are_written_whole_and_once_when_there_is_space_again(tmp_path, monkeypatch):
    FileSink(tmp_path).row(ROWS[0])
    for left in range(0, 3 * (tmp_path / "history.jsonl").stat().st_size, 7):
        path, sink = tmp_path / str(left) / "history.jsonl", FileSink(tmp_path / str(left))
        with monkeypatch.context() as patch:
            patch.setattr(io, "open", SmallDisk(left))
            for row in ROWS[:3]:
                try:
                    sink.row(row)
                except OSError:
                    continue
            assert rows_in(path) == list(range(len(rows_in(path))))
            assert path.read_bytes()[-1:] in (b"", b"\n")
        sink.row(ROWS[3])
        assert rows_in(path) == [0, 1, 2, 3]


def test_an_interrupt_in_the_middle_of_a_line_leaves_no_half(tmp_path, monkeypatch):
    sink = FileSink(tmp_path)
    sink.row(ROWS[0])

    def interrupted(self, data):
        io.FileIO.write(self, bytes(data)[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(io, "open", SmallDisk(1000))
        patch.setattr("helpers.disk._Limited.write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sink.row(ROWS[1])
    assert rows_in(tmp_path / "history.jsonl") == [0]
    sink.row(ROWS[2])
    assert rows_in(tmp_path / "history.jsonl") == [0, 1, 2]
