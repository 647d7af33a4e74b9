"""Models of transformers that the monitor does not master with ``modalities=`` alone; mastered ones must leave."""

HUB_ASKED: tuple[str, ...] = ()
"""Cases in which it asks or refuses, though the step tells the answer."""
