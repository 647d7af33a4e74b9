"""The README's first command does what it promises."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.wandb_file import history
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(900)  # a minute where nothing else runs


@pytest.mark.slow
def test_the_openmoji_example_trains_logs_and_prints_a_row_an_epoch(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "openmoji.py"), "--epochs", "3", "--output", str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert [line.split()[0] for line in finished.stdout.splitlines() if re.match(r"\d+ ", line)] == ["0", "1", "2"]
    assert "Where to look" in finished.stdout
    assert "Traceback" not in finished.stderr
    lines = [json.loads(line) for line in (tmp_path / "version_0/mviz/history.jsonl").read_text().splitlines()]
    told = finished.stdout.partition("What the loss does not say")[2]
    begin, end = lines[0]["values"], lines[-1]["values"]
    expected = [f"{values['score']:.2f}" for values in (begin, end)]
    expected += [f"{values[f'total/{name}']:.0%}" for name in ("image", "text") for values in (begin, end)]
    expected += [f"{end[f'perceptual/{name}']:.2f}" for name in ("image", "text")]
    assert re.findall(r"-?\d+\.\d\d|\d+%", told) == expected
    first, second, _ = (line["values"]["rows"] for line in lines)
    # Explanations at the first validation, and at the end; the alarm reads the score of all 411 validation examples.
    assert first > second == 8192 + 411 - 256
    events = EventAccumulator(str(tmp_path / "version_0")).Reload()
    assert len(events.Scalars("mviz/total/image")) == 3
    assert "mviz/shares" in events.Tags()["images"]
    assert len(events.Images("mviz/dime/example_378")) == 2
    assert "mviz/dime/example_378_over_epochs" in events.Tags()["images"]
    assert sum("mviz/interaction" in row for row in history(tmp_path)) == 3
    for stage in ("importance", "cross_modal", "representation", "prediction", "errors"):
        assert any(tag.startswith(f"mviz/{stage}/") for tag in events.Tags()["images"])
        assert any(tag.startswith(f"mviz/{stage}/") for tag in events.Tags()["scalars"])


@pytest.mark.slow
def test_the_spoken_digits_example_is_caught_not_looking_and_brought_back(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "av_digits.py"), "--output", str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "image: collapsed" in finished.stderr
    lines = [json.loads(line) for line in (tmp_path / "version_0/mviz/history.jsonl").read_text().splitlines()]
    totals = [line["values"]["total/image"] for line in lines]
    collapsed = [line["values"]["collapse/image"] for line in lines]
    assert max(collapsed) == 2
    assert collapsed[-1] == 0
    assert totals[-1] > 5 * min(totals[:4])


@pytest.mark.slow
def test_the_contrastive_example_finds_pairs_and_its_bug_is_caught(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "contrastive.py"), "--epochs", "4", "--output", str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "image: collapsed since epoch 0" in finished.stderr
    assert "text: collapsed" not in finished.stderr
    found = {
        name: [json.loads(line)["values"] for line in (tmp_path / name / "mviz/history.jsonl").read_text().splitlines()]
        for name in ("healthy", "divided_twice")
    }
    assert found["healthy"][-1]["score"] > 0.9
    assert found["divided_twice"][-1]["score"] < 0.6
    assert found["healthy"][-1]["effective_rank/image"] > 2 * found["divided_twice"][-1]["effective_rank/image"]
    assert {values["collapse/image"] for values in found["healthy"]} == {0}
    tags = EventAccumulator(str(tmp_path / "healthy")).Reload().Tags()
    assert "mviz/shares" in tags["images"]
    assert {"mviz/modality_gap", "mviz/uniformity/text"} <= set(tags["scalars"])


@pytest.mark.slow
def test_the_example_of_visual_questions_tells_which_model_looks(tmp_path):
    pytest.importorskip("transformers")
    command = [sys.executable, str(ROOT / "examples" / "visual_questions.py"), "--output", str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert finished.stderr.count("image: collapsed since") == 1
    assert "Where to look" in finished.stdout
    found = {
        name: [json.loads(line)["values"] for line in (tmp_path / name / "mviz/history.jsonl").read_text().splitlines()]
        for name in ("healthy", "shuffled_images")
    }
    assert found["healthy"][-1]["score"] > 0.9
    assert found["healthy"][-1]["total/image"] > 0.4
    assert max(values["collapse/image"] for values in found["healthy"]) < 2
    assert found["healthy"][-1]["collapse/image"] == 0
    assert found["shuffled_images"][-1]["score"] < 0.5
    assert found["shuffled_images"][-1]["total/image"] < 0.02
    assert found["shuffled_images"][-1]["collapse/image"] == 2
    assert "image: collapsed" in (tmp_path / "shuffled_images/mviz/alarm/image.txt").read_text()
    images = EventAccumulator(str(tmp_path / "healthy")).Reload().Tags()["images"]
    assert {tag.split("/")[1] for tag in images} >= {"shares", "dime", "importance", "cross_modal"}


@pytest.mark.slow
def test_the_example_of_three_views_shows_how_each_is_used(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "mfeat.py"), "--epochs", "4", "--output", str(tmp_path)]
    subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    events = EventAccumulator(str(tmp_path / "version_0")).Reload()
    pairs = {"fourier+zernike", "fourier+morphology", "zernike+morphology"}
    assert {f"mviz/interaction/{pair}" for pair in pairs} <= set(events.Tags()["scalars"])
    assert "mviz/representation/overview" in events.Tags()["images"]
    assert "mviz/errors/classes" in events.Tags()["images"]
