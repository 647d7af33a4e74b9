"""The command line: what it prints, where it writes, and what a wrong argument costs."""

import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest
from helpers.stored_runs import write_run

from mviz_lightning.cli import main


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Two runs of a logger, as the monitor keeps them."""
    folder = tmp_path_factory.mktemp("logs") / "lightning_logs"
    for number in range(2):
        write_run(folder / f"version_{number}" / "mviz", epochs=2)
    return folder


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(capsys, *arguments):
    """Return the line on standard error of a command that fails."""
    assert main([str(one) for one in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize("below", ["", "mviz"])
def test_a_run_is_the_loggers_folder_or_the_monitors(logs, capsys, below):
    page = logs / "version_0" / "mviz" / "report.html"
    page.unlink(missing_ok=True)
    assert main(["report", str(logs / "version_0" / below)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{page} (")
    assert said.endswith("B)\n")
    assert page.read_text("utf-8").startswith("<!")


def test_several_runs_are_compared_in_the_current_folder(logs, tmp_path, capsys):
    assert main(["report", str(logs / "version_0"), str(logs / "version_1")]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'report.html'} (")


def test_the_page_lies_where_it_is_asked_for_and_is_opened(logs, tmp_path, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    assert main(["report", str(logs / "version_0"), "--output", "my page.html", "--open", "--pictures", "beside"]) == 0
    assert (tmp_path / "my page.html").is_file()
    assert opened == [(tmp_path / "my page.html").as_uri()]


def test_where_no_browser_starts_the_program_says_so(logs, capsys, monkeypatch):
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    assert main(["report", str(logs / "version_0"), "--output", "page.html", "--open"]) == 0
    assert capsys.readouterr().out.endswith("no browser could be started; open the file by hand\n")


def test_a_folder_of_runs_is_no_run_and_names_them(logs, capsys):
    said = refused(capsys, "report", logs)
    assert f"{logs} holds no run of the monitor itself; give one of these runs: " in said
    assert f"{logs / 'version_0' / 'mviz'}" in said


def test_a_folder_that_is_not_there_names_the_runs_beside_it(logs, capsys):
    said = refused(capsys, "report", logs / "version_9")
    assert f"{logs / 'version_9'}: there is no such folder; give one of these runs: " in said


def test_a_folder_without_a_run_is_named_with_what_it_holds(tmp_path, capsys):
    (tmp_path / "other").mkdir()
    assert "other holds no run of the monitor; it is empty. Give the folder of a training" in refused(
        capsys, "report", "other"
    )
    for number in range(8):
        (tmp_path / "other" / f"{number}.txt").touch()
    said = refused(capsys, "report", "other")
    assert "it holds 0.txt, 1.txt, 2.txt, 3.txt, 4.txt, 5.txt and 2 more. Give" in said


def test_a_file_is_no_run(logs, capsys):
    said = refused(capsys, "report", logs / "version_0" / "mviz" / "history.jsonl")
    assert "history.jsonl is a file, not the folder of a run; give one of these runs: " in said


def test_of_several_monitors_one_is_asked_for(tmp_path, capsys):
    for name in ("audio", "mviz"):
        write_run(tmp_path / "run" / name, epochs=1)
    said = refused(capsys, "report", "run")
    assert "run holds 2 runs; give one of run/audio, run/mviz." in said


def test_a_folder_is_no_output(logs, capsys):
    assert "--output . is a folder; give a file: --output report.html." in refused(
        capsys, "report", logs / "version_0", "--output", "."
    )


def test_a_file_that_cannot_be_written_is_told_in_a_line(logs, tmp_path, capsys):
    Path("file").touch()
    said = refused(capsys, "report", logs / "version_0", "--output", "file/page.html")
    assert said.startswith("python -m mviz_lightning: ")
    assert "the page cannot be written to file/page.html: File exists; name a file in a folder of yours" in said


@pytest.mark.parametrize("arguments", [["report"], ["unknown"], ["report", "x", "--pictures", "none"]])
def test_wrong_arguments_have_the_exit_code_2(capsys, arguments):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "usage: python -m mviz_lightning" in capsys.readouterr().err


def test_without_a_command_the_help_is_printed(capsys):
    assert main([]) == 0
    assert "write the report page of one run" in capsys.readouterr().out


def test_the_help_of_the_command_has_examples(capsys):
    with pytest.raises(SystemExit) as left:
        main(["report", "--help"])
    assert left.value.code == 0
    assert "python -m mviz_lightning report lightning_logs/version_3 --open" in capsys.readouterr().out


def test_hostile_names_of_folders_are_printed_as_they_can_be(capsys):
    assert "x\\udce4" in refused(capsys, "report", "x\udce4")


@pytest.mark.slow
def test_the_package_is_a_program():
    command = [sys.executable, "-m", "mviz_lightning", "--version"]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    assert found.stdout.startswith("mviz-lightning 0.")


@pytest.mark.parametrize("output", ["taken/page.html", "/proc/page.html", "a\0b.html", f"{'y' * 300}.html"])
def test_a_page_that_cannot_be_written_is_named_with_the_reason_and_a_way_out(logs, tmp_path, capsys, output):
    (tmp_path / "taken").write_text("a file in the way")
    said = refused(capsys, "report", logs / "version_0", "--output", output)
    assert "the page cannot be written to " in said
    assert said.endswith("; name a file in a folder of yours: --output report.html\n")
    assert "Errno" not in said
    assert ".half" not in said


@pytest.mark.parametrize("given", ["file.txt", "missing"])
def test_where_no_run_is_near_the_program_says_what_to_give(tmp_path, capsys, given):
    (tmp_path / "file.txt").touch()
    assert refused(capsys, "report", given).endswith(
        "Give the folder of a training with MultimodalMonitor, which has a folder mviz with history.jsonl.\n"
    )


def test_the_whole_disk_is_not_searched_for_runs(capsys, monkeypatch):
    monkeypatch.setattr(Path, "glob", lambda *_: pytest.fail("searched"))
    assert "/no such folder/version_0: there is no such folder. Give " in refused(
        capsys, "report", "/no such folder/version_0"
    )
