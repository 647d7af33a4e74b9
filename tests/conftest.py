"""One thread a process, since small models run slower on several; and the same draws everywhere, in any order."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy loads; and for programs that tests start

import pytest
import torch
from helpers.few import slow_down, too_many
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None, max_examples=25)
settings.load_profile("repeatable")

collect_ignore = ["callbacks/packages_program.py"]  # a program, whose import is its run

SEED = int(os.environ.get("TEST_SEED", "0"))
"""Of the weights and draws of tests that set no seed themselves; they should pass with any."""


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup() -> None:
    """Seed what pytest-randomly does not: a model without a seed hangs on which tests ran before it."""
    torch.manual_seed(SEED)


@pytest.fixture(autouse=True)
def logged_warnings() -> Iterator[list[str]]:
    """Fail a test that was warned and did not expect it: the package logs warnings that are errors, as here.

    Yields:
        What was logged; a test that expects it clears the list.
    """
    handler, logged = logging.Handler(logging.WARNING), list[str]()
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("mviz_lightning")
    logger.addHandler(handler)
    yield logged
    logger.removeHandler(handler)
    assert logged == []


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """Seed the test itself, whether or not fixtures were made for another test."""
    torch.manual_seed(SEED)


@pytest.hookimpl(tryfirst=True)  # before pytest reads the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the most cases of long tests to the slow run, and of them those above ``SLOW_CASES`` for each test."""
    slow_down(items)
    if limit := int(os.environ.get("SLOW_CASES", "0")):
        config.hook.pytest_deselected(items=(left_out := set(too_many(items, limit))))
        items[:] = [item for item in items if item not in left_out]


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Single files run at once, in this process; for folders pytest-xdist starts a worker for each core."""
    return 0 if all(Path(place.partition("::")[0]).is_file() for place in config.args) else None
