"""The program ``python -m mviz_lightning``: its commands, and the form of its errors."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from mviz_lightning.cli.explain import add_explain
from mviz_lightning.cli.report import add_report
from mviz_lightning.cli.spoken import say
from mviz_lightning.errors import ConfigurationError, describe_error, message_of

WRONG = 2
"""Exit code for wrong arguments and folders, the same as in argparse."""

PROGRAM = "python -m mviz_lightning"
"""Call of the program that works wherever the package is; ``mviz-lightning`` is among the environment's scripts."""

DESCRIPTION = "Shows how a multimodal model uses its modalities, from the files that MultimodalMonitor wrote."


def parser() -> argparse.ArgumentParser:
    """Return the parser of the program; each command sets ``run``, a function of its arguments."""
    program = argparse.ArgumentParser(PROGRAM, description=DESCRIPTION)
    program.add_argument("--version", action="version", version=f"mviz-lightning {version('mviz-lightning')}")
    commands = program.add_subparsers(title="commands", metavar="COMMAND")
    add_report(commands)
    add_explain(commands)
    return program


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return the exit code: 0, or 2 for wrong arguments and folders.

    Args:
        arguments: Arguments of the program; by default those of the process.
    """
    program = parser()
    given, others = program.parse_known_args(arguments)
    if others and not getattr(given, "others_allowed", False):
        program.error(f"unrecognized arguments: {' '.join(others)}")
    if not hasattr(given, "run"):
        program.print_help()
        return 0
    try:
        given.run(argparse.Namespace(**vars(given), others=others))
    except (ConfigurationError, OSError, ValueError) as error:
        say(f"{program.prog}: {_sentence(error)}", to=sys.stderr)
        return WRONG
    return 0


def _sentence(error: Exception) -> str:
    """Return the message of an error: our own errors unchanged, any other in a line about the failed command."""
    return message_of(error) if isinstance(error, ConfigurationError) else " ".join(describe_error(error).split())
