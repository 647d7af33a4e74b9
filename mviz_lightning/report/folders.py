"""Where runs lie: the monitor's folder within the logger's, and all of them below a folder."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.sinks.archive import DESCRIPTION, HISTORY

DEPTH = 4
"""Folders below the given one in which runs are looked for, to name them: ``lightning_logs/version_0/mviz`` has 2."""

WANTED = f"Give the folder of a training with MultimodalMonitor, which has a folder mviz with {HISTORY}"
"""What to give where no run is near."""

NAMED = 6
"""Largest number of folders or files that an error names."""


def monitor_folder(path: str | Path) -> Path:
    """Return the monitor's folder of a run.

    Args:
        path: This folder, or the logger's folder of the run, in which it lies: ``lightning_logs/version_0``.

    Raises:
        ConfigurationError: There is no run, or there are several; the message says what there is.

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
    """Return whether the files of a run lie in a folder; runs of older versions have a history alone."""
    return (folder / HISTORY).is_file() or (folder / DESCRIPTION).is_file()


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts ``version_10`` after ``version_9``."""
    parts = (part.rpartition("_") for part in path.parts)
    return [(int(digits) if digits.isdecimal() else 0, f"{name}_{digits}") for name, _, digits in parts]


def _near(given: Path) -> list[Path]:
    """Return the runs in the nearest folder above that exists; none of the whole disk, which would take long."""
    above = next((one for one in given.parents if one.is_dir()), Path())
    return [] if above.resolve().parent == above.resolve() else list(_runs_below(above))


def _contents(folder: Path) -> str:
    """Say what a folder without a run holds, and what to give instead."""
    if runs := list(_runs_below(folder)):
        return f" itself{_instead(runs)}"
    names = sorted(one.name for one in folder.iterdir())
    held = f"; it holds {_listed(names)}" if names else "; it is empty"
    return f"{held}. {WANTED}"


def _instead(runs: list[Path], otherwise: str = "") -> str:
    """Say which runs there are instead, the latest first; of none, what to give otherwise."""
    latest = sorted(runs, key=lambda one: (one / HISTORY).stat().st_mtime, reverse=True)
    return f"; give one of these runs: {_listed(map(str, latest))}" if runs else f". {otherwise}"


def _runs_below(folder: Path) -> Iterator[Path]:
    """Yield the monitor's folders below a folder, no deeper than loggers put them: a home folder is large."""
    for depth in range(DEPTH):
        yield from (one.parent for one in folder.glob("*/" * depth + HISTORY))


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
