"""One thread a process, since small models run slower on several; and the same hypothesis examples everywhere."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy loads; and for programs that tests start

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None, max_examples=25)
settings.load_profile("repeatable")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Single files run at once, in this process; for folders pytest-xdist starts a worker for each core."""
    return 0 if all(Path(place.partition("::")[0]).is_file() for place in config.args) else None
