"""Several processes: who am I, gather plain objects, and hear of one another's errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor

from mviz_lightning.errors import ConfigurationError, describe_error

T = TypeVar("T")


class OtherRankError(RuntimeError):
    """Another process failed; its error is in the message."""


@dataclass(frozen=True)
class Ranks:
    """The processes that work on one probe.

    Attributes:
        rank: Of this process.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    def gather(self, value: T) -> list[T]:
        """Return the plain objects of all processes, of any sizes, in the order of ranks. All must call it."""
        if self.count == 1:
            return [value]
        gathered: list[T | None] = [None] * self.count
        dist.all_gather_object(gathered, value)
        return gathered  # type: ignore[return-value]

    def share(self, groups: Tensor) -> Tensor:
        """Return this process's groups; together the shares are all groups, in order."""
        return groups.tensor_split(self.count)[self.rank]

    def padded_share(self, groups: Tensor) -> Tensor:
        """Return this process's groups and repeats behind them, so that all processes run equally many forwards."""
        share = self.share(groups)
        missing = -(-len(groups) // self.count) - len(share)
        return groups.new_tensor([*share.tolist(), *groups[:missing].tolist()])

    @contextmanager
    def raise_on_all_ranks(self) -> Iterator[None]:
        """Run a block on every process; if one fails, all fail behind it. All must enter; none may gather inside.

        Raises:
            Exception: This process's own error.
            ConfigurationError: Another process was asked for something impossible.
            OtherRankError: Another process failed.
        """
        own: Exception | None = None
        try:
            yield
        except Exception as error:
            own = error
        heard = self.gather(None if own is None else (isinstance(own, ConfigurationError), describe_error(own)))
        if own is not None:
            raise own
        for rank, failure in enumerate(heard):
            if failure is not None:
                raise (ConfigurationError if failure[0] else OtherRankError)(f"rank {rank} failed: {failure[1]}")
