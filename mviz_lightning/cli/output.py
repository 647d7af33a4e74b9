"""The folder for the files of explained checkpoints: one without a run."""

from pathlib import Path

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.report.folders import holds_run

ROOT = Path("explained")
"""Parent of the numbered folders, if the user names no folder."""


def new_folder(asked: Path | None) -> Path:
    """Return the folder for the files of a run; it is created with the first file.

    Args:
        asked: The folder that the user named; None for the next numbered one.

    Raises:
        ConfigurationError: ``asked`` is a file, or contains a run.
    """
    if asked is None:
        return _next_numbered(ROOT)
    if asked.exists() and not asked.is_dir():
        raise ConfigurationError(f"--output {asked} is a file; give a folder: --output {asked.with_suffix('')}_folder")
    if asked.is_dir() and any(map(holds_run, (asked, *filter(Path.is_dir, asked.iterdir())))):
        raise ConfigurationError(f"--output {asked} holds a run; give another folder: --output {_beside(asked)}")
    return asked


def _next_numbered(root: Path) -> Path:
    number = 0
    while (root / f"version_{number}").exists():
        number += 1
    return root / f"version_{number}"


def _beside(folder: Path) -> Path:
    """Return a new folder with a similar name beside a folder."""
    number = 2
    while (found := folder.with_name(f"{folder.name}_{number}")).exists():
        number += 1
    return found
