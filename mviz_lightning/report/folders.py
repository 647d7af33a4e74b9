"""Find runs: the monitor's folder inside the logger's folder, or all runs below a folder."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.sinks.archive import DESCRIPTION, HISTORY

DEPTH = 4
"""Number of folder levels that are searched for runs to name: a folder and three levels below it. For the folder
``lightning_logs``, ``lightning_logs/version_0/mviz`` is two levels below."""

WANTED = f"Give the folder of a training with MultimodalMonitor, which has a folder mviz with {HISTORY}"
"""Advice if there is no run nearby."""

NAMED = 6
"""Largest number of folders or files that an error names."""


def monitor_folder(path: str | Path) -> Path:
    """Return the monitor's folder of a run.

    Args:
        path: This folder, or the logger's folder of the run, which contains it: ``lightning_logs/version_0``.

    Raises:
        ConfigurationError: There is no run, or there are several; the message lists what was found.

    Example:
        >>> monitor_folder("lightning_logs/version_0")  # doctest: +SKIP
        PosixPath('lightning_logs/version_0/mviz')
    """
    given = Path(path)
    if not given.exists():
        raise ConfigurationError(f"{given}: there is no such folder{_instead(_near(given), WANTED)}.")
    if not given.is_dir():
        raise ConfigurationError(f"{given} is a file, not the folder of a run{_instead(_near(given), WANTED)}.")
    found = [given] if holds_run(given) else sorted(filter(holds_run, given.iterdir()), key=_by_number)
    if len(found) > 1:
        raise ConfigurationError(f"{given} holds {len(found)} runs; give one of {_listed(map(str, found))}.")
    if not found:
        raise ConfigurationError(f"{given} holds no run of the monitor{_contents(given)}.")
    return found[0]


def find_runs(path: str | Path) -> list[Path]:
    """Return the monitor's folders of all runs in a folder and below it, sorted by name, numbers by their value.

    Example:
        >>> find_runs("lightning_logs")  # doctest: +SKIP
        [PosixPath('lightning_logs/version_0/mviz'), PosixPath('lightning_logs/version_1/mviz')]
    """
    folder = Path(path)
    files = [file for name in (HISTORY, DESCRIPTION) for file in folder.rglob(name)]
    return sorted({file.parent for file in files}, key=_by_number)


def holds_run(folder: Path) -> bool:
    """Return whether a folder contains the files of a run; runs of older versions have only a history."""
    return (folder / HISTORY).is_file() or (folder / DESCRIPTION).is_file()


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts ``version_10`` after ``version_9``."""
    parts = (part.rpartition("_") for part in path.parts)
    return [(int(digits) if digits.isdecimal() else 0, f"{name}_{digits}") for name, _, digits in parts]


def _near(given: Path) -> list[Path]:
    """Return the runs below the nearest existing parent folder; none if this is the root, which would take long."""
    above = next((one for one in given.parents if one.is_dir()), Path())
    return [] if above.resolve().parent == above.resolve() else list(_runs_below(above))


def _contents(folder: Path) -> str:
    """Return a text with the content of a folder without a run, and with advice."""
    if runs := list(_runs_below(folder)):
        return f" itself{_instead(runs)}"
    names = sorted(one.name for one in folder.iterdir())
    held = f"; it holds {_listed(names)}" if names else "; it is empty"
    return f"{held}. {WANTED}"


def _instead(runs: list[Path], otherwise: str = "") -> str:
    """Return a text that lists other runs, the latest first; without runs, return ``otherwise``."""
    latest = sorted(runs, key=lambda one: (one / HISTORY).stat().st_mtime, reverse=True)
    return f"; give one of these runs: {_listed(map(str, latest))}" if runs else f". {otherwise}"


def _runs_below(folder: Path) -> Iterator[Path]:
    """Yield the monitor's folders below a folder, up to the depth of loggers' folders: a home folder is large."""
    for depth in range(DEPTH):
        yield from (one.parent for one in folder.glob("*/" * depth + HISTORY))


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
