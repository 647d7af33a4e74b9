"""The processes of a distributed run: gather plain objects, share out work, raise errors on all."""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.engine.memory import ran_out
from mviz_lightning.errors import ConfigurationError, NotMeasurableError, describe_error, message_of

T = TypeVar("T")


class OtherRankError(RuntimeError):
    """Another process failed; the message names its rank and its error."""


class LostProcessError(BaseException):
    """The processes can no longer exchange anything, or are out of step; no ``except Exception`` catches it.

    A process died, or one did not answer within the timeout of the process group. The training cannot go on either: its
    next collective would fail, or be matched with another one.
    """


LOST = (
    "the monitor cannot reach another process of this training: it died, or did not answer within the timeout. The "
    "training ends. The cause is in the log of the process that ended first. What failed here: {}"
)
"""Message where a collective fails."""

RAISED = (OtherRankError, OtherRankError, NotMeasurableError, ConfigurationError)
"""The error that a failure of another process becomes here, by its severity."""


def _severity(error: Exception) -> int:
    """Return what an error costs at most: 0 smaller chunks, 1 a result, 2 the monitor, 3 a training not yet begun."""
    if not isinstance(error, ConfigurationError):
        return 0 if ran_out(error) else 1
    return 2 if isinstance(error, NotMeasurableError) else 3


@dataclass(frozen=True)
class _Unsendable:
    """Replaces a value that cannot be pickled."""

    reason: str


@dataclass(frozen=True)
class Ranks:
    """The processes that work on one probe.

    Processes that hold parts of one layer (tensor parallelism) get the same batches and must evaluate the same rows.
    They count as one: they are replicas of one share of the work.

    Attributes:
        rank: Number of this process's share, from 0.
        count: Number of shares.
        replicas: Number of processes that work on each share.
    """

    rank: int = 0
    count: int = 1
    replicas: int = field(default=1, kw_only=True)

    @classmethod
    def all(cls) -> "Ranks":
        """Return all processes of the program, each with a share of its own."""
        started = dist.is_available() and dist.is_initialized()
        return cls(dist.get_rank(), dist.get_world_size()) if started else cls()

    def gather(self, value: T) -> list[T]:
        """Return one plain object of each share, in order. All processes must call it.

        Raises:
            OtherRankError: A process cannot send its object; raised on all processes.
            LostProcessError: A process died, or did not answer in time.
        """
        found: dict[int, T] = {}
        for share, one in self._exchanged((self.rank, value)):
            found.setdefault(share, one)
        return [found[share] for share in range(self.count)]

    def everywhere(self, value: T) -> list[T]:
        """Return the plain objects of all processes, replicas included; errors as of :meth:`gather`."""
        return self.gather(value) if self.replicas == 1 else self._exchanged(value)

    def _exchanged(self, value: T) -> list[T]:
        size = self.count * self.replicas
        if size == 1:
            return [value]
        sent: list[Any] = [None] * size
        try:
            dist.all_gather_object(sent, _packed(value))
        except Exception as error:
            raise LostProcessError(LOST.format(message_of(error))) from error
        unsent = [(rank, one.reason) for rank, one in enumerate(sent) if isinstance(one, _Unsendable)]
        if unsent:
            raise OtherRankError(
                f"rank {unsent[0][0]} cannot send what it found to the other processes: {unsent[0][1]}"
            )
        return [pickle.loads(one) for one in sent]  # noqa: S301 - sent by processes of the same run

    def synced(self, metric: Metric) -> Metric:
        """Return a metric that gathers from one process of each share when it computes."""
        for part in metric.modules() if self.replicas > 1 else ():
            if isinstance(part, Metric):
                part.dist_sync_fn = self._gathered
        return metric

    def _gathered(self, tensor: Tensor, group: object = None) -> list[Tensor]:
        return [one.to(tensor.device) for one in self.gather(tensor.cpu())]

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

        All processes must enter the block, and none may gather inside it. All processes decide alike what the failure
        costs: a ``ConfigurationError`` of one process, which may end the training, becomes one on all.

        Raises:
            Exception: This process's own error.
            ConfigurationError: Another process raised a ``ConfigurationError``.
            NotMeasurableError: Another process raised a ``NotMeasurableError``, and none a ``ConfigurationError``.
            OtherRankError: Another process raised any other error. If memory ran out on all that failed, the message
                contains that error.
        """
        own: Exception | None = None
        try:
            yield
        except Exception as error:
            own = error
        found = self.everywhere(None if own is None else (_severity(own), describe_error(own)))
        failures = [(*failure, rank) for rank, failure in enumerate(found) if failure is not None]
        if not failures:
            return
        severity, text, rank = max(failures, key=itemgetter(0))
        if own is not None and _severity(own) == severity:
            raise own
        raise RAISED[severity](f"rank {rank} failed: {text}") from own


def _packed(value: Any) -> Any:
    """Return an object as bytes, since an error inside the collective would leave the other processes waiting."""
    try:
        return pickle.dumps(value)
    except Exception as error:
        return _Unsendable(describe_error(error))
