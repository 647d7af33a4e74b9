"""Where runs lie: the monitor's folders, from what a person gives."""

from collections.abc import Iterable
from pathlib import Path

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.sinks.archive import HISTORY

DEPTH = 4
"""Folders below the given one in which runs are looked for, to name them: ``lightning_logs/version_0/mviz`` has 2."""

NAMED = 6
"""Largest number of folders or files that an error names."""


def find_runs(path: str | Path) -> list[Path]:
    """Return the monitor's folders of a run, one for each monitor of the trainer.

    Args:
        path: The folder of the logger's run, for example ``lightning_logs/version_0``, or the monitor's folder in it.

    Raises:
        ConfigurationError: There is no such folder, or it holds no run; the message says what it holds.
    """
    given = Path(path)
    if not given.exists():
        raise ConfigurationError(f"{given}: there is no such folder{_instead(_near(given))}.")
    if given.is_file():
        raise ConfigurationError(f"{given} is a file, not the folder of a run{_instead(_near(given))}.")
    found = [given] if _holds_run(given) else sorted(below for below in given.iterdir() if _holds_run(below))
    if not found:
        raise ConfigurationError(f"{given} holds no run of the monitor{_contents(given)}.")
    return found


def _holds_run(folder: Path) -> bool:
    return (folder / HISTORY).is_file()


def _near(given: Path) -> list[Path]:
    """Return the runs in the nearest folder above that exists."""
    above = next((one for one in given.parents if one.is_dir()), Path())
    return list(_runs_below(above))


def _contents(folder: Path) -> str:
    """Say what a folder without a run holds, and what to give instead."""
    if runs := list(_runs_below(folder)):
        return f" itself{_instead(runs)}"
    names = sorted(one.name for one in folder.iterdir())
    held = f"; it holds {_listed(names)}" if names else "; it is empty"
    return f"{held}. Give the folder of a training with MultimodalMonitor, which has a folder mviz with {HISTORY}"


def _instead(runs: list[Path]) -> str:
    """Say which runs there are instead, the latest first."""
    latest = sorted(runs, key=lambda one: (one / HISTORY).stat().st_mtime, reverse=True)
    return f"; give one of these runs: {_listed(map(str, latest))}" if runs else ""


def _runs_below(folder: Path) -> Iterable[Path]:
    """Yield the monitor's folders below a folder, no deeper than loggers put them."""
    for depth in range(DEPTH):
        yield from (one.parent for one in folder.glob("*/" * depth + HISTORY))


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
