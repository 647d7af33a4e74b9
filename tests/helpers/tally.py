"""Counting what a model does, where evaluations put all back that the model holds."""

import threading
from typing import Any


class Tally:
    """Numbers that evaluations do not put back: they leave alone what has a part that threads share."""

    def __init__(self) -> None:
        self._shared = threading.Event()
        self.seen: list[Any] = []
