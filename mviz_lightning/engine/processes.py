"""The processes of a distributed run: gather plain objects, share out work, raise errors on all."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor

from mviz_lightning.errors import ConfigurationError, NotMeasurableError, describe_error

T = TypeVar("T")


class OtherRankError(RuntimeError):
    """Another process failed; the message names its rank and its error."""


RAISED = (OtherRankError, NotMeasurableError, ConfigurationError)
"""What a failure of another process becomes, by its severity."""


def _severity(error: Exception) -> int:
    """Return how much an error may cost: a result, the monitor, or a training that has not begun."""
    if not isinstance(error, ConfigurationError):
        return 0
    return 1 if isinstance(error, NotMeasurableError) else 2


@dataclass(frozen=True)
class Ranks:
    """The processes that work on one probe.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes.
    """

    rank: int = 0
    count: int = 1

    def gather(self, value: T) -> list[T]:
        """Return the plain objects of all processes in the order of their ranks. All processes must call it."""
        if self.count == 1:
            return [value]
        gathered: list[T | None] = [None] * self.count
        dist.all_gather_object(gathered, value)
        return gathered  # type: ignore[return-value]

    def share(self, groups: Tensor) -> Tensor:
        """Return this process's share of ``(G, ...)`` groups; the shares of all processes are all groups, in order."""
        return groups.tensor_split(self.count)[self.rank]

    def padded_share(self, groups: Tensor) -> Tensor:
        """Return this process's share, padded with repeated groups so that all processes run equally many forwards."""
        share = self.share(groups)
        missing = -(-len(groups) // self.count) - len(share)
        return groups.new_tensor([*share.tolist(), *groups[:missing].tolist()])

    @contextmanager
    def raise_on_all_ranks(self) -> Iterator[None]:
        """Run a block on all processes; if it fails on one, raise on all after the block.

        All processes must enter the block, and none may gather inside it. They decide alike what the failure costs, so
        a ``ConfigurationError`` of one process, which may end the training, is one on all.

        Raises:
            Exception: This process's own error.
            ConfigurationError: Another process raised a ``ConfigurationError``.
            NotMeasurableError: Another process raised a ``NotMeasurableError``, and none the former.
            OtherRankError: Another process raised any other error.
        """
        own: Exception | None = None
        try:
            yield
        except Exception as error:
            own = error
        found = self.gather(None if own is None else (_severity(own), describe_error(own)))
        failures = [(*failure, rank) for rank, failure in enumerate(found) if failure is not None]
        if not failures:
            return
        severity, text, rank = max(failures, key=itemgetter(0))
        if own is not None and _severity(own) == severity:
            raise own
        raise RAISED[severity](f"rank {rank} failed: {text}") from own
