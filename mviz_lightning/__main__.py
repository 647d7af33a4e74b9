"""Runs the command line: ``python -m mviz_lightning``. Knows: cli."""

import sys

from mviz_lightning.cli import main

if __name__ == "__main__":
    sys.exit(main())
