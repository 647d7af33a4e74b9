"""Where the files of explained checkpoints go: into a folder that holds no run yet."""

from pathlib import Path

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.report.folders import holds_run

ROOT = Path("explained")
"""Folder of the numbered folders, where no other is asked for."""


def new_folder(asked: Path | None) -> Path:
    """Return the folder for the files of a run; it is created when the first is written.

    Args:
        asked: The folder that the user named; None for the next numbered one.

    Raises:
        ConfigurationError: It is a file, or holds a run already.
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
    """Return a folder beside one, which does not exist yet."""
    number = 2
    while (found := folder.with_name(f"{folder.name}_{number}")).exists():
        number += 1
    return found
