"""All cases: those of this package's files, and those of the ``hub_*`` files where transformers is installed."""

import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from benchmarks.observation.case import Case

FILES = (
    "calls",
    "outputs",
    "losses",
    "heads",
    "contrastive",
    "rows",
    "networks",
    "surprises",
    "detours",
    "setups",
    "habits",
    "frameworks",
    "traps",
)


@cache
def own_cases() -> tuple[Case, ...]:
    """Return the cases written by hand."""
    return tuple(_cases(FILES))


@cache
def hub_cases() -> tuple[Case, ...]:
    """Return the cases of models of transformers; they take longer."""
    return tuple(_cases(sorted(path.stem for path in Path(__file__).parent.glob("hub_*.py"))))


def _cases(files: tuple[str, ...] | list[str]) -> Iterator[Case]:
    for file in files:
        yield from getattr(importlib.import_module(f"benchmarks.observation.{file}"), "CASES", ())
