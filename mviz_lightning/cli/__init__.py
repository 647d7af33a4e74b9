"""The command line: each command has a file that reads its arguments and calls a function. Knows: callbacks, report."""

from mviz_lightning.cli.commands import main

__all__ = ["main"]
