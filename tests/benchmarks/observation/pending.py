"""What the monitor does not do yet, with ``modalities=`` alone; a case that it masters must leave these lists."""

DECLINED: tuple[str, ...] = ()
"""Cases in which it asks, refuses or finds no labels, though the step tells the answer."""

WRONG: tuple[str, ...] = ()
"""Cases in which it runs and differs from the truth."""
