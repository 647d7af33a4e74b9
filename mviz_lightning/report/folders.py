"""Where runs lie: the monitor's folder within the logger's, and all of them below a folder."""

from pathlib import Path

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.sinks.archive import DESCRIPTION, HISTORY

LISTED = 8
"""Largest number of entries of a folder that a message names."""

DEPTHS = ("*/*/", "*/*/*/", "*/*/*/*/")
"""Where a run is looked for that a message proposes: below a home folder, looking everywhere may take minutes."""


def monitor_folder(path: str | Path) -> Path:
    """Return the monitor's folder of a run.

    Args:
        path: This folder, or the logger's folder of the run, in which it lies.

    Raises:
        ConfigurationError: There is no run, or there are several.

    Example:
        >>> monitor_folder("lightning_logs/version_0")  # doctest: +SKIP
        PosixPath('lightning_logs/version_0/mviz')
    """
    folder = Path(path)
    if holds_run(folder):
        return folder
    found = [one for one in _subfolders(folder) if holds_run(one)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigurationError(
            f"{folder} holds {len(found)} runs: {_listed([one.name for one in found])}; give one of them, {found[0]}."
        )
    raise ConfigurationError(_without_run(folder))


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


def _subfolders(folder: Path) -> list[Path]:
    return sorted((one for one in folder.iterdir() if one.is_dir()), key=_by_number) if folder.is_dir() else []


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts ``version_10`` after ``version_9``."""
    return [
        (int(digits) if digits.isdecimal() else 0, f"{name}_{digits}")
        for name, _, digits in (part.rpartition("_") for part in path.parts)
    ]


def _without_run(folder: Path) -> str:
    """Return what is wrong with a folder without a run, and what it holds."""
    if not folder.exists():
        return f"{folder} does not exist; give the folder of a run, for example lightning_logs/version_0."
    if not folder.is_dir():
        return f"{folder} is a file; give the folder of a run, for example {folder.parent}."
    names = sorted(one.name for one in folder.iterdir())
    held = f"holds {_listed(names)}" if names else "is empty"
    nearest = next((one for depth in DEPTHS for one in sorted(folder.glob(f"{depth}{HISTORY}"))), None)
    advice = "a run of the monitor has history.jsonl in the folder mviz" if nearest is None else f"try {nearest.parent}"
    return f"{folder} holds no run of the monitor: it {held}; {advice}."


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(names[:LISTED])}{more}"
