"""What processes send one another, what they hear of errors, and what comes back from processes that are spawned."""

import copy
import multiprocessing
import pickle
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from helpers.toy import monitor
from torchmetrics import MeanMetric

from mviz_lightning.callbacks.return_address import ReturnAddress
from mviz_lightning.engine.processes import LostProcessError, OtherRankError, Ranks
from mviz_lightning.errors import ConfigurationError


class World:
    """A number of processes, here threads, in place of ``torch.distributed``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
        self.barrier, self.laid, self.own = threading.Barrier(size, timeout=20), [None] * size, threading.local()
        monkeypatch.setattr(dist, "all_gather_object", self.gather)

    def gather(self, found: list[Any], value: Any) -> None:
        self.laid[self.own.place] = value
        self.barrier.wait()
        found[:] = self.laid
        self.barrier.wait()

    def run(self, act: Any) -> list[Any]:
        """Return what an action returns, or raises, in each process."""
        results = [None] * len(self.laid)

        def one(place: int) -> None:
            self.own.place = place
            try:
                results[place] = act(place)
            except BaseException as error:
                results[place] = error

        threads = [threading.Thread(target=one, args=(place,)) for place in range(len(results))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


def test_replicas_count_as_one_share(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 4)

    def act(place: int) -> Any:
        ranks = Ranks(place // 2, 2, replicas=2)
        mean = ranks.synced(MeanMetric(sync_on_compute=False))
        assert mean.dist_sync_fn is not None
        sent = mean.dist_sync_fn(torch.tensor(float(place)))
        return ranks.gather(place), ranks.everywhere(place), [float(one) for one in sent], ranks.share(torch.arange(6))

    for place, (gathered, everywhere, sent, share) in enumerate(world.run(act)):
        assert (gathered, everywhere, sent) == ([0, 2], [0, 1, 2, 3], [0.0, 2.0])
        assert share.tolist() == [[0, 1, 2], [3, 4, 5]][place // 2]


def test_what_cannot_be_sent_is_heard_by_all_and_leaves_none_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 2)
    results = world.run(lambda place: Ranks(place, 2).gather((lambda: 0) if place else 0))
    assert [type(one) for one in results] == [OtherRankError, OtherRankError]
    assert all("rank 1 cannot send what it found" in str(one) for one in results)


def failing(errors: list[Exception | None]) -> Any:
    def act(place: int) -> None:
        with Ranks(place // 2, 2, replicas=2).raise_on_all_ranks():
            if errors[place] is not None:
                raise errors[place]

    return act


def test_the_gravest_error_counts_and_one_of_a_replica_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    world, memory = World(monkeypatch, 4), torch.OutOfMemoryError("CUDA out of memory.")
    results = world.run(failing([None, memory, None, None]))
    assert results[1] is memory
    assert all("rank 1 failed: OutOfMemoryError: CUDA out of memory." in str(one) for one in results[2:])
    # A process whose memory ran out would go on with smaller chunks, and leave one that failed behind.
    results = world.run(failing([memory, None, ValueError("unwell"), None]))
    assert [str(one) for one in results] == ["rank 2 failed: ValueError: unwell"] * 2 + ["unwell"] + [
        "rank 2 failed: ValueError: unwell"
    ]
    wrong = ConfigurationError("wrong")
    assert [type(one) for one in world.run(failing([memory, wrong, None, None]))] == [ConfigurationError] * 4


def test_a_collective_that_fails_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(dist, "all_gather_object", lost)
    with pytest.raises(
        LostProcessError, match=r"died, or did not answer within the timeout.*Connection closed by peer"
    ):
        Ranks(0, 2).gather(0)
    assert not isinstance(LostProcessError(), Exception)  # no guard of the monitor stops it
    assert Ranks().gather(3) == [3]


def test_an_address_is_read_at_home_alone_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mviz_lightning.callbacks.return_address.gettempdir", lambda: str(tmp_path))
    address = ReturnAddress()
    assert address.receive() == {}
    assert not address.is_abroad
    context = multiprocessing.get_context("fork")
    child = context.Process(target=lambda: address.is_abroad and address.send({"found": 7}))
    child.start()
    child.join()
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    unpickled = pickle.loads(pickle.dumps(address))  # noqa: S301 - of this test
    assert copy.deepcopy(address).receive() == unpickled.receive() == {}
    assert address.receive() == {"found": 7}
    assert (address.receive(), list(tmp_path.iterdir())) == ({}, [])


def test_what_was_not_taken_leaves_no_file_and_what_is_damaged_is_said(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("mviz_lightning.callbacks.return_address.gettempdir", lambda: str(tmp_path))
    watch = monitor()
    address = vars(watch)["_address"]
    address.send({"history": 1})
    del watch, address
    assert list(tmp_path.iterdir()) == []
    watch = monitor()
    vars(watch)["_address"]._path.write_bytes(b"\x80nothing")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(watch.history) == 0
    assert ["what the spawned processes found is lost" in str(one.message) for one in caught] == [True]
