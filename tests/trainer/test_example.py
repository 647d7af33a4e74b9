"""The README's first command does what it promises."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb_file import history

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_openmoji_example_trains_logs_and_prints_a_row_an_epoch(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "openmoji.py"), "--epochs", "3", "--output", str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True, cwd=tmp_path)
    assert [line.split()[0] for line in finished.stdout.splitlines() if re.match(r"\d+ ", line)] == ["0", "1", "2"]
    assert "Where to look" in finished.stdout
    assert "Traceback" not in finished.stderr
    lines = [json.loads(line) for line in (tmp_path / "version_0/mviz/history.jsonl").read_text().splitlines()]
    first, second, _ = (line["values"]["rows"] for line in lines)
    assert first > second == 8192  # explanations at the first validation, and at the end
    events = EventAccumulator(str(tmp_path / "version_0")).Reload()
    assert len(events.Scalars("mviz/total/image")) == 3
    assert "mviz/shares" in events.Tags()["images"]
    assert len(events.Images("mviz/dime/example_145")) == 2
    assert "mviz/dime/example_145_over_epochs" in events.Tags()["images"]
    assert sum("mviz/interaction" in row for row in history(tmp_path)) == 3
