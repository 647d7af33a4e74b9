"""A run comes back as it was written, and what is damaged costs only itself."""

import builtins
import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.stored_runs import write_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mviz_lightning import ConfigurationError
from mviz_lightning.report import find_runs, load
from mviz_lightning.report.page import write_page
from mviz_lightning.report.stored_lines import stored_lines
from mviz_lightning.sinks import FileSink
from mviz_lightning.sinks.archive import ALERTS, DESCRIPTION, EXAMPLES, EXPLANATIONS, HISTORY, Archive
from mviz_lightning.sinks.records import RunRecord

FILES = (HISTORY, EXAMPLES, EXPLANATIONS, ALERTS)

ON_A_BUSY_MACHINE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
"""Checks of hypothesis that are left out: the folder is put back by the test, and a busy machine draws slowly."""

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
"""Whatever a line may hold."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with an alarm; tests leave it as it is."""
    return write_run(tmp_path_factory.mktemp("run") / "version_0" / "mviz", epochs=4, examples=3, alarm=(1, 2))


@pytest.fixture
def copied(stored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stored, tmp_path / "version_0" / "mviz"))


def rounded(value: Any) -> Any:
    """Return plain data as a file of six digits holds it."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


def explanation(**changed: Any) -> dict[str, Any]:
    line = {"method": "dime", "result": "dime", "stage": "fit", "epoch": 0, "step": 10, "head": "", "example": "7"}
    return line | {"output": 1} | changed


def written(folder: Path, *explanations: dict[str, Any]) -> Any:
    archive = Archive(folder)
    archive.describe({"name": "mviz"})
    for line in explanations:
        archive.add_explanation(line)
    archive.write()
    return load(folder)


def test_a_whole_run_comes_back(stored):
    run = load(stored)
    assert run.name == "openmoji/version_0"
    assert run.modalities == ["image", "text"]
    assert [row.epoch for row in run.history if row.stage == "fit"] == [0, 1, 2, 3]
    assert [(one.title, one.urgent) for one in run.alerts] == [("image: collapsed", True), ("image: used", False)]
    assert len(run.examples) == 3
    assert {one.method for one in run.explanations} >= {"dime", "importance", "cross_modal", "prediction", "errors"}
    assert run.remarks == []
    assert str(run).splitlines() == [
        f"openmoji/version_0: 6 runs, 1 alarms, 3 examples, {len(run.explanations)} explanations"
    ]


def test_the_loggers_folder_is_that_of_its_run(stored):
    assert load(stored.parent).folder == stored
    assert load(str(stored)).history == load(stored.parent).history


def test_weights_belong_to_the_segments_of_their_example(stored):
    run = load(stored)
    for one in run.explained("dime"):
        modality = run.examples[one.example].modalities["image"]
        assert one.weights("image", "uc").shape == (len(modality.segments),)
        assert modality.index.shape == modality.picture.shape[:2]
        assert set(np.unique(modality.index)) <= {-1, *range(len(modality.segments))}
    first = run.explained("dime", example="4")
    assert {one.example for one in first} == {"4"}
    assert [one.epoch for one in first if one.stage == "fit"] == sorted(
        one.epoch for one in first if one.stage == "fit"
    )


def test_weights_that_are_not_there_are_named(stored):
    one = load(stored).explained("dime")[0]
    with pytest.raises(ConfigurationError, match=r"weights\('sound', 'uc'\) of dime: .* with weights are image"):
        one.weights("sound", "uc")


def test_results_print_in_a_line(stored):
    run = load(stored)
    for one in (run, *run.examples.values(), run.explanations[0], run.alerts[0]):
        assert len(repr(one)) < 400


@given(value=PLAIN, name=st.text(max_size=5).filter(lambda name: name not in explanation()))
@settings(max_examples=60, suppress_health_check=ON_A_BUSY_MACHINE, deadline=None)
def test_what_is_written_is_what_comes_back(tmp_path_factory, value, name):
    run = written(tmp_path_factory.mktemp("run"), explanation(**{name: value}))
    (found,) = run.explanations
    assert found.fields == {"output": 1, name: rounded(value)}
    assert (found.method, found.epoch, found.step, found.example) == ("dime", 0, 10, "7")


@given(values=st.dictionaries(st.text(max_size=9).filter(lambda key: not key.startswith("collapse/")), st.floats()))
@settings(max_examples=60, suppress_health_check=ON_A_BUSY_MACHINE, deadline=None)
def test_the_history_comes_back_with_all_digits(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("run")
    row = RunRecord("fit", 1, 20, values, "a note", {"skill": 0.1}, ["noun"])
    FileSink(folder).row(row)
    (found,) = load(folder).history
    finite = {name: value if math.isfinite(value) else math.nan for name, value in values.items()}
    assert found.values == pytest.approx(finite, rel=0, abs=0, nan_ok=True)
    assert (found.phase, found.epoch, found.step, found.note, found.heads) == ("fit", 1, 20, "a note", ["noun"])


def test_a_run_of_an_older_version_has_a_history_alone(tmp_path):
    FileSink(tmp_path).row(RunRecord("fit", 0, 10, {"total/image": 0.4, "total/text": 0.6, "noun/total/text": 0.2}))
    run = load(tmp_path)
    assert (run.modalities, run.description, run.examples, run.explanations) == (["image", "text"], {}, {}, [])
    assert run.name == "/".join(tmp_path.resolve().parts[-3:-1])


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_at_any_byte_loads_up_to_there(copied, name):
    path, draws = copied / name, random.Random(0)
    whole = path.read_bytes()
    for length in (0, 1, len(whole) - 1, *sorted(draws.sample(range(len(whole)), 40))):
        path.write_bytes(whole[:length])
        found = stored_lines(copied)
        kept = {
            HISTORY: found.history,
            EXAMPLES: found.examples,
            EXPLANATIONS: found.explanations,
            ALERTS: found.alerts,
        }
        cut = whole[:length].rpartition(b"\n")[2]
        is_whole = not cut or whole[length : length + 1] in (b"\n", b"")
        assert len(kept[name]) == whole[:length].count(b"\n") + (bool(cut) and is_whole)
        assert found.remarks == (
            [] if is_whole else [f"{name}: 1 of {len(kept[name]) + 1} lines are damaged, and left out"]
        )
        load(copied)


@pytest.mark.parametrize("garbage", ["{", "null", "[]", "3", "{}", '"', "\x00\x01", "[" * 100_000, "9" * 10_000, "�"])
@pytest.mark.parametrize("name", FILES)
def test_a_garbage_line_costs_only_itself(copied, name, garbage):
    before = load(copied)
    whole = (copied / name).read_text("utf-8").splitlines()
    (copied / name).write_text("\n".join([whole[0], garbage, *whole[1:]]) + "\n", "utf-8", "replace")
    found = load(copied)
    assert (found.history, found.alerts, found.explanations) == (before.history, before.alerts, before.explanations)
    assert found.examples.keys() == before.examples.keys()
    assert found.remarks == [f"{name}: 1 of {len(whole) + 1} lines are damaged, and left out"]


@pytest.mark.parametrize("modality", [None, 3, "image", [], {}])
def test_a_damaged_modality_costs_only_itself(copied, modality):
    first, *others = (copied / EXAMPLES).read_text("utf-8").splitlines()
    line = json.loads(first)
    line["modalities"]["damaged"] = modality
    (copied / EXAMPLES).write_text("\n".join([json.dumps(line), *others]) + "\n")
    assert "damaged" not in load(copied).examples[line["id"]].modalities
    assert load(copied).examples[line["id"]].modalities


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=150, suppress_health_check=ON_A_BUSY_MACHINE, deadline=None)
def test_a_line_with_any_field_changed_loads(copied, data):
    name = data.draw(st.sampled_from(FILES))
    original = (copied / name).read_bytes()
    first = json.loads(original.splitlines()[0])
    key = data.draw(st.sampled_from(sorted(first)))
    first[key] = data.draw(PLAIN)
    (copied / name).write_text(json.dumps(first) + "\n")
    try:
        run = load(copied)
        assert len(run.history) + len(run.examples) + len(run.explanations) > 0
        assert all(isinstance(text, str) for text in [str(run), repr(run), *map(repr, run.explanations)])
        run.to_pandas()
    finally:
        (copied / name).write_bytes(original)


def test_a_newer_format_is_refused_with_a_word(copied):
    (copied / DESCRIPTION).write_text(json.dumps({"format": 2, "whatever": []}))
    with pytest.raises(ConfigurationError, match=r"newer version of mviz-lightning \(format 2; .* up to 1\); upgrade"):
        load(copied)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "x"}', '{"name": "mviz"}', "[" * 100_000])
def test_a_damaged_description_costs_only_itself(copied, content):
    (copied / DESCRIPTION).write_text(content)
    run = load(copied)
    assert (run.description, len(run.examples)) == ({}, 3)
    assert run.remarks == ["run.json: damaged, and left out"]


def test_lines_that_a_resumed_training_wrote_again_count_once(tmp_path):
    first = [explanation(output=output, value=1.0) for output in (0, 1)]
    other = [explanation(method="importance", value=1.0), explanation(stage="test", value=1.0)]
    again = [explanation(output=2, value=2.0)]
    run = written(tmp_path, *first, *other, *again, explanation(stage="test", value=1.0))
    assert [(one.method, one.stage, one.fields["value"]) for one in run.explanations] == [
        ("importance", "fit", 1.0),
        ("dime", "test", 1.0),
        ("dime", "fit", 2.0),
        ("dime", "test", 1.0),
    ]


def test_a_result_that_is_written_again_at_once_counts_once(tmp_path):
    result = [explanation(output=0), explanation(output=1)]
    assert len(written(tmp_path, *result, *result).explanations) == 2


def test_of_two_runs_of_one_step_the_last_counts(tmp_path):
    sink = FileSink(tmp_path)
    for step, score in ((10, 0.1), (20, 0.2), (10, 0.3), (20, 0.4)):
        sink.row(RunRecord("fit", step // 10, step, {"score": score}))
    for score in (0.5, 0.5):
        sink.row(RunRecord("test", 1, 10, {"score": score}))
    assert [row.values["score"] for row in load(tmp_path).history] == [0.3, 0.4, 0.5, 0.5]


def test_a_folder_without_a_run_is_told_with_what_it_holds(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "hparams.yaml").touch()
    with pytest.raises(ConfigurationError, match=r"no run of the monitor; it holds checkpoints, hparams\.yaml\. Give"):
        load(tmp_path)
    with pytest.raises(ConfigurationError, match="holds no run of the monitor; it is empty"):
        load(tmp_path / "checkpoints")
    with pytest.raises(ConfigurationError, match=r"hparams\.yaml is a file, not the folder of a run"):
        load(tmp_path / "hparams.yaml")
    with pytest.raises(ConfigurationError, match="nowhere: there is no such folder"):
        load(tmp_path / "nowhere")


def test_a_folder_of_runs_proposes_them(copied):
    root = copied.parent.parent
    for path in (root, root / "nowhere", copied / "history.jsonl"):
        with pytest.raises(ConfigurationError, match=f"; give one of these runs: {copied}"):
            load(path)


def test_several_monitors_in_one_folder_are_named(copied):
    shutil.copytree(copied, copied.with_name("mviz2"))
    with pytest.raises(ConfigurationError, match="holds 2 runs; give one of .*mviz, .*mviz2"):
        load(copied.parent)
    assert load(copied.with_name("mviz2")).modalities == ["image", "text"]


def test_runs_are_found_below_a_folder_in_the_order_of_their_numbers(copied):
    root = copied.parent.parent
    for name in ("version_10", "version_9"):
        shutil.copytree(copied.parent, root / name)
    assert [found.parent.name for found in find_runs(root)] == ["version_0", "version_9", "version_10"]
    assert find_runs(copied) == [copied]


def test_frames_hold_a_row_for_each_run_example_line_and_segment(stored):
    run = load(stored)
    frames = run.to_pandas()
    assert list(frames) == ["history", "alerts", "examples", "explanations", "weights"]
    assert len(frames["history"]) == len(run.history)
    assert frames["history"]["total/image"].tolist() == [row.values["total/image"] for row in run.history]
    assert len(frames["examples"]) == 2 * len(run.examples)
    assert len(frames["explanations"]) == len(run.explanations)
    one = run.explained("dime")[0]
    same = frames["weights"].query("method == 'dime' and step == @one.step and example == @one.example")
    found = same[(same.output == one.fields["output"]) & (same.modality == "image")]
    assert found["uc"].tolist() == one.fields["weights"]["image"]["uc"]
    assert found["segment"].tolist() == list(run.examples[one.example].modalities["image"].segments)


def test_frames_of_an_empty_run_have_their_columns(tmp_path):
    FileSink(tmp_path).row(RunRecord("fit", 0, 1, {}, "it failed"))
    frames = load(tmp_path).to_pandas()
    assert {"title", "text"} <= set(frames["alerts"].columns)
    assert len(frames["weights"]) == 0


def test_without_pandas_frames_say_how_to_get_it(stored, monkeypatch):
    imported = builtins.__import__

    def without(name, *given, **named):
        if name == "pandas":
            raise ModuleNotFoundError(name)
        return imported(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match="needs pandas, which is not installed: pip install pandas"):
        load(stored).to_pandas()


@pytest.mark.parametrize("name", ["run", "versions", "model", "modalities", "heads", "configuration", "observed"])
@pytest.mark.parametrize("value", [3, [["x"]], {"x": 1}, "x"])
def test_a_damaged_entry_of_the_description_costs_no_page_and_no_comparison(copied, stored, name, value):
    path = copied / DESCRIPTION
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    run = load(copied)
    write_page([copied, stored], copied / "page.html")
    kept = name in run.description
    assert run.remarks == ([] if kept else [f"run.json: {name} damaged, and left out"])
    assert run.modalities == ["image", "text"]
