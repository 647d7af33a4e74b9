"""A process without an example that has all modalities is lent some, so that all processes can try the model."""

import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mviz_lightning.engine.processes import Ranks


def lent_batch(ranks: Ranks, make: Callable[[], Any], *, tried: bool, failed: bool) -> Any:
    """Return a batch of the first process that has tried the model; None where no process needs or has one.

    Args:
        ranks: The processes, all of which must call this.
        make: Returns some of this process's examples as a batch.
        tried: Whether this process has tried the model.
        failed: Whether something failed on this process, which it will report.
    """
    told = ranks.gather((tried, failed))
    if any(failed for _, failed in told) or len({tried for tried, _ in told}) == 1:
        return None
    lender = next(rank for rank, (tried, _) in enumerate(told) if tried)
    return ranks.gather(_sendable(make) if ranks.rank == lender else None)[lender]


def _sendable(make: Callable[[], Any]) -> Any:
    """Return what a function makes; None if that fails or cannot be sent: the other processes wait for it."""
    with suppress(Exception):
        batch = make()
        pickle.dumps(batch)
        return batch
    return None
