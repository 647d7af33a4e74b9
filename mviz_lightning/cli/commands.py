"""The program ``python -m mviz_lightning``: which commands there are, and what an error looks like."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from mviz_lightning.cli.report import add_report
from mviz_lightning.errors import ConfigurationError, describe_error, message_of

WRONG = 2
"""Exit code for wrong arguments and folders, that of argparse."""

PROGRAM = "python -m mviz_lightning"
"""How the program is called wherever the package is; ``mviz-lightning`` lies in the environment's folder of scripts."""

DESCRIPTION = "Shows how a multimodal model uses its modalities, from the files that MultimodalMonitor wrote."


def parser() -> argparse.ArgumentParser:
    """Return the parser of the program; each command sets ``run``, a function of its arguments."""
    program = argparse.ArgumentParser(PROGRAM, description=DESCRIPTION)
    program.add_argument("--version", action="version", version=f"mviz-lightning {version('mviz-lightning')}")
    commands = program.add_subparsers(title="commands", metavar="COMMAND")
    add_report(commands)
    return program


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return the exit code: 0, or 2 for wrong arguments and folders.

    Args:
        arguments: Arguments of the program; by default those of the process.
    """
    program = parser()
    given = program.parse_args(arguments)
    if not hasattr(given, "run"):
        program.print_help()
        return 0
    try:
        given.run(given)
    except (ConfigurationError, OSError, ValueError) as error:
        _say_wrong(f"{program.prog}: {_sentence(error)}")
        return WRONG
    return 0


def _sentence(error: Exception) -> str:
    """Return the message of an error in a line; a message of the system's says what failed."""
    said = message_of(error) if isinstance(error, ConfigurationError) else describe_error(error)
    return " ".join(said.split())


def _say_wrong(message: str) -> None:
    encoding = sys.stderr.encoding or "utf-8"
    print(message.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)  # noqa: T201 a program's word
