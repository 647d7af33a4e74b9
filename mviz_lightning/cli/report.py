"""``python -m mviz_lightning report``: write the page of one run, or the comparison of several."""

import argparse
import webbrowser
from pathlib import Path
from typing import Any

from mviz_lightning.cli.spoken import say
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.report.folders import monitor_folder
from mviz_lightning.report.page import PICTURES, write_page

EPILOG = """\
examples:
  python -m mviz_lightning report lightning_logs/version_3 --open
      the page of one run, in its folder, shown in a browser
  python -m mviz_lightning report lightning_logs/version_3 lightning_logs/version_4
      two runs compared, in the current folder
  python -m mviz_lightning report lightning_logs/version_3 --output page.html --pictures beside
      the pictures of the inputs in a folder beside the page, which is then small
"""

SEVERAL = Path("report.html")
"""Default page of several runs; it is in the current folder, not in the folder of a run."""


def add_report(commands: Any) -> None:
    """Add the command to the program.

    Args:
        commands: What ``ArgumentParser.add_subparsers`` returned.
    """
    command = commands.add_parser(
        "report",
        help="write the report page of one run, or of several that are compared",
        description="Write one HTML file that shows a run in a browser, without a network. Two or more runs are "
        "compared with the first.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("runs", nargs="+", metavar="RUN", help="folder of a logger's run, or the monitor's in it")
    place = "file to write; default: report.html in the monitor's folder, or in the current folder for several runs"
    command.add_argument("--output", metavar="FILE", type=Path, help=place)
    command.add_argument("--open", action="store_true", help="show the page in the browser")
    kept = "where the pictures of the inputs are kept: in the page (default), or in a folder beside it"
    command.add_argument("--pictures", choices=list(PICTURES), default="inline", help=kept)
    command.set_defaults(run=run_report)


def run_report(given: argparse.Namespace) -> None:
    """Write the page, and print its path.

    Args:
        given: The arguments of the command.

    Raises:
        ConfigurationError: A folder contains no run, or runs of several monitors.
        OSError: A file of a run cannot be read.
    """
    folders = [monitor_folder(run) for run in given.runs]
    output = given.output or (SEVERAL if len(folders) > 1 else folders[0] / "report.html")
    page = _written(folders, output, given.pictures)
    say(f"{page} ({size_in_words(page.stat().st_size)})")
    if given.open and not webbrowser.open(page.as_uri()):
        say("no browser could be started; open the file by hand")


def _written(folders: list[Path], output: Path, pictures: Any) -> Path:
    """Write the page, and return its absolute path."""
    try:
        _require_file(output)
        output.parent.mkdir(parents=True, exist_ok=True)
        return write_page(folders, output, pictures).absolute()
    except ConfigurationError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"the page cannot be written to {output}: {reason}; name a file in a folder of yours: --output report.html"
        ) from error


def _require_file(output: Path) -> None:
    if output.is_dir():
        raise ConfigurationError(f"--output {output} is a folder; give a file: --output {output / 'report.html'}.")


def size_in_words(size: int) -> str:
    """Return a number of bytes as text with a unit.

    Example:
        >>> size_in_words(3_630_000), size_in_words(860)
        ('3.6 MB', '1 kB')
    """
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3))} kB"
